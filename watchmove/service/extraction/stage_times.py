"""How long each stage of a video's extraction took, which its process measures and its parent publishes."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, NonNegativeFloat

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.masks.chain import SegmentedFrame
from watchmove.pipeline.masks.choice import ShotSegmenter, shot_segmenter
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.records.outcomes import VideoOutcome

EXTRACT, SEGMENT, FLOW, ENCODE = "extract", "segment", "flow", "encode"
"""Stages as they are measured: `extract` includes `segment`, and that includes `flow`."""


class StageTimes(BaseModel):
    """Wall-clock seconds of a video by stage, which do not overlap.

    `decode` includes all between decoding and masks, such as the search for shots and the pruning. Where another
    process holds the device, `flow` is 0 and `masks` includes it, and the wait for the device.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    fetch: NonNegativeFloat
    decode: NonNegativeFloat
    flow: NonNegativeFloat
    masks: NonNegativeFloat
    encode: NonNegativeFloat


class TimedOutcome(VideoOutcome):
    """The outcome of a video with the times of its stages. Records, which hold a VideoOutcome, do not have them."""

    stages: StageTimes


def timed_segmenter(segment: ShotSegmenter | None, settings: ExtractionSettings, sums: StageSeconds) -> ShotSegmenter:
    """Return `segment`, or the segmenter that the settings choose, so that it adds its times to `sums`."""

    def timed(
        windows: Sequence[Sequence[Image]],
        wanted: Sequence[Sequence[int]] | None = None,
        stages: StageSeconds | None = None,  # noqa: ARG001 (a segmenter's form; `sums` takes its place)
    ) -> tuple[tuple[SegmentedFrame, ...], ...]:
        with sums(SEGMENT):
            return (segment or shot_segmenter(settings))(windows, wanted, sums)

    return timed


def with_times(outcome: VideoOutcome, fetch_seconds: float, stages: StageSeconds) -> TimedOutcome:
    """Return the outcome with the times that `stages` has measured; those of what was not done are 0."""
    wall = stages.wall
    times = StageTimes(
        fetch=fetch_seconds,
        decode=max(wall[EXTRACT] - wall[SEGMENT], 0.0),
        flow=wall[FLOW],
        masks=max(wall[SEGMENT] - wall[FLOW], 0.0),
        encode=wall[ENCODE],
    )
    return TimedOutcome(**vars(outcome), stages=times)
