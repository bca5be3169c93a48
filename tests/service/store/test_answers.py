"""What stores answer besides success: whose fault it is, and what works all the same."""

import base64
import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service.store.answering_server import (
    Answer,
    AnsweringServer,
    Request,
    answering_server,
    environment_of,
    refusal,
)
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.store import ranged_download, s3_object
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import ObjectChanged, ObjectRefused, ObjectUnserved, Store, StoredObject

NAME = "s3://b/p"
DATA = bytes(range(256)) * 400
"""Content of an object, 100 KiB."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnsweringServer]:
    """A server that the SDK's environment names, without the SDK's own delays."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(ranged_download, "_FIRST_DELAY_SECONDS", 0.0)
    server = AnsweringServer()
    with answering_server(server) as url:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in environment_of(url).items():
            monkeypatch.setenv(name, value)
        yield server


def fetched(store: Store, item: StoredObject, folder: Path) -> bytes:
    """The bytes of a fetched object."""
    path = store.fetch(item, folder / "fetched", threading.Event())
    assert path is not None
    return path.read_bytes()


def described(store: Store, key: str) -> StoredObject:
    """The description of an object that exists."""
    item = store.head(key)
    assert item is not None
    return item


CALLS: dict[str, Callable[[Store, Path], object]] = {
    "read": lambda store, _: store.read("k"),
    "head": lambda store, _: store.head("k"),
    "list": lambda store, _: list(store.list()),
    "make": lambda store, _: store.make(),
    "write": lambda store, _: store.write("k", b"x"),
    "create": lambda store, _: store.create("k", b"x"),
    "upload": lambda store, path: store.upload("k", path),
}


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (403, "AccessDenied", InvalidInput),
        (403, "InvalidAccessKeyId", InvalidInput),
        (404, "NoSuchBucket", InvalidInput),
        (404, "XAdminUserNotFound", InvalidInput),
        (404, "NoSuchTenant", InvalidInput),
        (400, "KMS.DisabledException", InvalidInput),
        (409, "ObjectParentIsFile", InvalidInput),
        (400, "ExpiredToken", Unavailable),
        (400, "RequestTimeout", Unavailable),
        (408, "", Unavailable),
        (409, "OperationAborted", Unavailable),
        (503, "SlowDown", Unavailable),
        (500, "", Unavailable),
    ],
)
def test_an_answer_means_the_same_to_every_request(
    server: AnsweringServer, status: int, name: str, kind: type[Exception], tmp_path: Path
) -> None:
    """GET, HEAD, PUT and uploads end alike, and the line has the store's name of the error, or the status."""
    server.replace = lambda _: refusal(status, name) if name else Answer(status, {}, b"<html>a proxy's page</html>")
    (tmp_path / "file").write_bytes(b"x")
    store = open_store(NAME)
    # to HEAD, 404 means that there is no such object, and that the bucket is to be made
    for call in CALLS if status != 404 else ("read", "list", "write", "upload"):
        with pytest.raises((InvalidInput, Unavailable)) as ended:
            CALLS[call](store, tmp_path / "file")
        expected = "no bucket" if name == "NoSuchBucket" else name or str(status)
        assert isinstance(ended.value, kind), call
        # a server error has no name in the answer to HEAD, and is not asked for again
        assert expected in str(ended.value) or (status >= 500 and "HTTP status" in str(ended.value)), call


def test_a_clock_that_is_wrong_is_named(server: AnsweringServer) -> None:
    """A request that is refused for its time may pass later, after the clock has been set."""
    server.replace = lambda _: refusal(403, "RequestTimeTooSkewed")
    with pytest.raises(Unavailable, match="synchronise this machine's clock"):
        open_store(NAME).read("k")


def test_a_refused_part_of_an_upload_is_refused(server: AnsweringServer, tmp_path: Path) -> None:
    """An upload in parts has an error of boto3's own around the store's answer."""
    created = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"

    def refuse_parts(request: Request) -> Answer | None:
        return Answer(200, {}, created) if request.query == "uploads" else refusal(403, "AccessDenied")

    server.replace = refuse_parts
    (tmp_path / "large").write_bytes(b"x" * (9 << 20))
    with pytest.raises(InvalidInput, match="uploading k: the store answered AccessDenied; grant"):
        open_store(NAME).upload("k", tmp_path / "large")


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "KMS.DisabledException"), (400, "InvalidRequest"), (405, "MethodNotAllowed"), (403, "AccessDenied")],
)
def test_an_object_that_is_refused_is_its_own_fault(
    server: AnsweringServer, status: int, name: str, tmp_path: Path
) -> None:
    """A disabled key, a customer's key, a delete marker and missing rights concern one object."""
    server.objects = {"p/k": DATA}
    store = open_store(NAME)
    item = described(store, "k")
    server.replace = lambda _: refusal(status, name)
    with pytest.raises(ObjectRefused, match=f"k: the store answered {name}"):
        fetched(store, item, tmp_path)


def test_an_object_that_is_never_served_is_its_own_fault_where_others_are(
    server: AnsweringServer, tmp_path: Path
) -> None:
    """Where the store serves nothing, it is the store's fault; both lines name the object."""
    server.objects = {"p/good": DATA, "p/bad": DATA}
    store = open_store(NAME)
    good, bad = described(store, "good"), described(store, "bad")
    server.replace = lambda request: refusal(503, "SlowDown") if request.key == "p/bad" else None
    with pytest.raises(Unavailable, match="bad: the store answered SlowDown") as first:
        fetched(store, bad, tmp_path)
    fetched(store, good, tmp_path)
    with pytest.raises(ObjectUnserved, match=r"bad: .*SlowDown.* serves other objects"):
        fetched(store, bad, tmp_path)
    server.replace = lambda _: refusal(503, "SlowDown")
    with pytest.raises(Unavailable, match="bad: ") as last:
        fetched(store, bad, tmp_path)

    assert not isinstance(first.value, ObjectUnserved)
    assert not isinstance(last.value, ObjectUnserved)


@pytest.mark.parametrize("call", ["write", "create", "upload"])
@pytest.mark.parametrize(
    ("status", "name"),
    [
        (501, "NotImplemented"),
        (400, "InvalidArgument"),
        (400, "XAmzContentSHA256Mismatch"),
        (411, "MissingContentLength"),
    ],
)
def test_a_store_without_checksums_is_written(
    server: AnsweringServer, call: str, status: int, name: str, tmp_path: Path
) -> None:
    """The SDK's checksum is left out where a store refuses it, and is not tried again."""
    tried = []

    def refuse_checksums(request: Request) -> Answer | None:
        has_one = any(word.startswith("x-amz-checksum") or word == "x-amz-trailer" for word in request.headers)
        tried.append(has_one)
        return refusal(status, name) if has_one and request.method == "PUT" else None

    server.replace = refuse_checksums
    (tmp_path / "file").write_bytes(b"x")
    store = open_store(NAME)
    CALLS[call](store, tmp_path / "file")
    store.write("again", b"y")

    assert server.objects == {"p/k": b"x", "p/again": b"y"}
    assert tried.count(True) == 1


@pytest.mark.parametrize(
    ("status", "name"),
    [(501, "NotImplemented"), (400, "InvalidArgument"), (400, "InvalidRequest"), (405, "MethodNotAllowed")],
)
def test_create_where_conditions_are_refused(server: AnsweringServer, status: int, name: str) -> None:
    """The key is checked before it is written instead."""
    server.replace = lambda request: refusal(status, name) if "if-none-match" in request.headers else None
    store = open_store(NAME)

    assert [store.create("k", b"one"), store.create("k", b"two")] == [True, False]
    assert server.objects == {"p/k": b"one"}


def test_create_where_conditions_are_ignored(server: AnsweringServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Noticed at the first object, said once, and no object is replaced, not even by a process that begins."""
    server.keeps_conditions = False
    store = open_store(NAME)

    assert [store.create("k", b"one"), store.create("k", b"two"), store.create("l", b"x")] == [True, False, True]
    assert open_store(NAME).create("k", b"three") is False
    assert server.objects == {"p/k": b"one", "p/l": b"x"}
    output = capsys.readouterr()
    assert (output.out + output.err).count("ignores conditional writes") == 1


@pytest.mark.parametrize("etag", ['W/"weak"', "without-quotes", "", '"sha1"'])
def test_etags_that_are_no_md5(server: AnsweringServer, etag: str, tmp_path: Path) -> None:
    """Weak, without quotes, absent, or 32 digits of another hash: the object is read, and another version noticed."""
    made = {'"sha1"': lambda data: f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()[:32]}"'}
    server.etag_of = made.get(etag, lambda data: etag and f"{etag[:-1]}{zlib.crc32(data)}{etag[-1]}")
    server.objects = {"p/k": DATA, "p/l": DATA[::-1]}
    store = open_store(NAME)
    item = described(store, "k")

    assert fetched(store, item, tmp_path) == DATA
    assert fetched(store, described(store, "l"), tmp_path) == DATA[::-1]
    assert b"".join(store.stream(item)) == DATA
    if etag:
        server.objects["p/k"] = DATA[::-1]
        with pytest.raises(ObjectChanged):
            fetched(store, item, tmp_path)


def test_rows_of_a_listing_without_etag_are_described(server: AnsweringServer) -> None:
    """The ETag of a row is optional; a HEAD gives it."""
    server.objects = {"p/k": DATA}
    row = (
        f"<Contents><Key>p/k</Key><Size>{len(DATA)}</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
    )
    listing = f"<?xml version='1.0'?><ListBucketResult><IsTruncated>false</IsTruncated>{row}</ListBucketResult>"
    server.replace = lambda request: Answer(200, {}, listing.encode()) if "list-type=2" in request.query else None
    store = open_store(NAME)

    assert list(store.list()) == [described(store, "k")]


def test_a_store_that_ignores_ranges(server: AnsweringServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its objects are read as far as that does not cost too much; a large one is refused by name."""
    server.objects, server.serves_ranges = {"p/k": DATA}, False
    monkeypatch.setattr(ranged_download, "RANGE_BYTES", 30_000)
    store = open_store(NAME)
    item = described(store, "k")

    assert fetched(store, item, tmp_path) == DATA
    assert store.read_range(item, 70_001, 20_000) == DATA[70_001:90_001]
    monkeypatch.setattr(s3_object, "_MOST_BYTES_WITHOUT_RANGES", 50_000)
    with pytest.raises(ObjectRefused, match="k: the store serves no ranges"):
        fetched(store, item, tmp_path)


@pytest.mark.parametrize(("kind", "is_taken"), [("COMPOSITE", True), ("FULL_OBJECT", False)])
def test_a_checksum_of_the_complete_object_counts(
    server: AnsweringServer, kind: str, is_taken: bool, tmp_path: Path
) -> None:
    """A checksum of parts says nothing about the bytes; one of the complete object does."""
    etag, wrong = "0" * 32 + "-2", base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    headers = {"ETag": f'"{etag}"', "x-amz-checksum-crc32": wrong, "x-amz-checksum-type": kind}
    headers["Content-Range"] = f"bytes 0-{len(DATA) - 1}/{len(DATA)}"
    server.replace = lambda _: Answer(206, headers, DATA)
    store, item = open_store(NAME), StoredObject("k", len(DATA), etag)
    if is_taken:
        assert fetched(store, item, tmp_path) == DATA
        assert b"".join(store.stream(item)) == DATA
        return
    with pytest.raises(ObjectChanged):
        fetched(store, item, tmp_path)
    with pytest.raises(ObjectChanged, match="differs from the store's checksum"):
        b"".join(store.stream(item))


@pytest.mark.parametrize("key", ["/leading", "a//b", "a\\b", "ends/"])
def test_keys_that_are_no_paths(server: AnsweringServer, key: str) -> None:
    """Empty parts and backslashes are allowed in keys of S3, and are part of the name."""
    store = open_store(NAME)
    store.write(key, b"x")

    assert server.objects == {f"p/{key}": b"x"}
    assert store.read(key) == b"x"


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ENDPOINT_URL_S3", "minio:9000", "http"),
        ("AWS_ENDPOINT_URL_S3", "http://me:WORD@minio:9000", "the endpoint has a user or a password"),
        ("AWS_CA_BUNDLE", "/absent/ca.pem", "AWS_CA_BUNDLE"),
    ],
)
def test_wrong_variables_are_named(variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint without a scheme or with a password, and a file of certificates that is not there, are settings."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput) as refused:
        open_store(NAME).read("k")

    assert said in str(refused.value)
    assert variable in str(refused.value)
    assert "WORD" not in str(refused.value)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("status", "kind"), [(500, Unavailable), (429, Unavailable), (403, InvalidInput)])
def test_a_service_of_credentials_that_fails(
    status: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that is away comes back; one that refuses does not change its mind."""
    agent = AnsweringServer(replace=lambda _: Answer(status, {}, b"{}"))
    with answering_server(agent) as url:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/credentials")
        with pytest.raises((InvalidInput, Unavailable), match="credentials") as ended:
            open_store(NAME).read("k")

    assert isinstance(ended.value, kind)


def test_a_retry_after_is_not_waited_for_after_the_last_try(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six tries have five waits."""
    waits: list[float] = []
    monkeypatch.setattr("watchmove.service.store.s3_errors.time.sleep", waits.append)
    server.replace = lambda _: Answer(503, {"Retry-After": "7"}, b"")
    with pytest.raises(Unavailable):
        open_store(NAME).read("k")

    assert waits.count(7.0) == 5


def test_a_connection_to_what_was_at_the_address_before_can_be_left(server: AnsweringServer) -> None:
    """As one that was made before a cluster's network knew the address: whoever answers there is no store."""
    store = open_store(NAME)
    server.objects["p/k"] = DATA
    first: list[int] = []

    def wrong(request: Request) -> Answer | None:
        first.append(request.port)
        return Answer(404) if request.port == first[0] else None

    server.replace = wrong
    for _ in range(2):
        with pytest.raises(InvalidInput, match="HTTP status 404"):
            list(store.list())
    store.reconnect()

    assert [item.key for item in store.list()] == ["k"]
    assert first[0] == first[1] != first[2]
