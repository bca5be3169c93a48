"""Tensors to a safetensors file, a disk that refuses told as every other file tells it."""

import errno
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors and what is said of them. Raises OSError where the disk refuses: the library has its own kind."""
    path.touch()
    mode = path.stat().st_mode  # the library's own files are for nobody else to read, whatever others are
    try:
        save_file(dict(tensors), path, dict(metadata) if metadata is not None else None)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from error
    path.chmod(mode)
