"""Weights on a disk that has no room."""

import resource
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

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


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    """The library alone orders the entries of the header by chance. Tensors and entries can be read as before."""
    metadata = {name: f'\u00e4 "{name}" \n' for name in "abcdefgh"}
    tensors = {"one": torch.arange(6.0).reshape(2, 3), "two": torch.zeros(3, dtype=torch.int64)}
    files = [tmp_path / f"{number}.safetensors" for number in range(6)]
    for file in files:
        save_tensors(tensors, file, metadata)

    assert len({file.read_bytes() for file in files}) == 1
    with safe_open(files[0], "pt") as opened:
        assert opened.metadata() == metadata
        assert all(torch.equal(opened.get_tensor(name), tensor) for name, tensor in tensors.items())
