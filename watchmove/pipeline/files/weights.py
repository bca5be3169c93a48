"""Writing of tensors as safetensors, with the errors and permissions of any other file, and the check for NaN."""

import errno
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, and `metadata` to the file's header; the same arguments give the same bytes.

    Raises OSError when writing fails, not safetensors' error.
    """
    path.touch()
    # The library creates files that only their owner can read; the mode of an ordinary new file is put back below.
    mode = path.stat().st_mode
    try:
        save_file(dict(tensors), path, dict(metadata) if metadata is not None else None)
    except SafetensorError as error:
        # as OSError, which `replacing` reports like that of any other file
        raise OSError(errno.EIO, str(error)) from error
    if metadata:
        _sort_metadata(path)
    path.chmod(mode)


def _sort_metadata(path: Path) -> None:
    """Sort the metadata in a file's header, which the library writes in an order that differs from one call to another.

    The header is JSON after its length, a number of eight bytes, and it is padded with spaces.
    """
    with path.open("r+b") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        file.seek(8)
        file.write(text.ljust(size))


def name_of_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with a value that is NaN or infinite; None if all values are finite."""
    return next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)
