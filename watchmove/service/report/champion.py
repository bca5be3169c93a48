"""The best backbone so far: promoted when its mean average precision beats the present one's by more than the spread.

Only evaluations under one protocol compare: the same detection set, splits, images and detector. Each protocol has its
own champion and its own history, numbered; the number that is created first decides between two runs at once.
"""

from collections.abc import Sequence

from scipy.stats import ttest_ind

from watchmove.pipeline.statistics.seed_spread import spread_of
from watchmove.service.records import layout
from watchmove.service.records.record import Record, commit, find, origin
from watchmove.service.records.training import EVALUATION_VERSION, PRETRAINED, BackboneRecord, EvaluationRecord
from watchmove.service.report.result import SeedSpread, seed_spread
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import settings_hash
from watchmove.service.store.store import Store

_CONFIDENCE = 0.95
_BESIDE_THE_DETECTOR = ("initialisations", "freeze_through", "seeds", "classification", "supervised")
_OF_THE_MACHINE = ("device", "seed", "freeze_through", "checkpoint_every_iterations", "rois_per_forward")


class Champion(Record):
    """A promotion: which backbone, by which figures, over whom, and why. Figures are 11-point, nothing frozen."""

    protocol: str
    number: int
    run: str
    backbone: str
    dataset: str
    weights_key: str
    weights_sha256: str
    figures: tuple[float, ...]
    spread: SeedSpread
    before: str = ""
    why: str


def protocol_of(record: EvaluationRecord) -> str:
    """What two evaluations must share to be compared, the code included; seeds, freezing and the machine are no part.

    The record is one that this version of the code made or would make.
    """
    settings = {
        key: value for key, value in record.made_by.settings["evaluate"].items() if key not in _BESIDE_THE_DETECTOR
    }
    detector = {key: value for key, value in settings["detector"].items() if key not in _OF_THE_MACHINE}
    voc = record.made_by.settings["voc"]
    return settings_hash(settings | {"detector": detector}, record.made_by.inputs[voc], EVALUATION_VERSION)


def promote(
    context: StepContext, run: str, backbone: BackboneRecord, records: Sequence[EvaluationRecord]
) -> tuple[Champion | None, str]:
    """The champion after this run, None where there is none, and in a sentence what the run changed and why.

    A backbone is promoted at most once; doing this again changes nothing. A pointer that a killed process has left
    behind the history is put right.
    """
    own = [one for one in records if one.evaluation.initialisation == PRETRAINED and not one.evaluation.freeze_through]
    figures = tuple(one.mean_ap_11_point for one in own if one.mean_ap_11_point is not None)
    if not figures:
        return None, "no champion is looked for: no evaluation of the pretrained trunk without frozen layers"
    protocol = protocol_of(own[0])
    while True:
        known = champions(context.store, protocol)
        present = known[-1] if known else None
        if any(one.backbone == backbone.backbone for one in known):
            verdict = "this backbone has been promoted before"
            break
        better, verdict = is_better(present.figures if present else (), figures)
        if not better:
            break
        made = Champion(
            made_by=origin(context.settings, {f"{context.store.uri}/{backbone.weights_key}": backbone.weights_sha256}),
            protocol=protocol,
            number=present.number + 1 if present else 1,
            run=run,
            backbone=backbone.backbone,
            dataset=backbone.dataset,
            weights_key=backbone.weights_key,
            weights_sha256=backbone.weights_sha256,
            figures=figures,
            spread=seed_spread(figures),
            before=present.backbone if present else "",
            why=verdict,
        )
        if commit(context.store, layout.champion(protocol, f"{made.number:05d}"), made).new:
            present = made
            break
        # another run was faster: this one has to beat that one now
    _point_to_the_last(context.store, protocol)
    return present, verdict


def _point_to_the_last(store: Store, protocol: str) -> None:
    """Make the pointer say what the history says last, also where another run is promoted meanwhile."""
    pointed = None
    while (known := champions(store, protocol)) and known[-1] != pointed:
        pointed = known[-1]
        key, content = layout.champion(protocol, "champion"), pointed.model_dump_json(indent=1).encode()
        if store.read(key) != content:
            store.write(key, content)


def champions(store: Store, protocol: str) -> list[Champion]:
    """The history of a protocol, oldest first."""
    keys = sorted(item.key for item in store.list(layout.champion(protocol, "0").removesuffix(".json")))
    found = (find(store, key, Champion) for key in keys)
    return [one for one in found if one is not None]


def is_better(present: Sequence[float], figures: Sequence[float]) -> tuple[bool, str]:
    """Whether `figures` beat those of the present champion by more than the spread, and why or why not.

    More than the spread: Welch's 95 % interval of the difference of means lies above zero. That takes two seeds of
    each; the first of all is promoted as it is.
    """
    mean = spread_of(figures).mean
    if not present:
        return True, f"the first one: mAP {mean:.4f} over {_seeds(len(figures))}"
    before = spread_of(present).mean
    facts = f"mAP {mean:.4f} over {_seeds(len(figures))} against {before:.4f} over {len(present)}"
    if min(len(figures), len(present)) < 2:
        return False, f"{facts}: the spread is not known with one seed; evaluate more seeds"
    if max(figures) == min(figures) and max(present) == min(present):
        return mean > before, f"{facts}: no spread"
    low, high = ttest_ind(figures, present, equal_var=False).confidence_interval(_CONFIDENCE)
    return bool(low > 0), f"{facts}: the difference lies in {low:+.4f} to {high:+.4f}"


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
