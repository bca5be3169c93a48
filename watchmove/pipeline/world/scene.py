"""Scenes of layers with affine motion: rendered frames, the object at every pixel, and the exact optical flow.

A pose is an affine map, float64 (2, 3), from the pixel coordinates of a layer to those of the frame. A texture that is
drawn with its pose moves exactly with its object, so that the flow of every pixel follows from two poses.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Poses = NDArray[np.float64]
"""One pose (2, 3), or those of consecutive moments (T, 2, 3)."""


@dataclass(frozen=True)
class Layer:
    """One object: its texture, its outline, and its pose at each moment."""

    class_name: str
    texture: NDArray[np.uint8]
    """uint8 RGB (S, S, 3)."""
    coverage: NDArray[np.float32]
    """float32 (S, S) in [0, 1]: how much of each pixel the object covers."""
    poses: Poses
    """float64 (T, 2, 3), from the texture to the frame."""


@dataclass(frozen=True)
class Scene:
    """One shot: a background seen by a camera, and objects in front of it; the last layer is nearest."""

    background: NDArray[np.uint8]
    """uint8 RGB canvas (H, W, 3) that contains everything that the camera sees."""
    camera: Poses
    """float64 (T, 2, 3), from the canvas to the frame."""
    layers: tuple[Layer, ...]


def poses_from_path(
    centres_xy: NDArray[np.float64], angles: NDArray[np.float64], scales: NDArray[np.float64], size: tuple[int, int]
) -> Poses:
    """Poses (T, 2, 3) that put the middle of a layer of (width, height) `size` at given centres, rotated and scaled.

    centres_xy: (T, 2) in pixels of the frame; angles: (T,) in radians; scales: (T,).
    """
    cos, sin = np.cos(angles) * scales, np.sin(angles) * scales
    linear = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    # pixel centres have whole coordinates, so the middle of n pixels is (n - 1) / 2
    middle = (np.array(size) - 1) / 2
    return np.concatenate([linear, (centres_xy - linear @ middle)[..., None]], axis=-1)


def _patch_bounds(pose: Poses, side: int, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of the frame (x0, y0, x1, y1) that a layer of `side` pixels can touch; empty if x0 >= x1 or y0 >= y1."""
    # one pixel beyond each side, into which linear interpolation spreads the coverage
    corners = np.array([(-1, -1, 1), (side, -1, 1), (-1, side, 1), (side, side, 1)], np.float64) @ pose.T
    x0, y0 = np.floor(corners.min(axis=0)).astype(int)
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int) + 1
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)


def draw_layer(layer: Layer, pose: Poses, image: NDArray[np.uint8], owner: NDArray[np.uint8], number: int) -> None:
    """Blend one layer into `image` (H, W, 3), and write `number` into `owner` (H, W) where it covers half a pixel."""
    height, width = owner.shape
    x0, y0, x1, y1 = _patch_bounds(pose, len(layer.coverage), width, height)
    if x0 >= x1 or y0 >= y1:
        return
    shifted = pose - [[0, 0, x0], [0, 0, y0]]
    size = (x1 - x0, y1 - y0)
    coverage = np.asarray(cv2.warpAffine(layer.coverage, shifted, size, flags=cv2.INTER_LINEAR), np.float32)
    # the texture is continued beyond its border, because black would darken the blended outline
    texture = cv2.warpAffine(
        layer.texture, shifted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    patch = image[y0:y1, x0:x1]
    # rounded, because the assignment to uint8 truncates
    patch[:] = np.rint(patch + (texture - patch) * coverage[..., None])
    owner[y0:y1, x0:x1][coverage >= 0.5] = number


def render(scene: Scene, time: int, width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Render one moment: uint8 RGB (H, W, 3), and the owner of each pixel, uint8 (H, W).

    Owner 0 is the background, owner n is layer n - 1.
    """
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
    """The motion (..., 2), x then y, of points of a layer at frame coordinates `x`, `y` between two of its poses.

    `x` and `y` may have any shapes that broadcast.
    """
    bottom = np.array([[0.0, 0.0, 1.0]])
    # from the frame into the layer by the inverse of one pose, and back by the other; less the identity, a motion
    motion = (np.vstack([then, bottom]) @ np.linalg.inv(np.vstack([now, bottom])) - np.eye(3))[:2]
    return np.stack([row[0] * x + row[1] * y + row[2] for row in motion], axis=-1).astype(np.float32)


def exact_flow(scene: Scene, time: int, owner: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Flow from moment `time` to the next, float32 (H, W, 2) in pixels, x then y, of the pixels visible at `time`."""
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
    """The smallest box around a mask (H, W), float32 (4,) xyxy, maximum exclusive; NaN for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return np.full(4, np.nan, np.float32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
