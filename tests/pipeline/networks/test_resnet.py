"""ResNet trunks: files that plain torchvision loads, mask networks on top, and a detector that refuses them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.pipeline.dataset.mask_samples import drawn_shard
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import load_backbone
from watchmove.pipeline.networks.resnet import ResNetTrunk, load_resnet, random_resnet, resnet_lines, save_resnet
from watchmove.pipeline.networks.weight_mapping import load_mapped
from watchmove.pipeline.pretraining.mask_network import MaskNetwork
from watchmove.pipeline.pretraining.mask_network_file import load_mask_network, save_mask_network
from watchmove.pipeline.pretraining.pretraining import PretrainingHooks, pretrain
from watchmove.pipeline.settings.pretraining import PretrainingSettings

RESNET18 = PretrainingSettings(
    trunk="resnet18",
    device="cpu",
    iterations=2,
    batch_size=4,
    validation_fraction=0.3,
    validation_frames=2,
    validate_every_iterations=2,
    checkpoint_every_iterations=9,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a ResNet-18 after two steps."""
    folder = tmp_path_factory.mktemp("resnet18")
    pretrain([drawn_shard(folder / "drawn.tar", videos=3, frames=3)], RESNET18, PretrainingHooks(folder))
    return folder


@torch.no_grad()
def features_by_the_cards_lines(folder: Path, kind: str, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the network of the model card's lines gives; they are run in the folder of the weights."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(resnet_lines(kind), names)
    return names["net"](images)


def test_a_trained_resnet18_loads_in_plain_torchvision(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the card's own lines: its features are those of the trunk that was trained, averaged, to 1e-5."""
    images = torch.randn(2, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    there = features_by_the_cards_lines(trained, "resnet18", images, monkeypatch)
    network = load_mask_network(trained / "mask_network.safetensors")
    with torch.no_grad():
        here = network.trunk(images)

    assert here.shape == (2, 512, 8, 8)
    assert float(here.std()) > 0.01
    torch.testing.assert_close(there, here.mean((2, 3)), atol=1e-5, rtol=1e-5)


def test_training_moves_weights_and_statistics(trained: Path) -> None:
    """What is left is not what it began with, and the same names as before."""
    tensors, begin = load_file(trained / "backbone.safetensors"), random_resnet("resnet18", RESNET18.seed).state_dict()

    assert tensors.keys() == begin.keys()
    assert not torch.equal(tensors["conv1.weight"], begin["conv1.weight"])
    assert int(tensors["bn1.num_batches_tracked"]) == 2


def test_a_resnet50_and_its_mask_network_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger one, saved and loaded by both files: 2048 features, and the same logits."""
    trunk = random_resnet("resnet50", 3).eval()
    network = MaskNetwork(trunk, torch.Generator().manual_seed(1)).eval()
    save_resnet(trunk, tmp_path / "backbone.safetensors", {})
    save_mask_network(network, tmp_path / "mask.safetensors", {})
    images = torch.randn(1, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, again = network(images), load_mask_network(tmp_path / "mask.safetensors")(images)
        features = features_by_the_cards_lines(tmp_path, "resnet50", images, monkeypatch)

    assert features.shape == (1, 2048)
    assert logits.shape == (1, 56, 56)
    torch.testing.assert_close(again, logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(features, trunk(images).detach().mean((2, 3)), atol=1e-5, rtol=1e-5)


def test_a_seed_makes_the_first_weights() -> None:
    """Whatever was drawn before; and drawing them changes nothing for others."""
    torch.manual_seed(1)
    one = random_resnet("resnet18", 5).conv1.weight
    after = torch.rand(1)
    other = random_resnet("resnet18", 5).conv1.weight
    torch.manual_seed(1)

    assert torch.equal(one, other)
    assert torch.equal(after, torch.rand(1))
    assert not torch.equal(one, random_resnet("resnet18", 6).conv1.weight)


def test_the_detector_on_alexnet_refuses_a_resnet(trained: Path) -> None:
    """Both the run's own backbone and a named file give one line that says what would fix it."""
    path = trained / "backbone.safetensors"
    for load in (load_backbone, lambda weights: load_mapped(weights, None, 0)):
        with pytest.raises(InvalidInput, match=r"a ResNet's weights.*pretrain\.trunk alexnet") as raised:
            load(path)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"conv1.weight": None}, r"conv1\.weight is missing"),
        ({"fc.weight": torch.zeros(2, 2)}, r"fc\.weight is unknown"),
        ({"conv1.weight": torch.zeros(64, 3, 3, 3)}, r"conv1\.weight has shape \(64, 3, 3, 3\).*\(64, 3, 7, 7\)"),
        ({"bn1.running_var": torch.full((64,), torch.nan)}, r"bn1\.running_var holds values that are not finite"),
    ],
)
def test_a_wrong_tensor_is_named(
    trained: Path, tmp_path: Path, spoil: dict[str, torch.Tensor | None], message: str
) -> None:
    """File, tensor, and what is wrong with it."""
    changed = {n: t for n, t in {**load_file(trained / "backbone.safetensors"), **spoil}.items() if t is not None}
    save_file(changed, tmp_path / "wrong.safetensors")

    with pytest.raises(InvalidInput, match=rf"wrong\.safetensors: tensor {message}"):
        load_resnet(tmp_path / "wrong.safetensors", "resnet18")


def test_the_files_say_which_trunk(trained: Path) -> None:
    """In their headers."""
    with safe_open(trained / "backbone.safetensors", "pt") as file:
        assert file.metadata()["trunk"] == "resnet18"
    assert isinstance(load_mask_network(trained / "mask_network.safetensors").trunk, ResNetTrunk)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"trunk": "resnet18", "batch_norm": False}, "resnet18 has batch_norm and no dropout"),
        ({"trunk": "resnet50", "dropout": 0.5}, "resnet50 has batch_norm and no dropout"),
        ({"rescale_trunk": True}, "rescale_trunk has no use with batch_norm"),
    ],
)
def test_options_that_do_not_fit_the_trunk_are_refused(update: dict[str, object], message: str) -> None:
    """When settings are read, not hours later."""
    with pytest.raises(ValueError, match=message):
        PretrainingSettings.model_validate(update)
