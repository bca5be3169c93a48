"""What stores answer besides success: whose fault it is, and what works all the same."""

import base64
import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

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
from watchmove.service.store.s3_errors import retry_after_seconds
from watchmove.service.store.s3_probe import clock_skew_seconds
from watchmove.service.store.store import ObjectChanged, ObjectRefused, ObjectUnserved, Store, StoredObject

NAME = "s3://b/p"
DATA = bytes(range(256)) * 400
"""Content of an object, 100 KiB."""
BEGUN = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
"""The answer that an upload in parts begins with."""


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


@pytest.mark.parametrize("name", ["ExpiredToken", "ExpiredTokenException"])
def test_a_session_token_that_has_expired_is_named(server: AnsweringServer, name: str) -> None:
    """A role gives another one to the next try, and a Secret with a token does not."""
    server.replace = lambda _: refusal(403, name)
    with pytest.raises(Unavailable, match="renew the credentials, whose token has expired"):
        open_store(NAME).read("k")


def test_a_refused_part_of_an_upload_is_refused(server: AnsweringServer, tmp_path: Path) -> None:
    """An upload in parts has an error of boto3's own around the store's answer."""

    def refuse_parts(request: Request) -> Answer | None:
        return Answer(200, {}, BEGUN) if request.query == "uploads" else refusal(403, "AccessDenied")

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
    """Where the store serves nothing, or has nothing else, it is the store's fault; all lines name the object."""
    server.objects = {"p/bad": DATA, "p/empty": b""}
    store = open_store(NAME)
    bad = described(store, "bad")
    server.replace = lambda request: refusal(503, "SlowDown") if request.key == "p/bad" else None
    with pytest.raises(Unavailable, match="bad: the store answered SlowDown") as first:
        fetched(store, bad, tmp_path)
    server.objects["p/good"] = DATA
    # also as the only object of a process, where one that is listed is asked for
    with pytest.raises(ObjectUnserved, match=r"bad: .*SlowDown.* serves other objects"):
        fetched(store, bad, tmp_path)
    fetched(store, described(store, "good"), tmp_path)
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


@pytest.mark.parametrize(
    "date", ["Mon, 01 Jan 99999999999999 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +99999999999999"]
)
def test_a_date_that_cannot_be_is_none(date: str) -> None:
    """A header with impossible numbers is no reason to fail, nor to wait."""
    answer: Any = {"ResponseMetadata": {"HTTPHeaders": {"date": date, "retry-after": date}}}
    error = ClientError(answer, "GetObject")

    assert retry_after_seconds(error) == 0
    assert clock_skew_seconds(error) is None


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


def listing(rows: str, facts: str = "") -> Answer:
    """An answer to a listing."""
    return Answer(200, {}, f"<ListBucketResult>{facts}{rows}</ListBucketResult>".encode())


ROW = "<Contents><Key>p/k</Key><Size>3</Size><ETag>e</ETag></Contents>"
MORE = "<IsTruncated>true</IsTruncated>"
MARKER, TOKEN = "<NextMarker>p/k</NextMarker>", "<NextContinuationToken>{}</NextContinuationToken>"


@pytest.mark.parametrize("facts", [[MORE], [MORE + MARKER], [MORE + TOKEN.format(page) for page in "tt"]])
def test_a_listing_that_has_no_way_to_its_rest_is_refused(server: AnsweringServer, facts: list[str]) -> None:
    """Objects that are not listed would be missing without a word: a store without ListObjectsV2, or without an end."""
    pages = iter(facts)
    server.replace = lambda _: listing(ROW, next(pages))
    with pytest.raises(InvalidInput, match=r"more objects than it lists.* after 'p/k'"):
        list(open_store(NAME).list())


def test_tokens_that_take_turns_are_noticed(server: AnsweringServer) -> None:
    """The SDK notices a token that is repeated at once; this listing would have no end."""
    tokens = iter(["a", "b", "a"])
    server.replace = lambda _: listing(ROW, MORE + TOKEN.format(next(tokens)))
    with pytest.raises(InvalidInput, match="no new continuation token"):
        list(open_store(NAME).list())


def test_a_row_that_the_next_page_repeats_comes_once(server: AnsweringServer) -> None:
    """A video would be listed, or a record counted, twice."""
    server.replace = lambda request: listing(ROW, "" if "token" in request.query else MORE + TOKEN.format("t"))

    assert list(open_store(NAME).list()) == [StoredObject("k", 3, "e")]


@pytest.mark.parametrize("body", [b"", b"<html><body>Console</body></html>"])
def test_an_answer_that_is_no_listing_is_not_an_empty_one(server: AnsweringServer, body: bytes) -> None:
    """As of a console's port, or of a proxy: an empty store would be planned anew."""
    server.replace = lambda _: Answer(200, {}, body)
    with pytest.raises(Unavailable, match="no listing; check that the endpoint is S3's"):
        list(open_store(NAME).list())


@pytest.mark.parametrize(
    "row",
    [
        ROW.replace("<Size>3</Size>", ""),
        ROW.replace("3", "many"),
        ROW.replace("<Size>", "<LastModified>now and then</LastModified><Size>"),
    ],
)
def test_an_answer_that_the_sdk_cannot_read_is_no_bug(server: AnsweringServer, row: str) -> None:
    """The SDK raises KeyError and ValueError for what is missing in an answer, or is not as S3 writes it."""
    server.replace = lambda _: listing(row)
    with pytest.raises(InvalidInput, match="the AWS SDK cannot read an answer"):
        list(open_store(NAME).list())


def test_an_object_whose_answer_cannot_be_read_is_its_own_fault(server: AnsweringServer, tmp_path: Path) -> None:
    """One object that is served wrongly is the outcome of one video."""
    server.objects = {"p/k": DATA}
    store = open_store(NAME)
    item = described(store, "k")
    server.replace = lambda _: Answer(206, {"Last-Modified": "now and then"}, DATA)
    with pytest.raises(ObjectRefused, match="cannot read an answer"):
        fetched(store, item, tmp_path)


@pytest.mark.parametrize("etag", ["", "W/{}"])
def test_an_etag_that_a_proxy_weakens_or_removes(server: AnsweringServer, etag: str, tmp_path: Path) -> None:
    """The object has not changed; where the answer has another ETag, it has."""
    server.objects = {"p/k": DATA}
    store = open_store(NAME)
    item = described(store, "k")
    server.etag_of = lambda data: etag.format(f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"')

    assert fetched(store, item, tmp_path) == DATA
    server.etag_of = lambda _: 'W/"other"'
    with pytest.raises(ObjectChanged):
        fetched(store, item, tmp_path)


@pytest.mark.parametrize(
    ("status", "name", "kind", "advice"),
    [
        (301, "", InvalidInput, "redirects requests to https://…@s3.example/; name"),
        (307, "", InvalidInput, "AWS_ENDPOINT_URL_S3, or the region of the bucket in AWS_REGION"),
        (401, "Unauthorized", InvalidInput, "check the URI"),
        (407, "", InvalidInput, "HTTPS_PROXY"),
        (403, "QuotaExceeded", Unavailable, "quota"),
        (507, "XMinioStorageFull", Unavailable, "quota"),
        (400, "TokenRefreshRequired", Unavailable, "later"),
        (501, "NotImplemented", ObjectRefused, "check the URI"),
    ],
)
def test_whose_fault_an_answer_to_a_fetch_is(
    server: AnsweringServer, status: int, name: str, kind: type[Exception], advice: str, tmp_path: Path
) -> None:
    """What a proxy or a gateway answers, and a redirection, concern every object; a full store becomes free again."""
    server.objects = {"p/k": DATA}
    store = open_store(NAME)
    item = described(store, "k")
    page = Answer(status, {"Location": "https://me:WORD@s3.example/"}, b"<html>a page</html>")
    server.replace = lambda _: refusal(status, name) if name else page
    with pytest.raises(kind) as ended:
        fetched(store, item, tmp_path)
    with pytest.raises((InvalidInput, Unavailable), match=advice):
        store.write("k", b"x")

    assert isinstance(ended.value, ObjectRefused) == (kind is ObjectRefused)


@pytest.mark.parametrize("name", ["NoSuchUpload", "InvalidPart"])
def test_an_upload_that_the_store_has_forgotten_is_made_again(
    server: AnsweringServer, name: str, tmp_path: Path
) -> None:
    """As where the answer to the request that completes it was lost, so that the SDK has asked for it twice."""
    begun: list[Request] = []

    def answer(request: Request) -> Answer | None:
        if request.query == "uploads":
            begun.append(request)
            return Answer(200, {}, BEGUN)
        if request.method == "PUT":
            return Answer(200, {"ETag": '"part"'})
        if request.method == "POST" and len(begun) == 1:
            return refusal(404, name)
        return Answer(200, {}, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")

    server.replace = answer
    (tmp_path / "large").write_bytes(b"x" * (9 << 20))
    open_store(NAME).upload("k", tmp_path / "large")

    assert len(begun) == 2


def test_to_remove_an_absent_object_is_no_error(server: AnsweringServer) -> None:
    """S3 answers 204, and Google's store 404, also to a second try whose first answer was lost."""
    server.replace = lambda _: refusal(404, "NoSuchKey")
    open_store(NAME).remove("k")
    server.replace = lambda _: refusal(404, "NoSuchBucket")
    with pytest.raises(InvalidInput, match="no bucket"):
        open_store(NAME).remove("k")


@pytest.mark.usefixtures("server")
def test_an_endpoint_without_a_scheme_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own message has all of it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "me:WORD@minio:9000")
    with pytest.raises(InvalidInput, match="'minio:9000'; write it with http://") as refused:
        open_store(NAME)

    assert "WORD" not in str(refused.value)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"])
def test_a_variable_with_a_line_break_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a secret that was made of a file; Python's message for such a header has the header's value."""
    monkeypatch.setenv(name, "WORD\n")
    with pytest.raises(InvalidInput, match=f"{name} begins or ends with a blank or a line break") as refused:
        open_store(NAME).read("k")

    assert "WORD" not in str(refused.value)


def test_a_token_with_a_line_break_from_a_service_is_not_shown(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither by a single request nor by one for a range."""
    server.objects = {"p/k": DATA}
    item = described(open_store(NAME), "k")
    handed = b'{"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "WORD\\n", "Expiration": "2999-01-01T00:00:00Z"}'
    with answering_server(AnsweringServer(replace=lambda _: Answer(200, {}, handed))) as url:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/credentials")
        with pytest.raises(InvalidInput, match="has a line break; remove line breaks") as of_read:
            open_store(NAME).read("k")
        with pytest.raises(Unavailable, match="has a line break") as of_fetch:
            fetched(open_store(NAME), item, tmp_path)

    assert "WORD" not in f"{of_read.value}{of_fetch.value}"


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("variable", "value", "uri", "said"),
    [
        ("AWS_REGION", "eu west", NAME, "region_name 'eu west'.*; correct the URI, or the variables"),
        ("AWS_REGION", "eu-west-1", "s3://my bucket/p", 'bucket name "my bucket".*; correct the URI'),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/absent/token", NAME, "/absent/token'; check the variable"),
        ("AWS_CONFIG_FILE", "{folder}/no_json", NAME, "cannot read an answer .*hands out the credentials"),
        ("AWS_CONFIG_FILE", "{folder}/no_program", NAME, "/absent/program'; check the variable"),
    ],
)
def test_settings_of_the_sdk_that_are_wrong_are_named(
    variable: str, value: str, uri: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A line that asks for AWS_ACCESS_KEY_ID, a scheme or free space would not help."""
    (tmp_path / "no_json").write_text("[default]\ncredential_process = echo no JSON\n")
    (tmp_path / "no_program").write_text("[default]\ncredential_process = /absent/program\n")
    if "REGION" not in variable:
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv(variable, value.format(folder=tmp_path))
    with pytest.raises(InvalidInput, match=said):
        open_store(uri).read("k")


def test_a_certificate_that_is_not_trusted_is_named(server: AnsweringServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store without TLS under https:// fails as one with another authority's certificate does."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT_URL_S3"].replace("http:", "https:"))
    with pytest.raises(Unavailable, match=r"check the endpoint's scheme, its certificate, .* AWS_CA_BUNDLE"):
        open_store(NAME).read("k")

    assert server.objects == {}
