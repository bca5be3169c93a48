"""The videos of a shard through fetching and extraction, the next ones being fetched while some are computed."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from watchmove.service.extraction.child import Limits
from watchmove.service.extraction.device_process import DeviceProcess
from watchmove.service.extraction.fetcher import ScratchSpace, VideoFetcher
from watchmove.service.extraction.worker import VideoWorkers
from watchmove.service.records.outcomes import NO_DEVICE, DeviceUse, Video, VideoOutcome
from watchmove.service.settings.settings import Settings, worker_count
from watchmove.service.store.opening import open_videos

_POLL_SECONDS = 0.1


class VideoPipeline:
    """Outcomes of videos as they come; leaving the `with` block ends what is under way and removes what was fetched."""

    def __init__(self, settings: Settings, videos: Sequence[Video], folder: Path, space: ScratchSpace) -> None:
        work = settings.work
        limits = Limits(work.video_timeout_seconds, work.video_memory_mebibytes, work.video_output_mebibytes)
        count = worker_count(settings)
        self._waiting = deque(videos)
        self._fetcher = VideoFetcher(open_videos(settings), folder, space, count)
        self._device = None if settings.extract.device == "cpu" else DeviceProcess(settings.extract)
        self._workers = VideoWorkers(settings.extract, count, limits, self._device)
        self._exits = ExitStack()

    def __enter__(self) -> "VideoPipeline":
        """Raises InvalidInput where there is no device as the settings say; Unavailable where it does not start."""
        if self._device is not None:
            self._exits.enter_context(self._device)
        self._exits.enter_context(self._fetcher)
        self._exits.enter_context(self._workers)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def device_use(self) -> DeviceUse:
        """How long the process that computes masks for all videos was at work and waited, where there is one."""
        return NO_DEVICE if self._device is None else self._device.use()

    def is_stuck(self) -> bool:
        """Whether it goes on only when results give back the space that they take."""
        return self._workers.is_idle() and self._fetcher.is_stuck()

    def outcomes(self, stop: Event) -> Iterator[VideoOutcome | None]:
        """Every video's outcome, unless `stop` is set before; None where a moment has passed without one.

        Raises:
            Unavailable: a store cannot be reached, the scratch disk is full, or the device has failed.
        """
        while not stop.is_set():
            if self._device is not None:
                self._device.check()
            while self._waiting and self._fetcher.has_room():
                self._fetcher.ask(self._waiting.popleft())
            yield from self._begin()
            if self._workers.is_idle() and self._fetcher.is_idle() and not self._waiting:
                return
            if self._workers.is_idle():
                self._fetcher.wait(_POLL_SECONDS)
            for job, outcome in self._workers.finished(_POLL_SECONDS):
                if stop.is_set():
                    return  # whoever stops us may have stopped the child too: its verdict is not the video's
                yield self._fetcher.done_with(job, outcome)
            yield None

    def _begin(self) -> Iterator[VideoOutcome]:
        """Give fetched videos to workers that have room; a video that could not be fetched has ended already."""
        while self._workers.has_room() and (fetched := self._fetcher.next_fetched()) is not None:
            if isinstance(fetched, VideoOutcome):
                yield fetched
            else:
                self._workers.start(fetched)
