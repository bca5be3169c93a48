"""What two runs must share for their figures to be points of one curve over frames, and in which of it they differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from watchmove.pipeline.settings.pretraining import LEARNING_RATES, PRETRAINING_VERSION
from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.training import BackboneRecord, EvaluationRecord
from watchmove.service.report.champion import protocol_of, protocol_settings
from watchmove.service.report.result import PretrainingFacts

_SIZE_OF_A_RUN = ("sample_fraction", "target_shard_seconds", "seconds_per_video_second")
_SIZE_OF_A_SHARD = ("max_shard_videos", "max_shard_mebibytes")
"""Settings of the plan that decide the number of frames, or how the videos are divided; all others choose videos."""
_OF_THE_MACHINE = (
    *("device", "max_device_batch", "crop_on", "compile", "max_corrupt_fraction"),
    *("validate_every_iterations", "validation_frames", "checkpoint_every_iterations", "keep_checkpoints"),
)
"""Settings of pretraining that do not change what is learnt from a frame."""
_RECIPE = "extraction recipe"
_EXTRACT = "extract."
PROTOCOL = "evaluation protocol"
"""Name of what all compared evaluations share, which is that of the champions too."""
_NAMED_SETTINGS = 3
"""Most differing settings that a line names. Set by hand: enough to see the kind of the difference."""


def pretraining_facts(
    plan: PlanRecord,
    gathered: GatherRecord,
    dataset: DatasetRecord,
    backbones: Sequence[BackboneRecord],
    records: Sequence[EvaluationRecord],
) -> PretrainingFacts:
    """The backbones of a run, its number of frames, and all else that decides the run's figures, by name."""
    planned, pretrained = plan.made_by.settings, backbones[0].made_by.settings["pretrain"]
    chosen = {name: value for name, value in planned["plan"].items() if name not in _SIZE_OF_A_RUN + _SIZE_OF_A_SHARD}
    # each objective has a learning rate of its own, and the others decide nothing
    other_rates = set(LEARNING_RATES.values()) - {LEARNING_RATES[pretrained.get("objective", "masks")]}
    ignored = other_rates.union(_OF_THE_MACHINE, ("seed", "seeds"))
    if pretrained.get("objective") != "labels":
        ignored.add("labels")
    learnt = {name: value for name, value in pretrained.items() if name not in ignored}
    learnt["seeds"] = sorted(
        {record.evaluation.pretraining_seed for record in records if record.evaluation.is_pretrained}
    )
    near_duplicates = gathered.made_by.settings["gather"].get("leave_out_near_duplicates", False)
    # All evaluations of a run share one protocol, so the first gives it.
    evaluate, detection_set = protocol_settings(records[0])
    decides = {
        "videos": planned["videos"],
        "plan": chosen,
        "extract": planned["extract"],
        _RECIPE: dataset.recipe,
        "masks": dataset.masks_from,
        "gather.leave_out_near_duplicates": near_duplicates,
        "pretrain": learnt,
        "pretraining version": PRETRAINING_VERSION,
        "voc": detection_set,
        "evaluate": {**evaluate, "seeds": sorted({record.evaluation.seed for record in records})},
        PROTOCOL: protocol_of(records[0]),
    }
    return PretrainingFacts(
        backbone=" ".join(record.backbone for record in backbones),
        frames=dataset.kept_frames,
        decides=dict(_flat(decides)),
    )


def difference(facts: PretrainingFacts, other: PretrainingFacts) -> str:
    """In which settings another run differs, in words; empty if the two differ in the number of frames alone."""
    if not other.decides:
        return "its result was written by an earlier version; run `watchmove report` for it again"
    names = [
        name
        for name in dict.fromkeys((*facts.decides, *other.decides))
        if facts.decides.get(name) != other.decides.get(name)
    ]
    # The recipe is what decides, as it also covers weights and the version of the code; the settings give its reason.
    if _RECIPE not in names:
        names = [name for name in names if not name.startswith(_EXTRACT)]
    named = [
        f"{name} is {other.decides.get(name, 'not set')} instead of {facts.decides.get(name, 'not set')}"
        for name in names[:_NAMED_SETTINGS]
    ]
    more = len(names) - len(named)
    return ", ".join(named) + (f", and {more} more" if more else "")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings, as text by their dotted names."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
