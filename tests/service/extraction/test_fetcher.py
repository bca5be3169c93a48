"""Videos come near within bounded space; what cannot come is an outcome with a reason from the closed list."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchmove.pipeline.errors import Stopped
from watchmove.service.extraction.child import VideoJob
from watchmove.service.extraction.fetcher import ScratchSpace, VideoFetcher
from watchmove.service.records.outcomes import MISSING_REASONS, WORKER_REASONS, Outcome, Video, VideoOutcome
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Access, Store

MEBIBYTE = 2**20


@pytest.fixture
def bucket(s3_environment: str) -> Store:
    """A bucket with two small videos, as far as fetching can tell."""
    assert s3_environment
    store = open_store("s3://frames/videos")
    store.write("a.mp4", b"first")
    store.write("b.mp4", b"second")
    return store


def video(store: Store, key: str, *, planned_blind: bool = False) -> Video:
    """A video as a listing plans it, or as a metadata file does, which knows neither ETag nor size."""
    item = None if planned_blind else store.head(key)
    identity = f"{sum(key.encode()):016x}"
    if item is None:
        return Video(id=identity, key=key, etag="", size_bytes=0)
    return Video(id=identity, key=key, etag=item.etag, size_bytes=item.size_bytes)


def fetch(store: Store, wanted: Video, folder: Path, limit_bytes: int = MEBIBYTE) -> VideoJob | VideoOutcome:
    """One video through a fetcher."""
    folder.mkdir(exist_ok=True)
    with VideoFetcher(store, folder, ScratchSpace(limit_bytes), 1) as fetcher:
        fetcher.ask(wanted)
        fetcher.wait(60)
        fetched = fetcher.next_fetched()
        assert fetched is not None
        if isinstance(fetched, VideoJob):
            assert fetched.path.read_bytes() == store.read(wanted.key)
    return fetched


def ended(fetched: VideoJob | VideoOutcome) -> tuple[str, str]:
    """How a video ended that did not come."""
    assert isinstance(fetched, VideoOutcome)
    assert fetched.reason in MISSING_REASONS + WORKER_REASONS
    return fetched.outcome.value, fetched.reason


def test_what_a_list_did_not_know_is_recorded(bucket: Store, tmp_path: Path) -> None:
    """ETag and size of the object that was fetched stand in the video's row, and its id stays."""
    blind = video(bucket, "a.mp4", planned_blind=True)
    fetched = fetch(bucket, blind, tmp_path / "near")
    seen = bucket.head("a.mp4")

    assert isinstance(fetched, VideoJob)
    assert seen is not None
    assert fetched.video == blind.model_copy(update={"etag": seen.etag, "size_bytes": 5})


def test_absent_and_changed_are_missing(bucket: Store, tmp_path: Path) -> None:
    """Whether planned from a listing or from a list."""
    planned = video(bucket, "a.mp4")
    bucket.write("a.mp4", b"another video under the same name")

    assert ended(fetch(bucket, planned, tmp_path / "near")) == ("missing", "changed")
    assert ended(fetch(bucket, video(bucket, "none.mp4", planned_blind=True), tmp_path / "near")) == (
        "missing",
        "not-in-store",
    )
    gone = Video(id="0" * 16, key="gone.mp4", etag="0" * 32, size_bytes=5)
    assert ended(fetch(bucket, gone, tmp_path / "near")) == ("missing", "not-in-store")


@pytest.mark.parametrize("key", ["../secrets.mp4", "a/../../b.mp4", "a/./b.mp4"])
def test_keys_cannot_leave_their_prefix(bucket: Store, tmp_path: Path, key: str) -> None:
    """A key from a list that climbs out is an outcome, and nothing is asked of the store."""
    outcome = fetch(bucket, Video(id="0" * 16, key=key, etag="", size_bytes=0), tmp_path / "near")

    assert ended(outcome) == ("missing", "outside-prefix")
    assert list((tmp_path / "near").iterdir()) == []


@pytest.mark.parametrize("key", ["/etc/passwd", "..\\up.mp4"])
def test_keys_cannot_leave_their_folder(tmp_path: Path, key: str) -> None:
    """In a folder, a key that is no relative path is such an outcome too; in a bucket it is a name like any other."""
    folder = open_store(f"file://{tmp_path / 'videos'}")
    outcome = fetch(folder, Video(id="0" * 16, key=key, etag="", size_bytes=0), tmp_path / "near")

    assert ended(outcome) == ("missing", "outside-prefix")


@pytest.mark.parametrize("key", ["a.mp4;rm -rf", "a." + "x" * 300, "a.%2e%2e%2f"])
def test_local_names_are_made_of_ids(bucket: Store, tmp_path: Path, key: str) -> None:
    """Whatever a key looks like, its file lies in the scratch folder under its id."""
    bucket.write(key, b"x")
    fetched = fetch(bucket, video(bucket, key), tmp_path / "near")

    assert isinstance(fetched, VideoJob)
    assert fetched.path.parent == tmp_path / "near"
    assert fetched.path.name.startswith(fetched.video.id)
    assert len(fetched.path.name) < 40


def test_a_key_that_no_store_can_hold_is_missing(tmp_path: Path) -> None:
    """Its length comes from a list, and is no reason to end a run."""
    folder = open_store(f"file://{tmp_path / 'videos'}")
    for length in (300, 3000):
        blind = Video(id="0" * 16, key="x" * length, etag="", size_bytes=0)
        assert ended(fetch(folder, blind, tmp_path / "near")) == ("missing", "not-in-store")


def test_a_video_larger_than_all_scratch_space_is_an_outcome(bucket: Store, tmp_path: Path) -> None:
    """It would wait for ever."""
    outcome = fetch(bucket, video(bucket, "b.mp4"), tmp_path / "near", limit_bytes=5)

    assert ended(outcome) == (Outcome.UNREADABLE.value, "over-scratch-limit")


def test_an_object_that_may_not_be_read_is_missing(bucket: Store, tmp_path: Path) -> None:
    """Unsigned requests to a private object are refused; that is this video's outcome, not the run's end."""
    stranger = open_store("s3://frames/videos", Access(unsigned=True))
    folder = tmp_path / "near"
    folder.mkdir()
    with VideoFetcher(stranger, folder, ScratchSpace(MEBIBYTE), 2) as fetcher:
        for wanted in (video(bucket, "a.mp4"), video(bucket, "b.mp4", planned_blind=True)):
            fetcher.ask(wanted)
        outcomes = list(drained(fetcher))

    assert [ended(outcome) for outcome in outcomes] == [("missing", "refused")] * 2


def drained(fetcher: VideoFetcher) -> Iterator[VideoJob | VideoOutcome]:
    """Everything that was asked for."""
    while not fetcher.is_idle():
        fetcher.wait(1)
        fetched = fetcher.next_fetched()
        if fetched is not None:
            yield fetched


def test_fetches_wait_for_space(bucket: Store, tmp_path: Path) -> None:
    """The second video waits until the first one's space is given back, and leaving removes what came."""
    space = ScratchSpace(8)
    with VideoFetcher(bucket, tmp_path, space, 2) as fetcher:
        fetcher.ask(video(bucket, "a.mp4"))
        fetcher.wait(60)
        fetcher.ask(video(bucket, "b.mp4"))
        first = fetcher.next_fetched()
        fetcher.wait(0.5)
        assert isinstance(first, VideoJob)
        assert fetcher.next_fetched() is None
        assert fetcher.is_stuck()
        assert fetcher.done_with(first, kept(first)) == kept(first)
        fetcher.wait(60)
        second = fetcher.next_fetched()
        assert isinstance(second, VideoJob)
        assert space.used_bytes == len(b"second")

    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def kept(job: VideoJob) -> VideoOutcome:
    """An outcome as a worker gives it."""
    return VideoOutcome(video=job.video, outcome=Outcome.KEPT, frames_kept=1)


def test_a_file_that_changes_while_it_is_read_is_missing(tmp_path: Path) -> None:
    """A folder's videos are read where they lie, so what came of one counts only if it is still the same."""
    folder = open_store(f"file://{tmp_path / 'videos'}")
    folder.write("a.mp4", b"first")
    job = fetch(folder, video(folder, "a.mp4"), tmp_path / "near")
    assert isinstance(job, VideoJob)
    with VideoFetcher(folder, tmp_path / "near", ScratchSpace(MEBIBYTE), 1) as fetcher:
        assert fetcher.done_with(job, kept(job)) == kept(job)
        folder.write("a.mp4", b"another")
        assert ended(fetcher.done_with(job, kept(job))) == ("missing", "changed")


def test_waiting_for_space_can_be_stopped() -> None:
    """Who is told to stop does not wait on."""
    space, stop = ScratchSpace(8), threading.Event()
    space.take(8, stop)
    stop.set()

    with pytest.raises(Stopped):
        space.take(1, stop)
