"""Reading .npz files: by one thread at a time, and nothing but .npz files."""

import io
import zipfile
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from pathlib import Path

import numpy as np
import pytest

from watchmove.pipeline.files.npz import DAMAGED, open_npz


@pytest.fixture
def content() -> bytes:
    """A .npz file of one array."""
    stream = io.BytesIO()
    np.savez(stream, counts=np.arange(3))
    return stream.getvalue()


def counts_of(source: Path | bytes) -> list[int]:
    """What the file holds."""
    with open_npz(source) as arrays:
        return [int(count) for count in arrays["counts"]]


def test_a_second_thread_waits_until_the_first_has_read(content: bytes, tmp_path: Path) -> None:
    """Parses of two headers never overlap, and the second follows when the first has ended."""
    path = tmp_path / "counts.npz"
    path.write_bytes(content)
    with ThreadPoolExecutor(1) as threads:
        with open_npz(content) as arrays:
            second: Future[list[int]] = threads.submit(counts_of, path)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.2)
            assert arrays["counts"].tolist() == [0, 1, 2]
        assert second.result(timeout=60) == [0, 1, 2]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_whatever_byte_is_damaged_the_error_is_one_of_a_list(content: bytes, method: int) -> None:
    """A flipped byte is not noticed, or raises what callers expect of a damaged file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as sound, zipfile.ZipFile(stream, "w", method) as packed:
        packed.writestr("counts.npy", sound.read("counts.npy"))
    good = stream.getvalue()
    seen = Counter[str]()
    for at in range(len(good)):
        for flipped in (1, 0xFF):
            try:
                counts_of(good[:at] + bytes([good[at] ^ flipped]) + good[at + 1 :])
            except DAMAGED as error:
                seen[type(error).__name__] += 1

    assert seen["RuntimeError"]
    assert seen["LZMAError"] or method == zipfile.ZIP_DEFLATED


def test_a_header_of_an_impossible_size_is_damage() -> None:
    """No machine has the memory for 2^55 numbers, which a few digits of a header ask for."""
    stream, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|b1", "fortran_order": False, "shape": (2**55,)})
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("counts.npy", header.getvalue())

    with pytest.raises(DAMAGED):
        counts_of(stream.getvalue())


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    """A .npy file of whatever name is no .npz file, and the next file is read."""
    path = tmp_path / "single.npz"
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ValueError, match="a single array"):
        counts_of(path)
    with pytest.raises(ValueError, match="a single array"):
        counts_of(path.read_bytes())
