"""Layers under affine motion: a picture of each moment, whose pixel it is, and the exact flow to the next moment.

A pose is an affine map, float64 (2, 3), from a layer's own pixel coordinates to the picture's. A texture drawn through
its pose moves exactly with its object, so the flow of every pixel follows from two poses, without any estimate.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Poses = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """One object: texture, coverage, and where it is at each moment."""

    class_name: str
    texture: NDArray[np.uint8]
    """uint8 RGB (S, S, 3)."""
    coverage: NDArray[np.float32]
    """float32 (S, S) in [0, 1]."""
    poses: Poses
    """float64 (T, 2, 3)."""


@dataclass(frozen=True)
class Scene:
    """One shot: a background seen by a camera, and objects before it, the last in front."""

    background: NDArray[np.uint8]
    """uint8 RGB canvas, large enough for whatever the camera looks at."""
    camera: Poses
    """float64 (T, 2, 3), from the canvas to the picture."""
    layers: tuple[Layer, ...]


def poses_from_path(
    centres_xy: NDArray[np.float64], angles: NDArray[np.float64], scales: NDArray[np.float64], size: tuple[int, int]
) -> Poses:
    """Poses (T, 2, 3) that put the middle of a layer of that (width, height) at `centres_xy`, turned (radians), scaled.

    `centres_xy` is (T, 2) in pixels of the picture, `angles` and `scales` are (T,).
    """
    cos, sin = np.cos(angles) * scales, np.sin(angles) * scales
    linear = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    middle = (np.array(size) - 1) / 2
    return np.concatenate([linear, (centres_xy - linear @ middle)[..., None]], axis=-1)


def _patch_bounds(pose: Poses, side: int, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of the picture, x0 y0 x1 y1, that a layer can touch; empty where x0 >= x1 or y0 >= y1."""
    corners = np.array([(-1, -1, 1), (side, -1, 1), (-1, side, 1), (side, side, 1)], np.float64) @ pose.T
    x0, y0 = np.floor(corners.min(axis=0)).astype(int)
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int) + 1
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)


def draw_layer(layer: Layer, pose: Poses, image: NDArray[np.uint8], owner: NDArray[np.uint8], number: int) -> None:
    """Blend one layer into `image` and write `number` into `owner` wherever it covers half a pixel or more."""
    height, width = owner.shape
    x0, y0, x1, y1 = _patch_bounds(pose, len(layer.coverage), width, height)
    if x0 >= x1 or y0 >= y1:
        return
    shifted = pose - [[0, 0, x0], [0, 0, y0]]
    size = (x1 - x0, y1 - y0)
    coverage = np.asarray(cv2.warpAffine(layer.coverage, shifted, size, flags=cv2.INTER_LINEAR), np.float32)
    texture = cv2.warpAffine(
        layer.texture, shifted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    patch = image[y0:y1, x0:x1]
    patch[:] = np.rint(patch + (texture - patch) * coverage[..., None])
    owner[y0:y1, x0:x1][coverage >= 0.5] = number


def render(scene: Scene, time: int, width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One moment as uint8 RGB (H, W, 3), and whose each pixel is, uint8 (H, W): 0 the background's, n layer n-1's."""
    image = np.asarray(
        cv2.warpAffine(
            scene.background,
            scene.camera[time],
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        ),
        np.uint8,
    )
    owner = np.zeros((height, width), np.uint8)
    for number, layer in enumerate(scene.layers, start=1):
        draw_layer(layer, layer.poses[time], image, owner, number)
    return image, owner


def _affine_flow(now: Poses, then: Poses, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    """How far points at `x`, `y` (any shapes that broadcast) of a layer move from pose `now` to pose `then`."""
    bottom = np.array([[0.0, 0.0, 1.0]])
    motion = (np.vstack([then, bottom]) @ np.linalg.inv(np.vstack([now, bottom])) - np.eye(3))[:2]
    return np.stack([row[0] * x + row[1] * y + row[2] for row in motion], axis=-1).astype(np.float32)


def exact_flow(scene: Scene, time: int, owner: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Flow from moment `time` to the next, float32 (H, W, 2) in pixels, x then y, of what is seen at `time`."""
    height, width = owner.shape
    x, y = np.arange(width, dtype=np.float64)[None, :], np.arange(height, dtype=np.float64)[:, None]
    flow = _affine_flow(scene.camera[time], scene.camera[time + 1], x, y)
    for number, layer in enumerate(scene.layers, start=1):
        rows, columns = np.nonzero(owner == number)
        flow[rows, columns] = _affine_flow(
            layer.poses[time], layer.poses[time + 1], columns.astype(np.float64), rows.astype(np.float64)
        )
    return flow


def box_of_mask_xyxy(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Smallest box round a mask (H, W), float32 (4,) xyxy, max exclusive; NaN where the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return np.full(4, np.nan, np.float32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
