"""Batches for training the detector: a function of settings and iteration, so that a resumed training repeats them."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.arrays import BoxArray
from watchmove.pipeline.detection.boxes import mirror_boxes
from watchmove.pipeline.detection.images import network_image, padded_batch
from watchmove.pipeline.detection.regions import BACKGROUND, Objects, Regions, label_regions, sample_regions
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings.evaluation import EvaluationSettings
from watchmove.pipeline.voc.annotations import VocImage, read_image

_ORDER, _REGIONS = 0, 1
"""Purposes of random numbers: with the seed and a counter each seeds a generator, so that streams do not overlap."""
_MIN_STANDARD_DEVIATION = 1e-3
"""Set by hand, not tuned: a class with one region has deviation 0, by which targets cannot be divided."""
_FLIP_PROBABILITY = 0.5
"""Images are mirrored with this probability (Fast R-CNN, section 2.3, mini-batch sampling)."""


@dataclass(frozen=True)
class Batch:
    """Images and regions of one training step."""

    images: Tensor
    """float32 (N, 3, H, W), normalised, padded."""
    regions: tuple[Regions, ...]
    """One entry per image, boxes in pixels of the batch."""


def proposals_of(image: VocImage, proposals: Mapping[str, BoxArray]) -> Tensor:
    """Proposals float32 (P, 4) of one image. Raises InvalidInput where it was not searched."""
    if image.image_id not in proposals:
        raise InvalidInput(f"no proposals for image {image.image_id}; run selective search on it too")
    return torch.from_numpy(np.asarray(proposals[image.image_id], np.float32).reshape(-1, 4))


def proposals_within(image: VocImage, pixels: NDArray[np.uint8], proposals: Mapping[str, BoxArray]) -> Tensor:
    """Proposals float32 (P, 4) of one image, whose pixels are uint8 (H, W, 3).

    Raises:
        InvalidInput: it was not searched, or a box lies outside of it by more than a pixel.
    """
    boxes = proposals_of(image, proposals)
    height, width = pixels.shape[:2]
    # a pixel for files that count it from another place
    if len(boxes) and bool((boxes.amax(dim=0) > torch.tensor([width, height] * 2) + 1).any()):
        line = f"{image.path}: a proposal ends outside of the image of {width}x{height} pixels"
        raise InvalidInput(f"{line}; give boxes of this image, in a .mat file as y1 x1 y2 x2")
    return boxes


def _check_objects(image: VocImage, pixels: NDArray[np.uint8]) -> None:
    """Raise InvalidInput if the box of an object has no part in the image, whose pixels are uint8 (H, W, 3)."""
    height, width = pixels.shape[:2]
    for annotated in image.objects:
        x0, y0, x1, y1 = annotated.box_xyxy
        if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
            box = f"({x0 + 1:g}, {y0 + 1:g}) to ({x1:g}, {y1:g})"
            line = f"{image.path}: {annotated.name} at {box} is outside of the image of {width}x{height} pixels"
            raise InvalidInput(f"{line}; correct or remove its annotation")


class TrainingSet:
    """Annotated images with their proposals; images with neither an object nor background regions are excluded."""

    def __init__(
        self,
        images: Sequence[VocImage],
        proposals: Mapping[str, BoxArray],
        classes: Sequence[str],
        settings: EvaluationSettings,
    ) -> None:
        self._settings = settings
        self._proposals = proposals
        self._label_of = {name: label for label, name in enumerate(classes, start=1)}
        unknown = {annotated.name for image in images for annotated in image.objects} - self._label_of.keys()
        if unknown:
            raise InvalidInput(
                f"class {min(unknown)!r} is annotated but not one of {', '.join(classes)}; name all classes"
            )
        labelled = [(image, self._labels(image)) for image in images]
        self.images = [image for image, labels in labelled if bool((labels >= BACKGROUND).any())]
        if not any(bool((labels > BACKGROUND).any()) for _, labels in labelled):
            raise InvalidInput(
                f"none of {len(images)} training images shows an object to learn; check split and classes"
            )

    def _labels(self, image: VocImage) -> Tensor:
        return label_regions(proposals_of(image, self._proposals), self._objects(image), self._settings).labels

    def _objects(self, image: VocImage) -> Objects:
        easy = [annotated for annotated in image.objects if not annotated.difficult]
        difficult = [annotated.box_xyxy for annotated in image.objects if annotated.difficult]
        return Objects(
            torch.tensor([annotated.box_xyxy for annotated in easy], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([self._label_of[annotated.name] for annotated in easy], dtype=torch.int64),
            torch.tensor(difficult, dtype=torch.float32).reshape(-1, 4),
        )

    def target_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (C, 4) of the deltas of each class's regions, with `flips` of mirrored ones too.

        The code published with the paper normalises targets with them. A class without regions gets 0 and 1.
        """
        labels, deltas = self._shown()
        if self._settings.flips:
            # mirroring negates the horizontal shift and changes nothing else
            labels, deltas = labels.repeat(2), torch.cat([deltas, deltas * deltas.new_tensor([-1, 1, 1, 1])])
        mean, deviation = torch.zeros(len(self._label_of), 4), torch.ones(len(self._label_of), 4)
        for row, label in enumerate(self._label_of.values()):
            own = deltas[labels == label]
            if len(own):
                mean[row], deviation[row] = (
                    own.mean(dim=0),
                    # with one region the unbiased estimate would be 0 / 0
                    own.std(dim=0, correction=0).clamp(min=_MIN_STANDARD_DEVIATION),
                )
        return mean, deviation

    def _shown(self) -> tuple[Tensor, Tensor]:
        """Labels (R,) and deltas float64 (R, 4) of all regions that show an object."""
        labels, deltas = [], []
        for image in self.images:
            regions = label_regions(proposals_of(image, self._proposals), self._objects(image), self._settings)
            labels.append(regions.labels[regions.labels > BACKGROUND])
            deltas.append(regions.deltas[regions.labels > BACKGROUND])
        # in float64, because sums over all regions of a data set lose digits in float32
        return torch.cat(labels), torch.cat(deltas).double()

    # two orders, because a batch may span two epochs
    @functools.lru_cache(maxsize=2)  # noqa: B019 - a training set lives as long as its training
    def _order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self._settings.seed, _ORDER, epoch)).permutation(len(self.images))

    def batch(self, iteration: int) -> Batch:
        """The batch of step `iteration`, counted from 0; each epoch takes every image once, in a random order."""
        pairs = []
        first = iteration * self._settings.images_per_batch
        for position in range(first, first + self._settings.images_per_batch):
            epoch, place = divmod(position, len(self.images))
            generator = np.random.default_rng((self._settings.seed, _REGIONS, position))
            pairs.append(self._sample(self.images[self._order(epoch)[place]], generator))
        images, regions = zip(*pairs, strict=True)
        return Batch(padded_batch(images), regions)

    def _sample(self, image: VocImage, generator: np.random.Generator) -> tuple[Tensor, Regions]:
        scales = self._settings.at_training_scales()
        # nothing is drawn for a single scale, so that trainings with one scale keep their random numbers
        at = scales[int(generator.integers(len(scales)))] if len(scales) > 1 else scales[0]
        stored = read_image(image.path)
        _check_objects(image, stored)
        pixels, scale = network_image(stored, at)
        objects, proposals = self._objects(image), proposals_within(image, stored, self._proposals) * scale
        objects = Objects(objects.boxes_xyxy * scale, objects.labels, objects.difficult_xyxy * scale)
        if self._settings.flips and generator.random() < _FLIP_PROBABILITY:
            width = pixels.shape[2]
            pixels = pixels.flip(2)
            proposals = mirror_boxes(proposals, width)
            objects = Objects(
                mirror_boxes(objects.boxes_xyxy, width), objects.labels, mirror_boxes(objects.difficult_xyxy, width)
            )
        return pixels, sample_regions(label_regions(proposals, objects, self._settings), self._settings, generator)
