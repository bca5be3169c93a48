"""Tar files of samples: what is written is read, by us and by the WebDataset library."""

import contextlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline.dataset.mask_samples import drawn_samples, drawn_shard
from watchmove.pipeline.dataset.shard import Sample, index_shard, read_sample, read_shard, sample_in, write_shard
from watchmove.pipeline.errors import InvalidInput

SAMPLES = [
    Sample("video-000001", b"a jpeg", b"a mask", {"video": "one.mp4", "licence": ""}),
    Sample("video-000002", b"another", b"", {"video": "één.mp4", "time_seconds": 0.5}),
]


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    """A tar made without our writer."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_samples_are_read_as_written(tmp_path: Path) -> None:
    """Keys, bytes and metadata are read in the order they were written, and the writer returns their number."""
    count = write_shard(tmp_path / "shard.tar", SAMPLES)

    assert (count, list(read_shard(tmp_path / "shard.tar"))) == (2, SAMPLES)


def test_same_samples_give_same_bytes(tmp_path: Path) -> None:
    """Nothing of the machine or the hour gets into a shard, so its hash is its content's."""
    for name in ("first.tar", "second.tar"):
        write_shard(tmp_path / name, SAMPLES)

    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


def test_a_sample_is_read_alone_by_its_place(tmp_path: Path) -> None:
    """The index leads to the second sample without the first."""
    write_shard(tmp_path / "shard.tar", SAMPLES)

    assert read_sample(index_shard(tmp_path / "shard.tar")[1]) == SAMPLES[1]


def test_the_webdataset_library_reads_our_shards(tmp_path: Path) -> None:
    """Its own reader and decoders find the same keys, pictures, masks and metadata."""
    shard = drawn_shard(tmp_path / "shard.tar", videos=2, frames=2)

    theirs = list(webdataset.WebDataset(str(shard), shardshuffle=False).decode(only=["json"]))

    ours = list(drawn_samples(2, 2))
    assert [sample["__key__"] for sample in theirs] == [sample.key for sample in ours]
    assert [(s["jpg"], s["mask.png"], s["json"]) for s in theirs] == [(s.jpeg, s.mask_png, s.metadata) for s in ours]


def test_other_files_and_incomplete_samples_are_passed_over(tmp_path: Path) -> None:
    """A shard of another maker may hold more than ours; a sample without a mask is no sample."""
    whole = {"a.jpg": b"1", "a.mask.png": b"2", "a.json": b"{}", "a.cls": b"7"}
    shard = tar_of(tmp_path / "shard.tar", {"readme.txt": b"hello", "b.jpg": b"3", "b.json": b"{}", **whole})

    assert [sample.key for sample in read_shard(shard)] == ["a"]


@pytest.mark.parametrize("part", ["jpg", "json"])
def test_a_mask_without_its_other_files_is_refused(tmp_path: Path, part: str) -> None:
    """The message names the frame and what it lacks: a mask belongs to a frame of which something was lost."""
    files = {"a.jpg": b"1", "a.mask.png": b"2", "a.json": b"{}", "b.jpg": b"3", "b.mask.png": b"4", "b.json": b"{}"}
    del files[f"b.{part}"]

    with pytest.raises(
        InvalidInput, match=rf"1 frames are incomplete, 'b' has no file \.{part}; extract its shard again"
    ):
        index_shard(tar_of(tmp_path / "shard.tar", files))


def test_a_linked_mask_is_refused(tmp_path: Path) -> None:
    """Programs write the second of two hard-linked files as a link, which is not followed."""
    shard = tar_of(
        tmp_path / "s.tar", {"a.jpg": b"1", "a.mask.png": b"2", "a.json": b"{}", "b.jpg": b"3", "b.json": b"{}"}
    )
    with tarfile.open(shard, "a") as tar:
        link = tarfile.TarInfo("b.mask.png")
        link.type, link.linkname = tarfile.LNKTYPE, "a.mask.png"
        tar.addfile(link)

    with pytest.raises(InvalidInput, match=r"'b' has no file \.mask\.png; extract its shard again, or pack it without"):
        index_shard(shard)


def test_same_names_in_two_folders_are_two_samples(tmp_path: Path) -> None:
    """WebDataset keys include the folder, so files of two folders never mix; dots in a folder's name mean nothing."""
    parts = {"jpg": b"1", "mask.png": b"2", "json": b"{}"}
    shard = tar_of(tmp_path / "s.tar", {f"{f}/7.{part}": c for f in ("v1.0", "v2.0") for part, c in parts.items()})

    assert [sample.key for sample in read_shard(shard)] == ["v1.0/7", "v2.0/7"]


@pytest.mark.parametrize("content", [b"this is a text", b"\x00" * 100])
def test_what_is_no_tar_is_named(tmp_path: Path, content: bytes) -> None:
    """The message names the file."""
    (tmp_path / "broken.tar").write_bytes(content)

    with pytest.raises(InvalidInput, match=r"broken\.tar"):
        index_shard(tmp_path / "broken.tar")


def test_a_truncated_tar_is_named(tmp_path: Path) -> None:
    """A shard that was cut in the middle of a file does not pass for a shorter one."""
    shard = drawn_shard(tmp_path / "cut.tar", videos=1, frames=2)
    shard.write_bytes(shard.read_bytes()[:9000])

    with pytest.raises(InvalidInput, match=r"cut\.tar"):
        index_shard(shard)


def test_a_sample_is_found_in_its_bytes_alone(tmp_path: Path) -> None:
    """The bytes of a place's extent are enough to read the sample, and hold no sample of another key."""
    write_shard(tmp_path / "shard.tar", SAMPLES)
    begin, size = index_shard(tmp_path / "shard.tar")[1].extent
    content = (tmp_path / "shard.tar").read_bytes()[begin : begin + size]

    assert sample_in(content, SAMPLES[1].key) == SAMPLES[1]
    with pytest.raises(InvalidInput, match=r"other: no other\.jpg where its index says"):
        sample_in(content, "other")


@given(at=st.integers(0, 4000), junk=st.binary(min_size=1, max_size=600), kept=st.integers(0, 4096))
def test_damaged_bytes_are_no_sample_or_say_so(at: int, junk: bytes, kept: int) -> None:
    """Whatever is overwritten or cut off: a sample or InvalidInput, and an end, also with sizes below nought."""
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for part, text in (("jpg", b"1" * 600), ("mask.png", b"2"), ("json", b"{}")):
                entry = tarfile.TarInfo(f"k.{part}")
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text))
        whole = buffer.getvalue()
    spoilt = (whole[:at] + junk + whole[at + len(junk) :])[:kept]
    with contextlib.suppress(InvalidInput):
        assert sample_in(spoilt, "k").key == "k"


@pytest.mark.parametrize("size", [b"-0000001000\0", b"-1000".rjust(12), (-512).to_bytes(12, "big", signed=True)])
def test_a_size_below_nought_ends(size: bytes) -> None:
    """A header that leads back to itself is no endless tar."""
    header = bytearray(tarfile.TarInfo("k.jpg").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = size

    with pytest.raises(InvalidInput, match="no files where its index says"):
        sample_in(bytes(header), "k")


def test_keys_with_folders_and_long_names_are_found(tmp_path: Path) -> None:
    """As other makers write them: names beyond a hundred letters have their folders in a field of their own."""
    keys = ["a/b/7", f"{'folder' * 15}/{'name' * 20}"]
    parts = {"jpg": b"1", "mask.png": b"2", "json": b"{}"}
    for tar_format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT):
        shard = tmp_path / f"{tar_format}.tar"
        with tarfile.open(shard, "w", format=tar_format) as tar:
            for key in keys[: 2 if tar_format == tarfile.USTAR_FORMAT else 1]:
                for part, content in parts.items():
                    entry = tarfile.TarInfo(f"{key}.{part}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        content = shard.read_bytes()
        for place in index_shard(shard):
            begin, size = place.extent
            assert sample_in(content[begin : begin + size], place.key) == read_sample(place)


@pytest.mark.parametrize("text", [b"{", json.dumps([1]).encode()])
def test_metadata_that_is_no_object_is_named(tmp_path: Path, text: bytes) -> None:
    """The message names the sample and its shard."""
    shard = tar_of(tmp_path / "shard.tar", {"k.jpg": b"", "k.mask.png": b"", "k.json": text})

    with pytest.raises(InvalidInput, match=r"shard\.tar: k\.json"):
        list(read_shard(shard))


def test_a_name_with_a_line_break_stays_in_one_line(tmp_path: Path) -> None:
    """Names in a tar are not trusted; a message quotes them."""
    shard = tar_of(tmp_path / "shard.tar", {"a\nb.mask.png": b"2"})
    with pytest.raises(InvalidInput, match=r"'a\\nb' has no file") as refused:
        index_shard(shard)

    assert "\n" not in str(refused.value)


def test_motion_is_a_part_that_not_every_sample_has(tmp_path: Path) -> None:
    """It is read as written, also from an extent; samples without it, as older extractions wrote, are read as well."""
    samples = [SAMPLES[0], replace(SAMPLES[1], motion_png=b"maps")]
    write_shard(tmp_path / "shard.tar", samples)
    content = (tmp_path / "shard.tar").read_bytes()
    places = index_shard(tmp_path / "shard.tar")

    assert list(read_shard(tmp_path / "shard.tar")) == samples
    for place, sample in zip(places, samples, strict=True):
        begin, size = place.extent
        assert sample_in(content[begin : begin + size], place.key) == sample


def test_motion_alone_is_no_frame(tmp_path: Path) -> None:
    """As other files without the three parts of a frame, it is ignored."""
    assert index_shard(tar_of(tmp_path / "shard.tar", {"k.motion.png": b"1"})) == []
