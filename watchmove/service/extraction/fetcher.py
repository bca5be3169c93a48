"""Fetches videos into bounded scratch space while others are computed.

Space is reserved before the first byte is fetched and released when a video is finished; a fetch waits while there is
none. Videos are used in the order in which their fetches end, so a slow fetch does not delay the others.
"""

import re
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path, PurePosixPath

from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.service.extraction.child import VideoJob
from watchmove.service.records.outcomes import Outcome, Video, VideoOutcome
from watchmove.service.store.store import ObjectChanged, ObjectRefused, ObjectUnserved, Store, StoredObject

_MAX_KEY_BYTES = 1024
"""Longest key of an object in S3, from its documentation."""
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


class ScratchSpace:
    """Counter of the scratch bytes in use, with an upper limit; safe to share between threads."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._used = 0
        self._waiting = 0
        self._changed = threading.Condition()

    @property
    def used_bytes(self) -> int:
        """Bytes reserved and not yet released."""
        return self._used

    @property
    def waiting(self) -> int:
        """Number of threads that wait for space now."""
        return self._waiting

    def take(self, n_bytes: int, stop: threading.Event) -> None:
        """Reserve bytes, waiting until there is room. Raises Stopped if `stop` is set while it waits."""
        with self._changed:
            # counted, so that the pipeline notices when only a commit can release space
            self._waiting += 1
            try:
                while self._used + n_bytes > self.limit_bytes:
                    if stop.is_set():
                        raise Stopped("received a signal while waiting for scratch space")
                    self._changed.wait(0.1)  # seconds, so that a stop is noticed; set by hand
                self._used += n_bytes
            finally:
                self._waiting -= 1

    def add(self, n_bytes: int) -> None:
        """Count bytes that are already on disk; a negative number releases them."""
        with self._changed:
            self._used += n_bytes
            self._changed.notify_all()


class VideoFetcher:
    """Up to `count` fetches that run or have not been used yet; leaving the `with` block ends them."""

    def __init__(self, source: Store, folder: Path, space: ScratchSpace, count: int) -> None:
        self._source = source
        self._folder = folder
        self._space = space
        self._count = count
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(count)
        self._futures: list[Future[VideoJob | VideoOutcome]] = []

    def __enter__(self) -> "VideoFetcher":
        return self

    def __exit__(self, *_: object) -> None:
        # before shutdown, which waits for fetches that may themselves wait for space
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for path in self._folder.iterdir():
            if path.is_file():  # folders hold results that are committed later
                path.unlink(missing_ok=True)

    def has_room(self) -> bool:
        """Whether another fetch may be started."""
        return len(self._futures) < self._count

    def is_idle(self) -> bool:
        """Whether no fetch runs or has yet to be used."""
        return not self._futures

    def is_stuck(self) -> bool:
        """Whether every fetch waits for space, so that none can continue until some is released."""
        return 0 < len(self._futures) == self._space.waiting

    def ask(self, video: Video) -> None:
        """Start to fetch a video."""
        self._futures.append(self._pool.submit(self._fetch, video))

    def next_fetched(self) -> VideoJob | VideoOutcome | None:
        """A fetched video, or the outcome of one that cannot be fetched; None if no fetch has ended yet.

        Raises:
            Unavailable: the store cannot be reached, or the disk is full.
        """
        for future in self._futures:
            if future.done():
                self._futures.remove(future)
                return future.result()
        return None

    def wait(self, seconds: float) -> None:
        """Wait until a fetch has ended, but no longer than `seconds`."""
        wait(self._futures, timeout=seconds, return_when=FIRST_COMPLETED)

    def done_with(self, job: VideoJob, outcome: VideoOutcome) -> VideoOutcome:
        """Remove a fetched video, release its space, and return its outcome: missing if the video changed meanwhile."""
        video = job.video
        if self._source.fetches_copies:
            job.path.unlink(missing_ok=True)
            self._space.add(-video.size_bytes)
        # a folder's file is read in place, so it may have changed while it was decoded; a copy cannot
        elif self._source.head(video.key) != StoredObject(video.key, video.size_bytes, video.etag):
            return _missing(video, "changed", f"{video.key}: changed while it was read")
        return outcome

    def _fetch(self, video: Video) -> VideoJob | VideoOutcome:
        try:
            return self._bring(video)
        except ObjectChanged as error:
            return _missing(video, "changed", str(error))
        except (ObjectRefused, ObjectUnserved) as error:
            return _missing(video, "refused", str(error))

    def _bring(self, video: Video) -> VideoJob | VideoOutcome:
        """Fetch a video; local names are made of its id, because a key from outside must never become a local path."""
        try:
            self._source.check_key(video.key)
        except InvalidInput as error:
            return _missing(video, "outside-prefix", str(error))
        # a store would answer a longer key with an error, which would end the run instead of this video
        if len(video.key.encode()) > _MAX_KEY_BYTES:
            return _missing(video, "not-in-store", f"no store holds a key of more than {_MAX_KEY_BYTES} bytes")
        item = StoredObject(video.key, video.size_bytes, video.etag) if video.etag else self._source.head(video.key)
        if item is None:
            return _missing(video, "not-in-store")
        video = video.model_copy(update={"etag": item.etag, "size_bytes": item.size_bytes})
        if self._source.fetches_copies:
            if item.size_bytes > self._space.limit_bytes:  # it would wait for ever
                detail = f"{item.size_bytes} bytes; work.scratch_mebibytes is {self._space.limit_bytes >> 20}"
                return VideoOutcome(video=video, outcome=Outcome.UNREADABLE, reason="over-scratch-limit", detail=detail)
            self._space.take(item.size_bytes, self._stop)
        return self._copy(video, item)

    def _copy(self, video: Video, item: StoredObject) -> VideoJob | VideoOutcome:
        results = self._folder / video.id
        target = self._folder / local_name(video)
        path, began = None, time.monotonic()
        try:
            path = self._source.fetch(item, target, self._stop)
        finally:
            # absent, changed, refused or stopped: there is no file, so its space is free again
            if path is None and self._source.fetches_copies:
                self._space.add(-item.size_bytes)
        if path is None:
            return _missing(video, "not-in-store")
        results.mkdir(parents=True, exist_ok=True)
        return VideoJob(video, path, results, time.monotonic() - began)


def local_name(video: Video) -> str:
    """The name of a fetched video's file: its id and its suffix, as a key from outside must never become a path."""
    suffix = PurePosixPath(video.key).suffix.lower()
    return f"{video.id}-video{suffix if _SUFFIX.fullmatch(suffix) else ''}"


def _missing(video: Video, reason: str, detail: str = "") -> VideoOutcome:
    return VideoOutcome(video=video, outcome=Outcome.MISSING, reason=reason, detail=detail)
