"""Regions of an image for a training step, with their labels and regression targets (Fast R-CNN, section 2.3)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from watchmove.pipeline.detection.boxes import encode_boxes
from watchmove.pipeline.settings.evaluation import EvaluationSettings

BACKGROUND = 0
"""Label of a region without an object."""
IGNORED = -1
"""Label of a region that is neither object nor background; training does not sample it."""


@dataclass(frozen=True)
class Objects:
    """Annotated objects of one image."""

    boxes_xyxy: Tensor
    """float32 (G, 4), in the same pixels as the regions."""
    labels: Tensor
    """int64 (G,), 1 for the first class."""
    difficult_xyxy: Tensor
    """float32 (D, 4); regions on these are neither objects nor background."""


@dataclass(frozen=True)
class Regions:
    """Regions with their labels and regression targets."""

    boxes_xyxy: Tensor
    """float32 (R, 4)."""
    labels: Tensor
    """int64 (R,): BACKGROUND, 1 for the first class, or IGNORED."""
    deltas: Tensor
    """float32 (R, 4): from the region to its object, as `encode_boxes` gives them; 0 where there is none."""
    overlaps: Tensor
    """float32 (R,): IoU with the object that overlaps most."""

    def at(self, indices: Tensor) -> "Regions":
        """The regions at `indices` (K,), in that order."""
        return Regions(self.boxes_xyxy[indices], self.labels[indices], self.deltas[indices], self.overlaps[indices])


def label_regions(proposals_xyxy: Tensor, objects: Objects, settings: EvaluationSettings) -> Regions:
    """Label the objects' own boxes and then the proposals (P, 4), each by the object that it overlaps most."""
    # an object's own box is a region of it even if no proposal overlaps it enough
    boxes = torch.cat([objects.boxes_xyxy, proposals_xyxy])
    overlaps, deltas = boxes.new_zeros(len(boxes)), torch.zeros_like(boxes)
    labels = torch.full((len(boxes),), BACKGROUND)
    if len(objects.boxes_xyxy):
        overlaps, nearest = box_iou(boxes, objects.boxes_xyxy).max(dim=1)
        shows_object = overlaps >= settings.foreground_iou
        labels[shows_object] = objects.labels[nearest[shows_object]]
        labels[~shows_object & (overlaps >= settings.background_max_iou)] = IGNORED
        deltas[shows_object] = encode_boxes(boxes[shows_object], objects.boxes_xyxy[nearest[shows_object]])
    if len(objects.difficult_xyxy):
        on_difficult = box_iou(boxes, objects.difficult_xyxy).max(dim=1).values >= settings.foreground_iou
        # an easy object's region remains one even if it is also on a difficult object
        labels[on_difficult & (labels == BACKGROUND)] = IGNORED
    return Regions(boxes, labels, deltas, overlaps)


def _choose(candidates: Tensor, count: int, generator: np.random.Generator) -> Tensor:
    """At most `count` of the candidates, drawn at random without replacement."""
    order = generator.permutation(len(candidates))[:count]
    return candidates[torch.from_numpy(order)]


def sample_regions(regions: Regions, settings: EvaluationSettings, generator: np.random.Generator) -> Regions:
    """Sample at most `rois_per_image` regions: up to `foreground_fraction` of them show objects, the rest background.

    Background comes from regions that overlap an object by at least `background_min_iou`, which are hard examples; an
    image without any gives other background regions.
    """
    foreground = torch.nonzero(regions.labels > BACKGROUND).flatten()
    background = torch.nonzero(regions.labels == BACKGROUND).flatten()
    hard = background[regions.overlaps[background] >= settings.background_min_iou]
    wanted = round(settings.rois_per_image * settings.foreground_fraction)
    objects = _choose(foreground, wanted, generator)
    rest = _choose(hard if len(hard) else background, settings.rois_per_image - len(objects), generator)
    return regions.at(torch.cat([objects, rest]))
