"""How much memory a MATLAB file asks for, found without taking it.

A file of version 5 (MathWorks, "MAT-File Format") says the size of each thing before the thing: a few bytes may stand
for gigabytes, compressed, or as dimensions alone. Headers are followed here, values are skipped piece by piece.
"""

import io
import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from watchmove.pipeline.errors import InvalidInput

_HEADER_BYTES, _TAG_BYTES = 128, 8
_MATRIX, _COMPRESSED = 14, 15
_CELL = 1
_VALUE_BYTES = {4: 4, 6: 8, 7: 4, 8: 1, 9: 1, 10: 2, 11: 2, 12: 4, 13: 4, 14: 8, 15: 8}
"""Bytes of one value in memory by class of array: characters as NumPy keeps them, then the types of numbers."""
_VALUE_TYPES = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18})
"""Types in which values may be stored. SciPy looks any other up beyond the end of its table, and crashes."""
_COMPLEX = 0x800
_ARRAY_BYTES = 200
"""What an array costs beside its values, its place in a cell included: many small ones are large too."""
_MAX_NAME_BYTES, _MIN_DIMENSIONS, _MAX_DIMENSIONS, _MAX_DEPTH = 4096, 2, 8, 4
_PIECE_BYTES = 2**16


class _Stream(Protocol):
    """What elements are read from."""

    def read(self, count: int, /) -> bytes:
        """At most so many bytes; none at the end."""


class _Unpacked:
    """One compressed element's content, never more in memory than is asked for."""

    def __init__(self, file: io.BufferedReader, packed_bytes: int) -> None:
        self._file, self._left, self._unpacker = file, packed_bytes, zlib.decompressobj()

    def read(self, count: int, /) -> bytes:
        """At most so many bytes; none at the end. Raises zlib.error where it is damaged."""
        content = b""
        while not content and not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._file.read(min(self._left, _PIECE_BYTES))
            if not packed:
                break
            self._left -= 0 if self._unpacker.unconsumed_tail else len(packed)
            content = self._unpacker.decompress(packed, count)
        return content


class _Matrix(NamedTuple):
    """An array's header."""

    kind: int
    is_complex: bool
    n_values: int
    name: bytes


class _Walk:
    """One way through a file, which ends where what was met so far would take more than `max_bytes`."""

    def __init__(self, path: Path, order: str, max_bytes: int) -> None:
        self._path, self._order, self._max_bytes, self._taken = path, order, max_bytes, 0

    def matrix(self, stream: _Stream, wanted: Collection[bytes], depth: int = 0) -> None:
        """Count one array with all that it holds; at depth 0 only where its name is wanted."""
        kind, size = self._pair(_exactly(stream, _TAG_BYTES))
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} where an array begins")
        self._take(_ARRAY_BYTES)
        if size == 0:
            return
        header = self._header(stream)
        if depth == 0 and header.name not in wanted:
            return
        if header.kind != _CELL:
            self._values(stream, header)
        elif depth == _MAX_DEPTH:
            raise ValueError(f"cells within cells, more than {_MAX_DEPTH} deep")
        else:
            self._take(header.n_values * _ARRAY_BYTES)
            for _ in range(header.n_values):
                self.matrix(stream, wanted, depth + 1)

    def _header(self, stream: _Stream) -> _Matrix:
        flags, _ = self._pair(self._content(stream, _TAG_BYTES))
        extents = self._content(stream, 4 * _MAX_DIMENSIONS)
        dimensions = struct.unpack(f"{self._order}{len(extents) // 4}i", extents[: len(extents) // 4 * 4])
        if len(dimensions) < _MIN_DIMENSIONS or min(dimensions) < 0:  # SciPy crashes on text that has none
            raise ValueError(f"an array of dimensions {dimensions}")
        return _Matrix(
            flags & 0xFF, bool(flags & _COMPLEX), math.prod(dimensions), self._content(stream, _MAX_NAME_BYTES)
        )

    def _values(self, stream: _Stream, header: _Matrix) -> None:
        """Count numbers or characters: what their dimensions promise, or their bytes where these are more."""
        if header.kind not in _VALUE_BYTES:
            raise ValueError(f"an array of class {header.kind}, neither cells nor numbers nor text")
        promised = header.n_values * _VALUE_BYTES[header.kind]
        for _ in range(1 + header.is_complex):
            self._take(promised)
            kind, size, inline = self._tag(stream)
            if kind not in _VALUE_TYPES:
                raise ValueError(f"values stored as type {kind}")
            self._take(max(size - promised, 0))
            for _ in _pieces(stream, 0 if inline else _padded(size)):
                pass

    def _content(self, stream: _Stream, max_bytes: int) -> bytes:
        """An element's bytes, of which there are few."""
        _, size, inline = self._tag(stream)
        if size > max_bytes:
            raise ValueError(f"a header of {size} bytes")
        return (inline or _exactly(stream, _padded(size)))[:size]

    def _tag(self, stream: _Stream) -> tuple[int, int, bytes]:
        """An element's type, its bytes' number, and these with padding where they are 4 at most, in the tag itself."""
        tag = _exactly(stream, _TAG_BYTES)
        kind, size = self._pair(tag)
        inline_size = kind >> 16
        return (kind & 0xFFFF, inline_size, tag[4:]) if inline_size else (kind, size, b"")

    def _pair(self, content: bytes) -> tuple[int, int]:
        first, second = struct.unpack(f"{self._order}2I", content)
        return first, second

    def _take(self, count: int) -> None:
        self._taken += count
        if self._taken > self._max_bytes:
            raise InvalidInput(
                f"{self._path}: more than {self._max_bytes // 2**20} MiB once unpacked; split it by image set"
            )


def _padded(size: int) -> int:
    """Bytes that an element takes of the stream: a multiple of 8."""
    return -(-size // _TAG_BYTES) * _TAG_BYTES


def _pieces(stream: _Stream, count: int) -> Iterator[bytes]:
    """So many bytes, piece by piece. Raises EOFError where there are fewer."""
    while count > 0:
        piece = stream.read(min(count, _PIECE_BYTES))
        if not piece:
            raise EOFError("cut short")
        count -= len(piece)
        yield piece


def _exactly(stream: _Stream, count: int) -> bytes:
    return b"".join(_pieces(stream, count))


def check_unpacked_size(path: Path, names: Collection[str], max_bytes: int) -> None:
    """Raise InvalidInput where reading the variables `names` would take more than `max_bytes` of memory.

    Raises NotImplementedError for version 7.3; ValueError, EOFError, struct.error or zlib.error for what is no file of
    version 5 or holds, under such a name, anything but cells, numbers and text.
    """
    wanted = {name.encode() for name in names}
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:])
        if order is None or 0 in header[:4]:
            raise ValueError("no MATLAB file of version 5")
        if header[125 if order == "<" else 124] == 2:
            raise NotImplementedError("version 7.3")
        walk = _Walk(path, order, max_bytes)
        while len(tag := file.read(_TAG_BYTES)) == _TAG_BYTES:
            kind, size = struct.unpack(f"{order}2I", tag)
            after = file.tell() + size
            if kind == _COMPRESSED:
                walk.matrix(_Unpacked(file, size), wanted)
            else:
                file.seek(-_TAG_BYTES, io.SEEK_CUR)
                walk.matrix(file, wanted)
            file.seek(after)
