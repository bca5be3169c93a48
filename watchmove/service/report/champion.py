"""The champion: the best backbone so far, replaced when another one's mean average precision is significantly higher.

Evaluations can be compared only under one protocol: the same detection set, splits, images and detector. Each protocol
has its own champion and a numbered history. If two runs promote at once, the first to create the next number wins.
"""

from collections.abc import Sequence
from typing import Any

from watchmove.pipeline.networks.alexnet_shape import SMALL_ALEXNET
from watchmove.pipeline.statistics.difference import difference_of
from watchmove.pipeline.statistics.seed_spread import spread_of, units_of
from watchmove.service.records import layout
from watchmove.service.records.record import Record, commit, find, origin
from watchmove.service.records.training import EVALUATION_VERSION, PRETRAINED, RANDOM, BackboneRecord, EvaluationRecord
from watchmove.service.report.result import SeedSpread, nested_figures, seed_spread
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.store.store import Store

_BESIDE_THE_DETECTOR = ("initialisations", "freeze_through", "seeds", "classification", "supervised")
"""Settings of the evaluate step that choose evaluations; they do not change the protocol of a single one."""
_OF_THE_MACHINE = ("device", "seed", "freeze_through", "checkpoint_every_iterations", "rois_per_forward")
"""Settings of the detector that two compared evaluations may differ in."""


class Champion(Record):
    """A promotion: the backbone, its figures, the champion that it replaces, and the reason.

    `figures` are 11-point mean average precisions without frozen layers: the mean of each seed of pretraining if there
    are several, else one for each seed of the detector. `backbone` is that of the first seed of pretraining, not of the
    best, and `backbones` are all.
    """

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
    backbones: tuple[str, ...] = ()
    why: str


def protocol_of(record: EvaluationRecord) -> str:
    """The hash of all that two evaluations must share to be compared.

    It covers the detection set, the detector's settings and the version of its code, but not seeds, freezing and
    settings of the machine. The record must have been written by this version of the code, or be one it would write.
    """
    settings, detection_set = protocol_settings(record)
    return settings_hash(settings, detection_set, EVALUATION_VERSION)


def protocol_settings(record: EvaluationRecord) -> tuple[dict[str, Any], str]:
    """The settings of the evaluate step that `protocol_of` covers, the trunk's size, and the detection set's identity.

    The size is among the detector's settings.
    """
    settings = {
        key: value for key, value in record.made_by.settings["evaluate"].items() if key not in _BESIDE_THE_DETECTOR
    }
    detector = {key: value for key, value in settings["detector"].items() if key not in _OF_THE_MACHINE}
    trunk = record.made_by.settings.get("pretrain", {}).get("trunk")
    if trunk == SMALL_ALEXNET.kind:
        # Only for this size, so that protocols from before there were two keep their champions.
        detector["trunk"] = trunk
    return settings | {"detector": detector}, record.made_by.inputs[record.made_by.settings["voc"]]


def promote(
    settings: Settings, store: Store, run: str, backbones: Sequence[BackboneRecord], records: Sequence[EvaluationRecord]
) -> tuple[Champion | None, str]:
    """Promote the run's backbones if they are better; return the champion, if there is one, and the verdict.

    They must be better than the champion and, on the mean, than the random trunks that the run has evaluated. The
    champion's own backbones are promoted again if they have been evaluated over more seeds, so that a champion with one
    seed, which has no spread, can be compared at all.

    No backbone is promoted twice with as many seeds, so running this again changes nothing and returns the same
    verdict, except that it updates a champion pointer that a killed process left behind.
    """
    own = _not_frozen(records, PRETRAINED)
    groups = nested_figures([(record.evaluation, record.mean_ap_11_point) for record in own])
    figures = units_of(groups) if groups else ()
    backbone, names = backbones[0], tuple(record.backbone for record in backbones)
    if not figures:
        return None, "not promoted: no evaluation of the pretrained trunk without frozen layers"
    protocol = protocol_of(own[0])
    at_random, against_random = _against_random(figures, records)
    while True:
        known = champions(store, protocol)
        present = known[-1] if known else None
        if _is_over_more_seeds(present, names, figures):
            better, verdict = True, f"the champion's own backbone, with mAP {_over_seeds(figures)}"
        elif earlier := [champion for champion in known if _names(champion) == set(names)]:
            verdict = _earlier_verdict(run, earlier[-1])
            break
        else:
            better, verdict = is_better(present.figures if present else (), figures)
        better, verdict = better and at_random, f"{verdict}; {against_random}"
        if len(groups) == 1 or (present is not None and len(present.backbones) < 2):
            verdict += "; with one seed of pretraining, a spread covers detector seeds only"
        if not better:
            verdict = f"not promoted: {verdict}"
            break
        made = Champion(
            made_by=origin(settings, {f"{store.uri}/{backbone.weights_key}": backbone.weights_sha256}),
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
            backbones=names,
            why=verdict,
        )
        if commit(store, layout.champion(protocol, f"{made.number:05d}"), made).new:
            present, verdict = made, f"promoted: {verdict}"
            break
        # Another run created this number first, so the next round compares with that run's backbone.
    _point_to_the_last(store, protocol)
    return present, verdict


def _earlier_verdict(run: str, promotion: Champion) -> str:
    """The verdict on backbones that have been promoted: in the report of the run that they were promoted by, why."""
    if promotion.run == run:
        return f"promoted: {promotion.why}"
    return f"this backbone has been promoted before, by run {promotion.run}"


def _not_frozen(records: Sequence[EvaluationRecord], initialisation: str) -> list[EvaluationRecord]:
    """The evaluations of trunks of one initialisation without frozen layers."""
    cells = ((record, record.evaluation) for record in records)
    return [record for record, cell in cells if cell.initialisation == initialisation and not cell.freeze_through]


def _names(champion: Champion) -> set[str]:
    """The champion's backbones, as a set, because the order of the seeds in the settings makes no difference."""
    return set(champion.backbones or [champion.backbone])


def _is_over_more_seeds(present: Champion | None, names: Sequence[str], figures: Sequence[float]) -> bool:
    """Whether these are the champion's backbones, perhaps with some of other seeds, and they have more figures."""
    return present is not None and _names(present) <= set(names) and len(figures) > len(present.figures)


def _against_random(figures: Sequence[float], records: Sequence[EvaluationRecord]) -> tuple[bool, str]:
    """Whether nothing speaks against promotion in the run's own evaluations of random trunks, and what they say."""
    figures_of_random = (record.mean_ap_11_point for record in _not_frozen(records, RANDOM))
    random = [figure for figure in figures_of_random if figure is not None]
    if not random:
        return True, "not compared with random initial weights, as the run has no evaluation of them"
    mean, of_random = spread_of(figures).mean, spread_of(random).mean
    if mean <= of_random:
        return False, f"not above random initial weights, which have {of_random:.4f} over {_seeds(len(random))}"
    return True, f"random initial weights have {of_random:.4f} over {_seeds(len(random))}"


def _point_to_the_last(store: Store, protocol: str) -> None:
    """Write the last champion of the history to the pointer, again if another run is promoted meanwhile."""
    pointed = None
    while (known := champions(store, protocol)) and known[-1] != pointed:
        pointed = known[-1]
        key, content = layout.champion(protocol, "champion"), pointed.model_dump_json(indent=1).encode()
        # Compared as bytes, so that a damaged pointer is replaced too; an equal one is not written again.
        if store.read(key) != content:
            store.write(key, content)


def champions(store: Store, protocol: str) -> list[Champion]:
    """The champions of a protocol, in the order of their promotion."""
    # Five-digit numbers below 10,000 begin with 0, which leaves out the pointer champion.json.
    keys = sorted(item.key for item in store.list(layout.champion(protocol, "0").removesuffix(".json")))
    found = (find(store, key, Champion) for key in keys)
    return [champion for champion in found if champion is not None]


def standing(store: Store, run: str, protocol: str, backbones: Sequence[str]) -> str:
    """What the champions of a protocol say of a run's backbones, in words; nothing is promoted."""
    known = champions(store, protocol)
    promotions = [champion for champion in known if _names(champion) & set(backbones)]
    if not promotions:
        present = f"the champion is the backbone of run {known[-1].run}" if known else "this protocol has no champion"
        return f"not promoted, and {present}"
    last = promotions[-1]
    by = "" if last.run == run else f" by run {last.run}"
    until = "still the champion" if last == known[-1] else f"replaced since by the backbone of run {known[-1].run}"
    return f"promoted{by}, {until}: {last.why}"


def is_better(present: Sequence[float], figures: Sequence[float]) -> tuple[bool, str]:
    """Whether `figures` over seeds are significantly higher than those of the present champion, and the reason.

    Significantly means that Welch's 95 % confidence interval of the difference of the means is above zero, which needs
    at least two seeds of each. If there is no champion yet, `present` is empty and any figure is better.
    """
    if not present:
        return True, f"the first under this protocol, with mAP {_over_seeds(figures)}"
    mean, before = spread_of(figures).mean, spread_of(present).mean
    facts = f"mAP {_over_seeds(figures)} against {before:.4f} over {len(present)}"
    if min(len(figures), len(present)) < 2:
        single = [name for name, values in (("the champion", present), ("this backbone", figures)) if len(values) < 2]
        return False, f"{facts}; one seed gives no spread, so evaluate {' and '.join(single)} with more seeds"
    # Without any spread there is no interval.
    if max(figures) == min(figures) and max(present) == min(present):
        return mean > before, f"{facts}; all seeds agree"
    difference = difference_of(figures, present)
    interval = f"{difference.low:+.4f} to {difference.high:+.4f}"
    return difference.verdict == "shown", f"{facts}; the 95 % interval of the difference is {interval}"


def _over_seeds(figures: Sequence[float]) -> str:
    return f"{spread_of(figures).mean:.4f} over {_seeds(len(figures))}"


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
