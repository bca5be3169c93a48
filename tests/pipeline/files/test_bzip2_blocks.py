"""bzip2 files, unpacked block by block: the bytes are those that the standard library gives."""

import bz2
import random
from collections.abc import Iterator

import pytest

from watchmove.pipeline.files.bzip2_blocks import unpacked_blocks


def made_up(n_bytes: int) -> bytes:
    """Bytes of which some parts pack well and others not at all."""
    draw = random.Random(5)
    parts = [draw.randbytes(1000) if draw.random() < 0.5 else draw.randbytes(7) * 200 for _ in range(n_bytes // 1200)]
    return b"".join(parts)


@pytest.mark.parametrize("piece_bytes", [1000, 4096, 2**18])
def test_blocks_of_several_streams_come_in_order(piece_bytes: int) -> None:
    """At each level of compression, and so for each size of blocks; empty streams and one of a single byte between."""
    data = made_up(1_500_000)
    packed = b"".join(bz2.compress(data, level) + bz2.compress(b"") + bz2.compress(b"x") for level in (1, 5, 9))
    pieces = (packed[start : start + piece_bytes] for start in range(0, len(packed), piece_bytes))

    assert b"".join(unpacked_blocks(pieces)) == (data + b"x") * 3


def test_pieces_may_be_single_bytes_or_empty() -> None:
    """A mark that is divided between pieces is found."""
    data = made_up(250_000)
    packed = bz2.compress(data, 1)
    pieces = (piece for start in range(len(packed)) for piece in (packed[start : start + 1], b""))

    assert b"".join(unpacked_blocks(pieces)) == data


def test_a_block_comes_before_the_file_ends() -> None:
    """Memory holds a few blocks, not the file."""
    packed = bz2.compress(made_up(2_000_000), 1)
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for start in range(0, len(packed), 1000):
            taken = start
            yield packed[start : start + 1000]

    next(unpacked_blocks(pieces()))

    assert taken < len(packed) / 2


def test_a_file_without_an_end_to_its_block_is_refused_early() -> None:
    """A bound on memory: endless bytes after the beginning of a block are not kept."""
    begin = bz2.compress(b"x")[:14]
    endless = (bytes(2**16) for _ in range(1000))

    with pytest.raises(OSError, match="Invalid data stream"):
        list(unpacked_blocks(piece for part in ([begin], endless) for piece in part))
    assert len(list(endless)) > 900


@pytest.mark.parametrize("damage", ["cut", "bits", "checksum", "after", "not bzip2"])
def test_what_the_standard_library_refuses_is_refused(damage: str) -> None:
    """Damage anywhere, also in the checksum of the whole stream, which no block has."""
    packed = bytearray(bz2.compress(made_up(300_000), 1))
    draw = random.Random(7)
    for _ in range(10):
        damaged = bytearray(packed)
        if damage == "cut":
            del damaged[draw.randrange(1, len(damaged)) :]
        elif damage == "bits":
            damaged[draw.randrange(20, len(damaged) - 12)] ^= 1 << draw.randrange(8)
        elif damage == "checksum":
            damaged[-2 - draw.randrange(3)] ^= 1 << draw.randrange(8)
        elif damage == "after":
            damaged += draw.randbytes(9)
        else:
            damaged = bytearray(draw.randbytes(100))

        with pytest.raises((OSError, EOFError, ValueError)):
            list(unpacked_blocks(iter([bytes(damaged)])))
