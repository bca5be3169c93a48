"""Testing a detector: from images and proposals to detections (Girshick, Fast R-CNN, ICCV 2015, section 3)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import batched_nms

from watchmove.pipeline.arrays import BoxArray
from watchmove.pipeline.detection.boxes import clip_boxes, decode_boxes
from watchmove.pipeline.detection.fast_rcnn import FastRCNN
from watchmove.pipeline.detection.images import network_image, scaled_size
from watchmove.pipeline.detection.training_set import proposals_within
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.files.weights import name_of_not_finite
from watchmove.pipeline.settings.evaluation import EvaluationSettings
from watchmove.pipeline.voc.annotations import Detection, VocImage, read_image

_BEST_REGION_PIXELS = 224**2
"""Area of a scaled region that suits the network (Fast R-CNN, section 3, after SPPnet)."""


@torch.no_grad()
def detect_objects(
    model: FastRCNN,
    images: Sequence[VocImage],
    proposals: Mapping[str, BoxArray],
    settings: EvaluationSettings,
    on_image: Callable[[int], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, list[Detection]]:
    """Detections of every class, in order of images and then of falling score; boxes in pixels of each image.

    `proposals` are boxes float32 (P, 4) xyxy in pixels of each image; `on_image` receives the number of finished
    images. Raises InvalidInput where an image or its proposals are missing or a probability is not finite, Stopped
    where `should_stop` returns True.
    """
    model = model.to(settings.device).eval()
    detections: dict[str, list[Detection]] = {name: [] for name in model.classes}
    for done, image in enumerate(images):
        if should_stop():
            raise Stopped(f"detection stopped after {done} of {len(images)} images; run it again")
        pixels = read_image(image.path)
        given = proposals_within(image, pixels, proposals)
        try:
            boxes, scores, classes = detect_in_image(model, pixels, given, settings)
        except InvalidInput as error:
            raise InvalidInput(f"{image.path}: {error}") from error
        for box, score, index in zip(boxes.tolist(), scores.tolist(), classes.tolist(), strict=True):
            detections[model.classes[index]].append(Detection(image.image_id, score, tuple(box)))
        on_image(done + 1)
    return detections


@torch.no_grad()
def detect_in_image(
    model: FastRCNN, image: NDArray[np.uint8], proposals_xyxy: Tensor, settings: EvaluationSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (D, 4) in pixels of an image uint8 RGB (H, W, 3), scores (D,) falling, and class indices (D,).

    Raises InvalidInput where an output of the network is not finite, which would otherwise count as no detection.
    """
    height, width = image.shape[:2]
    probabilities, deltas = _outputs(model, image, proposals_xyxy, settings)
    if name_of_not_finite({"probabilities": probabilities, "deltas": deltas}):
        raise InvalidInput(
            "the detector's output is not finite; lower evaluate.detector.learning_rate and train the detector again"
        )
    boxes = clip_boxes(decode_boxes(proposals_xyxy, deltas), width, height)
    return best_detections(boxes, probabilities, settings)


def _outputs(
    model: FastRCNN, image: NDArray[np.uint8], proposals_xyxy: Tensor, settings: EvaluationSettings
) -> tuple[Tensor, Tensor]:
    """Probabilities (P, C) without the background's and deltas (P, C, 4) of proposals (P, 4) in pixels of the image."""
    probabilities = torch.zeros(len(proposals_xyxy), len(model.classes))
    deltas = torch.zeros(len(proposals_xyxy), len(model.classes), 4)
    scales = settings.at_testing_scales()
    chosen = best_scales(proposals_xyxy, (image.shape[0], image.shape[1]), scales)
    for number, at in enumerate(scales):
        rows = torch.nonzero(chosen == number).flatten()
        if len(rows):
            probabilities[rows], deltas[rows] = _outputs_at(model, image, proposals_xyxy[rows], at)
    return probabilities, deltas


def best_scales(proposals_xyxy: Tensor, image_size: tuple[int, int], scales: Sequence[EvaluationSettings]) -> Tensor:
    """For each proposal (P, 4) the number of the scale at which its area is nearest 224² pixels, int64 (P,).

    `image_size` is height and width.
    """
    sides = proposals_xyxy[:, 2:] - proposals_xyxy[:, :2]
    areas = []
    for at in scales:
        height, width = scaled_size(*image_size, at)
        areas.append(sides.prod(dim=1) * (height * width / (image_size[0] * image_size[1])))
    return (torch.stack(areas) - _BEST_REGION_PIXELS).abs().argmin(dim=0)


def _outputs_at(
    model: FastRCNN, image: NDArray[np.uint8], proposals_xyxy: Tensor, settings: EvaluationSettings
) -> tuple[Tensor, Tensor]:
    pixels, scale = network_image(image, settings)
    features = model.features(pixels[None].to(settings.device))
    probabilities, deltas = [], []
    # in parts, as the pooled features of all proposals could exceed the memory of the device
    for part in torch.split((proposals_xyxy * scale).to(settings.device), settings.rois_per_forward):
        scores, given = model.outputs(model.pooled(features, [part]))
        probabilities.append(scores.softmax(dim=1)[:, 1:].cpu())
        deltas.append(model.deltas(given).cpu())
    return torch.cat(probabilities), torch.cat(deltas)


def best_detections(
    boxes_xyxy: Tensor, probabilities: Tensor, settings: EvaluationSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Select detections of boxes (P, C, 4) with probabilities (P, C): boxes (D, 4), scores (D,), class indices (D,).

    Boxes below `min_score` are removed, non-maximum suppression runs within each class, and the most probable
    `max_detections_per_image` remain, in falling order.
    """
    region, classes = torch.nonzero(probabilities >= settings.min_score, as_tuple=True)
    boxes, scores = boxes_xyxy[region, classes], probabilities[region, classes]
    # batched_nms returns indices in order of falling score
    kept = batched_nms(boxes, scores, classes, settings.nms_iou)[: settings.max_detections_per_image]
    return boxes[kept], scores[kept], classes[kept]
