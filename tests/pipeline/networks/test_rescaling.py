"""Scales of a trunk's layers, set by data."""

import pytest
import torch
from torch import Tensor

from watchmove.pipeline.networks.alexnet import AlexNet, random_backbone
from watchmove.pipeline.networks.rescaling import equalise_rates_of_change, rescale_to_unit_variance
from watchmove.pipeline.networks.response_normalisation import ResponseNormalisation


def images(count: int, seed: int = 0) -> Tensor:
    """Noise of the network's input size, much of it one colour: every layer's units are unlike each other then."""
    noise = torch.randn((count, 3, 227, 227), generator=torch.Generator().manual_seed(seed))
    return noise + torch.tensor([2.0, -1.0, 0.5]).view(3, 1, 1)


def learnt_backbone() -> AlexNet:
    """Return a trunk that counts as trained, with layers of different scales and with biases."""
    network = random_backbone(3).eval()
    network.random_layers = frozenset()
    with torch.no_grad():
        network.conv2.weight.mul_(20)
        network.fc6.weight.mul_(0.01)
        network.state_dict()["conv1.bias"].normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    return network


def test_learnt_layers_have_unit_variance_and_the_same_function() -> None:
    """Whatever the scales were before; the features differ by one factor only."""
    network = learnt_backbone()
    with torch.no_grad():
        before = network(images(4))
        rescale_to_unit_variance(network, images(4))
        after = network(images(4))
        first = network.conv1(images(4))
        factor = (after * before).sum() / (before * before).sum()

    assert abs(float(first.std()) - 1) < 1e-3
    torch.testing.assert_close(after, before * factor, rtol=1e-3, atol=1e-3)
    assert 0.2 < float(after.pow(2).mean()) < 0.8  # a rectified unit variance keeps about half


@torch.no_grad()
@pytest.mark.parametrize("before_pooling", [False, True])
def test_response_normalisation_is_adapted_to_the_scale(before_pooling: bool) -> None:
    """A trunk whose responses of hundreds are normalised computes what it did, up to a factor."""
    network = learnt_backbone()
    network.conv1.weight.mul_(300)
    plain = network(images(4))
    network.response = ResponseNormalisation(before_pooling)
    before = network(images(4))
    rescale_to_unit_variance(network, images(4))
    after = network(images(4))
    factor, other = ((after * one).sum() / (one * one).sum() for one in (before, plain))

    torch.testing.assert_close(after, before * factor, rtol=1e-3, atol=1e-3)
    assert float((after - plain * other).abs().max()) > 0.1


def outputs_of(network: AlexNet, pixels: Tensor) -> dict[str, Tensor]:
    """What each layer gives before its ReLU, (units, samples)."""
    seen: dict[str, Tensor] = {}
    for name, layer in network.layers():
        layer.register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.transpose(0, 1).flatten(1)})
        )
    network(pixels)
    return seen


@torch.no_grad()
def test_every_unit_of_random_layers_has_mean_0_and_variance_1() -> None:
    """In each of the seven, so that no unit is always on or off and pictures differ in what the trunk gives."""
    network = random_backbone(0).eval()
    before = network(images(12))
    rescale_to_unit_variance(network, images(12))
    after = network(images(12))
    outputs = outputs_of(network, images(12))

    for name in ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7"):  # conv1 is called through its weights
        deviation, mean = torch.std_mean(outputs[name], dim=1)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3, rtol=0)
        torch.testing.assert_close(deviation, torch.ones_like(deviation), atol=1e-3, rtol=0)
    before_share, after_share = (float(one.std(dim=0).pow(2).mean() / one.pow(2).mean()) for one in (before, after))
    assert after_share > 3 * before_share


@torch.no_grad()
def test_random_layers_behind_learnt_ones_leave_these_alone() -> None:
    """conv1 to conv5 of a trained trunk with random fc6 and fc7 compute what they did before, up to a factor."""
    network = learnt_backbone()
    network.random_layers = frozenset({"fc6", "fc7"})
    before = network.conv_features(images(9))
    rescale_to_unit_variance(network, images(9))
    after = network.conv_features(images(9))
    factor = (after * before).sum() / (before * before).sum()

    torch.testing.assert_close(after, before * factor, rtol=1e-3, atol=1e-3)
    assert float(outputs_of(network, images(9))["fc7"].mean(dim=1).abs().max()) < 1e-3


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2])
def test_few_images_do_for_a_random_trunk(count: int) -> None:
    """With one image a unit of fc6 has one value, too few for its scale: all units are scaled by one factor."""
    network = random_backbone(0).eval()
    rescale_to_unit_variance(network, images(count))
    features = network(images(count))

    assert torch.isfinite(features).all()
    assert 0.2 < float(features.pow(2).mean()) < 0.9


@torch.no_grad()
@pytest.mark.parametrize("value", [0.0, 1.7])
def test_pictures_of_one_colour_leave_the_trunk_finite(value: float) -> None:
    """Where nothing varies, nothing is blown up."""
    network = random_backbone(0).eval()
    rescale_to_unit_variance(network, torch.full((9, 3, 227, 227), value))

    assert float(network(images(2)).abs().max()) < 1e4


def log_rates(network: AlexNet, pixels: Tensor) -> list[float]:
    """Logarithm of each layer's gradient relative to its weights, for a random gradient of the features."""
    features = network(pixels)
    weights = [layer.weight for _, layer in network.layers()]
    given = torch.randn(features.shape, generator=torch.Generator().manual_seed(7))
    gradients = torch.autograd.grad(features, weights, given)
    return [float((one.norm() / weight.detach().norm()).log()) for one, weight in zip(gradients, weights, strict=True)]


def test_layers_of_learnt_trunks_change_at_the_same_rate() -> None:
    """Layers of very different scales get equal rates, and the function stays the same up to a factor."""
    network = learnt_backbone()
    network.response = ResponseNormalisation(before_pooling=False)
    with torch.no_grad():
        network.conv1.weight.mul_(100)
        before = network(images(4))
    spread = torch.tensor(log_rates(network, images(4))).std()
    equalise_rates_of_change(network, images(4), seed=0)
    with torch.no_grad():
        after = network(images(4))
        factor = (after * before).sum() / (before * before).sum()

    assert spread > 1
    assert torch.tensor(log_rates(network, images(4))).std() < 0.1
    torch.testing.assert_close(after, before * factor, rtol=1e-3, atol=1e-3)
    assert float(after.std(dim=0, correction=0).mean()) == pytest.approx(1, abs=0.3)


def test_layers_of_random_trunks_change_at_the_same_rate() -> None:
    """Units are normalised first, so that images differ in their features; then the rates are equal."""
    network = random_backbone(0).eval()
    with torch.no_grad():
        before = network(images(8))
    equalise_rates_of_change(network, images(8), seed=0)
    with torch.no_grad():
        after = network(images(8))
    before_share, after_share = (float(one.std(dim=0).pow(2).mean() / one.pow(2).mean()) for one in (before, after))

    assert torch.tensor(log_rates(network, images(8))).std() < 0.1
    assert after_share > 3 * before_share


def test_a_trunk_without_gradients_is_left_as_it_is() -> None:
    """Where fc7 is 0 for every image there is no rate to equalise, and no weight becomes infinite."""
    network = learnt_backbone()
    with torch.no_grad():
        network.fc7.weight.zero_()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    equalise_rates_of_change(network, images(2), seed=0)

    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
