"""The two sizes of AlexNet: the published one, and a small one for experiments on a few cores."""

from dataclasses import dataclass

from safetensors import safe_open


@dataclass(frozen=True)
class AlexNetShape:
    """Widths and input of an AlexNet, which has the same seven layers at each size."""

    kind: str
    """Name in the settings and in headers of files."""
    channels: tuple[int, int, int, int, int]
    """Outputs of conv1 to conv5."""
    units: int
    """Outputs of fc6 and of fc7."""
    input_pixels: int
    """Side of the square input."""
    pools_conv5: bool
    """Whether pooling is needed to bring conv5's output to the 6 x 6 cells that fc6 takes."""


ALEXNET = AlexNetShape("alexnet", (96, 256, 384, 384, 256), 4096, 227, pools_conv5=True)
"""CaffeNet's shapes (Krizhevsky et al., NIPS 2012, section 3.5). The paper says 224 pixels, but only 227 gives conv1's
55 x 55 outputs without padding, as in Caffe."""

SMALL_ALEXNET = AlexNetShape("alexnet-small", (32, 64, 96, 96, 64), 256, 115, pools_conv5=False)
"""A third to a quarter of the channels, a sixteenth of the units, and half of the input, 115 pixels, of which conv5 has
6 x 6 cells. Set by hand, so that a training takes minutes on one core, of which half of the channels take three times
as many; strides and kernels are those of the published size."""

SHAPES = {shape.kind: shape for shape in (ALEXNET, SMALL_ALEXNET)}
"""Both sizes by name."""

CELLS = 6
"""Cells on a side of fc6's input, at both sizes."""


def shape_in(file: safe_open) -> AlexNetShape:
    """Return the size whose conv1 has as many outputs as that of an open file; the published one if none has."""
    names: list[str] = file.keys()  # type: ignore[no-untyped-call]  # safetensors declares no types
    outputs = file.get_slice("conv1.weight").get_shape()[:1] if "conv1.weight" in names else []  # type: ignore[no-untyped-call]
    return next((shape for shape in SHAPES.values() if outputs == [shape.channels[0]]), ALEXNET)
