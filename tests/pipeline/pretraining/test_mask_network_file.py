"""Mask networks as files: the same answers after a round, and files that are none refused by name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import random_backbone
from watchmove.pipeline.networks.alexnet_shape import SMALL_ALEXNET
from watchmove.pipeline.pretraining.mask_network import MaskNetwork
from watchmove.pipeline.pretraining.mask_network_file import load_mask_network, save_mask_network

Header = dict[str, str]
Tensors = dict[str, Tensor]
FIRST = ("trunk.conv1.weight",)


@pytest.fixture(scope="module")
def network() -> MaskNetwork:
    """Random weights with normalisation whose statistics are not those of the start."""
    made = MaskNetwork(random_backbone(4, batch_norm=True), torch.Generator().manual_seed(1))
    for norm in made.trunk.norms.values():
        norm.get_buffer("running_mean").uniform_(-0.2, 0.2, generator=torch.Generator().manual_seed(2))
    return made.eval()


@pytest.fixture(scope="module")
def file(network: MaskNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pretraining writes."""
    path = tmp_path_factory.mktemp("network") / "mask_network.safetensors"
    save_mask_network(network, path, {"iterations": "7"})
    return path


@torch.no_grad()
def test_a_network_from_its_file_answers_the_same(network: MaskNetwork, file: Path) -> None:
    """Logits agree to 1e-5, as normalisation is folded in; the header has the metadata and describes the input."""
    images = torch.randn(2, 3, 227, 227, generator=torch.Generator().manual_seed(3))
    loaded = load_mask_network(file)
    with safe_open(file, "pt") as opened:
        header = opened.metadata()

    torch.testing.assert_close(loaded(images), network(images), atol=1e-5, rtol=1e-5)
    assert not loaded.training
    assert header["iterations"] == "7"
    assert json.loads(header["network"])["input_pixels"] == 227


@torch.no_grad()
def test_a_small_network_is_built_again_from_its_file(tmp_path: Path) -> None:
    """The header names the size, whose input has 115 pixels."""
    made = MaskNetwork(random_backbone(4, SMALL_ALEXNET), torch.Generator().manual_seed(1)).eval()
    save_mask_network(made, tmp_path / "small.safetensors", {})
    images = torch.randn(2, 3, 115, 115, generator=torch.Generator().manual_seed(3))

    torch.testing.assert_close(load_mask_network(tmp_path / "small.safetensors")(images), made(images))


def _without_mask(tensors: Tensors, _: Header) -> None:
    del tensors["mask.bias"]


def _with_more(tensors: Tensors, _: Header) -> None:
    tensors["trunk.conv9.bias"] = torch.zeros(1)


def _of_another_shape(tensors: Tensors, _: Header) -> None:
    tensors["trunk.conv1.weight"] = torch.zeros(9)


def _not_finite(tensors: Tensors, _: Header) -> None:
    tensors["trunk.conv1.weight"][5] = torch.inf


def _of_another_trunk(_: Tensors, header: Header) -> None:
    header["network"] = header["network"].replace("alexnet", "vgg")


def _of_other_pixels(_: Tensors, header: Header) -> None:
    header["network"] = header["network"].replace("0.485", "0.5")


def _of_no_network(_: Tensors, header: Header) -> None:
    del header["network"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_mask, "tensor mask.bias is missing"),
        (_with_more, "tensor trunk.conv9.bias is unknown"),
        (_of_another_shape, r"tensor trunk.conv1.weight has shape \(9,\), this network's is \(96, 3, 11, 11\)"),
        (_not_finite, "tensor trunk.conv1.weight holds values that are not finite"),
        (_of_another_trunk, "its trunk is vgg"),
        (_of_other_pixels, r"its channel_mean is \[0.5"),
        (_of_no_network, "is not a mask network"),
    ],
)
def test_a_file_that_is_not_the_network_is_refused(
    file: Path, tmp_path: Path, spoil: Callable[[Tensors, Header], None], message: str
) -> None:
    """In one line that names the file and what is wrong with it."""
    with safe_open(file, "pt") as opened:
        header = dict(opened.metadata())
        # Others are stand-ins of one number: whatever is wrong comes before them.
        names = list(opened.keys())
        tensors = {name: torch.zeros(1) for name in names} | {name: opened.get_tensor(name) for name in FIRST}
    spoil(tensors, header)
    save_file(tensors, tmp_path / "spoilt.safetensors", header)

    with pytest.raises(InvalidInput, match=f"spoilt.safetensors: .*{message}") as raised:
        load_mask_network(tmp_path / "spoilt.safetensors")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04no weights", None])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Empty, a pickle, or not there."""
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InvalidInput, match=r"weights\.safetensors: not a safetensors file"):
        load_mask_network(path)
