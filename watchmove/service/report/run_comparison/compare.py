"""Compares two runs A and B by their records."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.report.run_comparison.common_frames import CommonFrame, CommonFrames, common_frames
from watchmove.service.report.run_comparison.differences import (
    ComparedRun,
    CountDifference,
    FrameDifference,
    MaskDifference,
    RunComparison,
)
from watchmove.service.report.run_comparison.figure_differences import figure_differences, not_comparable
from watchmove.service.report.run_comparison.run_facts import RunFacts, run_facts
from watchmove.service.report.run_comparison.sentences import sentences
from watchmove.service.report.run_comparison.setting_differences import setting_differences
from watchmove.service.store.store import Store


def compare_runs(store: Store, scratch: Path, a: str, b: str) -> tuple[RunComparison, tuple[CommonFrame, ...]]:
    """Compare two runs by their records; return the facts, and the frames to show in the order of `frames_shown`.

    Raises:
        InvalidInput: both are one run, a run is unknown or has no plan, or a record or a file of the store is damaged.
        Unavailable: the store cannot be reached.
    """
    if a == b:
        raise InvalidInput(f"run {a}: named twice; name two runs")
    one, two = run_facts(store, a, b)
    same_masks = _same_masks(one, two)
    common = None if same_masks else common_frames(store, scratch, one, two)
    comparison = RunComparison(
        a=_run(one),
        b=_run(two),
        settings=tuple(setting_differences(one.settings, two.settings)),
        counts=tuple(_counts(one, two)),
        videos=_by_name(one.outcomes(), two.outcomes()),
        frames=_by_name(one.frames(), two.frames()),
        same_masks=same_masks,
        masks=_masks(common) if common else None,
        not_comparable=not_comparable(one, two),
        figures=tuple(figure_differences(one, two)),
    )
    said = comparison.model_copy(update={"sentences": sentences(comparison)})
    return said, common.shown if common else ()


def _run(facts: RunFacts) -> ComparedRun:
    return ComparedRun(
        run=facts.run,
        version=facts.version,
        recipe=facts.plan.recipe,
        masks_from=facts.masks_from,
        dataset=facts.dataset.dataset if facts.dataset else "",
        protocol=facts.protocol,
        missing=facts.missing,
        champion=facts.champion,
    )


def _same_masks(a: RunFacts, b: RunFacts) -> str:
    """Why the masks of both runs are the same; empty if they may differ."""
    if a.dataset and b.dataset and a.dataset.dataset == b.dataset.dataset:
        return "both runs have the same snapshot of frames"
    if a.plan.recipe == b.plan.recipe and a.masks_from == b.masks_from == "motion":
        return "both runs have the same recipe of extraction"
    return ""


def _counts(a: RunFacts, b: RunFacts) -> Iterator[CountDifference]:
    of = ((facts, facts.outcomes(), facts.frames()) for facts in (a, b))
    one, two = (
        {
            "videos listed": facts.listed,
            "videos extracted": sum(outcomes.values()),
            "frames in videos": facts.frames_seen(),
            "frames sampled": sum(frames.values()),
            "frames kept": frames.get("kept", 0),
            "frames in the snapshot": facts.dataset.kept_frames if facts.dataset else None,
        }
        for facts, outcomes, frames in of
    )
    return (CountDifference(name=name, a=one[name], b=two[name]) for name in one)


def _by_name(a: Mapping[str, int], b: Mapping[str, int]) -> tuple[CountDifference, ...]:
    """Counts by outcome and reason; one that a run does not have is 0."""
    return tuple(CountDifference(name=name, a=a.get(name, 0), b=b.get(name, 0)) for name in sorted(a.keys() | b.keys()))


def _masks(common: CommonFrames) -> MaskDifference:
    return MaskDifference(
        videos=common.videos,
        videos_compared=common.videos_compared,
        frames=common.frames,
        kept=common.kept,
        kept_in_one=common.kept_in_one,
        masks_compared=len(common.ious),
        mean_iou=sum(common.ious) / len(common.ious) if common.ious else None,
        frames_shown=tuple(map(_frame, common.shown)),
    )


def _frame(frame: CommonFrame) -> FrameDifference:
    sample = frame.sample_a or frame.sample_b
    metadata = sample.metadata if sample else {}
    seconds = metadata.get("time_seconds")
    return FrameDifference(
        key=frame.key,
        video=str(metadata.get("video", "")),
        time_seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        reject_reason_a=frame.a.reject_reason,
        reject_reason_b=frame.b.reject_reason,
        stored_a=frame.sample_a is not None,
        stored_b=frame.sample_b is not None,
        iou=frame.iou,
    )
