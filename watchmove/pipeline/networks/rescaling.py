"""Rescaling of a trunk's layers on sample images before training (Krähenbühl et al., ICLR 2016)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from watchmove.pipeline.networks.alexnet import AlexNet, bias_of

RESCALING_IMAGES = 32
"""Number of sample images to rescale a trunk on. Set by hand; not tuned."""

_MIN_SAMPLES = 8
"""Smallest number of values of a unit from which its mean and standard deviation are computed. Set by hand."""
_MIN_STD = 1e-5
"""A layer with a smaller standard deviation is treated as constant. A bound against division by 0, not tuned."""
_MIN_UNIT_STD_FRACTION = 1e-3
"""A unit is treated as constant below this fraction of its layer's standard deviation. A bound as well, not tuned."""


@torch.no_grad()
def rescale_to_unit_variance(trunk: AlexNet, images: Tensor) -> None:
    """Rescale every layer so that its output before the ReLU has unit variance on `images` (N, 3, 227, 227).

    The weights of a trained layer are multiplied by one factor and its bias by the product of all factors so far. As
    ReLU and pooling are positively homogeneous, such layers compute what they did before, up to a factor (section 3.2);
    response normalisation, which is not, is adapted to the factor.
    In a random layer each unit is given mean 0 and variance 1 (section 3.1): if units were always on or always off, all
    regions would have the same features in the layers that follow. A random and a trained trunk then train at
    comparable learning rates.
    """
    # `product` is the factor by which `x` is larger than before rescaling.
    product, x = 1.0, images
    for name, layer in trunk.layers():
        x = x.flatten(1) if isinstance(layer, nn.Linear) else x
        if name in trunk.random_layers:
            _normalise_units(layer, x)
            product = 1.0  # the layer was fitted to `x` as it is, so what follows sees no factor
        else:
            product *= _rescale(layer, x, product)
        if trunk.response is not None:
            trunk.response.adapt(name, product)
        x = functional.relu(layer(x))
        if name in ("conv1", "conv2"):
            x = trunk.pooled(name, x)
        elif name == "conv5":
            x = trunk.pool5(x)


def _rescale(layer: nn.Conv2d | nn.Linear, x: Tensor, product: float) -> float:
    """Scale a layer to unit variance and return the factor; the layers before were multiplied by `product`."""
    bias = bias_of(layer)
    # the bias was trained for an input that was smaller by this factor
    bias.mul_(product)
    factor = 1.0 / _std(layer(x))
    layer.weight.mul_(factor)
    bias.mul_(factor)
    return factor


def _normalise_units(layer: nn.Conv2d | nn.Linear, x: Tensor) -> None:
    """Give each unit mean 0 and variance 1; with too few samples, give the layer as a whole variance 1."""
    output = layer(x).transpose(0, 1).flatten(1)  # (units, samples)
    # fc6 and fc7 have one sample per image, and there may be few images
    if output.shape[1] < _MIN_SAMPLES:
        _rescale(layer, x, 1.0)
        return
    unit_std, mean = torch.std_mean(output, dim=1)
    layer_std = _std(output)
    # divided by its own deviation, a nearly constant unit would get huge weights
    unit_std = torch.where(unit_std > _MIN_UNIT_STD_FRACTION * layer_std, unit_std, layer_std)
    layer.weight.div_(unit_std.view(-1, *[1] * (layer.weight.dim() - 1)))
    bias = bias_of(layer)
    bias.sub_(mean).div_(unit_std)


def _std(output: Tensor) -> float:
    """Return the standard deviation of all values, or 1 if they are constant, so that no weight becomes infinite."""
    std = float(output.std())
    return std if std > _MIN_STD else 1.0
