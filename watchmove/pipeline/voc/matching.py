"""Matching of detections to objects as in PASCAL VOC's development kit (Everingham et al., IJCV 2010), on arrays.

    detection, in order of falling score          | counts as
    ----------------------------------------------|---------------------------
    best object of its class and image: IoU < limit | false positive
    best object is difficult                      | nothing
    best object not yet found                     | true positive
    best object found by a detection before       | false positive

Which object is best does not depend on what was found before, so no loop over detections is needed. An IoU of exactly
the limit counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.voc.annotations import VocImage

Floats = NDArray[np.float64]
Indexes = NDArray[np.intp]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class GroundTruth:
    """The objects of one class, those of one image next to each other, in order of image."""

    image_numbers: Indexes
    """Rising; an image's number is its place among the images scored."""
    boxes_xyxy: Floats
    """float64 (N, 4)."""
    difficult: Flags


_Row = tuple[int, tuple[float, float, float, float], bool]


def _from_rows(rows: Sequence[_Row]) -> GroundTruth:
    return GroundTruth(
        np.array([number for number, _, _ in rows], np.intp),
        np.array([box for _, box, _ in rows], np.float64).reshape(-1, 4),
        np.array([difficult for _, _, difficult in rows], bool),
    )


NO_OBJECTS = _from_rows([])


def ground_truth_by_class(images: Sequence[VocImage]) -> dict[str, GroundTruth]:
    """The objects of each class that occurs in `images`."""
    rows: dict[str, list[_Row]] = {}
    for number, image in enumerate(images):
        for annotated in image.objects:
            rows.setdefault(annotated.name, []).append((number, annotated.box_xyxy, annotated.difficult))
    return {name: _from_rows(found) for name, found in rows.items()}


def paired_iou(first_xyxy: Floats, second_xyxy: Floats) -> Floats:
    """Intersection over union of box i with box i, float64 (N,) from two (N, 4); 0 where they do not touch.

    With the maximum exclusive this equals the kit's figure: the kit adds 1 to sides, because its boxes include the last
    pixel.
    """
    sides = np.minimum(first_xyxy[:, 2:], second_xyxy[:, 2:]) - np.maximum(first_xyxy[:, :2], second_xyxy[:, :2])
    intersection = sides.clip(0).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first_xyxy, second_xyxy)]
    union = areas[0] + areas[1] - intersection
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(union), where=union > 0))


def _best_objects(image_numbers: Indexes, boxes_xyxy: Floats, truth: GroundTruth) -> tuple[Indexes, Floats]:
    """For each detection, the index of the object in its image that it overlaps most, the first of equals, and the IoU.

    Where the image has no object, the index is meaningless and the IoU is -1.
    """
    best, best_iou = np.zeros(len(image_numbers), np.intp), np.full(len(image_numbers), -1.0)
    first = np.searchsorted(truth.image_numbers, image_numbers, side="left")
    count = np.searchsorted(truth.image_numbers, image_numbers, side="right") - first
    # over the objects of an image, which are few, and not over detections, which can be millions
    for nth in range(int(count.max(initial=0))):
        rows = np.flatnonzero(count > nth)
        iou = paired_iou(boxes_xyxy[rows], truth.boxes_xyxy[first[rows] + nth])
        better = iou > best_iou[rows]
        best[rows[better]] = first[rows[better]] + nth
        best_iou[rows[better]] = iou[better]
    return best, best_iou


def match(image_numbers: Indexes, boxes_xyxy: Floats, truth: GroundTruth, iou_threshold: float) -> tuple[Flags, Flags]:
    """Which detections, given by falling score, are true and which are false positives: bool (N,) each.

    `image_numbers` (N,) and `boxes_xyxy` (N, 4) are the detections'. One whose best object is difficult is neither.
    """
    best, best_iou = _best_objects(image_numbers, boxes_xyxy, truth)
    hits = np.flatnonzero(best_iou >= iou_threshold)
    counting = hits[~truth.difficult[best[hits]]]
    # detections are ordered by falling score, so the first of an object is its most confident one
    _, first_of_object = np.unique(best[counting], return_index=True)
    true_positive = np.zeros(len(best), bool)
    true_positive[counting[first_of_object]] = True
    false_positive = best_iou < iou_threshold
    false_positive[counting] = ~true_positive[counting]
    return true_positive, false_positive
