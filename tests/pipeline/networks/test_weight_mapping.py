"""Weights of other AlexNets: what is taken of them, and that they compute what they did."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torchvision.models import alexnet

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import CHANNEL_MEAN, CHANNEL_STD, AlexNet, random_backbone, save_backbone
from watchmove.pipeline.networks.alexnet_shape import SMALL_ALEXNET
from watchmove.pipeline.networks.torchvision_layout import save_in_torchvision_layout
from watchmove.pipeline.networks.weight_mapping import CAFFE_MEAN_BGR, Layout, load_mapped
from watchmove.service.settings.evaluate import LAYOUTS


def normalised(rgb: torch.Tensor) -> torch.Tensor:
    """Pictures in [0, 1] as the trunk wants them."""
    return (rgb - torch.tensor(CHANNEL_MEAN).view(3, 1, 1)) / torch.tensor(CHANNEL_STD).view(3, 1, 1)


@torch.no_grad()
def test_torchvisions_alexnet_computes_what_it_did(tmp_path: Path) -> None:
    """Every layer up to fc7 is taken, the classifier's last is not, and the output is torchvision's own."""
    theirs = alexnet(weights=None).eval()
    save_file(theirs.state_dict(), tmp_path / "alexnet.safetensors")
    trunk, mapping = load_mapped(tmp_path / "alexnet.safetensors", None, seed=0)
    padded = torch.nn.functional.pad(normalised(torch.rand(2, 3, 224, 224)), (2, 2, 2, 2))
    wanted = theirs.classifier[:6](theirs.avgpool(theirs.features(padded[..., 2:-2, 2:-2])).flatten(1))

    assert (mapping.layout, mapping.fresh, mapping.unused) == (
        "torchvision",
        (),
        ("classifier.6.bias", "classifier.6.weight"),
    )
    torch.testing.assert_close(trunk.eval()(padded), wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("layout", [None, "torchvision"])
def test_an_exported_backbone_is_read_back(tmp_path: Path, layout: Layout | None) -> None:
    """What the export writes under torchvision's names gives the same tensors as the trunk it was written from."""
    source = random_backbone(5)
    save_in_torchvision_layout(source, tmp_path / "backbone.torchvision.safetensors", {})
    trunk, mapping = load_mapped(tmp_path / "backbone.torchvision.safetensors", layout, seed=0)

    assert (mapping.layout, mapping.fresh, mapping.unused) == ("torchvision", (), ())
    for name, value in source.folded().named_parameters():
        assert torch.equal(trunk.get_parameter(name), value), name


@torch.no_grad()
@pytest.mark.parametrize("save", [save_backbone, save_in_torchvision_layout])
def test_a_backbone_of_the_small_size_is_read_back(
    tmp_path: Path, save: Callable[[AlexNet, Path, dict[str, str]], None]
) -> None:
    """From both of its exported files, as one of the published size."""
    source = random_backbone(5, SMALL_ALEXNET)
    save(source, tmp_path / "small.safetensors", {})
    trunk, mapping = load_mapped(tmp_path / "small.safetensors", None, seed=0)

    assert (trunk.shape, mapping.fresh, mapping.unused) == (SMALL_ALEXNET, (), ())
    for name, value in source.named_parameters():
        assert torch.equal(trunk.get_parameter(name), value), name


@pytest.mark.parametrize("save", [save_backbone, save_in_torchvision_layout])
def test_names_with_a_prefix_are_refused_with_the_prefix(
    tmp_path: Path, save: Callable[[AlexNet, Path, dict[str, str]], None]
) -> None:
    """As a network that was wrapped for several GPUs is saved."""
    save(random_backbone(5, SMALL_ALEXNET), tmp_path / "plain.safetensors", {})
    tensors = load_file(tmp_path / "plain.safetensors")
    save_file({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "wrapped.safetensors")

    with pytest.raises(InvalidInput, match=r"has the prefix 'module\.'; save it as (conv1|features\.0)\.weight"):
        load_mapped(tmp_path / "wrapped.safetensors", None, seed=0)


@torch.no_grad()
def test_a_dense_kernel_that_is_no_grouped_one_is_refused(tmp_path: Path) -> None:
    """A network with these widths that was trained without groups is another network."""
    save_in_torchvision_layout(random_backbone(5), tmp_path / "w.safetensors", {})
    tensors = load_file(tmp_path / "w.safetensors")
    tensors["features.3.weight"] += 1
    save_file(tensors, tmp_path / "dense.safetensors")

    with pytest.raises(InvalidInput, match=r"features\.3\.weight is not zero between groups"):
        load_mapped(tmp_path / "dense.safetensors", None, seed=0)


@torch.no_grad()
def test_caffes_input_is_folded_into_conv1(tmp_path: Path) -> None:
    """conv1 gives on our input what Caffe's gives on blue, green, red from 0 to 255 less their mean."""
    source = random_backbone(3)
    source.get_parameter("conv1.bias").uniform_(-1, 1)
    save_backbone(source, tmp_path / "caffe.safetensors", {})
    trunk, mapping = load_mapped(tmp_path / "caffe.safetensors", "caffe", seed=0)
    rgb = torch.rand(1, 3, 59, 59)
    wanted = source.conv1(255 * rgb.flip(1) - torch.tensor(CAFFE_MEAN_BGR).view(3, 1, 1))

    assert len(mapping.taken) == 14
    torch.testing.assert_close(trunk.conv1(normalised(rgb)), wanted, rtol=1e-4, atol=1e-2)


def normalised_by_hand(values: np.ndarray) -> np.ndarray:
    """Each value over (1 + 1e-4 / 5 times the sum of squares of up to five adjacent channels) to the power 0.75."""
    result = np.empty_like(values)
    for channel in range(values.shape[1]):
        window = values[:, max(channel - 2, 0) : channel + 3]
        result[:, channel] = values[:, channel] / (1 + 1e-4 / 5 * (window**2).sum(axis=1)) ** 0.75
    return result


def pooled_by_hand(values: np.ndarray) -> np.ndarray:
    """Largest value of each 3 x 3 window, two cells apart."""
    size = (values.shape[2] - 3) // 2 + 1
    cells = [
        [values[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3].max(axis=(2, 3)) for x in range(size)] for y in range(size)
    ]
    return np.stack([np.stack(row, axis=-1) for row in cells], axis=2)


@torch.no_grad()
@pytest.mark.parametrize(
    ("layout", "steps"),
    [
        ("caffe", [pooled_by_hand, normalised_by_hand]),
        ("caffe-alexnet", [normalised_by_hand, pooled_by_hand]),
        ("caffe-plain", [pooled_by_hand]),
    ],
)
def test_caffes_layers_are_computed_in_their_order(
    layout: Layout, steps: list[Callable[[np.ndarray], np.ndarray]], tmp_path: Path
) -> None:
    """conv2's output is that of Caffe's input, its two groups, and normalisation and pooling in the layout's order."""
    source = random_backbone(3)
    source.conv1.weight.mul_(0.5)  # so that responses of hundreds, as published weights give, are normalised noticeably
    save_backbone(source, tmp_path / "caffe.safetensors", {})
    trunk, _ = load_mapped(tmp_path / "caffe.safetensors", layout, seed=0)
    rgb = torch.rand(1, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    values = functional.relu(source.conv1(255 * rgb.flip(1) - torch.tensor(CAFFE_MEAN_BGR).view(3, 1, 1))).numpy()
    for step in steps:
        values = step(values)
    halves = [
        functional.conv2d(
            torch.from_numpy(values[:, 48 * g : 48 * g + 48]), source.conv2.weight[128 * g : 128 * g + 128], padding=2
        )
        for g in (0, 1)
    ]

    found = dict(trunk.eval().layer_outputs(normalised(rgb)))["conv2"]
    wanted = functional.relu(torch.cat(halves, dim=1))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.max()))


def test_the_settings_know_every_layout() -> None:
    """The settings list the layouts again, because they must load without torch."""
    assert get_args(Layout) == LAYOUTS


def test_fully_connected_layers_that_differ_are_left_random(tmp_path: Path) -> None:
    """An fc6 of another shape is reported as fresh and as unused; the convolutions and fc7 are taken."""
    weights = {name: value.detach() for name, value in random_backbone(0).named_parameters()}
    save_file({**weights, "fc6.weight": torch.zeros(4096, 100)}, tmp_path / "w.safetensors")
    trunk, mapping = load_mapped(tmp_path / "w.safetensors", None, seed=0)

    assert mapping.fresh == ("fc6.weight", "fc6.bias")
    assert trunk.random_layers == {"fc6"}
    assert mapping.unused == ("fc6.bias", "fc6.weight")
    assert torch.equal(trunk.conv5.weight, weights["conv5.weight"])
    assert trunk.fc6.weight.std() > 0


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("conv2.weight", torch.zeros(256, 96, 5, 5), r"conv2\.weight has shape"),
        ("conv3.bias", torch.full((384,), torch.nan), "not finite"),
        ("conv4.weight", None, r"conv4\.weight is missing"),
        ("conv3.bias", torch.ones(384, dtype=torch.int8), r"conv3\.bias holds int8, .*no real numbers"),
        ("conv3.bias", torch.ones(384, dtype=torch.bool), r"conv3\.bias holds bool"),
        ("conv3.bias", torch.ones(384, dtype=torch.complex64), r"conv3\.bias holds complex64"),
    ],
)
def test_a_wrong_convolution_is_named(tmp_path: Path, name: str, value: torch.Tensor | None, line: str) -> None:
    """Without all five convolutions, in real numbers that are finite, it is no trunk."""
    weights = {key: one.detach() for key, one in random_backbone(0).named_parameters() if not key.startswith("fc")}
    weights.pop(name)
    save_file(weights if value is None else {**weights, name: value}, tmp_path / "w.safetensors")

    with pytest.raises(InvalidInput, match=line):
        load_mapped(tmp_path / "w.safetensors", None, seed=0)


def test_pickled_weights_are_refused_with_the_way_to_convert_them(tmp_path: Path) -> None:
    """A .pth is not even opened."""
    with pytest.raises(InvalidInput, match="safetensors"):
        load_mapped(tmp_path / "alexnet.pth", None, seed=0)
