"""Tars as other programs write them and disks damage them: every frame is read, or the file is refused by name."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import webdataset

from watchmove.pipeline.dataset.shard import index_shard, read_sample, sample_in
from watchmove.pipeline.errors import InvalidInput

PARTS = {"jpg": b"1" * 600, "mask.png": b"2" * 600, "json": b"{}"}
KEYS = ["v-0", "v-1", "v-2", "v-3"]


def tar_bytes(
    keys: Sequence[str], tar_format: int = tarfile.USTAR_FORMAT, more: Sequence[tarfile.TarInfo] = (), mtime: float = 0
) -> bytes:
    """A tar with three files for each key, and then entries without content."""
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
            for key in keys:
                for part, content in PARTS.items():
                    entry = tarfile.TarInfo(f"{key}.{part}")
                    entry.size, entry.mtime = len(content), mtime
                    tar.addfile(entry, io.BytesIO(content))
            for entry in more:
                tar.addfile(entry)
        return buffer.getvalue()


def keys_in(path: Path, content: bytes) -> list[str]:
    """The keys of a shard, after every reader has given the same sample for each."""
    path.write_bytes(content)
    for place in index_shard(path):
        begin, size = place.extent
        sample = read_sample(place)
        assert (sample.jpeg, sample.mask_png) == (PARTS["jpg"], PARTS["mask.png"])
        assert sample_in(content[begin : begin + size], place.key) == sample
    return [place.key for place in index_shard(path)]


def with_size(content: bytes, size: bytes) -> bytes:
    """A tar with another size in its first header, and the header's sum corrected."""
    header = bytearray(content[: tarfile.BLOCKSIZE])
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content[tarfile.BLOCKSIZE :]


def with_pax_headers(headers: Mapping[str, str]) -> bytes:
    """A tar of one file with these extended headers."""
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            entry = tarfile.TarInfo("v-0.jpg")
            entry.size, entry.pax_headers = 1, headers
            tar.addfile(entry, io.BytesIO(b"1"))
        return buffer.getvalue()


def with_many_names(count: int) -> bytes:
    """A tar whose file has as many headers with its name."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    name = header.tobuf(tarfile.GNU_FORMAT) + b"v".ljust(tarfile.BLOCKSIZE, b"\0")
    return name * count + tar_bytes(KEYS)


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_are_read(tmp_path: Path, tar_format: int) -> None:
    """Names over 100 bytes, and of letters beyond ASCII."""
    keys = ["d" * 150 + "-0", "é" * 120 + "-1", "short-2"]

    assert keys_in(tmp_path / "s.tar", tar_bytes(keys, tar_format, mtime=1700000000.25)) == keys


@pytest.mark.parametrize("key", ["v-0", "d" * 150])
def test_shards_of_webdatasets_writer_are_read(tmp_path: Path, key: str) -> None:
    """Whatever format it chooses for a name."""
    with webdataset.TarWriter(str(tmp_path / "w.tar")) as writer:
        writer.write({"__key__": key, **PARTS})

    assert keys_in(tmp_path / "s.tar", (tmp_path / "w.tar").read_bytes()) == [key]


def test_joined_tars_are_read_to_their_end(tmp_path: Path) -> None:
    """As `cat a.tar b.tar` joins them, which tar programs read to the first end alone."""
    assert keys_in(tmp_path / "s.tar", tar_bytes(KEYS[:2]) + tar_bytes(KEYS[2:], tarfile.PAX_FORMAT)) == KEYS


def test_sizes_to_the_base_256_are_read(tmp_path: Path) -> None:
    """GNU tar writes them for large files."""
    assert keys_in(tmp_path / "s.tar", with_size(tar_bytes(KEYS), b"\x80" + (600).to_bytes(11))) == KEYS


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_passed_over(tmp_path: Path, kind: bytes) -> None:
    """They are never followed, also where they have the name of a frame's file."""
    entries = []
    for name in ("v-9.jpg", "v-0.json"):
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/hostname"
        entries.append(entry)

    assert keys_in(tmp_path / "s.tar", tar_bytes(KEYS, more=entries)) == KEYS


def test_a_file_twice_counts_once_if_it_is_the_same(tmp_path: Path) -> None:
    """Two different files of one name are refused: neither wins in silence."""
    content = tar_bytes(KEYS)

    assert keys_in(tmp_path / "s.tar", content + content) == KEYS
    with pytest.raises(InvalidInput, match=r"s\.tar: has two files 'v-0\.jpg' that differ"):
        keys_in(tmp_path / "s.tar", content + content.replace(b"1" * 600, b"3" * 600, 1))


TWO = len(tar_bytes(KEYS[:2]).rstrip(b"\0")) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE + tarfile.BLOCKSIZE
"""The byte at which the third frame begins."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar_bytes(KEYS)[: TWO + 700], "ends within v-2.jpg"),
        (tar_bytes(KEYS)[: TWO + 200], "not a readable tar file|is no header"),
        (tar_bytes(KEYS)[:TWO] + b"x" * 512 + tar_bytes(KEYS)[TWO + 512 :], f"byte {TWO} is no header of a tar"),
        (tar_bytes(KEYS)[:TWO] + bytes(60_000), f"zero bytes from byte {TWO} on, where files may be lost"),
        (tar_bytes(KEYS) + bytes(10**6), "zero bytes from byte"),
        (bytes(100_000), "100000 zero bytes from byte 0 on"),
        (b"", "not a readable tar file"),
        (with_size(tar_bytes(KEYS), b"77777777777\0"), "ends within v-0.jpg"),
        (with_size(tar_bytes(KEYS), b"00000001_130"), "not a readable tar file"),
        (with_size(tar_bytes(KEYS), b"\x80" + (2**40).to_bytes(11)), "ends within v-0.jpg"),
        (with_size(tar_bytes(KEYS), b"\xff" * 12), "not a readable tar file"),
        (with_pax_headers({"GNU.sparse.map": "1,x"}), "not a readable tar file"),
        (with_pax_headers({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}), "not a readable tar file"),
        (with_many_names(5000), "not a readable tar file"),
    ],
)
def test_a_damaged_tar_is_never_a_shorter_one(tmp_path: Path, content: bytes, message: str) -> None:
    """Cut off, with a damaged header in the middle, filled with zeros, or with an impossible size."""
    with pytest.raises(InvalidInput, match=rf"s\.tar: .*({message})"):
        keys_in(tmp_path / "s.tar", content)


def test_a_chain_of_names_is_no_sample() -> None:
    """Where the bytes of a frame are read alone, too."""
    with pytest.raises(InvalidInput, match="no files where its index says"):
        sample_in(with_many_names(5000), "v-0")


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    """Its bytes in the tar are not those of the file: here in the form of GNU tar before PAX."""
    entry = tarfile.TarInfo("v-9.jpg")
    entry.type = tarfile.GNUTYPE_SPARSE

    with pytest.raises(InvalidInput, match=r"s\.tar: v-9\.jpg is stored as a sparse file"):
        keys_in(tmp_path / "s.tar", tar_bytes(KEYS, more=[entry]))
