"""The index of a shard, as it is stored."""

import gzip
from pathlib import Path

import pytest

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records.shard_index import read_index
from watchmove.service.store.folder import FileStore

WHOLE = gzip.compress(b"{}\n" * 100, mtime=0)


@pytest.mark.parametrize("damaged", [b"", b"not gzip", WHOLE[:-9], WHOLE[:10] + b"\xff" * 8 + WHOLE[18:]])
def test_a_damaged_index_is_one_line(damaged: bytes, tmp_path: Path) -> None:
    """An index that is cut off, is something else, or has wrong compressed data is invalid input."""
    store = FileStore(tmp_path)
    store.write("index.json.gz", damaged)

    with pytest.raises(InvalidInput, match=r"empty|damaged|not a FramePlace"):
        read_index(store, "index.json.gz")


def test_a_missing_index_is_named(tmp_path: Path) -> None:
    """The line says what would make the index again."""
    with pytest.raises(InvalidInput, match="remove the shard's record"):
        read_index(FileStore(tmp_path), "index.json.gz")


@pytest.mark.parametrize("offset", ['"1_0"', '"10"', "true", "1.5"])
def test_numbers_of_a_record_are_numbers(offset: str, tmp_path: Path) -> None:
    """A text or a truth value in a number's place is refused, with the number of its line."""
    row = f'{{"key": "v-000000", "offset": {offset}, "size_bytes": 512, "video": "v"}}\n'
    store = FileStore(tmp_path)
    store.write("index.json.gz", gzip.compress(row.encode()))

    with pytest.raises(InvalidInput, match="line 1: not a FramePlace"):
        read_index(store, "index.json.gz")


@pytest.mark.parametrize("crc32", [-2, 2**32, 10**30])
def test_a_checksum_has_32_bits(crc32: int, tmp_path: Path) -> None:
    """No other number can be one, and the table of frames has no room for some of them."""
    row = f'{{"key": "v-000000", "offset": 0, "size_bytes": 512, "video": "v", "crc32": {crc32}}}\n'
    store = FileStore(tmp_path)
    store.write("index.json.gz", gzip.compress(row.encode()))

    with pytest.raises(InvalidInput, match="line 1: not a FramePlace"):
        read_index(store, "index.json.gz")
