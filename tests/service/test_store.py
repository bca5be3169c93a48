"""Both stores keep the one interface's promises."""

import errno
import threading
from pathlib import Path

import boto3
import pytest

from pipeline.errors import InvalidInput, Unavailable
from service import file_store
from service.store import Store, open_store


def test_what_is_written_is_read_back(store: Store) -> None:
    """Bytes go in and come out, also through files."""
    store.write("a/b.json", b"one")

    assert store.read("a/b.json") == b"one"
    assert store.read("a/absent") is None


def test_listing_is_by_key_and_prefix(store: Store) -> None:
    """A prefix need not end at a slash, and keys come in order."""
    for key in ("b/2", "b/1", "a", "bc"):
        store.write(key, key.encode())

    assert [item.key for item in store.list("b/")] == ["b/1", "b/2"]
    assert [item.key for item in store.list("b")] == ["b/1", "b/2", "bc"]
    assert [item.size_bytes for item in store.list("a")] == [1]


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


def test_local_gives_a_file(store: Store, tmp_path: Path) -> None:
    """A local copy holds the object's bytes; an absent object gives none."""
    store.write("clip.mp4", b"frames")
    path = store.local("clip.mp4", tmp_path / "near" / "clip.mp4")

    assert path is not None
    assert path.read_bytes() == b"frames"
    assert store.local("absent", tmp_path / "absent") is None


@pytest.mark.parametrize("key", ["../up", "a/../../up", "/root", "", "a\0b", "..\\up"])
def test_keys_cannot_leave_the_store(store: Store, key: str) -> None:
    """Keys come from metadata and buckets, which are not trusted."""
    with pytest.raises(InvalidInput, match="would leave its store"):
        store.write(key, b"")


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

    def refuse(path: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr(file_store, "_synchronise", refuse)
    with pytest.raises(Unavailable, match="No space left"):
        folder.write("record.json", b"{}")

    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_invalid(tmp_path: Path) -> None:
    """A file where a folder should be will not become one by waiting."""
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidInput, match="check the path"):
        open_store(f"file://{tmp_path}/file").write("x", b"")
