"""The sentences that a report begins with: what came out of the run, and how sure that is."""

from collections.abc import Sequence

from watchmove.pipeline.statistics.difference import Difference, difference_of
from watchmove.pipeline.statistics.seed_spread import units_of
from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.training import PRETRAINED, RANDOM, EvaluationRecord
from watchmove.service.report.result import nested_figures


def yield_sentence(gathered: GatherRecord, dataset: DatasetRecord, *, works_forgotten: bool = False) -> str:
    """Say how many frames the videos gave, or how many are left of them if works were forgotten since."""
    sampled = sum(gathered.frames.values())
    count = gathered.videos_listed
    frames = "one frame with a mask" if dataset.kept_frames == 1 else f"{dataset.kept_frames:,} frames with a mask"
    if works_forgotten:
        of = "one video" if count == 1 else f"{count:,} videos"
        return (
            f"Works have been forgotten since this run: {frames} left of {of}, and all other figures are those before."
        )
    share = f", {100 * dataset.kept_frames / sampled:.0f} % of the {sampled:,} that were sampled" if sampled else ""
    return f"{'One video gives' if count == 1 else f'{count:,} videos give'} {frames}{share}."


def transfer_sentence(records: Sequence[EvaluationRecord]) -> str:
    """Say how the pretrained trunk compares with random weights, and claim no more than the seeds show.

    The level is the one with fewest frozen layers that both have been evaluated at.
    """
    known = {
        level: (_figures(records, PRETRAINED, level), _figures(records, RANDOM, level)) for level in _levels(records)
    }
    compared = sorted(level for level, (pretrained, random) in known.items() if pretrained and random)
    if not compared:
        return (
            "Whether pretraining transfers is not known: the run does not evaluate both pretrained and random weights."
        )
    level = compared[0]
    pretrained, random = known[level]
    difference = difference_of(pretrained, random)
    frozen = f" with {level} frozen convolutions" if level else ""
    direction = "above" if difference.mean >= 0 else "below"
    mean = sum(pretrained) / len(pretrained)
    against = f"{abs(difference.mean):.3f} {direction} random weights"
    return f"Pretrained detectors{frozen} reach an mAP of {mean:.3f}, {against}, {_certainty(difference)}."


def _levels(records: Sequence[EvaluationRecord]) -> set[int]:
    return {record.evaluation.freeze_through for record in records}


def _figures(records: Sequence[EvaluationRecord], initialisation: str, level: int) -> tuple[float, ...]:
    """The values whose spread counts: a mean for each seed of pretraining if there are several."""
    own = [
        (record.evaluation, record.mean_ap_11_point)
        for record in records
        if record.evaluation.initialisation == initialisation and record.evaluation.freeze_through == level
    ]
    groups = nested_figures(own)
    return tuple(units_of(groups)) if groups else ()


def _certainty(difference: Difference) -> str:
    if difference.low is None or difference.high is None:
        return "which shows nothing yet, as a single seed has no spread"
    interval = f"95 % interval {difference.low:+z.3f} to {difference.high:+z.3f}".replace("-", "−")
    if difference.verdict != "not shown":
        return f"which is more than the spread of the seeds ({interval})"
    enough = (
        f"; about {difference.enough} seeds of each would show a difference of this size" if difference.enough else ""
    )
    return f"which is within the spread of the seeds ({interval}): nothing is shown yet{enough}"
