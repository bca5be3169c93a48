"""What watchmove does with an S3 store, on real servers; the table of docs/reference/stores.md says how they differ."""

import hashlib
import random
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.docs.pages import DOCS
from tests.service.conftest import context_of
from tests.service.faults.corpus import QUICK
from tests.service.store.servers import MOTO, Server, client_of, names, running
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.video import moving_square
from watchmove.service.cli.main import app
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.steps.extract import extract
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan
from watchmove.service.store.ranged_download import RANGE_BYTES
from watchmove.service.store.s3 import S3Store
from watchmove.service.store.store import ObjectChanged, StoredObject
from watchmove.service.watching.checks import State
from watchmove.service.watching.store_checks import store_checks

BUCKET = f"watchmove-test-{secrets.token_hex(4)}"
ABSENT, UNMADE = f"{BUCKET}-absent", f"{BUCKET}-unmade"
"""Buckets that are there only once a test has made the one, and a server the other by itself."""
_PAGE_KEYS = 1000
"""Keys in one answer to a listing, of S3 itself."""


@pytest.fixture(scope="module", params=names())
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each server with an empty bucket; where it goes on after the tests, their buckets are removed."""
    with running(request.param, tmp_path_factory.mktemp("server")) as server:
        client = client_of(server)
        client.create_bucket(Bucket=BUCKET)
        yield server
        for bucket in (BUCKET, ABSENT, UNMADE) if server.stays else ():
            with suppress(client.exceptions.NoSuchBucket):
                for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                    for row in page.get("Contents", []):
                        client.delete_object(Bucket=bucket, Key=row["Key"])
                client.delete_bucket(Bucket=bucket)


@pytest.fixture
def store(server: Server, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A prefix of the server's bucket in which nothing is."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return S3Store(f"s3://{BUCKET}/{secrets.token_hex(4)}")


def described(store: S3Store, key: str) -> StoredObject:
    """The description of an object that exists."""
    item = store.head(key)
    assert item is not None
    return item


def test_what_is_written_is_read_back_until_it_is_removed(store: S3Store) -> None:
    """Replaced as a whole, with another ETag; absent keys are none, and are removed without an error."""
    absent = store.read("a/record.json"), store.head("a/record.json")
    store.write("a/record.json", b"one")
    before = described(store, "a/record.json")
    store.write("a/record.json", b"another")
    after = described(store, "a/record.json")
    read = store.read("a/record.json")
    store.write("empty", b"")
    empty = store.read("empty")
    store.remove("a/record.json")
    store.remove("a/record.json")

    assert absent == (None, None)
    assert (before.size_bytes, after.size_bytes) == (3, 7)
    assert before.etag != after.etag
    assert (read, empty) == (b"another", b"")
    assert [item.key for item in store.list()] == ["empty"]


def test_listings_have_more_keys_than_one_page(store: S3Store) -> None:
    """All keys, in their order, with size and ETag as HEAD gives them, by any prefix."""
    count = _PAGE_KEYS + 100
    store.write_all((f"part-{number % 7}/{number:05d}", bytes(number % 3)) for number in range(count))
    rows = list(store.list())
    keys = sorted(f"part-{number % 7}/{number:05d}" for number in range(count))

    assert [row.key for row in rows] == keys
    assert [row.key for row in store.list("part-3/000")] == [key for key in keys if key.startswith("part-3/000")]
    assert rows[500] == store.head(keys[500])


def test_a_large_object_is_uploaded_in_parts_and_read_in_ranges(store: S3Store, tmp_path: Path) -> None:
    """The same bytes as a file, as a stream and as a range across the border of two requests."""
    content = random.Random(3).randbytes(2 * RANGE_BYTES + 1000)
    (tmp_path / "source").write_bytes(content)
    store.upload("large", tmp_path / "source")
    item = described(store, "large")
    path = store.fetch(item, tmp_path / "fetched", threading.Event())

    assert path is not None
    assert path.read_bytes() == content
    assert b"".join(store.stream(item)) == content
    assert store.read_range(item, RANGE_BYTES - 5, 10) == content[RANGE_BYTES - 5 : RANGE_BYTES + 5]
    assert list(store.list()) == [item]


def test_an_object_that_was_replaced_is_noticed(store: S3Store, tmp_path: Path) -> None:
    """Of the same size, so that only the ETag tells; also when it was removed."""
    store.write("clip.mp4", b"frames")
    item = described(store, "clip.mp4")
    store.write("clip.mp4", b"FRAMES")
    with pytest.raises(ObjectChanged):
        store.fetch(item, tmp_path / "clip.mp4", threading.Event())
    with pytest.raises(ObjectChanged):
        store.read_range(item, 1, 2)
    store.remove("clip.mp4")
    with pytest.raises(ObjectChanged):
        store.read_range(item, 1, 2)

    assert store.fetch(item, tmp_path / "clip.mp4", threading.Event()) is None


@pytest.mark.parametrize(
    "key",
    [
        "a b.mp4",
        "a+b.mp4",
        "100%.mp4",
        "%41.mp4",
        "ü/日本/🎬.mp4",
        "'\"<&>.mp4",
        "a?b#c.mp4",
        "a:b,c;d=e@f.mp4",
        "~a.mp4",
    ],
)
def test_keys_are_read_as_they_are(store: S3Store, key: str, tmp_path: Path) -> None:
    """Neither decoded twice nor encoded twice, in any request."""
    store.write(f"v/{key}", b"content")
    (item,) = store.list("v/")
    path = store.fetch(item, tmp_path / "fetched", threading.Event())
    created_again = store.create(f"v/{key}", b"other")
    store.remove(item.key)

    assert item == StoredObject(f"v/{key}", 7, item.etag)
    assert path is not None
    assert path.read_bytes() == b"content"
    assert not created_again
    assert list(store.list()) == []


def test_a_bucket_that_is_absent_is_named(store: S3Store) -> None:
    """A run that waits does not bring it about, so that the step ends as invalid."""
    absent = S3Store(f"s3://{ABSENT}/x")
    for call in (lambda: list(absent.list()), lambda: absent.read("k")):
        with pytest.raises(InvalidInput, match=f"there is no bucket '{ABSENT}'"):
            call()
    absent.make()
    absent.make()
    absent.write("k", b"x")
    absent.remove("k")

    assert store.read("k") is None


@pytest.mark.usefixtures("store")
def test_a_run_extracts_once(server: Server, tmp_path: Path) -> None:
    """From videos in the bucket to records in the bucket; the next run finds all of it done."""
    prefix = f"s3://{BUCKET}/{secrets.token_hex(4)}"
    settings = load_settings(LAPTOP, [*QUICK, f"videos={prefix}/videos", f"store={prefix}/store"])
    context = context_of(settings, tmp_path / "scratch")
    write_video(tmp_path / "a.mp4", moving_square((3, 0), 10, height=96, width=128, side_pixels=28).frames, 24.0)
    S3Store(f"{prefix}/videos").upload("a.mp4", tmp_path / "a.mp4")
    first = plan(context, "first")
    extract(context, "first", 0)
    frames = gather(context, "first").kept_frames
    done = {item.key: item.etag for item in context.store.list()}
    second = plan(context, "second")
    extract(context, "first", 0)
    gather(context, "first")

    assert (first.videos_new, first.shards, second.videos_new, second.shards) == (1, 1, 0, 0)
    assert frames > 0
    assert done.items() <= {item.key: item.etag for item in context.store.list()}.items()
    print(f"{server.name}: {len(done)} objects, {frames} frames")


def test_doctor_finds_nothing_that_fails(store: S3Store) -> None:
    """A warning only where the table says that conditions are not kept."""
    checks = {check.name: check for check in store_checks(load_settings(LAPTOP, [f"store={store.uri}"]))}
    kept = _conditional_writes(store) == "kept"

    assert {name: check for name, check in checks.items() if check.state is State.FAILED} == {}
    assert (checks["store: conditional write"].state is State.OK) == kept


# What may differ from server to server, by the row of the table in the docs.


def _conditional_writes(store: S3Store) -> str:
    """Eight writers create one key at the same moment."""
    written: list[bool] = []
    barrier = threading.Barrier(8)
    assert store.create("first", b"x")

    def race(number: int) -> None:
        barrier.wait()
        written.append(store.create("raced", str(number).encode()))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not store.create("first", b"y")
    assert store.read("first") == b"x"
    if store.keeps_conditions:
        assert written.count(True) == 1
        return "kept"
    return "refused" if store.keeps_conditions is None else "ignored"


def _conditional_reads(store: S3Store) -> str:
    """A range with the ETag of the object before."""
    store.write("k", b"one")
    etag = described(store, "k").etag
    store.write("k", b"two")
    client = store._writer.client
    key = f"{store.uri.rpartition('/')[2]}/k"
    try:
        client.get_object(Bucket=BUCKET, Key=key, Range="bytes=1-2", IfMatch=f'"{etag}"')
    except client.exceptions.ClientError as error:
        return "kept" if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412 else "refused"
    return "ignored"


def _checksums(store: S3Store) -> str:
    """Whether the client that adds the SDK's checksum is still used after writes and an upload."""
    store.write("k", b"x")
    return "taken" if store._writer.client is store._clients.with_checksums else "refused"


def _etags(store: S3Store) -> str:
    store.write("k", b"one")
    return "MD5" if described(store, "k").etag == hashlib.md5(b"one").hexdigest() else "no MD5"


def _ranges(store: S3Store) -> str:
    store.write("k", b"0123456789")
    return "served" if store.facts("k").serves_ranges else "ignored"


def _clock(store: S3Store) -> str:
    store.write("k", b"0123456789")
    return "told" if store.facts("k").clock_skew_seconds is not None else "not told"


def _keys(*keys: str) -> Callable[[S3Store], str]:
    """Whether all of the keys can be written, listed and read."""

    def measure(store: S3Store) -> str:
        try:
            for key in keys:
                store.write(key, key.encode())
        except InvalidInput:
            return "refused"
        except Unavailable:
            return "fails"
        found = {item.key: store.read(item.key) for item in store.list()}
        return "yes" if found == {key: key.encode() for key in keys} else f"listed as `{'`, `'.join(sorted(found))}`"

    return measure


def _absent_bucket(_store: S3Store) -> str:
    """A write to a bucket that is not there."""
    absent = S3Store(f"s3://{UNMADE}/x")
    try:
        absent.write("k", b"x")
    except InvalidInput as error:
        return "refused" if f"there is no bucket '{UNMADE}'" in str(error) else "fails"
    return "makes it" if absent.read("k") == b"x" else "fails"


def _wrong(**wrong: str) -> Callable[[S3Store], str]:
    """The exit code of a command with wrong credentials, if its last line names them."""

    def measure(store: S3Store) -> str:
        done = CliRunner(env=wrong).invoke(app, ["plan", "--run", "a", "--set", f"store={store.uri}"])
        return str(done.exit_code) if "check the credentials" in done.stderr else "not checked"

    return measure


FACTS: dict[str, Callable[[S3Store], str]] = {
    "conditional writes (`If-None-Match`)": _conditional_writes,
    "conditional reads (`If-Match`)": _conditional_reads,
    "the SDK's default checksums": _checksums,
    "ETag of an object that is written at once": _etags,
    "ranges": _ranges,
    "clock": _clock,
    "keys with a backslash": _keys("a\\b"),
    "keys with empty parts (`a//b`)": _keys("a//b"),
    "a key below a key (`a` and `a/b`)": _keys("a", "a/b"),
    "a write to an absent bucket": _absent_bucket,
    "an unknown key ID": _wrong(AWS_ACCESS_KEY_ID="somebody"),
    "a wrong secret": _wrong(AWS_SECRET_ACCESS_KEY="wrong-word"),
}


def documented() -> dict[str, dict[str, str]]:
    """The table of the docs: what differs, by server and row."""
    lines = (DOCS / "reference" / "stores.md").read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| what differs |"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:] if line.startswith("|")]
    columns = rows[0][1:]
    return {name: {row[0]: row[1 + at] for row in rows[2:]} for at, name in enumerate(columns)}


@pytest.mark.parametrize("fact", FACTS)
def test_servers_differ_as_the_docs_say(store: S3Store, server: Server, fact: str) -> None:
    """A server without a column is measured all the same, and printed."""
    word = FACTS[fact](store)
    print(f"{server.name}: {fact}: {word}")
    expected = documented().get(server.name, {}).get(fact, word)

    assert word == expected
    assert re.fullmatch(
        r"kept|refused|ignored|taken|MD5|no MD5|served|told|not told|yes|makes it|listed as .+|fails|65|not checked",
        word,
    )
    assert server.name == MOTO or word != "not checked"
