"""Boxes as tensors: the regression of R-CNN (Girshick et al., CVPR 2014, appendix C), mirroring and clipping."""

import math

import torch
from torch import Tensor

_MAX_LOG_SCALE = math.log(1000 / 16)
"""A bound that keeps exp() finite, from Detectron (its BBOX_XFORM_CLIP) and torchvision; not tuned here."""


def encode_boxes(regions_xyxy: Tensor, objects_xyxy: Tensor) -> Tensor:
    """Regression targets (N, 4) of regions (N, 4) for objects (N, 4): centre shift over region size, log of scale."""
    region_size = regions_xyxy[:, 2:] - regions_xyxy[:, :2]
    object_size = objects_xyxy[:, 2:] - objects_xyxy[:, :2]
    region_centre, object_centre = regions_xyxy[:, :2] + region_size / 2, objects_xyxy[:, :2] + object_size / 2
    return torch.cat([(object_centre - region_centre) / region_size, torch.log(object_size / region_size)], dim=1)


def decode_boxes(regions_xyxy: Tensor, deltas: Tensor) -> Tensor:
    """Boxes xyxy (N, C, 4): regions (N, 4) moved by each class's deltas (N, C, 4); sides grow at most 62.5 times."""
    size = (regions_xyxy[:, 2:] - regions_xyxy[:, :2])[:, None]
    centre = regions_xyxy[:, None, :2] + size / 2 + deltas[..., :2] * size
    half = torch.exp(deltas[..., 2:].clamp(max=_MAX_LOG_SCALE)) * size / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def clip_boxes(boxes_xyxy: Tensor, width: int, height: int) -> Tensor:
    """Boxes xyxy (..., 4) clipped to an image of `width` x `height` pixels."""
    return boxes_xyxy.clamp(min=0).minimum(boxes_xyxy.new_tensor([width, height, width, height]))


def mirror_boxes(boxes_xyxy: Tensor, width: float) -> Tensor:
    """Boxes xyxy (N, 4) after the image, `width` pixels wide, is mirrored left to right."""
    x0, y0, x1, y1 = boxes_xyxy.unbind(dim=1)
    return torch.stack([width - x1, y0, width - x0, y1], dim=1)
