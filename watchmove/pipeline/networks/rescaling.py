"""Rescaling of a trunk's layers on sample images before training, in two ways.

`rescale_to_unit_variance` is the within-layer normalisation of Krähenbühl et al. (ICLR 2016, section 3.1) for random
layers, and for learnt layers one factor each, which is not a method of that paper. `equalise_rates_of_change` adds the
paper's between-layer normalisation (section 3.2), which is what it applies to learnt layers.
"""

import math

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
_MOST_ROUNDS = 10
"""Rounds of the between-layer normalisation, as in the code published with the paper (github.com/philkr/magic_init)."""
_EQUAL_LOG_RATES = 0.05
"""Logarithmic rates that differ by less are equal. Set by hand: random gradients change them by about 0.03."""


def rescale_to_unit_variance(trunk: AlexNet, images: Tensor) -> None:
    """Rescale every layer so that its output before the ReLU has unit variance on `images` (N, 3, 227, 227).

    The weights of a trained layer are multiplied by one factor and its bias by the product of all factors so far. As
    ReLU and pooling are positively homogeneous, such layers compute what they did before, up to a factor; response
    normalisation, which is not, is adapted to the factor. In a random layer each unit is given mean 0 and variance 1
    (section 3.1): if units were always on or always off, all regions would have the same features in the layers that
    follow. A random and a trained trunk then train at comparable learning rates.
    """
    _rescale_layers(trunk, images, learnt_too=True)


def equalise_rates_of_change(trunk: AlexNet, images: Tensor, seed: int) -> None:
    """Rescale every layer so that all change at the same rate relative to their weights (section 3.2, algorithm 2).

    Random layers are first normalised unit by unit on `images` (N, 3, 227, 227), as in `rescale_to_unit_variance`. The
    rate of a layer is the root of the mean square of the gradient of its weights over that of the weights, for random
    gradients of fc7's output, drawn from `seed`. Learnt layers compute what they did before, up to a factor, which
    gives fc7's output a standard deviation of 1. The trunk is left as it is if a layer's gradient is 0 or not finite.
    """
    _rescale_layers(trunk, images, learnt_too=False)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_MOST_ROUNDS):
        log_rates, log_std = _log_rates_of_change(trunk, images, generator)
        # the factor of all layers together is then 1 / std in the end, half of it on a logarithmic scale in each round
        target = (sum(log_rates) + log_std) / len(log_rates)
        if not math.isfinite(target) or max(abs(rate - target) for rate in log_rates) < _EQUAL_LOG_RATES:
            return
        # the rate falls with the square of a layer's scale: once as its weights grow, once as its gradient shrinks
        _multiply_layers(trunk, [math.exp((rate - target) / 2) for rate in log_rates])


@torch.enable_grad()
def _log_rates_of_change(trunk: AlexNet, images: Tensor, generator: torch.Generator) -> tuple[list[float], float]:
    """Return the logarithms of the layers' rates of change and of the mean deviation of fc7's units over images."""
    weights = [layer.weight for _, layer in trunk.layers()]
    features = trunk(images)
    noise = torch.randn(features.shape, generator=generator).to(features.device)
    gradients = torch.autograd.grad((features * noise).sum(), weights)
    rates = [
        _log(float(gradient.square().mean() / weight.detach().square().mean())) / 2
        for gradient, weight in zip(gradients, weights, strict=True)
    ]
    return rates, _log(float(features.detach().std(dim=0, correction=0).mean()))


def _log(value: float) -> float:
    """Return the logarithm, or NaN where there is none."""
    return math.log(value) if value > 0 else math.nan


@torch.no_grad()
def _multiply_layers(trunk: AlexNet, factors: list[float]) -> None:
    """Multiply the weights of each layer by its factor, and what depends on their scale by the product so far."""
    product = 1.0
    for (name, layer), factor in zip(trunk.layers(), factors, strict=True):
        product *= factor
        layer.weight.mul_(factor)
        bias_of(layer).mul_(product)
        if trunk.response is not None:
            trunk.response.adapt(name, product)


@torch.no_grad()
def _rescale_layers(trunk: AlexNet, images: Tensor, *, learnt_too: bool) -> None:
    """Normalise the units of random layers and, with `learnt_too`, give each learnt layer unit variance."""
    # `product` is the factor by which `x` is larger than before rescaling.
    product, x = 1.0, images
    for name, layer in trunk.layers():
        x = x.flatten(1) if isinstance(layer, nn.Linear) else x
        if name in trunk.random_layers:
            _normalise_units(layer, x)
            product = 1.0  # the layer was fitted to `x` as it is, so what follows sees no factor
        elif learnt_too:
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
