"""A trunk in torchvision's layout: dense kernels equal grouped ones, and torchvision loads them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from watchmove.pipeline.networks.alexnet import random_backbone
from watchmove.pipeline.networks.alexnet_shape import ALEXNET, SMALL_ALEXNET, AlexNetShape
from watchmove.pipeline.networks.torchvision_layout import dense_kernel, loading_lines, save_in_torchvision_layout


def test_a_dense_kernel_with_zero_blocks_is_the_grouped_convolution() -> None:
    """In each number of groups, the same numbers come out."""
    for groups in (1, 2, 3):
        kernel = torch.randn(6, 12 // groups, 3, 3, generator=torch.Generator().manual_seed(groups))
        images = torch.randn(2, 12, 5, 5, generator=torch.Generator().manual_seed(9))
        dense = functional.conv2d(images, dense_kernel(kernel, groups))

        torch.testing.assert_close(dense, functional.conv2d(images, kernel, groups=groups), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [ALEXNET, SMALL_ALEXNET], ids=lambda shape: shape.kind)
def test_the_loading_lines_load_what_is_exported(
    shape: AlexNetShape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each size, torchvision's network computes the trunk's fc7, up to rounding."""
    trunk = random_backbone(2, shape).eval()
    save_in_torchvision_layout(trunk, tmp_path / "backbone.torchvision.safetensors", {})
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(loading_lines(shape), names)
    side = shape.input_pixels
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        torch.testing.assert_close(names["net"](images), trunk(images), atol=1e-4, rtol=1e-4)
