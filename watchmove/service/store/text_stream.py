"""Large text files as streams: unpacked as they come, cut at line ends, in bounded memory whatever they contain."""

import bz2
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.store.store import ObjectChanged, Store, StoredObject

PIECE_BYTES = 2**20
"""What is unpacked at a time, however many bytes a packed one stands for."""
LONGEST_LINE_BYTES = 2**20


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def text_of(store: Store, item: StoredObject) -> Iterator[bytes]:
    """The bytes of just the file that `item` describes, unpacked as its name says.

    Raises:
        InvalidInput: it is damaged, or ends too early.
        Unavailable: another file lies there now, or the store cannot be reached.
    """
    where = f"{store.uri}/{item.key}"
    try:
        yield from unpacked(store.stream(item), where)
    except ObjectChanged as error:
        raise Unavailable(f"{where}: changed while it was read; run again") from error


def unpacked(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """The bytes of a file that is plain, bzip2 or gzip, as its name `where` ends; several packed after one another too.

    Raises:
        InvalidInput: it is damaged, or ends too early.
    """
    if where.endswith(".bz2"):
        return _unpack(pieces, where, bz2.BZ2Decompressor)
    if where.endswith(".gz"):
        return _unpack(pieces, where, _Gzip)
    return pieces


class _Gzip:
    """zlib's reader of gzip with the manners of bz2's: it keeps what it has not yet unpacked."""

    def __init__(self) -> None:
        self._reader = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        """Whether the end was met."""
        return self._reader.eof

    @property
    def unused_data(self) -> bytes:
        """What follows the end."""
        return self._reader.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Up to `max_length` bytes more."""
        return self._reader.decompress(self._reader.unconsumed_tail + data, max_length)


def _unpack(pieces: Iterator[bytes], where: str, new: Callable[[], _Unpacker]) -> Iterator[bytes]:
    reader: _Unpacker | None = None
    try:
        for piece in pieces:
            rest = piece
            while rest:
                reader = reader or new()
                yield from _drained(reader, rest)
                rest = reader.unused_data if reader.eof else b""
                reader = None if reader.eof else reader
    except (OSError, zlib.error) as error:
        raise InvalidInput(f"{where}: damaged ({error}); bring it again") from error
    if reader is not None:
        raise InvalidInput(f"{where}: ends too early; bring it again")


def _drained(reader: _Unpacker, piece: bytes) -> Iterator[bytes]:
    data = reader.decompress(piece, PIECE_BYTES)
    while data:
        yield data
        data = b"" if reader.eof else reader.decompress(b"", PIECE_BYTES)


def blocks_of_lines(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """The same bytes in blocks that end where a line ends; a last line without its end gets one.

    Raises:
        InvalidInput: a line is longer than any text's.
    """
    rest = b""
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if end:
            yield rest + piece[:end]
            rest = piece[end:]
        else:
            rest += piece
        if len(rest) > LONGEST_LINE_BYTES:
            raise InvalidInput(f"{where}: a line of more than {LONGEST_LINE_BYTES} bytes; this is no list of videos")
    if rest:
        yield rest + b"\n"


def lines(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Lines without their ends. Raises as `blocks_of_lines` does."""
    for block in blocks_of_lines(pieces, where):
        yield from block[:-1].split(b"\n")
