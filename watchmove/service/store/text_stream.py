"""Streams of large text files: decompressed while they are read and split at line ends, in bounded memory."""

import bz2
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.bzip2_blocks import unpacked_blocks
from watchmove.service.store.store import ObjectChanged, Store, StoredObject

PIECE_BYTES = 2**20
"""Most bytes that are decompressed at a time: a bound on memory against files that expand enormously."""

LONGEST_LINE_BYTES = 2**20
"""Longest line that is accepted: a bound on memory, not a tuned value."""

_GZIP_WINDOW_BITS = 31
"""zlib's argument for the largest window (15) with a gzip header (+16)."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def text_of(store: Store, item: StoredObject) -> Iterator[bytes]:
    """Yield the bytes of the file that `item` describes, decompressed if its name ends in `.bz2` or `.gz`.

    Raises:
        InvalidInput: the file is damaged or truncated.
        Unavailable: the file has changed since `item` was listed, or the store cannot be reached.
    """
    where = f"{store.uri}/{item.key}"
    try:
        yield from unpacked(lambda: store.stream(item), where)
    except ObjectChanged as error:
        raise Unavailable(f"{where}: changed while it was read; run again") from error


def unpacked(packed: Callable[[], Iterator[bytes]], where: str) -> Iterator[bytes]:
    """Yield the bytes of a plain, bzip2 or gzip file, by the ending of its name `where`; several streams may follow
    one another in the file.

    `packed` gives the file's own bytes from the first on. It is called again for a bzip2 file whose blocks cannot be
    told apart.

    Raises:
        InvalidInput: the file is damaged or truncated.
    """
    if where.endswith(".bz2"):
        return _unpack_bzip2(packed, where)
    if where.endswith(".gz"):
        return _unpack(packed(), where, _Gzip)
    return packed()


def _unpack_bzip2(packed: Callable[[], Iterator[bytes]], where: str) -> Iterator[bytes]:
    """Yield the bytes of a bzip2 file, unpacked by several threads, and from where that ends early by one."""
    given = 0
    try:
        for block in unpacked_blocks(packed()):
            for start in range(0, len(block), PIECE_BYTES):
                piece = block[start : start + PIECE_BYTES]
                given += len(piece)
                yield piece
    except (OSError, EOFError, ValueError):
        for data in _unpack(packed(), where, bz2.BZ2Decompressor):
            rest, given = data[given:], max(0, given - len(data))
            if rest:
                yield rest


class _Gzip:
    """zlib's gzip decompressor with the interface of bz2's: it keeps the input that it has not yet decompressed."""

    def __init__(self) -> None:
        self._reader = zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed stream was reached."""
        return self._reader.eof

    @property
    def unused_data(self) -> bytes:
        """The bytes that follow the end of the compressed stream."""
        return self._reader.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return up to `max_length` more decompressed bytes."""
        return self._reader.decompress(self._reader.unconsumed_tail + data, max_length)


def _unpack(pieces: Iterator[bytes], where: str, new: Callable[[], _Unpacker]) -> Iterator[bytes]:
    reader: _Unpacker | None = None  # None between two compressed streams
    try:
        for piece in pieces:
            rest = piece
            while rest:
                reader = reader or new()
                yield from _drained(reader, rest)
                # the bytes after one stream begin the next: parallel compressors write a file as many streams
                rest = reader.unused_data if reader.eof else b""
                reader = None if reader.eof else reader
    except (OSError, zlib.error) as error:
        raise InvalidInput(f"{where}: damaged ({error}); copy the file to the store again") from error
    if reader is not None:
        raise InvalidInput(f"{where}: ends too early; copy the file to the store again")


def _drained(reader: _Unpacker, piece: bytes) -> Iterator[bytes]:
    data = reader.decompress(piece, PIECE_BYTES)
    while data:
        yield data
        # bz2 raises EOFError if it is asked for more after the end of its stream
        data = b"" if reader.eof else reader.decompress(b"", PIECE_BYTES)


def blocks_of_lines(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Yield the bytes of `pieces` in blocks that end with a line break; one is added to a last line without it.

    Raises:
        InvalidInput: a line is longer than LONGEST_LINE_BYTES.
    """
    rest = b""
    for piece in pieces:
        # blocks and not lines, because a large file is searched for its few wanted lines a block at a time
        end = piece.rfind(b"\n") + 1
        if end:
            yield rest + piece[:end]
            rest = piece[end:]
        else:
            rest += piece
        if len(rest) > LONGEST_LINE_BYTES:
            raise InvalidInput(
                f"{where}: a line of more than {LONGEST_LINE_BYTES} bytes; name a text file with one video a line"
            )
    if rest:
        yield rest + b"\n"


def lines(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Yield lines without their line breaks.

    Raises:
        InvalidInput: a line is longer than LONGEST_LINE_BYTES.
    """
    for block in blocks_of_lines(pieces, where):
        # without the last line break, after which split would find one more, empty line
        yield from block[:-1].split(b"\n")
