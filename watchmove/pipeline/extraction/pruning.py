"""The decision which frames are discarded, each for one named reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.masks.chain import SegmentedFrame
from watchmove.pipeline.masks.confidence import LEAST_MASK_FRACTION, border_mean, confidence_of
from watchmove.pipeline.settings.extraction import ExtractionSettings

REJECT_REASONS = (
    "damaged",
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
"""Why a frame is discarded: a closed list, in the order in which the reasons are checked."""

_MOVING_PIXELS = 1.0
"""Independent motion, in pixels per frame, from which a pixel counts as moving. Set by hand; not tuned."""

_THUMBNAIL_PIXELS = 24
"""Side of the thumbnails that are compared to find near duplicates. Set by hand; not tuned."""


@dataclass(frozen=True)
class MaskFacts:
    """Measurements of one segmented frame, by which it is kept or discarded. Fractions are in [0, 1]."""

    area_fraction: float
    """Part of the frame that the mask covers."""
    border_fraction: float
    """Part of the frame's outermost pixels that the mask covers."""
    object_fraction: float
    """Part of the mask that is in large connected parts."""
    moving_fraction: float
    """Part of the frame that has independent motion."""
    motion_pixels: float
    """Median independent motion inside the mask minus that outside, in pixels per frame."""
    background_motion_pixels: float
    """Median independent motion outside the mask, in pixels per frame."""
    flow_consistency: float
    """Mean agreement of forward and backward flow, in [0, 1]."""
    confidence: float
    """See `masks.confidence.confidence_of`."""


def object_fraction(mask: NDArray[np.bool_], min_area_fraction: float) -> float:
    """The fraction of a mask (H, W) in connected parts that each cover `min_area_fraction` of the frame; 0 if empty."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    # the first component is the background
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = areas[areas >= min_area_fraction * mask.size]
    return float(large.sum() / areas.sum()) if len(areas) else 0.0


def measure_mask(frame: SegmentedFrame, min_area_fraction: float) -> MaskFacts:
    """Measure a segmented frame; connected parts of its mask below `min_area_fraction` of the frame are no objects."""
    soft_mask, independent_motion = frame.soft_mask, frame.independent_motion
    mask = soft_mask >= 0.5
    # motion is known at the working size only
    small = cv2.resize(soft_mask, independent_motion.shape[::-1], interpolation=cv2.INTER_AREA) >= 0.5
    inside = float(np.median(independent_motion[small])) if small.any() else 0.0
    outside = float(np.median(independent_motion[~small])) if not small.all() else 0.0
    return MaskFacts(
        area_fraction=float(mask.mean()),
        border_fraction=border_mean(mask),
        object_fraction=object_fraction(mask, min_area_fraction),
        moving_fraction=float((independent_motion > _MOVING_PIXELS).mean()),
        motion_pixels=inside - outside,
        background_motion_pixels=outside,
        flow_consistency=frame.flow_consistency,
        confidence=confidence_of(soft_mask),
    )


class Threshold(NamedTuple):
    """A rule that rejects a frame for `reason` by one of its MaskFacts, `fact`.

    `setting` is the name of the setting with the limit, empty where the limit is fixed; `is_least` says whether the
    limit is the least value that passes, instead of the largest; `excuses_trusted` whether frames of a trusted
    confidence pass whatever their fact is.
    """

    reason: str
    fact: str
    setting: str
    is_least: bool
    excuses_trusted: bool = False

    def limit(self, settings: ExtractionSettings) -> float:
        """The limit that the settings state, in the unit of the fact."""
        return float(getattr(settings, self.setting)) if self.setting else LEAST_MASK_FRACTION

    def rejects(self, value: float, limit: float) -> bool:
        """Whether a value of the fact is beyond a limit."""
        return value < limit if self.is_least else value > limit

    def excuses(self, confidence: float, settings: ExtractionSettings) -> bool:
        """Whether a frame of this confidence passes the rule whatever its fact is."""
        return self.excuses_trusted and confidence >= settings.trusted_confidence


THRESHOLDS = (
    Threshold("no-motion", "area_fraction", "", is_least=True),
    Threshold("no-motion", "motion_pixels", "min_motion_pixels", is_least=True),
    Threshold("unreliable-flow", "flow_consistency", "min_flow_trust", is_least=True, excuses_trusted=True),
    Threshold("everything-moves", "moving_fraction", "max_moving_fraction", is_least=False, excuses_trusted=True),
    Threshold("too-small", "area_fraction", "min_area_fraction", is_least=True),
    Threshold("too-large", "area_fraction", "max_area_fraction", is_least=False),
    Threshold("touches-border", "border_fraction", "max_border_fraction", is_least=False),
    Threshold("scattered", "object_fraction", "min_object_fraction", is_least=True),
    Threshold("low-confidence", "confidence", "min_confidence", is_least=True),
)
"""The rules that one mask is checked by, in the order of REJECT_REASONS."""


def reject_reason(facts: MaskFacts, settings: ExtractionSettings) -> str | None:
    """The first of REJECT_REASONS that the mask itself gives, or None where it is good."""
    broken = (rule for rule in THRESHOLDS if rule.rejects(getattr(facts, rule.fact), rule.limit(settings)))
    return next((rule.reason for rule in broken if not rule.excuses(facts.confidence, settings)), None)


def _thumbnail(image: Image, soft_mask: FloatArray) -> FloatArray:
    """A frame reduced to (24, 24, 4) float32 in [0, 1], its soft mask in the fourth channel."""
    size = (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS)
    colours = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    # with the mask as a channel, a moved object counts as a change even where it hardly changes the colours
    return np.dstack([colours, cv2.resize(soft_mask, size, interpolation=cv2.INTER_AREA)])


class Pruned(NamedTuple):
    """The decision on one good frame of a shot.

    reason: `near-duplicate`, `over-quota`, or None for a frame that is kept; change: its least mean difference from
    the frames that are kept and more confident, as a fraction of the pixel range, or None where it was not compared.
    """

    reason: str | None
    change: float | None = None


def prune_shot(
    images: Sequence[Image],
    soft_masks: Sequence[FloatArray],
    confidences: Sequence[float],
    settings: ExtractionSettings,
) -> tuple[Pruned, ...]:
    """Choose which of the good frames of one shot are kept, the most confident first.

    Takes images (H, W, 3) uint8 RGB, soft masks (H, W) in [0, 1] and confidences of frames that no other reason
    rejects. Returns the decision on each frame.
    """
    decisions = [Pruned("over-quota")] * len(images)
    kept: list[FloatArray] = []
    for index in sorted(range(len(images)), key=lambda i: (-confidences[i], i)):
        # the frames that are left keep `over-quota`, their initial reason, without being compared
        if len(kept) == settings.max_frames_per_shot:
            break
        thumbnail = _thumbnail(images[index], soft_masks[index])
        change = min((float(np.abs(thumbnail - earlier).mean()) for earlier in kept), default=None)
        if change is not None and change < settings.min_change:
            decisions[index] = Pruned("near-duplicate", change)
        else:
            decisions[index] = Pruned(None, change)
            kept.append(thumbnail)
    return tuple(decisions)
