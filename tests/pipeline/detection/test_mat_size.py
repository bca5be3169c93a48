"""How much memory a MATLAB file asks for."""

import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from watchmove.pipeline.detection.mat_proposals import read_mat_proposals
from watchmove.pipeline.detection.mat_size import check_unpacked_size
from watchmove.pipeline.errors import InvalidInput

NAMES = ("boxes", "images")
HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"


def element(kind: int, content: bytes) -> bytes:
    """A tag, a content and its padding."""
    return struct.pack("<2I", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def matrix(kind: int, dimensions: tuple[int, ...], values: bytes, name: bytes = b"") -> bytes:
    """An array: flags, dimensions, name, and what follows these."""
    flags = element(6, struct.pack("<2I", kind, 0))
    extents = element(5, struct.pack(f"<{len(dimensions)}i", *dimensions))
    return element(14, flags + extents + element(1, name) + values)


def packed(plain: bytes) -> bytes:
    """The same element, compressed; it has no padding."""
    content = zlib.compress(plain, 9)
    return struct.pack("<2I", 15, len(content)) + content


def zeros_packed(n_bytes: int) -> bytes:
    """A compressed variable `boxes` of so many zeros, made without ever holding them."""
    start = matrix(9, (n_bytes, 1), struct.pack("<2I", 2, n_bytes), b"boxes")
    packer, parts = zlib.compressobj(1), []
    parts.append(packer.compress(start))
    parts += [packer.compress(b"\0" * 2**20) for _ in range(n_bytes // 2**20)]
    content = b"".join([*parts, packer.flush()])
    return struct.pack("<2I", 15, len(content)) + content


BOMBS: dict[str, Callable[[], bytes]] = {
    "zeros, two hundred times smaller": lambda: zeros_packed(1100 * 2**20),
    "text without characters": lambda: matrix(4, (2**30, 1), element(16, b""), b"boxes"),
    "text without characters, packed in a cell": lambda: packed(
        matrix(1, (1, 1), matrix(4, (2**30, 1), b""), b"images")
    ),
    "a cell of a billion arrays": lambda: packed(matrix(1, (2**15, 2**15), b"", b"boxes")),
    "dimensions beyond any machine": lambda: matrix(6, (2**30, 2**30, 2**30), b"", b"boxes"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_few_bytes_that_stand_for_gigabytes_are_refused(name: str, tmp_path: Path) -> None:
    """Each file is small, asks for more than 1 GiB, and is refused in one line before 64 MiB are taken."""
    path = tmp_path / "bomb.mat"
    path.write_bytes(HEADER + BOMBS[name]())
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert path.stat().st_size < 6 * 2**20
    with pytest.raises(InvalidInput, match=r"bomb\.mat: more than 1024 MiB once unpacked; split it") as caught:
        read_mat_proposals(path)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 2**10


@pytest.mark.parametrize("depth", [10, 100_000])
def test_cells_within_cells_are_refused(depth: int, tmp_path: Path) -> None:
    """However deep they are; no reader's stack is tried."""
    content = b"".join(matrix(1, (1, 1), b"", b"boxes" if level == 0 else b"") for level in range(depth))
    path = tmp_path / "deep.mat"
    path.write_bytes(HEADER + struct.pack("<2I", 14, len(content)) + content[8:])

    with pytest.raises(InvalidInput, match=r"deep\.mat: no proposals \(cells within cells"):
        read_mat_proposals(path)


def test_what_is_neither_cells_nor_numbers_nor_text_is_refused(tmp_path: Path) -> None:
    """A sparse array, whose values come to be by multiplication, is no proposal."""
    path = tmp_path / "sparse.mat"
    path.write_bytes(HEADER + matrix(5, (2**30, 2**30), b"", b"boxes"))

    with pytest.raises(InvalidInput, match=r"an array of class 5"):
        read_mat_proposals(path)


@pytest.mark.parametrize("stored_as", [0, 8, 14, 19, 11529, 0xFFFFFFFF])
def test_values_of_an_unknown_type_never_reach_the_reader(stored_as: int, tmp_path: Path) -> None:
    """SciPy's own reader looks such a type up outside its table, which kills the process."""
    numbers = matrix(6, (1, 4), element(stored_as, struct.pack("<4d", 1, 1, 9, 9)))
    path = tmp_path / "type.mat"
    path.write_bytes(HEADER + matrix(1, (1, 1), numbers, b"boxes"))

    with pytest.raises(InvalidInput, match=r"type\.mat: no proposals \(values stored as type"):
        read_mat_proposals(path)


@pytest.mark.parametrize("dimensions", [(), (3,), (-1, 2)])
def test_arrays_without_dimensions_never_reach_the_reader(dimensions: tuple[int, ...], tmp_path: Path) -> None:
    """An array has two of them or more; text that has none kills SciPy's reader."""
    text = matrix(4, dimensions, element(16, b"abc"))
    path = tmp_path / "flat.mat"
    path.write_bytes(HEADER + matrix(1, (1, 1), text, b"images"))

    with pytest.raises(InvalidInput, match=r"flat\.mat: no proposals \(an array of dimensions"):
        read_mat_proposals(path)


def arrays_of(path: Path) -> list[NDArray[np.generic]]:
    """The two variables, and the arrays in their cells."""
    held = loadmat(path, variable_names=NAMES)
    return [array for name in NAMES for array in (held[name], *held[name].ravel())]


@pytest.mark.parametrize("compressed", [True, False])
def test_what_is_counted_is_what_reading_takes(compressed: bool, tmp_path: Path) -> None:
    """Numbers of every width, complex ones, text and empty cells: at least their bytes, at most 400 more an array."""
    rng, path = np.random.default_rng(0), tmp_path / "all.mat"
    cells, names = np.empty((1, 6), object), np.empty((6, 1), object)
    kinds = (np.float64, np.uint8, np.int16, np.float32, np.complex128, np.int64)
    cells[0, :] = [rng.integers(0, 99, (rng.integers(1, 900), 4)).astype(kind) for kind in kinds]
    names[:, 0] = ["000005", "2008_000007", "", "x", "abc", "abcd"]
    savemat(path, {"boxes": cells, "images": names, "other": np.zeros(10**6)}, do_compression=compressed)
    arrays = arrays_of(path)
    taken = sum(array.nbytes for array in arrays)
    check_unpacked_size(path, NAMES, taken + 400 * len(arrays))

    with pytest.raises(InvalidInput, match="once unpacked"):
        check_unpacked_size(path, NAMES, taken)


def test_version_7_3_is_told_from_version_5(tmp_path: Path) -> None:
    """It is another format, and its message says how to leave it."""
    path = tmp_path / "new.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM" + b"\x89HDF" * 100)

    with pytest.raises(InvalidInput, match="save it with -v7"):
        read_mat_proposals(path)
