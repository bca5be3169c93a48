"""The motion network is asked where masks are doubtful, equally on both devices, and is off by default."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.pipeline.masks.drawn_network import save_drawn_network, save_network_of_bright_pixels
from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.motion_network import (
    load_motion_network,
    masks_provenance,
    mixed_evidence,
)
from watchmove.pipeline.masks.motion_network_file import HEADER, VERSION
from watchmove.pipeline.masks.motion_network_layers import MotionNetworkNetwork, load_network
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.world.video import moving_square


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn weights."""
    return save_drawn_network(tmp_path_factory.mktemp("weights") / "watch.safetensors")


def test_the_evidence_is_weighted_by_the_networks_share(weights: Path) -> None:
    """(1 - share) * evidence + share * what the network says, in frames of any size."""
    rng = np.random.default_rng(0)
    for height, width in ((60, 107), (7, 5)):
        evidence = rng.random((height, width), np.float32)
        cues = rng.random((height, width, 4), np.float32)
        lab = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        settings = ExtractionSettings(motion_network=str(weights), motion_network_share=0.25)
        [mixed] = mixed_evidence([evidence], [lab], [cues], settings)
        [said] = load_network(weights).predict([lab], [cues])

        assert mixed.dtype == np.float32
        assert np.allclose(mixed, 0.75 * evidence + 0.25 * said, atol=1e-6)
        assert 0 < said.min() < said.max() < 1


def test_batches_do_not_change_what_it_says(weights: Path) -> None:
    """Of 11 frames each has the prediction that it has alone."""
    rng = np.random.default_rng(1)
    labs = list(rng.integers(0, 256, (11, 24, 32, 3), dtype=np.uint8))
    cues = list(rng.random((11, 24, 32, 4), np.float32))
    network = load_network(weights)
    alone = [network.predict([lab], [cue])[0] for lab, cue in zip(labs, cues, strict=True)]

    assert np.allclose(network.predict(labs, cues), alone, atol=1e-5)


def test_it_has_about_100_000_weights() -> None:
    """The size that is documented."""
    network = MotionNetworkNetwork(torch.Generator())

    assert 90_000 < sum(parameter.numel() for parameter in network.parameters()) < 130_000


def test_there_is_none_by_default() -> None:
    """No digest is recorded, and a worker does not load torch."""
    settings = ExtractionSettings()

    assert load_motion_network(settings) is None
    assert masks_provenance(settings) == {"flow": "dis"}
    code = "import watchmove.service.extraction.child, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("device", ["cpu", "torch-cpu"])
def test_it_is_asked_where_masks_are_doubtful(device: str, tmp_path: Path) -> None:
    """A bright disc that stands still is found only by the network, equally on both devices."""
    cv2.setNumThreads(1)
    frame = np.random.default_rng(0).integers(60, 90, (120, 160, 3), dtype=np.uint8)
    disc = cv2.circle(np.zeros((120, 160), np.uint8), (70, 60), 25, 1, -1) > 0
    frame[disc] = (250, 240, 235)
    weights = save_network_of_bright_pixels(tmp_path / "bright.safetensors")
    with_it = ExtractionSettings(motion_network=str(weights), device=device, flow="dis")
    without = with_it.model_copy(update={"motion_network": ""})
    on, off, reference = (
        shot_segmenter(settings)([[frame] * 6])[0]
        for settings in (with_it, without, with_it.model_copy(update={"device": "cpu"}))
    )
    masks, plain, expected = (np.stack([found.soft_mask for found in frames]) for frames in (on, off, reference))

    assert jaccard(masks[0] >= 0.5, disc) > 0.9
    assert not (plain >= 0.5).any()
    assert np.abs(masks - expected).mean() < 0.005


@pytest.mark.parametrize("device", ["cpu", "torch-cpu"])
def test_it_changes_no_confident_masks(weights: Path, device: str) -> None:
    """The masks of a square that moves are the same bytes; so are the maps that a network sees, and hardly differ."""
    cv2.setNumThreads(1)
    frames = list(moving_square((3.0, 0.0), 8).frames)
    with_it = ExtractionSettings(motion_network=str(weights), device=device, flow="dis")
    without = with_it.model_copy(update={"motion_network": ""})
    on, off, reference = (
        shot_segmenter(settings)([frames])[0]
        for settings in (with_it, without, with_it.model_copy(update={"device": "cpu"}))
    )
    seen, unmixed, cues = (
        np.stack([frame.stages.cues for frame in found if frame.stages is not None]) for found in (on, off, reference)
    )

    assert all(np.array_equal(one.soft_mask, other.soft_mask) for one, other in zip(on, off, strict=True))
    assert np.array_equal(seen, unmixed)
    assert np.abs(seen.astype(np.float32) - cues).mean() < 0.005
    assert seen.shape == (8, 60, 80, 4)


def test_provenance_has_the_digest_of_its_weights(weights: Path, tmp_path: Path) -> None:
    """Other weights have another digest; the snapshot that they learnt from is named."""
    other = save_drawn_network(tmp_path / "other.safetensors", seed=1)
    first, second = (masks_provenance(ExtractionSettings(motion_network=str(path))) for path in (weights, other))

    assert first["flow"] == second["flow"] == "dis"
    assert first["motion_network_dataset"] == "drawn"
    assert len(first["motion_network_sha256"]) == 64
    assert first["motion_network_sha256"] != second["motion_network_sha256"]


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickle", b"\xff" * 64])
def test_bad_weights_give_one_line(content: bytes | None, tmp_path: Path) -> None:
    """A missing, empty or foreign file: the message names the setting and the file."""
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"extract\.motion_network.*weights\.safetensors") as raised:
        load_motion_network(ExtractionSettings(motion_network=str(path)))

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("fault", ["foreign", "no JSON", "other version", "missing", "unknown", "shape", "nan"])
def test_weights_that_do_not_fit_give_one_line(fault: str, weights: Path, tmp_path: Path) -> None:
    """Each tensor is checked, because the file may come from anywhere."""
    tensors = load_file(weights)
    name = "mask.weight"
    if fault == "missing":
        del tensors[name]
    elif fault == "unknown":
        tensors["other"] = torch.zeros(1)
    elif fault == "shape":
        tensors[name] = torch.zeros(1, 2, 1, 1)
    elif fault == "nan":
        tensors[name][0] = torch.nan
    path = tmp_path / "weights.safetensors"
    header = json.dumps({"version": VERSION + 1 if fault == "other version" else VERSION})
    save_file(tensors, path, {"format" if fault == "foreign" else HEADER: "[" if fault == "no JSON" else header})
    with pytest.raises(InvalidInput, match=r"extract\.motion_network.*weights\.safetensors") as raised:
        load_motion_network(ExtractionSettings(motion_network=str(path)))

    assert "\n" not in str(raised.value)
