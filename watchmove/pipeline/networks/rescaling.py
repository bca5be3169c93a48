"""Scales of a trunk's layers set by data before it is trained on them (Krähenbühl et al., ICLR 2016)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from watchmove.pipeline.networks.alexnet import AlexNet, bias_of

_MIN_SAMPLES = 8
"""Values of one unit from which its own mean and deviation are taken."""
_MIN_DEVIATION, _MIN_UNIT_SHARE = 1e-5, 1e-3
"""A layer that deviates less, or a unit that does beside its layer, is taken not to vary."""


@torch.no_grad()
def rescale_to_unit_variance(trunk: AlexNet, images: Tensor) -> None:
    """Rescale every layer so that its output before the ReLU has unit variance on `images` (N, 3, 227, 227).

    A layer that has learnt is multiplied by one number and its bias by the product of the numbers so far; as ReLU and
    pooling are positively homogeneous, such layers compute what they did up to a factor (section 3.2). In a layer that
    is random each unit is given mean 0 and variance 1 (section 3.1): behind units that are always on or always off,
    every region would look alike to the layers that follow. A random and a learnt trunk then train at comparable rates.
    """
    product, x = 1.0, images
    for name, layer in trunk.layers():
        x = x.flatten(1) if isinstance(layer, nn.Linear) else x
        if name in trunk.random_layers:
            _normalise_units(layer, x)
            product = 1.0
        else:
            product *= _rescale(layer, x, product)
        x = functional.relu(layer(x))
        if name in ("conv1", "conv2", "conv5"):
            x = trunk.pool5(x)


def _rescale(layer: nn.Conv2d | nn.Linear, x: Tensor, product: float) -> float:
    """Unit variance by one factor, which is returned; the layers before were multiplied by `product`."""
    bias = bias_of(layer)
    bias.mul_(product)
    factor = 1.0 / _deviation(layer(x))
    layer.weight.mul_(factor)
    bias.mul_(factor)
    return factor


def _normalise_units(layer: nn.Conv2d | nn.Linear, x: Tensor) -> None:
    """Mean 0 and variance 1 in each unit; where there is too little to tell, variance 1 in all of them together."""
    output = layer(x).transpose(0, 1).flatten(1)  # (units, samples)
    if output.shape[1] < _MIN_SAMPLES:
        _rescale(layer, x, 1.0)
        return
    deviation, mean = torch.std_mean(output, dim=1)
    of_layer = _deviation(output)
    deviation = torch.where(deviation > _MIN_UNIT_SHARE * of_layer, deviation, of_layer)
    layer.weight.div_(deviation.view(-1, *[1] * (layer.weight.dim() - 1)))
    bias = bias_of(layer)
    bias.sub_(mean).div_(deviation)


def _deviation(output: Tensor) -> float:
    """Deviation of all values; 1 where they do not vary, so that nothing is blown up."""
    deviation = float(output.std())
    return deviation if deviation > _MIN_DEVIATION else 1.0
