"""Where frames lie: tables of local shards and of indexes, and reading them by their bytes."""

import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.dataset.mask_samples import drawn_shard
from watchmove.pipeline.dataset.frame_table import Frame, LocalShards, frame_table, frames_in
from watchmove.pipeline.dataset.shard import read_shard, sample_in
from watchmove.pipeline.errors import InvalidInput


def test_every_frame_is_read_by_its_place(tmp_path: Path) -> None:
    """Two shards: the same samples as by reading the tars, and no byte beyond."""
    shards = [drawn_shard(tmp_path / f"{name}.tar", videos=videos, frames=3) for name, videos in (("a", 2), ("b", 1))]
    table, source = frames_in(shards), LocalShards()
    places = zip(table.shard.tolist(), table.offset.tolist(), table.size_bytes.tolist(), table.keys, strict=True)
    samples = [sample_in(source.read_range(table.shards[n], at, size), key.decode()) for n, at, size, key in places]

    assert samples == [sample for shard in shards for sample in read_shard(shard)]
    assert table.videos == ("video0", "video1")
    assert int(table.size_bytes.sum()) <= sum(shard.stat().st_size for shard in shards)


def test_an_empty_shard_among_others_is_named(tmp_path: Path) -> None:
    """A tar that has lost its contents does not make the dataset smaller in silence."""
    shards = [drawn_shard(tmp_path / "a.tar", videos=1, frames=3), tmp_path / "b.tar"]
    shards[1].write_bytes(bytes(10240))

    with pytest.raises(InvalidInput, match=r"b\.tar: holds no frame, other shards do"):
        frames_in(shards)


def test_the_digest_is_of_the_frames_and_not_of_the_folder(tmp_path: Path) -> None:
    """A training that moved goes on; one frame more is another dataset."""
    tables = [
        frames_in([drawn_shard(tmp_path / folder / "drawn.tar", videos=2, frames=frames)])
        for folder, frames in (("one", 3), ("two", 3), ("three", 4))
    ]

    assert tables[0].digest() == tables[1].digest()
    assert tables[0].digest() != tables[2].digest()


@pytest.mark.parametrize(
    "frame", [Frame("a-1", -512, 1024, "a"), Frame("a-1", 0, 0, "a"), Frame("", 0, 512, ""), Frame("k" * 300, 0, 1, "")]
)
def test_an_index_that_cannot_be_is_named(frame: Frame) -> None:
    """It comes from a store, and anything can stand in it."""
    with pytest.raises(InvalidInput, match="shard-7: its index has frame"):
        frame_table([("shard-7", [frame])])


def test_a_key_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    """Names in tars have any bytes, those of keys in a table have not."""
    shard = drawn_shard(tmp_path / "a.tar", videos=1, frames=1)
    with tarfile.open(shard) as whole, tarfile.open(tmp_path / "b.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for entry in whole:
            content = whole.extractfile(entry)
            entry.name = f"\udce9{entry.name}"
            tar.addfile(entry, content)

    with pytest.raises(InvalidInput, match=r"b\.tar: the key '\\udce9.*' is not UTF-8"):
        frames_in([tmp_path / "b.tar"])


def test_a_shard_whose_own_name_is_not_utf_8_has_a_digest(tmp_path: Path) -> None:
    """It is a path of this machine, which opens it."""
    shard = drawn_shard(tmp_path / "a.tar", videos=1, frames=1)

    assert len(frames_in([shard.rename(tmp_path / "\udce9.tar")]).digest()) == 64


def test_frames_are_in_the_order_of_their_bytes() -> None:
    """Whatever the order of the index: ranks and runs go by it."""
    table = frame_table([("s", [Frame("b-1", 4096, 512, "b"), Frame("a-1", 0, 512, "a")]), ("empty", [])])

    assert table.keys.tolist() == [b"a-1", b"b-1"]
    assert np.all(np.diff(table.offset) > 0)


def test_a_shard_that_is_gone_or_short_is_named(tmp_path: Path) -> None:
    """Both say which, and what would do."""
    shard = drawn_shard(tmp_path / "cut.tar", videos=1, frames=1)

    with pytest.raises(InvalidInput, match=r"gone\.tar: is missing; extract and gather again"):
        LocalShards().read_range(str(tmp_path / "gone.tar"), 0, 10)
    with pytest.raises(InvalidInput, match=r"cut\.tar: ends before byte 1000000"):
        LocalShards().read_range(str(shard), 512, 999_488)


def test_bytes_are_compared_with_their_sum_where_it_is_known() -> None:
    """Without a CRC-32 all bytes are accepted; with one, any changed bit is noticed."""
    table = frame_table([("s", [Frame("a-1", 0, 4, "a", zlib.crc32(b"some")), Frame("a-2", 512, 4, "a")])])
    accepted = [table.is_whole(row, content) for row in (0, 1) for content in (b"some", b"same")]

    assert accepted == [True, False, True, True]
