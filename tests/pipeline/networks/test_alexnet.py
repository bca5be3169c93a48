"""AlexNet's trunk: sizes, alignment, folding, rescaling, and files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import AlexNet, load_backbone, random_backbone, save_backbone
from watchmove.pipeline.networks.alexnet_shape import SMALL_ALEXNET

# (out channels, in channels of a group, kernel, kernel) of Caffe's AlexNet, as Fast R-CNN's CaffeNet loads them
CAFFE_SHAPES = {
    "conv1": (96, 3, 11, 11),
    "conv2": (256, 48, 5, 5),
    "conv3": (384, 256, 3, 3),
    "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3),
    "fc6": (4096, 9216),
    "fc7": (4096, 4096),
}


@pytest.fixture(scope="module")
def trunk() -> AlexNet:
    """A random trunk in evaluation; no test changes it."""
    return random_backbone(0).eval()


def images(count: int, seed: int = 0) -> Tensor:
    """Noise of the network's input size."""
    return torch.randn((count, 3, 227, 227), generator=torch.Generator().manual_seed(seed))


def used_normalisation(seed: int) -> AlexNet:
    """A trunk whose normalisations have statistics and scales that are far from doing nothing."""
    network = random_backbone(seed, batch_norm=True)
    generator = torch.Generator().manual_seed(seed)
    for norm in network.norms.values():
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)
        norm.bias.data.normal_(generator=generator)
    return network.eval()


def test_layers_have_caffes_shapes(trunk: AlexNet) -> None:
    """Weights of CaffeNet's layout load without reshaping."""
    assert {name: tuple(layer.weight.shape) for name, layer in trunk.layers()} == CAFFE_SHAPES


def test_the_small_size_has_the_same_layers_and_survives_its_file(tmp_path: Path) -> None:
    """conv5 has 6 x 6 cells of 115 pixels without the last pooling, and a file's conv1 says which size it holds."""
    network = random_backbone(1, SMALL_ALEXNET, batch_norm=True).eval()
    pixels = torch.randn((2, 3, 115, 115), generator=torch.Generator().manual_seed(0))
    save_backbone(network, tmp_path / "small.safetensors", {})
    loaded = load_backbone(tmp_path / "small.safetensors").eval()
    with torch.no_grad():
        shapes = [tuple(output.shape[1:]) for _, output in network.layer_outputs(pixels)]
        again, before = loaded(pixels), network(pixels)

    assert shapes == [(32, 27, 27), (64, 13, 13), (96, 6, 6), (96, 6, 6), (64, 6, 6), (256,), (256,)]
    assert [name for name, _ in network.layers()] == list(CAFFE_SHAPES)
    assert loaded.shape == SMALL_ALEXNET
    torch.testing.assert_close(again, before, atol=1e-4, rtol=1e-4)


def test_a_227_pixel_image_gives_4096_features(trunk: AlexNet) -> None:
    """227 pixels are 13 x 13 features before the last pooling and 6 x 6 after."""
    with torch.no_grad():
        features = trunk(images(2))

    assert features.shape == (2, 4096)


@pytest.mark.parametrize(("height", "width"), [(224, 320), (227, 227), (240, 333)])
def test_any_size_gives_features_every_sixteen_pixels(trunk: AlexNet, height: int, width: int) -> None:
    """There is one feature for each multiple of 16 pixels in the image."""
    with torch.no_grad():
        features = trunk.conv_features(torch.zeros(1, 3, height, width))

    assert features.shape == (1, 256, (height - 1) // 16 + 1, (width - 1) // 16 + 1)


def test_feature_is_centred_on_sixteen_times_its_index(trunk: AlexNet) -> None:
    """The pixels that a feature looks at lie evenly around (16 j, 16 i)."""
    picture = torch.randn((1, 3, 320, 320), generator=torch.Generator().manual_seed(0)).requires_grad_()
    trunk.conv_features(picture)[0, :, 9, 11].sum().backward()  # type: ignore[no-untyped-call]
    assert picture.grad is not None
    rows, columns = (picture.grad[0].abs().sum((0, axis)).double() for axis in (2, 1))
    at = torch.arange(320)

    assert abs(float((rows * at).sum() / rows.sum()) - 16 * 9) < 4
    assert abs(float((columns * at).sum() / columns.sum()) - 16 * 11) < 4


def test_folded_normalisation_changes_nothing() -> None:
    """In evaluation, plain weights give what weights and batch normalisation gave, to 1e-5 of its range."""
    network = used_normalisation(1)
    with torch.no_grad():
        before, after = network(images(2)), network.folded().eval()(images(2))

    assert float(before.abs().max()) > 0.1
    assert float((before - after).abs().max() / before.abs().max()) < 1e-5


def test_saved_backbone_is_plain_and_comes_back(tmp_path: Path) -> None:
    """The file has fourteen tensors, no normalisation, its metadata aside; what is loaded is the folded network."""
    network = used_normalisation(2)
    save_backbone(network, tmp_path / "backbone.safetensors", {"iterations": "3"})

    names = {f"{layer}.{part}" for layer in CAFFE_SHAPES for part in ("weight", "bias")}
    assert set(load_file(tmp_path / "backbone.safetensors")) == names
    loaded = load_backbone(tmp_path / "backbone.safetensors").state_dict()
    for name, tensor in network.folded().state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=0)


def test_same_seed_same_weights(trunk: AlexNet) -> None:
    """A random trunk is its seed's, whatever was drawn before."""
    torch.rand(7)
    again, other = random_backbone(0), random_backbone(1)

    assert torch.equal(trunk.fc6.weight, again.fc6.weight)
    assert not torch.equal(trunk.conv1.weight, other.conv1.weight)


@pytest.mark.parametrize("level", [0, 3, 5])
def test_freezing_holds_the_first_convolutions(level: int) -> None:
    """conv1 to conv`level` have no gradient; the rest, and the fully connected layers, do."""
    network = AlexNet()
    network.freeze_through(level)

    frozen = {name for name, layer in network.layers() if not layer.weight.requires_grad}
    assert frozen == {f"conv{number}" for number in range(1, level + 1)}


def test_freezing_can_be_undone() -> None:
    """A later level is the one that holds."""
    network = AlexNet()
    network.freeze_through(5)
    network.freeze_through(1)

    assert [name for name, layer in network.layers() if not layer.weight.requires_grad] == ["conv1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv3.weight": None}, r"conv3\.weight is missing"),
        ({"conv2.weight": torch.zeros(256, 96, 5, 5)}, r"conv2\.weight has shape \(256, 96, 5, 5\).*\(256, 48, 5, 5\)"),
        ({"conv1.bias": torch.full((96,), torch.nan)}, r"conv1\.bias holds values that are not finite"),
    ],
    ids=["missing", "shape", "not finite"],
)
def test_a_wrong_tensor_is_named(
    trunk: AlexNet, tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    """File, tensor and both shapes."""
    tensors = {name: tensor for name, tensor in (trunk.state_dict() | change).items() if tensor is not None}
    save_file(tensors, tmp_path / "wrong.safetensors")

    with pytest.raises(InvalidInput, match=rf"wrong\.safetensors: tensor {message}"):
        load_backbone(tmp_path / "wrong.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", None], ids=["empty", "a pickle", "missing"])
def test_what_is_no_safetensors_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A pickle is refused as any other file is: nothing is ever unpickled."""
    if content is not None:
        (tmp_path / "weights.pth").write_bytes(content)

    with pytest.raises(InvalidInput, match=r"weights\.pth: not a safetensors file"):
        load_backbone(tmp_path / "weights.pth")
