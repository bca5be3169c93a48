"""Operations on batches of maps against OpenCV's on one map at a time, and against known answers."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.flow.torch_maps import (
    area_resize,
    bilinear_resize,
    box_mean,
    forward_differences,
    gaussian_blur,
    lands_inside,
    median_of_nine,
    minus_divergence,
    warp,
)

TOLERANCE = 1e-4
"""Greatest difference, maps in [0, 1]."""

WARP_TOLERANCE = 0.02
"""OpenCV rounds where it looks to a thirty-second of a pixel."""

MAPS = np.random.default_rng(0).random((2, 3, 41, 57), np.float32)


def one_by_one(function: Callable[[FloatArray], object]) -> FloatArray:
    """What OpenCV gives for each of MAPS."""
    return np.stack([np.stack([np.asarray(function(one), np.float32) for one in channels]) for channels in MAPS])


CASES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[FloatArray], object]]] = {
    "blur": (lambda maps: gaussian_blur(maps, 1.25), lambda one: cv2.GaussianBlur(one, (0, 0), 1.25)),
    "wide blur": (lambda maps: gaussian_blur(maps, 5.0), lambda one: cv2.GaussianBlur(one, (0, 0), 5.0)),
    "box": (lambda maps: box_mean(maps, 5), lambda one: cv2.blur(one, (5, 5))),
    "quarter": (
        lambda maps: area_resize(maps, 11, 15),
        lambda one: cv2.resize(one, (15, 11), interpolation=cv2.INTER_AREA),
    ),
    "enlarged": (
        lambda maps: bilinear_resize(maps, 120, 170),
        lambda one: cv2.resize(one, (170, 120), interpolation=cv2.INTER_LINEAR),
    ),
    "median": (median_of_nine, lambda one: cv2.medianBlur(one, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_each_does_what_opencv_does(name: str) -> None:
    """The same numbers for every map of a batch."""
    in_torch, in_opencv = CASES[name]

    assert np.abs(in_torch(torch.from_numpy(MAPS)).numpy() - one_by_one(in_opencv)).max() < TOLERANCE


def test_a_warp_looks_where_opencv_looks() -> None:
    """Smooth maps under random fields, many of which leave the picture."""
    smooth = gaussian_blur(torch.from_numpy(MAPS), 3.0)
    fields = np.random.default_rng(1).normal(0, 8, (2, 2, 41, 57)).astype(np.float32)
    rows, columns = np.mgrid[:41, :57].astype(np.float32)
    expected = [
        cv2.remap(channel, columns + x, rows + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for channels, (x, y) in zip(smooth.numpy(), fields, strict=True)
        for channel in channels
    ]

    assert np.abs(warp(smooth, torch.from_numpy(fields)).numpy().reshape(6, 41, 57) - expected).max() < WARP_TOLERANCE


def test_a_warp_by_whole_pixels_is_a_shift() -> None:
    """A field of (2, 1) takes each pixel from two columns to the right and one row below."""
    fields = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand(2, 2, 41, 57)
    seen = warp(torch.from_numpy(MAPS), fields).numpy()

    assert np.abs(seen[..., :-1, :-2] - MAPS[..., 1:, 2:]).max() < TOLERANCE
    assert int(lands_inside(fields)[0].sum()) == 40 * 55


def test_divergence_is_the_transpose_of_differences() -> None:
    """The inner products of <D a, b> and <a, D' b> agree."""
    a, x, y = (torch.from_numpy(np.random.default_rng(k).normal(size=(1, 1, 9, 11))) for k in range(3))
    along_x, along_y = forward_differences(a)

    assert float((along_x * x + along_y * y).sum()) == pytest.approx(float((a * minus_divergence(x, y)).sum()))
