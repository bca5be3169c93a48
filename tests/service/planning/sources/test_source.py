"""The source that the settings name: found, told apart, and read whole whatever the network does."""

import bz2
import json
import random
from pathlib import Path

import pytest

from tests.service.conftest import MakeContext
from tests.service.faults.faulty_proxy import faulty_proxy
from tests.service.planning.sources.test_yfcc100m import HASH, row, sqlite_file
from watchmove.pipeline.errors import InvalidInput, Stopped, Unavailable
from watchmove.service.planning.sources.listed import Tally
from watchmove.service.planning.sources.source import Source
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings
from watchmove.service.store import ranged_download
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import ObjectChanged, Store, StoredObject


def settings_of(*words: str) -> Settings:
    """Settings with some words changed."""
    return load_settings(LAPTOP, words)


def keys(*words: str) -> list[str]:
    """The keys that a source names; every row must be sound."""
    tally = Tally()
    found = [video.key for video in Source(settings_of(*words)).rows(tally)]
    assert tally.rows_malformed == 0
    return found


def test_what_lies_at_videos_is_the_list_where_none_is_named(store: Store) -> None:
    """A folder or a bucket's prefix, in the order of keys; files that are no videos are counted."""
    for key in ("b.mp4", "a/c.MOV", "notes.txt"):
        store.write(key, b"12")
    tally = Tally()
    found = list(Source(settings_of(f"videos={store.uri}")).rows(tally))

    assert [(video.key, video.size_bytes) for video in found] == [("a/c.MOV", 2), ("b.mp4", 2)]
    assert all(video.etag for video in found)
    assert tally.text() == "1 other files"


def test_every_kind_of_list_is_told_by_its_name(store: Store) -> None:
    """In a folder and in a bucket; packed or not; or told by the setting."""
    line = row().encode()
    wanted = f"data/videos/mp4/{HASH[:3]}/{HASH[3:6]}/{HASH}.mp4"
    lists = {
        "yfcc100m_dataset": line,
        "yfcc100m_dataset-3.bz2": bz2.compress(line),
        "mine.tsv": line,
        "yfcc100m_dataset_mine.csv": f"uri\n{wanted}\n".encode(),
        "mine.csv": f"uri\n{wanted}\n".encode(),
        "mine.csv.bz2": bz2.compress(f"uri\n{wanted}\n".encode()),
        "mine.jsonl": json.dumps({"uri": f"s3://frames/v/{wanted}"}).encode(),
    }
    for name, content in lists.items():
        store.write(name, content)
        assert keys("videos=s3://frames/v", f"plan.manifest={store.uri}/{name}") == [wanted]
    store.write("mine", line)

    assert keys(f"plan.manifest={store.uri}/mine", "plan.manifest_format=yfcc100m") == [wanted]
    with pytest.raises(InvalidInput, match=r"its name does not say what it is; set plan\.manifest_format"):
        keys(f"plan.manifest={store.uri}/mine")
    with pytest.raises(InvalidInput, match="there is no such file"):
        keys(f"plan.manifest={store.uri}/other.csv")


def test_sqlite_is_read_where_it_lies(tmp_path: Path, s3_environment: str) -> None:
    """From a folder; in a bucket it would have to be copied first, and that is said."""
    assert s3_environment
    sqlite_file(tmp_path / "yfcc100m_dataset.sql", row())
    open_store("s3://frames").write("yfcc100m_dataset.sql", b"x")

    assert len(keys(f"plan.manifest=file://{tmp_path}/yfcc100m_dataset.sql")) == 1
    with pytest.raises(InvalidInput, match="read from a local file only; copy it"):
        keys("plan.manifest=s3://frames/yfcc100m_dataset.sql")


def test_several_files_are_one_list(store: Store) -> None:
    """As the first release has them, ten of ten million rows each, in the order of their names."""
    for number in (1, 0):
        store.write(f"part-{number}.csv", f"uri\n{number}.mp4\n".encode())
    store.write("part-0.txt", b"x")
    source = Source(settings_of(f"plan.manifest={store.uri}/part-*.csv"))

    assert [video.key for video in source.rows(Tally())] == ["0.mp4", "1.mp4"]
    assert list(source.inputs) == [f"{store.uri}/part-0.csv", f"{store.uri}/part-1.csv"]
    assert all(source.inputs.values())


def test_a_list_that_changes_is_not_mixed(store: Store) -> None:
    """What is read is the version that the plan's record names, or nothing."""
    store.write("list.csv", b"uri\na.mp4\n")
    source = Source(settings_of(f"plan.manifest={store.uri}/list.csv"))
    store.write("list.csv", b"uri\nother.mp4\n")

    with pytest.raises(Unavailable, match="changed while it was read; run again"):
        list(source.rows(Tally()))


def test_a_stream_goes_on_where_it_broke(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most answers fail or break off in the middle: every byte comes once and in order, of one version."""
    monkeypatch.setattr(ranged_download, "_FIRST_DELAY_SECONDS", 0.001)
    content = random.Random(7).randbytes(3_000_000)
    open_store("s3://frames").write("list", content)
    item = open_store("s3://frames").head("list")
    assert item is not None
    with faulty_proxy(s3_environment, share=0.7, seed=19, faults=("half-body", "500", "reset-before")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        read = b"".join(open_store("s3://frames").stream(item))

    assert read == content
    assert proxy.counts["half-body"] == 3
    assert all("if-match" in request.headers for request in proxy.requests)


def test_a_stream_gives_just_the_object_that_was_described(store: Store) -> None:
    """The same bytes, nothing for an empty object, and word where it is another or gone."""
    store.write("list", b"one")
    store.write("empty", b"")
    item, empty = store.head("list"), store.head("empty")
    assert item is not None
    assert empty is not None

    assert b"".join(store.stream(item)) == b"one"
    assert b"".join(store.stream(empty)) == b""
    store.write("list", b"other")
    for gone in (item, StoredObject("absent", 3, "e")):
        with pytest.raises(ObjectChanged):
            b"".join(store.stream(gone))


def test_reading_stops_when_told(make_context: MakeContext, tmp_path: Path) -> None:
    """In the middle of a long list, and nothing is written."""
    from watchmove.service.steps.plan import plan

    (tmp_path / "list.csv").write_text("uri\n" + "".join(f"{n}.mp4\n" for n in range(5000)))
    context = make_context(f"plan.manifest=file://{tmp_path}/list.csv")
    context.stop.set()

    with pytest.raises(Stopped):
        plan(context, "run")
    assert list(context.store.list()) == []
