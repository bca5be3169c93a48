"""A trunk in torchvision's layout: dense kernels equal grouped ones."""

import torch
from torch.nn import functional

from watchmove.pipeline.networks.torchvision_layout import dense_kernel


def test_a_dense_kernel_with_zero_blocks_is_the_grouped_convolution() -> None:
    """In each number of groups, the same numbers come out."""
    for groups in (1, 2, 3):
        kernel = torch.randn(6, 12 // groups, 3, 3, generator=torch.Generator().manual_seed(groups))
        images = torch.randn(2, 12, 5, 5, generator=torch.Generator().manual_seed(9))
        dense = functional.conv2d(images, dense_kernel(kernel, groups))

        torch.testing.assert_close(dense, functional.conv2d(images, kernel, groups=groups), atol=1e-5, rtol=0)
