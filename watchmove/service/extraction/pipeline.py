"""Fetches and extracts the videos of a shard; the next videos are fetched while others are computed."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from threading import Event

import structlog

from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.frames import hardware_problem
from watchmove.service.extraction.child import Limits
from watchmove.service.extraction.device_process import DeviceProcess
from watchmove.service.extraction.fetcher import ScratchSpace, VideoFetcher
from watchmove.service.extraction.worker import VideoWorkers
from watchmove.service.records.outcomes import NO_DEVICE, DeviceUse, Video, VideoOutcome
from watchmove.service.runner.scratch_folder import scratch_folder
from watchmove.service.settings.settings import Settings, worker_count
from watchmove.service.store.opening import open_videos

_POLL_SECONDS = 0.1
"""Longest wait before stop signals and fetches are checked again. Set by hand; not tuned."""


HARDWARE_REMEDY = (
    "In a container, NVIDIA_DRIVER_CAPABILITIES must have `video`; without a GPU that decodes, set "
    "extract.hardware_decoding to false."
)


@cache
def with_usable_hardware(settings: ExtractionSettings, scratch: str) -> ExtractionSettings:
    """The settings, without `hardware_decoding` where it does not work here; once per process, a warning says so.

    `scratch` is where a scratch folder is made, as `work.scratch`.
    Raises InvalidInput where none can be made.
    """
    if not settings.hardware_decoding:
        return settings
    with scratch_folder(scratch) as folder:
        problem = hardware_problem(folder, settings)
    if not problem:
        return settings
    structlog.get_logger().warning("videos are decoded on the CPU", reason=problem, remedy=HARDWARE_REMEDY)
    return settings.model_copy(update={"hardware_decoding": False})


class VideoPipeline:
    """Source of the videos' outcomes; leaving the `with` block ends running work and removes fetched files."""

    def __init__(self, settings: Settings, videos: Sequence[Video], folder: Path, space: ScratchSpace) -> None:
        work = settings.work
        limits = Limits(work.video_timeout_seconds, work.video_memory_mebibytes, work.video_output_mebibytes)
        count = worker_count(settings)
        self._waiting = deque(videos)
        self._fetcher = VideoFetcher(open_videos(settings), folder, space, count)
        self._device = None if settings.extract.device == "cpu" else DeviceProcess(settings.extract)
        extract = with_usable_hardware(settings.extract, work.scratch)
        self._workers = VideoWorkers(extract, count, limits, self._device)
        self._exits = ExitStack()

    def __enter__(self) -> "VideoPipeline":
        """Start the device process, fetches and workers.

        Raises:
            InvalidInput: the device that the settings name does not exist.
            Unavailable: the device process does not start.
        """
        if self._device is not None:
            # left in the reverse order: children end before the files that they read are removed; the device ends last
            self._exits.enter_context(self._device)
        self._exits.enter_context(self._fetcher)
        self._exits.enter_context(self._workers)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def device_use(self) -> DeviceUse:
        """Busy and waiting seconds of the device process; zero if there is none."""
        return NO_DEVICE if self._device is None else self._device.use()

    def is_stuck(self) -> bool:
        """Whether it can continue only after the scratch space of results has been released."""
        return self._workers.is_idle() and self._fetcher.is_stuck()

    def outcomes(self, stop: Event) -> Iterator[VideoOutcome | None]:
        """Yield the outcome of each video until `stop` is set, and None after each poll so that the caller can commit.

        Raises:
            Unavailable: a store cannot be reached, the scratch disk is full, or the device has failed.
        """
        while not stop.is_set():
            if self._device is not None:
                self._device.check()  # its message names the device; those of its clients name several causes
            while self._waiting and self._fetcher.has_room():
                self._fetcher.ask(self._waiting.popleft())
            yield from self._begin()
            if self._workers.is_idle() and self._fetcher.is_idle() and not self._waiting:
                return
            if self._workers.is_idle():
                self._fetcher.wait(_POLL_SECONDS)  # otherwise `finished` waits, for children
            for job, outcome in self._workers.finished(_POLL_SECONDS):
                if stop.is_set():
                    return  # the stop signal may have ended the child too, so its outcome may not be the video's
                yield self._fetcher.done_with(job, outcome)
            yield None

    def _begin(self) -> Iterator[VideoOutcome]:
        """Start workers on fetched videos while there is room; yield outcomes of videos that could not be fetched."""
        while self._workers.has_room() and (fetched := self._fetcher.next_fetched()) is not None:
            if isinstance(fetched, VideoOutcome):
                yield fetched
            else:
                self._workers.start(fetched)
