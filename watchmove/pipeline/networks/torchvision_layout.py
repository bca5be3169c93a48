"""Export of a trunk with the names and dense kernels of torchvision's `alexnet()`, to load without this project.

Pooling, ReLU, the order of layers, fc6 and fc7 are those of torchvision. conv1 has 96 channels and no padding, and
conv2 to conv5 have CaffeNet's widths, so `loading_lines` replaces these layers. A grouped convolution equals a dense
one whose kernel is zero between groups, so the exported network computes the same function.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from watchmove.pipeline.files.atomic import replacing
from watchmove.pipeline.files.weights import save_tensors
from watchmove.pipeline.networks.alexnet import AlexNet
from watchmove.pipeline.networks.alexnet_shape import ALEXNET, CELLS, AlexNetShape

TORCHVISION_NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
}
"""Name of each of AlexNet's layers, first to last, in `torchvision.models.alexnet()`."""


def loading_lines(shape: AlexNetShape) -> str:
    """Return Python that loads the exported file of a trunk of this size.

    Its `net` returns fc7, (N, 4096) of normalised images (N, 3, 227, 227) at the published size.
    """
    one, two, three, four, five = shape.channels
    lines = [
        "import torchvision",
        "from safetensors.torch import load_file",
        "from torch import nn",
        "",
        "net = torchvision.models.alexnet()",
        f"net.features[0] = nn.Conv2d(3, {one}, 11, stride=4)",
        f"net.features[3] = nn.Conv2d({one}, {two}, 5, padding=2)",
        f"net.features[6] = nn.Conv2d({two}, {three}, 3, padding=1)",
        f"net.features[8] = nn.Conv2d({three}, {four}, 3, padding=1)",
        f"net.features[10] = nn.Conv2d({four}, {five}, 3, padding=1)",
    ]
    if shape != ALEXNET:
        lines += [
            "net.features[12] = nn.Identity()",
            f"net.classifier[1] = nn.Linear({five * CELLS**2}, {shape.units})",
            f"net.classifier[4] = nn.Linear({shape.units}, {shape.units})",
        ]
    lines += [
        "net.classifier[6] = nn.Identity()",
        'net.load_state_dict(load_file("backbone.torchvision.safetensors"))',
        "net.eval()",
    ]
    return "\n".join(lines) + "\n"


def dense_kernel(weight: Tensor, groups: int) -> Tensor:
    """Convert the kernel of a grouped convolution (O, C / groups, h, w) to that of an equal dense one (O, C, h, w)."""
    outputs, inputs, *size = weight.shape
    dense = weight.new_zeros((outputs, inputs * groups, *size))
    rows = outputs // groups
    for group in range(groups):
        of_group = slice(group * rows, (group + 1) * rows)
        dense[of_group, group * inputs : (group + 1) * inputs] = weight[of_group]
    return dense


def grouped_kernel(weight: Tensor, groups: int) -> Tensor:
    """Convert a dense kernel (O, C, h, w) back to that of a grouped convolution (O, C / groups, h, w).

    Raises:
        ValueError: the kernel is not zero between groups, so no grouped convolution equals it.
    """
    outputs, inputs = weight.shape[:2]
    rows, columns = outputs // groups, inputs // groups
    blocks = [weight[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] for g in range(groups)]
    grouped = torch.cat(blocks)
    if not torch.equal(dense_kernel(grouped, groups), weight):
        raise ValueError("is not zero between groups")
    return grouped


def save_in_torchvision_layout(trunk: AlexNet, path: Path, metadata: dict[str, str]) -> None:
    """Write features.0.weight … classifier.4.bias, normalisation folded in. Raises Unavailable on a full disk."""
    tensors: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, layer in trunk.folded().layers():
            groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
            exported_name = TORCHVISION_NAMES[name]
            tensors[f"{exported_name}.weight"] = dense_kernel(layer.weight.detach(), groups).contiguous()
            if layer.bias is not None:
                tensors[f"{exported_name}.bias"] = layer.bias.detach().contiguous()
    with replacing(path) as temporary:
        save_tensors(tensors, temporary, metadata)
