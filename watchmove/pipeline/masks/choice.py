"""The choice of a segmenter by the settings: on the CPU frame by frame, or in torch with all windows of a shot at once.

Torch is loaded only where it is needed, because a worker without it starts faster and needs less memory.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.flow.choice import flow_method
from watchmove.pipeline.masks.chain import SegmentedFrame
from watchmove.pipeline.masks.cpu.segmentation import segment_shot
from watchmove.pipeline.masks.motion_network import load_motion_network
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings


class ShotSegmenter(Protocol):
    """A function from the windows of one shot to soft masks of its moving objects."""

    def __call__(
        self,
        windows: Sequence[Sequence[Image]],
        wanted: Sequence[Sequence[int]] | None = None,
        stages: StageSeconds | None = None,
    ) -> tuple[tuple[SegmentedFrame, ...], ...]:
        """For each window, segment the frames at its `wanted` positions, or all: see `cpu.segmentation.segment_shot`.

        windows: consecutive frames (H, W, 3) uint8 RGB, of one size, at least two in each window.
        """


@lru_cache(maxsize=1)
def shot_segmenter(settings: ExtractionSettings) -> ShotSegmenter:
    """Return the segmenter for the device that the settings name; it is built once in a process.

    Raises InvalidInput where the device is missing, or where the weights of RAFT or of the motion network are missing
    or do not fit.
    """
    # weights are loaded here already, so that bad ones fail before any video is decoded
    load_motion_network(settings)
    if settings.device != "cpu":
        from watchmove.pipeline.masks.device.segmentation import TorchSegmenter

        return TorchSegmenter(settings)
    # the method itself is not needed here: `segment_shot` takes it from the cache
    flow_method(settings)

    def segment(
        windows: Sequence[Sequence[Image]],
        wanted: Sequence[Sequence[int]] | None = None,
        stages: StageSeconds | None = None,
    ) -> tuple[tuple[SegmentedFrame, ...], ...]:
        return segment_shot(windows, settings, wanted, stages)

    return segment
