"""Weights on a disk that has no room."""

import resource
from pathlib import Path

import pytest
import torch

from watchmove.pipeline.errors import Unavailable
from watchmove.pipeline.files.weights import save_tensors
from watchmove.pipeline.networks.alexnet import random_backbone, save_backbone


def test_a_disk_without_room_may_have_some_later(tmp_path: Path) -> None:
    """Unavailable, not a bug; and nothing is left of the file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(OSError, match=r"too large|I/O"):
            save_tensors({"a": torch.zeros(2**20)}, tmp_path / "plain.safetensors")
        with pytest.raises(Unavailable, match="could not be written"):
            save_backbone(random_backbone(0), tmp_path / "backbone.safetensors", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert not (tmp_path / "backbone.safetensors").exists()


def test_weights_may_be_read_by_whoever_may_read_other_files(tmp_path: Path) -> None:
    """They are there to be given on."""
    (tmp_path / "other").touch()
    save_tensors({"a": torch.zeros(2)}, tmp_path / "plain.safetensors")

    assert (tmp_path / "plain.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
