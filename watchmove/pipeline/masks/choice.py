"""Which way to segment shots the settings mean: on the CPU frame by frame, or in torch, all windows of a shot at once.

Torch is loaded only where it is needed: a worker on the CPU starts faster and smaller without it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.flow.choice import flow_method
from watchmove.pipeline.masks.chain import MovingFrame
from watchmove.pipeline.masks.cpu.segmentation import segment_shot
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.masks.teacher import chosen_teacher
from watchmove.pipeline.settings.extraction import ExtractionSettings


class ShotSegmenter(Protocol):
    """A way to find what moves in a shot."""

    def __call__(
        self,
        windows: Sequence[Sequence[Image]],
        wanted: Sequence[Sequence[int]] | None = None,
        stages: StageSeconds | None = None,
    ) -> tuple[tuple[MovingFrame, ...], ...]:
        """Soft masks of the wanted frames of windows of (H, W, 3) uint8 images: see `segmentation.segment_shot`."""


@lru_cache(maxsize=1)
def shot_segmenter(settings: ExtractionSettings) -> ShotSegmenter:
    """What segments shots in this process, on the device that the settings choose.

    Raises InvalidInput where there is no such device, or where RAFT's or a teacher's weights are missing or do not fit.
    """
    chosen_teacher(settings)
    if settings.device != "cpu":
        from watchmove.pipeline.masks.device.segmentation import TorchSegmenter

        return TorchSegmenter(settings)
    flow_method(settings)

    def segment(
        windows: Sequence[Sequence[Image]],
        wanted: Sequence[Sequence[int]] | None = None,
        stages: StageSeconds | None = None,
    ) -> tuple[tuple[MovingFrame, ...], ...]:
        return segment_shot(windows, settings, wanted, stages)

    return segment
