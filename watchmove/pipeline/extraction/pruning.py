"""How far a soft mask can be trusted, and which frames are dropped, each for one named reason."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.masks.chain import SegmentedFrame
from watchmove.pipeline.settings.extraction import ExtractionSettings

REJECT_REASONS = (
    "short-shot",
    "fade",
    "no-motion",
    "unreliable-flow",
    "everything-moves",
    "too-small",
    "too-large",
    "touches-border",
    "scattered",
    "low-confidence",
    "near-duplicate",
    "over-quota",
)
"""Why a frame is dropped: a closed list, in the order in which it is asked."""

_LEAST_MASK_FRACTION = 0.001
_MOVING_PIXELS = 1.0
_UNSURE = (0.3, 0.69)
_BORDER_WEIGHT = 4.0
_DOUBT_SCALE = 1.75
_THUMBNAIL_PIXELS = 24


@dataclass(frozen=True)
class MaskFacts:
    """What pruning wants to know of one mask: fractions of picture, border and mask; motion in pixels per frame."""

    area_fraction: float
    border_fraction: float
    object_fraction: float
    moving_fraction: float
    motion_pixels: float
    background_motion_pixels: float
    flow_trust: float
    confidence: float


def confidence_of(soft_mask: FloatArray) -> float:
    """Confidence in [0, 1] of a soft mask (H, W), 0 for no mask.

    It falls with the number of unsure pixels per mask pixel and with the mean soft value along the picture's
    border. The scale puts 0.5 where, on videos with known masks, J begins to drop below 0.8.
    """
    inside = int(np.count_nonzero(soft_mask >= 0.5))
    if inside < _LEAST_MASK_FRACTION * soft_mask.size:
        return 0.0
    unsure = int(np.count_nonzero((soft_mask > _UNSURE[0]) & (soft_mask < _UNSURE[1])))
    border = np.concatenate([soft_mask[0], soft_mask[-1], soft_mask[1:-1, 0], soft_mask[1:-1, -1]])
    doubt = unsure / inside + _BORDER_WEIGHT * float(border.mean())
    return float(np.exp(-doubt / _DOUBT_SCALE))


def border_fraction(mask: NDArray[np.bool_]) -> float:
    """Share of the picture's outermost pixels that a mask (H, W) covers."""
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return float(border.mean())


def object_fraction(mask: NDArray[np.bool_], min_area_fraction: float) -> float:
    """Share of a mask (H, W) in connected parts of at least `min_area_fraction` of the picture; 0 if empty."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = areas[areas >= min_area_fraction * mask.size]
    return float(large.sum() / areas.sum()) if len(areas) else 0.0


def measure_mask(moving: SegmentedFrame, min_area_fraction: float) -> MaskFacts:
    """Facts of a segmented frame; parts of its mask below `min_area_fraction` of the picture are no objects."""
    soft_mask, independent_motion = moving.soft_mask, moving.independent_motion
    mask = soft_mask >= 0.5
    small = cv2.resize(soft_mask, independent_motion.shape[::-1], interpolation=cv2.INTER_AREA) >= 0.5
    inside = float(np.median(independent_motion[small])) if small.any() else 0.0
    outside = float(np.median(independent_motion[~small])) if not small.all() else 0.0
    return MaskFacts(
        area_fraction=float(mask.mean()),
        border_fraction=border_fraction(mask),
        object_fraction=object_fraction(mask, min_area_fraction),
        moving_fraction=float((independent_motion > _MOVING_PIXELS).mean()),
        motion_pixels=inside - outside,
        background_motion_pixels=outside,
        flow_trust=moving.flow_consistency,
        confidence=confidence_of(soft_mask),
    )


def reject_reason(facts: MaskFacts, settings: ExtractionSettings) -> str | None:
    """The first of REJECT_REASONS that holds for a mask by itself, or None."""
    checks = (
        ("no-motion", facts.area_fraction < _LEAST_MASK_FRACTION or facts.motion_pixels < settings.min_motion_pixels),
        ("unreliable-flow", facts.flow_trust < settings.min_flow_trust),
        ("everything-moves", facts.moving_fraction > settings.max_moving_fraction),
        ("too-small", facts.area_fraction < settings.min_area_fraction),
        ("too-large", facts.area_fraction > settings.max_area_fraction),
        ("touches-border", facts.border_fraction > settings.max_border_fraction),
        ("scattered", facts.object_fraction < settings.min_object_fraction),
        ("low-confidence", facts.confidence < settings.min_confidence),
    )
    return next((reason for reason, holds in checks if holds), None)


def _thumbnail(image: Image, soft_mask: FloatArray) -> FloatArray:
    """A tiny picture with its mask as a fourth channel, (24, 24, 4) in [0, 1]."""
    size = (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS)
    picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.dstack([picture, cv2.resize(soft_mask, size, interpolation=cv2.INTER_AREA)])


def prune_shot(
    images: Sequence[Image],
    soft_masks: Sequence[FloatArray],
    confidences: Sequence[float],
    settings: ExtractionSettings,
) -> tuple[str | None, ...]:
    """Reasons, or None for kept, for frames of one shot that are good by themselves: the surest first, none twice."""
    reasons: list[str | None] = ["over-quota"] * len(images)
    kept: list[FloatArray] = []
    for index in sorted(range(len(images)), key=lambda i: (-confidences[i], i)):
        if len(kept) == settings.max_frames_per_shot:
            break
        small = _thumbnail(images[index], soft_masks[index])
        if any(float(np.abs(small - other).mean()) < settings.min_change for other in kept):
            reasons[index] = "near-duplicate"
        else:
            reasons[index] = None
            kept.append(small)
    return tuple(reasons)
