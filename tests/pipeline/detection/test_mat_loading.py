"""MATLAB files made to harm their reader: they cost a child process, within its limits, and end as one line."""

import resource
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix

from watchmove.pipeline.detection.mat_proposals import read_mat_proposals
from watchmove.pipeline.errors import InvalidInput, Unavailable

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
    "zeros, two hundred times smaller": lambda: zeros_packed(1600 * 2**20),
    "text without characters": lambda: matrix(4, (2**30, 1), element(16, b""), b"boxes"),
    "text without characters, packed in a cell": lambda: packed(
        matrix(1, (1, 1), matrix(4, (2**30, 1), b""), b"images")
    ),
    "a cell of a billion arrays": lambda: packed(matrix(1, (2**15, 2**15), b"", b"boxes")),
    "dimensions beyond any machine": lambda: matrix(6, (2**30, 2**30, 2**30), b"", b"boxes"),
}


def refusal(content: bytes, path: Path) -> str:
    """The message with which `content` is refused; it names the file and is one line."""
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        read_mat_proposals(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def max_resident_mib(who: int) -> int:
    """The most memory that this process, or any child of it that has ended, has held."""
    return resource.getrusage(who).ru_maxrss // 2**10


@pytest.mark.parametrize("name", BOMBS)
def test_a_few_bytes_that_stand_for_gigabytes_are_refused(name: str, tmp_path: Path) -> None:
    """Each file is small and asks for more than the limit; the child stays below it, and the caller takes nothing."""
    content = HEADER + BOMBS[name]()
    own, children = (max_resident_mib(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    refusal(content, tmp_path / "bomb.mat")

    assert len(content) < 8 * 2**20
    assert max_resident_mib(resource.RUSAGE_SELF) - own < 64
    # at most, since an earlier child of the same test process may have held more
    assert max_resident_mib(resource.RUSAGE_CHILDREN) <= max(own, children, 1536 + 256)


def test_too_much_memory_is_named_as_the_reason(tmp_path: Path) -> None:
    """The message says how much there is, and what would do."""
    message = refusal(HEADER + BOMBS["a cell of a billion arrays"](), tmp_path / "bomb.mat")

    assert message.endswith("needs more than 1536 MiB of memory; split it by image set")


def test_cells_nested_deeper_than_the_stack_are_refused(tmp_path: Path) -> None:
    """SciPy's reader calls itself for each level, and crashes."""
    content = b"".join(matrix(1, (1, 1), b"", b"boxes" if level == 0 else b"") for level in range(100_000))

    assert "SciPy's reader crashed" in refusal(
        HEADER + struct.pack("<2I", 14, len(content)) + content[8:], tmp_path / "deep.mat"
    )


@pytest.mark.parametrize("stored_as", [8, 19, 0xFFFFFFFF])
def test_values_of_an_unknown_type_are_refused(stored_as: int, tmp_path: Path) -> None:
    """SciPy's reader looks such a type up outside its table, which may kill its process."""
    numbers = matrix(6, (1, 4), element(stored_as, struct.pack("<4d", 1, 1, 9, 9)))

    refusal(HEADER + matrix(1, (1, 1), numbers, b"boxes"), tmp_path / "type.mat")


@pytest.mark.parametrize("dimensions", [(), (-1, 2)])
def test_arrays_without_valid_dimensions_are_refused(dimensions: tuple[int, ...], tmp_path: Path) -> None:
    """An array has two or more; text that has none kills the process of SciPy's reader."""
    text = matrix(4, dimensions, element(16, b"abc"))

    refusal(HEADER + matrix(1, (1, 1), text, b"images"), tmp_path / "flat.mat")


@pytest.mark.parametrize("held", [{"boxes": csc_matrix(np.eye(3)), "images": ["a"]}, {"boxes": {"a": 1}, "images": {}}])
def test_what_is_neither_cells_nor_numbers_nor_text_is_refused(held: dict[str, object], tmp_path: Path) -> None:
    """Sparse arrays and structures are no proposals."""
    savemat(tmp_path / "held.mat", held)

    refusal((tmp_path / "held.mat").read_bytes(), tmp_path / "other.mat")


def test_an_array_of_unknown_class_is_refused(tmp_path: Path) -> None:
    """It is the file's fault, although SciPy's reader fails with an error of its own."""
    assert "no proposals" in refusal(HEADER + matrix(20, (1, 1), b"", b"boxes"), tmp_path / "class.mat")


def test_version_7_3_is_told_from_version_5(tmp_path: Path) -> None:
    """It is another format, and its message says what to do."""
    content = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM" + b"\x89HDF" * 100

    assert "save it with -v7" in refusal(content, tmp_path / "new.mat")


@pytest.mark.parametrize(
    ("ended_by", "error", "line"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", Unavailable, "was killed; give the step more memory"),
        ("os.kill(os.getpid(), signal.SIGXCPU)", InvalidInput, "300 seconds of CPU time"),
        ("raise KeyError('a mistake of the program')", RuntimeError, "a mistake of the program"),
    ],
)
def test_each_end_of_the_child_has_its_error(
    ended_by: str, error: type[Exception], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that the machine killed may work later; a mistake in the program is not the file's."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport os, signal\n{ended_by}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))

    with pytest.raises(error, match=line):
        read_mat_proposals(tmp_path / "any.mat")
