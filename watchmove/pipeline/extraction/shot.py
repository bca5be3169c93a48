"""The examination of one shot: its windows are prepared and segmented together, then each frame gets a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.extraction.conditions import CONDITIONS, PreparedShot, PreparedWindow, prepare_shot
from watchmove.pipeline.extraction.pruning import MaskFacts, measure_mask, reject_reason
from watchmove.pipeline.masks.chain import SegmentedFrame, StageMaps
from watchmove.pipeline.masks.choice import ShotSegmenter
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings

_PARALLAX_PIXELS = 0.75
"""Background motion (median, in pixels per frame, the camera's motion removed) above which a frame is named `parallax`.

Set by hand; the name alone rejects no frame.
"""

_REASONS_WITHOUT_MOTION = ("no-motion", "short-shot")


@dataclass(frozen=True)
class WindowToExamine:
    """Consecutive frames of a shot, and which of them to examine.

    images: (H, W, 3) uint8 RGB, of the same size in all windows of a shot; positions: indices into `images` of the
    frames to examine; fading: for each image, whether it is part of a fade or a dissolve; empty where none is;
    conditions: names from CONDITIONS that were found before.
    """

    images: Sequence[Image]
    positions: Sequence[int]
    fading: Sequence[bool] = ()
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExaminedFrame:
    """The verdict on one frame.

    soft_mask: (H, W) float32 in [0, 1], all zero where no motion is known; confidence: in [0, 1]; reject_reason: one of
    REJECT_REASONS, None for a frame that is good on its own; conditions: names from CONDITIONS, in their order; facts:
    what was measured of its mask, None if it has none; window_frames: the number of different frames in its window;
    stages: what led to the mask, with the part of the frame inside black borders that its maps cover, in rows and
    columns; None for a rejected frame.
    """

    soft_mask: NDArray[np.float32]
    confidence: float
    reject_reason: str | None
    conditions: tuple[str, ...]
    facts: MaskFacts | None = None
    window_frames: int = 0
    stages: tuple[StageMaps, slice, slice] | None = None


def examine_shot(
    windows: Sequence[WindowToExamine],
    settings: ExtractionSettings,
    segment: ShotSegmenter,
    stages: StageSeconds | None = None,
) -> list[ExaminedFrame]:
    """Examine the chosen frames of at least one window of one shot; the result is in order of windows, then positions.

    `segment` finds the moving objects (see `shot_segmenter`). A window that has fewer than `min_window_frames` frames
    after repeated frames are removed is not segmented. An object that stops for a moment keeps its mask; where no
    examined frame of the shot shows motion, all masks are empty.
    """
    stages = stages or StageSeconds()
    with stages("conditions"):
        shot = prepare_shot([window.images for window in windows])
    segmented = _segment_windows(windows, shot.windows, settings, segment, stages)
    height, width = windows[0].images[0].shape[:2]
    empty_mask = np.zeros((height, width), np.float32)
    examined: list[ExaminedFrame] = []
    for number, (window, prepared) in enumerate(zip(windows, shot.windows, strict=True)):
        conditions = in_order([*window.conditions, *prepared.conditions])
        found = [_verdict(frame, shot, (height, width), conditions, settings) for frame in segmented.get(number, ())]
        if number not in segmented:
            found = [ExaminedFrame(empty_mask, 0.0, "short-shot", conditions)] * len(window.positions)
        examined += [replace(frame, window_frames=len(prepared.images)) for frame in found]
    # a resting object keeps its mask only where another frame of the shot has shown that it moves
    if all(frame.reject_reason in _REASONS_WITHOUT_MOTION for frame in examined):
        examined = [replace(frame, soft_mask=empty_mask) for frame in examined]
    fading = [bool(window.fading) and window.fading[position] for window in windows for position in window.positions]
    # fades are named last: whether a shot shows motion is decided by what its masks say
    return [_as_fading(frame, settings) if fades else frame for frame, fades in zip(examined, fading, strict=True)]


def _segment_windows(
    windows: Sequence[WindowToExamine],
    prepared: Sequence[PreparedWindow],
    settings: ExtractionSettings,
    segment: ShotSegmenter,
    stages: StageSeconds,
) -> dict[int, tuple[SegmentedFrame, ...]]:
    """Segmented frames of each window, by the window's number; a window that is too short is left out."""
    sources = {
        # a repeated frame gets the mask of the frame that represents it
        number: [prepared[number].sources[position] for position in window.positions]
        for number, window in enumerate(windows)
        if len(prepared[number].images) >= settings.min_window_frames
    }
    if not sources:
        return {}
    images = [prepared[number].images for number in sources]
    return dict(zip(sources, segment(images, list(sources.values()), stages), strict=True))


def _verdict(
    frame: SegmentedFrame,
    shot: PreparedShot,
    size: tuple[int, int],
    window_conditions: tuple[str, ...],
    settings: ExtractionSettings,
) -> ExaminedFrame:
    """Measure one segmented frame; `size` is the (height, width) of the frame before borders were cut off."""
    # measured inside the black borders, so that fractions and the border are those of the visible part
    facts = measure_mask(frame, settings.min_area_fraction)
    reason = reject_reason(facts, settings)
    parallax = ["parallax"] if facts.background_motion_pixels > _PARALLAX_PIXELS else []
    return ExaminedFrame(
        soft_mask=shot.in_full_frame(frame.soft_mask, *size),
        confidence=facts.confidence,
        reject_reason=reason,
        conditions=in_order([*window_conditions, *parallax]),
        facts=facts,
        stages=None if reason or frame.stages is None else (frame.stages, shot.rows, shot.columns),
    )


def damaged_frame(image: Image) -> ExaminedFrame:
    """The verdict on a frame (H, W, 3) that was decoded from damaged data: its mask is empty."""
    return ExaminedFrame(np.zeros(image.shape[:2], np.float32), 0.0, "damaged", ("damaged",))


def _as_fading(frame: ExaminedFrame, settings: ExtractionSettings) -> ExaminedFrame:
    """A frame of a fade, which is rejected unless its mask is trusted: what changes in a fade is not motion.

    Trusted masks are right in fades too, and fast motion before a plain background can be taken for a fade.
    """
    rejected = frame.confidence < settings.trusted_confidence
    reason = "fade" if rejected else frame.reject_reason
    return replace(frame, conditions=in_order([*frame.conditions, "fade"]), reject_reason=reason)


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names of conditions in the order of CONDITIONS."""
    return tuple(name for name in CONDITIONS if name in names)
