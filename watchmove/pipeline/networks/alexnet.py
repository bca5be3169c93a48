"""AlexNet (Krizhevsky et al., NIPS 2012) with the layer shapes of CaffeNet, which Fast R-CNN's configuration loads.

The input has 227 pixels a side; conv2, conv4 and conv5 have two groups, as in Caffe's published weights. Only trunks
of Caffe's weights have local response normalisation (section 3.3). Pretraining uses batch normalisation instead, which
is folded into the layers when weights are saved.
"""

from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import replacing
from watchmove.pipeline.files.weights import save_tensors
from watchmove.pipeline.networks.alexnet_shape import ALEXNET, CELLS, AlexNetShape, shape_in
from watchmove.pipeline.networks.response_normalisation import ResponseNormalisation

CHANNEL_MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green and blue in [0, 1], subtracted from the input: ImageNet's, as torchvision's models use it."""
CHANNEL_STD = (0.229, 0.224, 0.225)
"""Standard deviation of red, green and blue by which the input is then divided: ImageNet's, as torchvision has it."""
_CONV1_PIXELS, _CONV1_STRIDE = 11, 4
"""Kernel size and stride of conv1 (section 3.5)."""
_ALIGNED_PADDING = _CONV1_PIXELS // 2
"""Half of conv1's kernel, so that its output (i, j) is centred on pixel (4 i, 4 j)."""
_POOL_PIXELS, _POOL_STRIDE = 3, 2
"""Overlapping pooling (section 3.4)."""


class AlexNet(nn.Module):
    """The trunk: five convolutions (section 3.5), then two fully connected layers, each followed by dropout.

    Docstrings give the array shapes of the published size; those of another follow from `shape`. Dropout is off until
    `drop6.p` and `drop7.p` are set. With `batch_norm`, batch normalisation precedes each layer's ReLU; `folded` returns
    an equal function without it.
    """

    def __init__(self, shape: AlexNetShape = ALEXNET, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.shape = shape
        one, two, three, four, five = shape.channels
        self.conv1 = nn.Conv2d(3, one, _CONV1_PIXELS, stride=_CONV1_STRIDE)
        self.conv2 = nn.Conv2d(one, two, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(two, three, 3, padding=1)
        self.conv4 = nn.Conv2d(three, four, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(four, five, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(five * CELLS**2, shape.units)
        self.fc7 = nn.Linear(shape.units, shape.units)
        self.drop6 = nn.Dropout(0.0)
        self.drop7 = nn.Dropout(0.0)
        self.norms = nn.ModuleDict(self._norms() if batch_norm else {})
        self.random_layers: frozenset[str] = frozenset()
        """Names of layers whose weights are still random, so that their units may be rescaled one by one."""
        self.response: ResponseNormalisation | None = None
        """Response normalisation of conv1 and conv2, which files of weights do not hold."""

    def forward(self, images: Tensor) -> Tensor:
        """Return fc7's output, float32 (N, 4096), of normalised images (N, 3, 227, 227)."""
        return self.fully_connected(self.pool5(self._convolutions(images, aligned=False)))

    def conv_features(self, images: Tensor) -> Tensor:
        """Return conv5's output before pooling, (N, 256, h, w), of normalised images (N, 3, H, W) of any size.

        The layers are padded so that feature (i, j) is centred on pixel (16 i, 16 j), which RoI pooling assumes.
        """
        return self._convolutions(images, aligned=True)

    def pool5(self, features: Tensor) -> Tensor:
        """Apply the last pooling, if the shape has one: (N, 256, 13, 13) to (N, 256, 6, 6)."""
        if not self.shape.pools_conv5:
            return features
        return functional.max_pool2d(features, _POOL_PIXELS, _POOL_STRIDE)

    def fully_connected(self, pooled: Tensor) -> Tensor:
        """Return fc7's output (N, 4096) of pooled features (N, 256, 6, 6)."""
        *_, last = self._fully_connected_outputs(pooled)
        return last

    def layer_outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield name and output after the ReLU of conv1 to fc7, (N, C, h, w) or (N, 4096).

        `images` are normalised, (N, 3, 227, 227).
        """
        for number, output in enumerate(self._convolution_outputs(images, aligned=False), start=1):
            yield f"conv{number}", output
        yield from zip(("fc6", "fc7"), self._fully_connected_outputs(self.pool5(output)), strict=True)

    def _fully_connected_outputs(self, pooled: Tensor) -> Iterator[Tensor]:
        # axes: (N, 256, 6, 6) -> (N, 9216), channel first, the order in which Caffe's fc6 reads it
        hidden: Tensor = self.drop6(functional.relu(self._normalised("fc6", self.fc6(pooled.flatten(1)))))
        yield hidden
        output: Tensor = self.drop7(functional.relu(self._normalised("fc7", self.fc7(hidden))))
        yield output

    def freeze_through(self, level: int) -> None:
        """Exclude conv1 to conv`level` from training; 0 includes all convolutions."""
        for number in range(1, 6):
            getattr(self, f"conv{number}").requires_grad_(number > level)

    def layers(self) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
        """Yield name and module of the seven layers with weights, first to last."""
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"):
            yield name, getattr(self, name)

    def folded(self) -> "AlexNet":
        """Return a trunk that computes what this one does in evaluation, each normalisation folded into its layer."""
        plain = AlexNet(self.shape)
        for (name, source), (_, target) in zip(self.layers(), plain.layers(), strict=True):
            weight, bias = source.weight.detach(), bias_of(source).detach()
            norm = dict(self.norms.items()).get(name)  # nn.ModuleDict has no get()
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                scale, shift = _scale_and_shift(norm)
                weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
                bias = bias * scale + shift
            target.weight.data.copy_(weight)
            bias_of(target).data.copy_(bias)
        return plain

    def _norms(self) -> dict[str, nn.Module]:
        kinds = ((name, layer, layer.weight.shape[0]) for name, layer in self.layers())
        return {n: nn.BatchNorm2d(c) if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d(c) for n, layer, c in kinds}

    def _normalised(self, name: str, values: Tensor) -> Tensor:
        if name not in self.norms:
            return values
        result: Tensor = self.norms[name](values)
        return result

    def _convolutions(self, images: Tensor, *, aligned: bool) -> Tensor:
        *_, last = self._convolution_outputs(images, aligned=aligned)
        return last

    def _convolution_outputs(self, images: Tensor, *, aligned: bool) -> Iterator[Tensor]:
        """Yield the outputs of conv1 to conv5 after the ReLU and before pooling."""
        padding = _ALIGNED_PADDING if aligned else 0
        # Not `self.conv1(images)`: the padding depends on the call.
        x = functional.conv2d(images, self.conv1.weight, self.conv1.bias, stride=_CONV1_STRIDE, padding=padding)
        x = functional.relu(self._normalised("conv1", x))
        yield x
        x = functional.relu(self._normalised("conv2", self.conv2(self.pooled("conv1", x, aligned=aligned))))
        yield x
        x = self.pooled("conv2", x, aligned=aligned)
        for name in ("conv3", "conv4", "conv5"):
            x = functional.relu(self._normalised(name, getattr(self, name)(x)))
            yield x

    def pooled(self, name: str, features: Tensor, *, aligned: bool = False) -> Tensor:
        """Pool the output (N, C, h, w) of conv1 or conv2, which `name` names, and apply `response` if there is one."""
        response = self.response
        if response is not None and response.before_pooling:
            features = response.apply(name, features)
        # aligned, padding of 1 centres the 3-pixel window of output i on input 2 i
        features = functional.max_pool2d(features, _POOL_PIXELS, _POOL_STRIDE, padding=int(aligned))
        return features if response is None or response.before_pooling else response.apply(name, features)


def random_backbone(seed: int, shape: AlexNetShape = ALEXNET, *, batch_norm: bool = False) -> AlexNet:
    """Return a trunk with random weights: normal, of variance 2 / fan-in (He et al., ICCV 2015), and biases of 0."""
    trunk = AlexNet(shape, batch_norm=batch_norm)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, layer in trunk.layers():
            # inputs of one unit: in a grouped layer only those of its group
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
            bias_of(layer).zero_()
    trunk.random_layers = frozenset(name for name, _ in trunk.layers())
    return trunk


def save_backbone(trunk: AlexNet, path: Path, metadata: dict[str, str]) -> None:
    """Write conv1.weight … fc7.bias as safetensors, normalisation folded in. Raises Unavailable on a full disk."""
    tensors = {}
    for name, layer in trunk.folded().layers():
        tensors[f"{name}.weight"] = layer.weight.detach().contiguous()
        tensors[f"{name}.bias"] = bias_of(layer).detach().contiguous()
    with replacing(path) as temporary:
        save_tensors(tensors, temporary, metadata)


def load_backbone(path: Path) -> AlexNet:
    """Read a trunk of either size from a safetensors file with conv1.weight … fc7.bias.

    Raises:
        InvalidInput: the file is not safetensors, or a tensor is missing, of another shape, or not finite.
    """
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            refuse_resnet(names, path)
            trunk = AlexNet(shape_in(file))
            for name, parameter in trunk.named_parameters():
                if name not in names:
                    raise InvalidInput(f"{path}: tensor {name} is missing; export an AlexNet's conv1 to fc7")
                parameter.data.copy_(_checked(file.get_tensor(name), name, parameter.shape, path))
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path}: not a safetensors file ({error}); export it again") from error
    return trunk


def refuse_resnet(names: Container[str], path: Path) -> None:
    """Raise InvalidInput if tensors have the names of a ResNet's: detectors here are trained on AlexNet only."""
    if "layer1.0.conv1.weight" in names:
        raise InvalidInput(
            f"{path}: a ResNet's weights, and Fast R-CNN here is on AlexNet; pretrain with pretrain.trunk alexnet, "
            "or export the backbone and train torchvision's fasterrcnn_resnet50_fpn on it"
        )


def _checked(tensor: Tensor, name: str, shape: torch.Size, path: Path) -> Tensor:
    if tensor.shape != shape:
        found, wanted = tuple(tensor.shape), tuple(shape)
        raise InvalidInput(f"{path}: tensor {name} has shape {found}, this AlexNet's is {wanted}; export that one")
    if not torch.isfinite(tensor).all():
        raise InvalidInput(f"{path}: tensor {name} holds values that are not finite; train it again")
    return tensor


def bias_of(layer: nn.Conv2d | nn.Linear) -> Tensor:
    """Return a layer's bias (C,). Raises TypeError for a layer without one, which AlexNet does not have."""
    if layer.bias is None:
        raise TypeError(f"{layer}: has no bias; every layer of AlexNet has one")
    return layer.bias


def _scale_and_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the factor and the offset that a batch normalisation applies in evaluation, each (C,)."""
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError(f"{norm}: keeps no running statistics; they are needed to fold it into its layer")
    scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias.detach() - norm.running_mean * scale


def normalise_images(images: Tensor) -> Tensor:
    """Convert images, uint8 RGB (N, 3, H, W), to a trunk's input, float32 of the same shape and on the same device."""
    mean = torch.tensor(CHANNEL_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(CHANNEL_STD, device=images.device).view(1, 3, 1, 1)
    return (images.float() / 255 - mean) / std


def normalise_image(image: NDArray[np.uint8]) -> Tensor:
    """Convert one image, uint8 RGB (H, W, 3), to a trunk's input without the batch axis, float32 (3, H, W)."""
    # torch refuses arrays with negative strides, for example a view that reverses the channels
    return normalise_images(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None])[0]
