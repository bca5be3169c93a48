"""One shot's windows in, frames with masks and a verdict out: prepared, segmented, measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.frame_conditions import PreparedShot, prepare_shot
from pipeline.pruning import measure_mask, reject_reason
from pipeline.segmentation import MovingFrame, segment_shot
from pipeline.settings.extraction import ExtractionSettings
from pipeline.stage_seconds import StageSeconds

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class LookedAt:
    """What was found in one frame.

    soft_mask: (H, W) float32 in [0, 1], all zero where nothing is known to move; confidence: in [0, 1];
    reject_reason: one of REJECT_REASONS, None where good by itself; conditions: names from CONDITIONS.
    """

    soft_mask: NDArray[np.float32]
    confidence: float
    reject_reason: str | None
    conditions: tuple[str, ...]


def look_at_shot(
    windows: Sequence[Sequence[Image]],
    wanted: Sequence[Sequence[int]],
    settings: ExtractionSettings,
    stages: StageSeconds | None = None,
) -> list[list[LookedAt]]:
    """Look at the `wanted` positions of windows of one shot; images are (H, W, 3) uint8 RGB of one size.

    Frames of a window that is too short, repeats itself until it is, or fades are not segmented.
    """
    stages = stages or StageSeconds()
    with stages("conditions"):
        shot = prepare_shot(windows)
    fit = [_refusal(len(window.images), window.conditions, settings) is None for window in shot.windows]
    sources = [
        [window.sources[position] for position in positions]
        for window, positions in zip(shot.windows, wanted, strict=True)
    ]
    moving = iter(
        segment_shot(
            [window.images for window, ready in zip(shot.windows, fit, strict=True) if ready],
            settings,
            [some for some, ready in zip(sources, fit, strict=True) if ready],
            stages,
        )
        if any(fit)
        else ()
    )
    height, width = windows[0][0].shape[:2]
    found = []
    for index, (window, ready) in enumerate(zip(shot.windows, fit, strict=True)):
        if ready:
            found.append([_judged(one, shot, index, (height, width), settings) for one in next(moving)])
        else:
            reason = _refusal(len(window.images), window.conditions, settings)
            dark = np.zeros((height, width), np.float32)
            found.append([LookedAt(dark, 0.0, reason, window.conditions) for _ in wanted[index]])
    return found


def _refusal(frame_count: int, conditions: tuple[str, ...], settings: ExtractionSettings) -> str | None:
    """Why a window is not segmented at all."""
    if frame_count < settings.min_window_frames:
        return "short-shot"
    return "fade" if "fade" in conditions else None


def _judged(
    moving: MovingFrame, shot: PreparedShot, window: int, size: tuple[int, int], settings: ExtractionSettings
) -> LookedAt:
    facts = measure_mask(moving, settings.min_area_fraction)
    reason = reject_reason(facts, settings)
    soft_mask = shot.whole(moving.soft_mask, *size)
    if reason == "no-motion":
        soft_mask = np.zeros(size, np.float32)
    return LookedAt(soft_mask, facts.confidence, reason, shot.windows[window].conditions)
