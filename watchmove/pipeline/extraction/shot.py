"""One shot's windows in, frames with masks and a verdict out: prepared, segmented, measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.extraction.conditions import CONDITIONS, PreparedShot, PreparedWindow, prepare_shot
from watchmove.pipeline.extraction.pruning import measure_mask, reject_reason
from watchmove.pipeline.masks.chain import SegmentedFrame
from watchmove.pipeline.masks.choice import ShotSegmenter
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings

_PARALLAX_PIXELS = 0.75

_NOTHING_MOVES = ("no-motion", "short-shot")


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
    segment: ShotSegmenter,
    stages: StageSeconds | None = None,
    *,
    fading: Sequence[Sequence[bool]] | None = None,
) -> list[list[LookedAt]]:
    """Look at the `wanted` positions of windows of one shot; images are (H, W, 3) uint8 RGB of one size.

    `segment` finds what moves (see `shot_segmenter`); `fading` says of each frame of each window whether it is part of
    a fade or a dissolve. Frames of a window that is too short, or repeats itself until it is, are not segmented. What
    stops for a moment keeps its mask; where no frame shows motion, all masks are empty.
    """
    stages = stages or StageSeconds()
    with stages("conditions"):
        shot = prepare_shot(windows)
    fit = [len(window.images) >= settings.min_window_frames for window in shot.windows]
    sources = [
        [window.sources[position] for position in positions]
        for window, positions in zip(shot.windows, wanted, strict=True)
    ]
    moving = iter(
        segment(
            [window.images for window, ready in zip(shot.windows, fit, strict=True) if ready],
            [some for some, ready in zip(sources, fit, strict=True) if ready],
            stages,
        )
        if any(fit)
        else ()
    )
    size = windows[0][0].shape[:2]
    dark = np.zeros(size, np.float32)
    judged = [
        [_judged(one, shot, size, settings) for one in next(moving)]
        if ready
        else [LookedAt(dark, 0.0, "short-shot", ()) for _ in positions]
        for positions, ready in zip(wanted, fit, strict=True)
    ]
    if all(one.reject_reason in _NOTHING_MOVES for window in judged for one in window):
        judged = [[replace(one, soft_mask=dark) for one in window] for window in judged]
    fades = fading or [[False] * len(images) for images in windows]
    return [
        [_named(one, window, fading=fade[position]) for one, position in zip(some, positions, strict=True)]
        for some, window, fade, positions in zip(judged, shot.windows, fades, wanted, strict=True)
    ]


def _named(one: LookedAt, window: PreparedWindow, *, fading: bool) -> LookedAt:
    """A frame with the conditions of its window and its own; inside a fade nothing else is asked."""
    found = {*window.conditions, *one.conditions, *(["fade"] if fading else [])}
    names = tuple(name for name in CONDITIONS if name in found)
    return replace(one, conditions=names, reject_reason="fade" if fading else one.reject_reason)


def _judged(
    moving: SegmentedFrame, shot: PreparedShot, size: tuple[int, int], settings: ExtractionSettings
) -> LookedAt:
    facts = measure_mask(moving, settings.min_area_fraction)
    reason = reject_reason(facts, settings)
    parallax = facts.background_motion_pixels > _PARALLAX_PIXELS
    return LookedAt(shot.whole(moving.soft_mask, *size), facts.confidence, reason, ("parallax",) if parallax else ())
