"""The files in tars: every entry of a file on disk, or the contents in a piece of a tar that was read by itself."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from watchmove.pipeline.errors import InvalidInput

# Fields of a tar's header that `_files_in` reads (POSIX.1-1988, the format "ustar").
_NAME, _SIZE, _TYPE, _MAGIC, _PREFIX = slice(100), slice(124, 136), slice(156, 157), slice(257, 263), slice(345, 500)

_BASE_256 = b"\x80"
"""First byte of a size that is written to the base 256."""

_EXTENDED_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
"""Types of headers that say more of the file after them, such as a name of over 100 bytes (PAX and GNU)."""

_MOST_PADDING_BYTES = 2 * tarfile.BLOCKSIZE + tarfile.RECORDSIZE
"""Zero bytes that may end a tar: two blocks, and what fills the record of 10 KiB that tar programs write by default. A
file whose end was lost and filled with zeros, as after a power cut, has more."""

_PIECE_BYTES = 2**20
"""Bytes that are read at a time. A bound on memory, not a tuned value."""


class _StrictHeader(tarfile.TarInfo):
    """An entry of which the size is read as `files_in` reads it: tarfile also takes `1_0`."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The entry of a header of 512 bytes."""
        entry = super().frombuf(buf, encoding, errors)
        try:
            _size_in(bytes(buf[_SIZE]))
        except ValueError as error:
            raise tarfile.InvalidHeaderError(str(error)) from error  # type: ignore[attr-defined]
        return entry


def members_of(path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield every entry of one tar, or of several that follow each other.

    Raises:
        InvalidInput: as `index_shard` does.

    tarfile takes a damaged header for the end of the tar, so what follows the last entry is checked here.
    """
    advice = "extract its shard again"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            begin: int | None = 0
            while begin is not None:
                file.seek(begin)
                # "r:" refuses compressed tars, in which the offsets would not be places in the file
                with tarfile.open(fileobj=file, mode="r:", tarinfo=_StrictHeader) as tar:
                    for member in tar:
                        if member.issparse():
                            raise InvalidInput(
                                f"{path}: {member.name} is stored as a sparse file; pack it without holes"
                            )
                        if member.offset_data + member.size > size:
                            raise InvalidInput(f"{path}: ends within {member.name}; {advice}")
                        yield member
                    end = tar.offset
                begin = _next_tar(file, end)
                if begin == end:
                    raise InvalidInput(f"{path}: byte {end} is no header of a tar; {advice}")
                zeros = (size if begin is None else begin) - end
                if zeros > _MOST_PADDING_BYTES:
                    raise InvalidInput(
                        f"{path}: {zeros} zero bytes from byte {end} on, where files may be lost; {advice}"
                    )
    # ValueError and RecursionError: tarfile expects numbers in extended headers, and calls itself for each of a chain
    except (tarfile.TarError, OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: not a readable tar file ({error}); {advice}") from error


def _next_tar(file: BinaryIO, end: int) -> int | None:
    """The first byte after `end` that is not zero, rounded down to blocks; None where only zeros follow."""
    file.seek(end)
    while blocks := file.read(_PIECE_BYTES):
        rest = blocks.lstrip(b"\0")
        if rest:
            return end + (len(blocks) - len(rest)) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        end += len(blocks)
    return None


def padded(length: int) -> int:
    """Bytes that a file of `length` bytes takes in a tar, without its header."""
    return -(-length // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def files_in(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of a tar. Raises ValueError, TarError or RecursionError for a damaged header.

    tarfile is used for extended headers alone: parsing all fields of headers would take a fifth of the time of making
    an example.
    """
    at = 0
    while at < len(content):
        header = content[at : at + tarfile.BLOCKSIZE]
        if header[_TYPE] in _EXTENDED_TYPES:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
                for member in tar:
                    yield member.name, content[member.offset_data : member.offset_data + member.size]
            return
        name, prefix = (_text(header[_NAME]), _text(header[_PREFIX]) if header[_MAGIC] == b"ustar\0" else "")
        # an empty block, which marks the end of a tar, raises ValueError: a sample's bytes have none
        size = _size_in(header[_SIZE])
        begin = at + tarfile.BLOCKSIZE
        yield f"{prefix}/{name}" if prefix else name, content[begin : begin + size]
        at = begin + padded(size)


def _size_in(field: bytes) -> int:
    """The size in a tar's header: octal digits, or from 8 GiB on a number to the base 256 (GNU). Raises ValueError."""
    if field[:1] == _BASE_256:
        return int.from_bytes(field[1:])
    digits = field.strip(b" \0")
    # bytes.isdigit, because `int` also reads a sign and underscores
    if not digits.isdigit():
        raise ValueError(f"{digits!r} is no size")
    return int(digits, 8)


def _text(field: bytes) -> str:
    # as tarfile decodes names when a shard is indexed
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
