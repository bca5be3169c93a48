"""Both stores keep the one interface's promises."""

import errno
import os
import random
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.service.faults.faulty_proxy import faulty_proxy
from watchmove.pipeline.errors import InvalidInput, Stopped, Unavailable
from watchmove.service.store import folder, ranged_download
from watchmove.service.store.folder import FileStore
from watchmove.service.store.folder_sync import remove_checkpoints
from watchmove.service.store.opening import open_store
from watchmove.service.store.ranged_download import RANGE_BYTES
from watchmove.service.store.store import Access, ObjectChanged, ObjectRefused, Store, StoredObject


def test_what_is_written_is_read_back(store: Store) -> None:
    """Bytes go in and come out, also through files."""
    store.write("a/b.json", b"one")

    assert store.read("a/b.json") == b"one"
    assert store.read("a/absent") is None


@pytest.mark.parametrize("write", ["write", "create", "upload"])
def test_objects_in_a_folder_have_the_mode_of_new_files(tmp_path: Path, write: str) -> None:
    """As the umask says, so that other users of a shared folder read them; no temporary file stays."""
    store = open_store(f"file://{tmp_path}/store")
    (tmp_path / "source").write_bytes(b"one")
    before = os.umask(0o027)
    try:
        getattr(store, write)("a/b", tmp_path / "source" if write == "upload" else b"one")
    finally:
        os.umask(before)

    assert [path.name for path in (tmp_path / "store" / "a").iterdir()] == ["b"]
    assert stat.S_IMODE((tmp_path / "store" / "a" / "b").stat().st_mode) == 0o640


def test_listing_is_by_key_and_prefix(store: Store) -> None:
    """A prefix need not end at a slash, and keys come in order."""
    for key in ("b/2", "b/1", "a", "bc"):
        store.write(key, key.encode())

    assert [item.key for item in store.list("b/")] == ["b/1", "b/2"]
    assert [item.key for item in store.list("b")] == ["b/1", "b/2", "bc"]
    assert [item.size_bytes for item in store.list("a")] == [1]


def test_many_objects_are_written_in_one_call(store: Store) -> None:
    """All are there afterwards, and an error of what yields them is raised."""
    store.write_all((f"many/{number:02d}", str(number).encode()) for number in range(50))

    assert [store.read(item.key) for item in store.list("many/")] == [str(number).encode() for number in range(50)]

    def stopped() -> Iterator[tuple[str, bytes]]:
        yield "few/1", b"x"
        raise Stopped("received a signal")

    with pytest.raises(Stopped):
        store.write_all(stopped())


def test_what_is_removed_is_absent(store: Store) -> None:
    """Other objects stay, and removing again does nothing."""
    for key in ("a/1", "a/2"):
        store.write(key, b"x")
    store.remove("a/1")
    store.remove("a/1")

    assert [item.key for item in store.list()] == ["a/2"]


def test_checkpoints_are_removed_where_the_store_permits_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that may not delete keeps them, and nothing fails; what is beside them stays."""
    for key in ("b/checkpoints/0.json", "b/checkpoints/0.safetensors", "b/record.json", "b/checkpoints-2/0.json"):
        store.write(key, b"x")

    def refuse(key: str) -> None:
        raise InvalidInput(f"removing {key}: may not be done")

    with monkeypatch.context() as without_rights:
        without_rights.setattr(store, "remove", refuse)
        remove_checkpoints(store, "b/checkpoints")
    before = {item.key for item in store.list()}
    remove_checkpoints(store, "b/checkpoints")

    assert len(before) == 4
    assert {item.key for item in store.list()} == {"b/record.json", "b/checkpoints-2/0.json"}


def test_create_never_replaces(store: Store) -> None:
    """The second of two writers is told, and the first one's bytes stay."""
    first, second = store.create("record", b"first"), store.create("record", b"second")

    assert (first, second) == (True, False)
    assert store.read("record") == b"first"


def test_of_many_writers_one_creates(store: Store) -> None:
    """Eight threads create one key at the same moment: one wins."""
    barrier = threading.Barrier(8)
    won: list[bool] = []

    def race(number: int) -> None:
        barrier.wait()
        won.append(store.create("raced", str(number).encode()))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert won.count(True) == 1


def test_etag_changes_with_the_content(store: Store) -> None:
    """The ETag is how a changed video is known."""
    store.write("video", b"before")
    before = store.head("video")
    store.write("video", b"after it was replaced")
    after = store.head("video")

    assert before is not None
    assert after is not None
    assert before.etag != after.etag
    assert store.head("absent") is None


def test_a_range_of_just_the_described_object(store: Store) -> None:
    """From the first byte, from the middle, to the last; once the object is another, none of it."""
    store.write("clip.mp4", bytes(range(100)))
    item = store.head("clip.mp4")
    assert item is not None
    parts = [store.read_range(item, offset, size) for offset, size in ((0, 1), (40, 20), (99, 1))]
    store.write("clip.mp4", b"another, of another size")

    assert parts == [b"\0", bytes(range(40, 60)), b"c"]
    with pytest.raises(ObjectChanged, match=r"clip\.mp4: changed since it was listed"):
        store.read_range(item, 40, 20)


def test_local_gives_a_file(store: Store, tmp_path: Path) -> None:
    """A local copy holds the object's bytes; an absent object gives none."""
    store.write("clip.mp4", b"frames")
    path = store.local("clip.mp4", tmp_path / "near" / "clip.mp4")

    assert path is not None
    assert path.read_bytes() == b"frames"
    assert store.local("absent", tmp_path / "absent") is None


@pytest.mark.parametrize("key", ["../up", "a/../../up", "a/./b", "", "a\0b"])
def test_keys_cannot_leave_the_store(store: Store, key: str) -> None:
    """Keys come from metadata and buckets, which are not trusted."""
    with pytest.raises(InvalidInput, match="would leave its store"):
        store.write(key, b"")


@pytest.mark.parametrize("key", ["/root", "..\\up", "a\\b"])
def test_keys_of_a_folder_are_relative_paths(tmp_path: Path, key: str) -> None:
    """A key that begins with a slash, or has a backslash, is one of S3 only."""
    with pytest.raises(InvalidInput, match="would leave its store"):
        open_store(f"file://{tmp_path}").write(key, b"")


@pytest.mark.parametrize("uri", ["ftp://x", "data", "s3://"])
def test_other_uris_are_refused(uri: str) -> None:
    """The message says which forms there are."""
    with pytest.raises(InvalidInput, match="s3://BUCKET"):
        open_store(uri)


def test_missing_bucket_says_so(s3_environment: str) -> None:
    """A bucket that is not there will not be there on a retry either."""
    assert s3_environment

    with pytest.raises(InvalidInput, match="there is no bucket 'absent-bucket'"):
        list(open_store("s3://absent-bucket/x").list())


def test_make_creates_the_bucket(s3_environment: str) -> None:
    """The drawn world can be put into a bucket that nobody has made."""
    assert s3_environment

    open_store("s3://fresh-bucket/x").make()
    open_store("s3://fresh-bucket/y").make()

    names = [bucket["Name"] for bucket in boto3.client("s3", region_name="us-east-1").list_buckets()["Buckets"]]
    assert names.count("fresh-bucket") == 1


def test_unreachable_store_is_unavailable(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at that port: a retry may find somebody."""
    assert s3_environment
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    with pytest.raises(Unavailable, match="cannot be reached"):
        open_store("s3://frames").read("x")


def test_without_credentials_the_line_names_the_variables(
    s3_environment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No credentials anywhere: no retry will help, so the line says what would."""
    assert s3_environment
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(InvalidInput, match="AWS_ACCESS_KEY_ID"):
        open_store("s3://frames").read("x")


def test_full_disk_is_unavailable_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while an object is written leaves no half object behind."""
    folder = open_store(f"file://{tmp_path}")

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", handle)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(Unavailable, match="No space left"):
        folder.write("record.json", b"{}")

    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_invalid(tmp_path: Path) -> None:
    """A file where a folder should be will not become one by waiting."""
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidInput, match="check the path"):
        open_store(f"file://{tmp_path}/file").write("x", b"")


def test_a_path_that_cannot_be_a_folder_is_invalid(tmp_path: Path) -> None:
    """A name that the file system refuses is an error of the settings, when objects are listed or one is written."""
    store = open_store(f"file://{tmp_path}/{'x' * 300}")
    with pytest.raises(InvalidInput, match="check the path"):
        # recent versions of Python take such a folder for an absent one, in which nothing is listed
        store.write("x", str([*store.list()]).encode())


def test_fetch_gives_just_the_object_that_was_described(store: Store, tmp_path: Path) -> None:
    """The same bytes, or word that another object lies there, or that none does."""
    store.write("clip.mp4", b"frames")
    store.write("empty.mp4", b"")
    listed = {item.key: item for item in store.list()}
    near, never = tmp_path / "near" / "clip.mp4", threading.Event()

    path = store.fetch(listed["clip.mp4"], near, never)
    assert path is not None
    assert path.read_bytes() == b"frames"
    empty = store.fetch(listed["empty.mp4"], tmp_path / "near" / "empty.mp4", never)
    assert empty is not None
    assert empty.read_bytes() == b""
    store.write("clip.mp4", b"other frames")
    with pytest.raises(ObjectChanged, match="changed since it was listed"):
        store.fetch(listed["clip.mp4"], near, never)
    assert store.fetch(StoredObject("absent", 1, "e"), near, never) is None


@pytest.fixture
def large(s3_environment: str) -> bytes:
    """An object of five ranges and a bit, at `large` in the bucket `frames`; its ETag is its MD5."""
    content = random.Random(5).randbytes(5 * RANGE_BYTES + 1000)
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=s3_environment)
    client.put_object(Bucket="frames", Key="large", Body=content)
    return content


def fetched(store: Store, target: Path) -> bytes:
    """The object `large`, fetched."""
    item = store.head("large")
    assert item is not None
    path = store.fetch(item, target, threading.Event())
    assert path is not None
    return path.read_bytes()


def test_a_broken_range_goes_on_where_it_broke(
    s3_environment: str, large: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the answers break off in the middle: no byte that had come is asked for again."""
    with faulty_proxy(s3_environment, share=0.5, seed=4, faults=("half-body",)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        content = fetched(open_store("s3://frames"), tmp_path / "large")
    gets = [request for request in proxy.requests if request.method == "GET"]
    starts = [int(request.headers["range"].removeprefix("bytes=").partition("-")[0]) for request in gets]
    broken = sum(request.fault == "half-body" for request in gets)

    assert content == large
    assert broken >= 3
    assert len(set(starts)) == len(starts) == 6 + broken
    assert proxy.sent_bytes < len(large) + 2**16 * broken
    assert all("if-match" in request.headers for request in gets)
    assert not (tmp_path / "large.partial").exists()


def test_bytes_are_held_to_the_md5(
    s3_environment: str, large: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit that turns over on the way is noticed, and the object is fetched again."""
    with faulty_proxy(s3_environment, share=1.0, seed=1, faults=("flipped-bit",)) as proxy:
        proxy.faults_left = 2
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        content = fetched(open_store("s3://frames"), tmp_path / "large")

    assert proxy.counts["flipped-bit"] == 2
    assert sum(request.method == "GET" for request in proxy.requests) >= 12
    assert content == large


def test_bytes_that_never_fit_their_etag_are_another_object(
    s3_environment: str, large: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store whose disk has spoilt the object serves it again and again; that costs this object alone."""
    with faulty_proxy(s3_environment, share=1.0, seed=1, faults=("flipped-bit",)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        store = open_store("s3://frames")
        proxy.faults_left = 0
        assert fetched(store, tmp_path / "large") == large  # its ETags are MD5s
        proxy.faults_left = 1_000_000
        with pytest.raises(ObjectChanged, match="other bytes than those of its ETag"):
            fetched(store, tmp_path / "large")

    assert list(tmp_path.iterdir()) == []


def test_throttling_is_honoured(
    s3_environment: str, large: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is told to come back after a second does not come back before."""
    with faulty_proxy(s3_environment, share=0.4, seed=2, faults=("slow-down",)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        began = time.monotonic()
        content = fetched(open_store("s3://frames"), tmp_path / "large")
        seconds = time.monotonic() - began

    assert content == large
    assert proxy.counts["slow-down"] >= 1
    assert seconds >= 1


def test_a_store_that_never_serves_is_unavailable(
    s3_environment: str, large: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After several tries without one byte it is given up, and nothing is left behind."""
    assert large
    monkeypatch.setattr(ranged_download, "_FIRST_DELAY_SECONDS", 0.001)
    item = open_store("s3://frames").head("large")
    assert item is not None
    with faulty_proxy(s3_environment, share=1.0, seed=3, faults=("500",)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        with pytest.raises(Unavailable, match="in a row"):
            open_store("s3://frames").fetch(item, tmp_path / "large", threading.Event())

    assert list(tmp_path.iterdir()) == []


def test_a_fetch_can_be_stopped(s3_environment: str, large: bytes, tmp_path: Path) -> None:
    """A step that is told to stop does not wait for its downloads."""
    assert s3_environment
    assert large
    store, stop = open_store("s3://frames"), threading.Event()
    item = store.head("large")
    assert item is not None
    stop.set()

    with pytest.raises(Stopped):
        store.fetch(item, tmp_path / "large", stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("access", [Access(), Access(unsigned=True), Access(requester_pays=True)])
def test_access_to_a_bucket_of_others(
    s3_environment: str, access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public buckets are read without a signature; where the requester pays, every request says so."""
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=s3_environment)
    client.create_bucket(Bucket="public", ACL="public-read")
    client.put_object(Bucket="public", Key="large", Body=b"small", ACL="public-read")
    with faulty_proxy(s3_environment, share=0, seed=0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        if access.unsigned:
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        store = open_store("s3://public", access)
        listed = [item.key for item in store.list()]
        content = fetched(store, tmp_path / "near")

    assert listed == ["large"]
    assert content == b"small"
    assert {request.method for request in proxy.requests} == {"GET", "HEAD"}
    for request in proxy.requests:
        assert ("authorization" in request.headers) is not access.unsigned
        assert (request.headers.get("x-amz-request-payer") == "requester") is access.requester_pays


def test_a_create_whose_answer_is_lost_has_created(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK asks again and is told that the object is there; it is its own, and nobody else's counts as that."""
    with faulty_proxy(s3_environment, share=0.4, seed=9, faults=("reset-after",)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        store = open_store("s3://frames")
        created = [store.create(f"{number}.json", b"ours") for number in range(8)]
        others = [store.create(f"{number}.json", b"another's") for number in range(8)]
    lost = [request for request in proxy.requests if request.method == "PUT" and request.fault == "reset-after"]

    assert lost
    assert all(created)
    assert not any(others)


def test_keys_are_listed_in_one_order(store: Store) -> None:
    """By their characters, in folders as in buckets: plans and merges go by it."""
    for key in ("a/b", "a-b", "a.b", "a", "ab/c", "a0"):
        if key != "a" or store.uri.startswith("s3://"):
            store.write(key, b"x")
    keys = [item.key for item in store.list()]

    assert keys == sorted(keys)
    assert keys.index("a-b") < keys.index("a/b") < keys.index("a0")


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_create_on_a_disk_without_hard_links(tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a USB stick with exFAT: an object that exists is kept, and nothing else is left."""

    def refuse(source: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code), source, target)

    monkeypatch.setattr(os, "link", refuse)
    store = open_store(f"file://{tmp_path}")

    assert [store.create("k", b"one"), store.create("k", b"two")] == [True, False]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"k": b"one"}


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of folders that may not be read by this process, also where it runs as root, who may read all."""
    names: set[str] = set()
    scandir, stats = os.scandir, Path.stat

    def refuse(path: Path | str) -> None:
        if not names.isdisjoint(Path(path).parts):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def guarded_scandir(path: Path | str) -> object:
        refuse(path)
        return scandir(path)

    def guarded_stat(path: Path, **options: bool) -> os.stat_result:
        refuse(path.parent)
        return stats(path, **options)

    monkeypatch.setattr(os, "scandir", guarded_scandir)
    monkeypatch.setattr(Path, "stat", guarded_stat)
    return names


def test_a_folder_that_may_not_be_read_is_left_out_with_a_warning(
    tmp_path: Path, unreadable: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As `lost+found` on a disk; the folder of the store itself must be readable."""
    store = open_store(f"file://{tmp_path}/videos")
    store.write("a/1.mp4", b"x")
    store.write("b.mp4", b"x")
    unreadable.add("a")

    assert [item.key for item in store.list()] == ["b.mp4"]
    output = capsys.readouterr()
    assert f"{tmp_path}/videos/a" in output.out + output.err
    unreadable.add("videos")
    with pytest.raises(InvalidInput, match=r"listing .*Permission denied; check the path and its permissions"):
        list(store.list())


def test_links_that_are_not_followed_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Links to files are followed; one to nothing is what an unmounted disk or a git-annex leaves."""
    store = open_store(f"file://{tmp_path}/videos")
    store.write("a.mp4", b"x")
    for name, target in (("b.mp4", "a.mp4"), ("c.mp4", tmp_path / "absent"), ("d.mp4", "d.mp4"), ("e", tmp_path)):
        (tmp_path / "videos" / name).symlink_to(target)

    assert [item.key for item in store.list()] == ["a.mp4", "b.mp4"]
    output = capsys.readouterr()
    said = output.out + output.err
    assert "links to folders or to nothing are left out" in said
    assert f"{tmp_path}/videos/c.mp4" in said
    assert "links=3" in said


def test_a_file_in_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, unreadable: set[str]) -> None:
    """It is the fault of that object, as in a bucket."""
    store = open_store(f"file://{tmp_path}")
    store.write("a/1.mp4", b"x")
    item = store.head("a/1.mp4")
    assert item is not None
    unreadable.add("a")
    with pytest.raises(ObjectRefused, match=r"a/1.mp4: Permission denied"):
        store.head("a/1.mp4")
    with pytest.raises(ObjectRefused, match=r"a/1.mp4: Permission denied"):
        store.fetch(item, tmp_path, threading.Event())


def test_a_listing_that_a_network_file_system_breaks_off_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose handle became stale after its folder was read."""
    FileStore(tmp_path).write("a", b"1")

    def stale(_key: str, _path: Path) -> StoredObject:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(folder, "_described", stale)
    with pytest.raises(Unavailable, match=r"a: Stale file handle"):
        list(FileStore(tmp_path).list())


def test_a_file_that_is_removed_while_it_is_read_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look whether it is a file and the reading, another process may remove it."""
    store = open_store(f"file://{tmp_path}")
    monkeypatch.setattr(Path, "is_file", lambda _: True)

    assert store.head("k") is None
    assert store.read("k") is None
