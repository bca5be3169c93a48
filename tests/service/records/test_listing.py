"""The listing of a plan: written and read as a stream, and damage is told."""

import gzip
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.listing import ListingWriter, listing_lines, read_listing
from watchmove.service.records.outcomes import Credit, Video
from watchmove.service.records.record import Origin, origin
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.store.store import Store

KEY = layout.listing("recipe", "plan")


def made_by() -> Origin:
    """Who writes listings here."""
    return origin(load_settings(LAPTOP), {})


def videos(count: int) -> Iterator[Video]:
    """Videos of which some have a credit."""
    for number in range(count):
        credit = Credit(owner="Ann\nand\u2028Bob", title=str(number), latitude=0.0) if number % 2 else Credit()
        yield Video(id=f"{number:016x}", key=f"{number}.mp4", etag="e", size_bytes=number, credit=credit)


def write(path: Path, count: int) -> str:
    """Write a listing; its digest."""
    writer = ListingWriter(path, made_by(), "s3://videos")
    for video in videos(count):
        writer.add(video)
    return writer.close()


def test_what_is_written_is_read(store: Store, tmp_path: Path) -> None:
    """Every video as it was, in order; any line break in a title stays in its line."""
    write(tmp_path / "listing.json.gz", 100)
    store.upload(KEY, tmp_path / "listing.json.gz")

    assert list(read_listing(store, "recipe", "plan")) == list(videos(100))
    lines = [Video.model_validate_json(line) for line in listing_lines(tmp_path / "listing.json.gz")]
    assert lines == list(videos(100))


def test_the_digest_tells_lists_apart_and_nothing_else(tmp_path: Path) -> None:
    """The same videos have the same one whenever they are written down."""
    digests = [write(tmp_path / f"{number}.json.gz", count) for number, count in enumerate((7, 7, 8))]

    assert digests[0] == digests[1] != digests[2]


def test_what_is_not_known_is_not_written() -> None:
    """A video of a folder takes as little space as it did before there were credits."""
    plain, credited = list(videos(2))

    assert plain.model_dump_json() == '{"id":"0000000000000000","key":"0.mp4","etag":"e","size_bytes":0}'
    assert '"latitude":0.0' in credited.model_dump_json()


def test_damage_is_told(store: Store, tmp_path: Path) -> None:
    """A listing that is gone, cut, no gzip, or has a line that is no video."""
    write(tmp_path / "listing.json.gz", 5)
    whole = (tmp_path / "listing.json.gz").read_bytes()
    bad = gzip.compress(gzip.decompress(whole) + b'{"id": 1}\n')
    with pytest.raises(InvalidInput, match="not there; run `watchmove plan` first"):
        list(read_listing(store, "recipe", "plan"))
    for content, words in ((whole[:-9], "ends too early"), (b"text", "damaged"), (bad, "line 7: not a Video")):
        store.write(KEY, content)
        with pytest.raises(InvalidInput, match=words):
            list(read_listing(store, "recipe", "plan"))


def test_memory_does_not_grow_with_the_listing(tmp_path: Path) -> None:
    """Neither the writer's nor the reader's."""
    peaks = []
    for count in (5_000, 40_000):
        tracemalloc.start()
        write(tmp_path / "listing.json.gz", count)
        assert sum(1 for _ in listing_lines(tmp_path / "listing.json.gz")) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.2 * peaks[0] + 100_000
