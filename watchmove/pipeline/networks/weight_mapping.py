"""Anybody's AlexNet as a trunk: three layouts of weights, mapped by name and shape, and what was taken reported.

layout        | names                            | widths of conv1-5         | its input
--------------|----------------------------------|---------------------------|------------------------------------
`own`         | conv1.weight … fc7.bias          | 96 256 384 384 256 groups | RGB, normalised as the trunk's
`caffe`       | the same                         | the same                  | BGR, 0 to 255, mean subtracted
`torchvision` | features.0.weight, classifier.1… | 64 192 384 256 256        | RGB, normalised as the trunk's

Caffe's input is folded into conv1. Its names and shapes are those of `own`, so that it must be said. Its local response
normalisation is not computed: this trunk has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import CHANNEL_MEAN, CHANNEL_STD, AlexNet, refuse_resnet

Layout = Literal["own", "caffe", "torchvision"]

CAFFE_MEAN_BGR = (104.00698793, 116.66876762, 122.67891434)
"""Mean pixel of Caffe's published ImageNet models."""

_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
_TORCHVISION = dict(
    zip(
        _LAYERS,
        ("features.0", "features.3", "features.6", "features.8", "features.10", "classifier.1", "classifier.4"),
        strict=True,
    )
)
_PICKLED = (".pth", ".pt", ".pkl", ".bin", ".caffemodel")


class OneTowerAlexNet(AlexNet):
    """AlexNet of Krizhevsky, One weird trick (arXiv 1404.5997, 2014), as torchvision has it: narrower, no groups."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 11, stride=4)
        self.conv2 = nn.Conv2d(64, 192, 5, padding=2)
        self.conv3 = nn.Conv2d(192, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 256, 3, padding=1)
        self.conv5 = nn.Conv2d(256, 256, 3, padding=1)


@dataclass(frozen=True)
class WeightMapping:
    """What became of a weights file; names of the file's tensors, except in `fresh`."""

    layout: Layout
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    """Tensors of the trunk that the file does not have in this shape: random, only of fc6 and fc7."""
    unused: tuple[str, ...]
    """Tensors of the file that the trunk has no place for."""


def load_mapped(path: Path, layout: Layout | None, seed: int) -> tuple[AlexNet, WeightMapping]:
    """A trunk from safetensors in any of the layouts (None: `torchvision` or `own`, by its names), and its mapping.

    conv1 to conv5 must be there; fc6 and fc7 are random from `seed` where they are missing or differ. Raises
    InvalidInput where the file is no safetensors, a convolution is missing or of another shape, or a value not finite.
    """
    refuse_pickled(path.name)
    try:
        with safe_open(path, "pt") as file:
            names = sorted(file.keys())
            refuse_resnet(names, path)
            chosen = layout or ("torchvision" if "features.0.weight" in names else "own")
            name_of = {name: _name(chosen, name) for name in _parameters()}
            tensors = {name: file.get_tensor(name) for name in name_of.values() if name in names}
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path}: not a safetensors file ({error}); export it again") from error
    trunk = OneTowerAlexNet() if chosen == "torchvision" else AlexNet()
    _randomise(trunk, seed)
    taken, fresh = _copy(trunk, tensors, name_of, path)
    trunk.random_layers = frozenset(name.partition(".")[0] for name in fresh)
    if chosen == "caffe":
        fold_caffe_input(trunk)
    return trunk, WeightMapping(chosen, taken, fresh, tuple(name for name in names if name not in taken))


def refuse_pickled(name: str) -> None:
    """Raises InvalidInput where a file's name says that reading it would unpickle, or need Caffe."""
    if name.endswith(_PICKLED):
        raise InvalidInput(
            f"{name}: not read here, as it could run code; convert it where you trust it: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')"
        )


@torch.no_grad()
def fold_caffe_input(trunk: AlexNet) -> None:
    """Change conv1, which expects BGR from 0 to 255 less Caffe's mean, to give the same on the trunk's own input."""
    mean, deviation = torch.tensor(CHANNEL_MEAN).double(), torch.tensor(CHANNEL_STD).double()
    weight = trunk.conv1.weight.double().flip(1)  # (96, 3, 11, 11), now red first
    offset = 255 * mean - torch.tensor(CAFFE_MEAN_BGR).double().flip(0)
    if trunk.conv1.bias is not None:
        trunk.conv1.bias += (weight.sum(dim=(2, 3)) @ offset).float()
    trunk.conv1.weight.copy_(weight * (255 * deviation).view(1, 3, 1, 1))


def _parameters() -> tuple[str, ...]:
    return tuple(f"{layer}.{kind}" for layer in _LAYERS for kind in ("weight", "bias"))


def _name(layout: Layout, parameter: str) -> str:
    layer, _, kind = parameter.partition(".")
    return f"{_TORCHVISION[layer]}.{kind}" if layout == "torchvision" else parameter


def _randomise(trunk: AlexNet, seed: int) -> None:
    """fc6 and fc7 as `random_backbone` makes them; the convolutions are overwritten in any case."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in (trunk.fc6, trunk.fc7):
            layer.weight.normal_(0.0, (2.0 / layer.in_features) ** 0.5, generator=generator)
            layer.bias.zero_()


def _copy(
    trunk: AlexNet, tensors: Mapping[str, Tensor], name_of: Mapping[str, str], path: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Fill the trunk; names of the tensors taken, and of the trunk's parameters left random."""
    taken, fresh = [], []
    for layer in _LAYERS:
        parameters = {f"{layer}.{kind}": trunk.get_parameter(f"{layer}.{kind}") for kind in ("weight", "bias")}
        wrong = [_difference(tensors, name_of[name], one) for name, one in parameters.items()]
        if any(wrong) and layer.startswith("conv"):
            reason = next(filter(None, wrong))
            raise InvalidInput(f"{path}: {reason}; name an AlexNet, or say its layout: #own, #caffe, #torchvision")
        for name, parameter in parameters.items():
            if any(wrong):
                fresh.append(name)
                continue
            tensor = tensors[name_of[name]].float()
            if not torch.isfinite(tensor).all():
                raise InvalidInput(f"{path}: tensor {name_of[name]} holds values that are not finite; export it again")
            parameter.data.copy_(tensor)
            taken.append(name_of[name])
    return tuple(taken), tuple(fresh)


def _difference(tensors: Mapping[str, Tensor], name: str, parameter: Tensor) -> str | None:
    if name not in tensors:
        return f"tensor {name} is missing"
    if tensors[name].shape != parameter.shape:
        return f"tensor {name} has shape {tuple(tensors[name].shape)}, this AlexNet's is {tuple(parameter.shape)}"
    return None
