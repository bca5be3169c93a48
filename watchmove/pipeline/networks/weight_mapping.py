"""Loading of AlexNet weights from other projects: five layouts, mapped to a trunk by name and shape.

layout          | names                          | widths of conv1-5         | input | response normalisation
----------------|--------------------------------|---------------------------|-------|-----------------------
`own`           | conv1.weight … fc7.bias        | 96 256 384 384 256 groups | own   | none
                |                                | or those of alexnet-small |       |
`caffe`         | the same                       | the same                  | Caffe | after pooling
`caffe-alexnet` | the same                       | the same                  | Caffe | before pooling
`caffe-plain`   | the same                       | the same                  | Caffe | none
`torchvision`   | features.0.weight, classifier… | 64 192 384 256 256        | own   | none

The own input is RGB, normalised as the trunk's; Caffe's is BGR from 0 to 255 with the mean subtracted. `caffe` is
bvlc_reference_caffenet, `caffe-alexnet` is bvlc_alexnet, and `caffe-plain` is for networks without the normalisation,
as those that were trained with batch normalisation. An exported backbone has the names of `torchvision`, and the widths
of `own` with dense kernels in place of groups. A caller must name Caffe's layouts, as their tensors have the same names
and shapes as those of `own`. The conversion from the trunk's input to Caffe's is folded into conv1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import CHANNEL_MEAN, CHANNEL_STD, AlexNet, refuse_resnet
from watchmove.pipeline.networks.alexnet_shape import ALEXNET, SHAPES, AlexNetShape
from watchmove.pipeline.networks.response_normalisation import ResponseNormalisation
from watchmove.pipeline.networks.torchvision_layout import TORCHVISION_NAMES, grouped_kernel

Layout = Literal["own", "caffe", "caffe-alexnet", "caffe-plain", "torchvision"]

CAFFE_MEAN_BGR = (104.00698793, 116.66876762, 122.67891434)
"""Mean pixel of Caffe's published ImageNet models, in [0, 255]."""

_PICKLED = (".pth", ".pt", ".pkl", ".bin", ".caffemodel")


class OneTowerAlexNet(AlexNet):
    """AlexNet without groups and with narrower layers (Krizhevsky, One weird trick, arXiv 1404.5997, 2014).

    torchvision's `alexnet()` has these convolutions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 11, stride=4)
        self.conv2 = nn.Conv2d(64, 192, 5, padding=2)
        self.conv3 = nn.Conv2d(192, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 256, 3, padding=1)
        self.conv5 = nn.Conv2d(256, 256, 3, padding=1)


@dataclass(frozen=True)
class WeightMapping:
    """Report on which tensors of a weights file were used."""

    layout: Layout
    taken: tuple[str, ...]
    """Names of the file's tensors that were copied into the trunk."""
    fresh: tuple[str, ...]
    """Names of the trunk's parameters of fc6 and fc7 that the file does not have in this shape; they are random."""
    unused: tuple[str, ...]
    """Names of the file's tensors for which the trunk has no parameter."""


def load_mapped(path: Path, layout: Layout | None, seed: int) -> tuple[AlexNet, WeightMapping]:
    """Read a trunk from a safetensors file in any of the layouts, and report which of its tensors were used.

    With `layout` None, the tensors' names decide between `torchvision` and `own`. conv1 to conv5 must be in the file;
    fc6 and fc7 are random, drawn from `seed`, if they are missing or of another shape.

    Raises:
        InvalidInput: the file is not safetensors, a convolution is missing or of another shape, or values are not
            finite, or no real numbers.
    """
    refuse_pickled(path.name)
    try:
        with safe_open(path, "pt") as file:
            names = sorted(file.keys())
            refuse_resnet(names, path)
            _refuse_prefix(names, path)
            chosen = layout or ("torchvision" if "features.0.weight" in names else "own")
            name_of = {name: _name(chosen, name) for name in _parameters()}
            tensors = {name: file.get_tensor(name) for name in name_of.values() if name in names}
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path}: not a safetensors file ({error}); export it again") from error
    shape = _own_shape(tensors, name_of["conv1.weight"])
    if chosen == "torchvision" and shape is not None:
        tensors = _with_groups(tensors, shape, path)
    trunk = OneTowerAlexNet() if chosen == "torchvision" and shape is None else AlexNet(shape or ALEXNET)
    _randomise(trunk, seed)
    taken, fresh = _copy(trunk, tensors, name_of, path)
    trunk.random_layers = frozenset(name.partition(".")[0] for name in fresh)
    if chosen.startswith("caffe"):
        fold_caffe_input(trunk)
    if chosen in ("caffe", "caffe-alexnet"):
        trunk.response = ResponseNormalisation(before_pooling=chosen == "caffe-alexnet")
    return trunk, WeightMapping(chosen, taken, fresh, tuple(name for name in names if name not in taken))


def _refuse_prefix(names: Sequence[str], path: Path) -> None:
    """Raise InvalidInput if all names are those of a layout after the same prefix, as DataParallel writes them."""
    for first in ("conv1.weight", f"{TORCHVISION_NAMES['conv1']}.weight"):
        prefixed = next((name for name in names if name.endswith(f".{first}")), None)
        if prefixed is not None and first not in names:
            prefix = prefixed.removesuffix(first)
            raise InvalidInput(f"{path}: tensor {prefixed[:99]} has the prefix {prefix[:99]!r}; save it as {first}")


def _own_shape(tensors: Mapping[str, Tensor], conv1: str) -> AlexNetShape | None:
    """The own size whose conv1 has as many outputs as the tensor of this name, as an exported backbone's; else None."""
    outputs = tuple(tensors[conv1].shape[:1]) if conv1 in tensors else ()
    return next((shape for shape in SHAPES.values() if outputs == shape.channels[:1]), None)


def _with_groups(tensors: Mapping[str, Tensor], shape: AlexNetShape, path: Path) -> dict[str, Tensor]:
    """Exported tensors with the kernels of grouped convolutions in place of the dense ones that equal them."""
    converted = dict(tensors)
    with torch.device("meta"):  # without memory for its weights
        grouped = AlexNet(shape)
    for layer, module in grouped.layers():
        name = f"{TORCHVISION_NAMES[layer]}.weight"
        if isinstance(module, nn.Conv2d) and name in tensors and tensors[name].dim() == module.weight.dim():
            try:
                converted[name] = grouped_kernel(tensors[name], module.groups)
            except ValueError as error:
                line = f"{path}: tensor {name} {error}, as in an exported backbone"
                raise InvalidInput(f"{line}; name the file that was exported") from error
    return converted


def refuse_pickled(name: str) -> None:
    """Raise InvalidInput if a file's name says that reading it would need unpickling or Caffe."""
    if name.endswith(_PICKLED):
        raise InvalidInput(
            f"{name}: not read here, as it could run code; convert it where you trust it: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')"
        )


@torch.no_grad()
def fold_caffe_input(trunk: AlexNet) -> None:
    """Change conv1, made for BGR in [0, 255] minus Caffe's mean, so that its output is the same for a trunk's input.

    A trunk's input x is (rgb / 255 - CHANNEL_MEAN) / CHANNEL_STD, so Caffe's is 255 (CHANNEL_STD x + CHANNEL_MEAN)
    minus its mean: a factor and an offset for each channel.
    """
    # In float64, so that folding adds no more error than one rounding of each weight.
    mean, std = torch.tensor(CHANNEL_MEAN).double(), torch.tensor(CHANNEL_STD).double()
    weight = trunk.conv1.weight.double().flip(1)  # (96, 3, 11, 11), now red first
    offset = 255 * mean - torch.tensor(CAFFE_MEAN_BGR).double().flip(0)
    # at padded borders 0 is CHANNEL_MEAN here and Caffe's mean there, less than one level of 255 apart
    if trunk.conv1.bias is not None:
        trunk.conv1.bias += (weight.sum(dim=(2, 3)) @ offset).float()
    trunk.conv1.weight.copy_(weight * (255 * std).view(1, 3, 1, 1))


def _parameters() -> tuple[str, ...]:
    return tuple(f"{layer}.{kind}" for layer in TORCHVISION_NAMES for kind in ("weight", "bias"))


def _name(layout: Layout, parameter: str) -> str:
    layer, _, kind = parameter.partition(".")
    return f"{TORCHVISION_NAMES[layer]}.{kind}" if layout == "torchvision" else parameter


def _randomise(trunk: AlexNet, seed: int) -> None:
    """Draw fc6 and fc7 from the distribution of `random_backbone`; the convolutions are always overwritten."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # both, even if the file has one: the values of fc7 do not depend on whether fc6 is missing
        for layer in (trunk.fc6, trunk.fc7):
            layer.weight.normal_(0.0, (2.0 / layer.in_features) ** 0.5, generator=generator)
            layer.bias.zero_()


def _copy(
    trunk: AlexNet, tensors: Mapping[str, Tensor], name_of: Mapping[str, str], path: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Fill the trunk; return the names of the tensors copied and of the trunk's parameters left random."""
    taken, fresh = [], []
    for layer in TORCHVISION_NAMES:
        parameters = {f"{layer}.{kind}": trunk.get_parameter(f"{layer}.{kind}") for kind in ("weight", "bias")}
        wrong = [_difference(tensors, name_of[name], parameter) for name, parameter in parameters.items()]
        if any(wrong) and layer.startswith("conv"):
            reason = next(filter(None, wrong))
            raise InvalidInput(f"{path}: {reason}; name an AlexNet, or say its layout, as in #caffe")
        for name, parameter in parameters.items():
            # A layer is taken only as a whole: a bias without its weights would mean nothing.
            if any(wrong):
                fresh.append(name)
                continue
            tensor = tensors[name_of[name]]
            if not tensor.is_floating_point():
                kind = str(tensor.dtype).removeprefix("torch.")
                line = f"{path}: tensor {name_of[name]} holds {kind}, as of quantised weights, and no real numbers"
                raise InvalidInput(f"{line}; convert it to float32")
            tensor = tensor.float()  # files may hold half precision
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
