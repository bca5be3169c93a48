"""Runs each video in its own child process, so that a crash, a hang or excessive memory affects that video only.

The child writes its samples and, last, its verdict to its own folder. The parent decides by these files and by how the
child ended, so a child that a hostile video has broken leaves no result.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from pydantic import ValidationError

from watchmove.pipeline.errors import Unavailable
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.extraction.child import UNAVAILABLE_EXIT_CODE, VERDICT, Limits, VideoJob, work
from watchmove.service.extraction.device_process import DeviceProcess
from watchmove.service.extraction.stage_times import TimedOutcome
from watchmove.service.records.outcomes import Outcome, VideoOutcome
from watchmove.service.runner.child_process import fork_server

_POLL_SECONDS = 0.1
"""Longest wait before limits are checked again. Set by hand; not tuned."""
_PRELOADED = ["watchmove.service.extraction.child", "watchmove.service.cli.main"]
"""Loaded once for all children: each imports its parent's main module, the command line."""


@dataclass
class _Child:
    job: VideoJob
    process: BaseProcess
    began: float = field(default_factory=time.monotonic)

    def exceeded(self, limits: Limits) -> str:
        """The limit that it has exceeded, as a reason; empty if none."""
        if time.monotonic() - self.began > limits.timeout_seconds:
            return "time-limit"
        return "output-limit" if folder_bytes(self.job.folder) > limits.output_mebibytes * 2**20 else ""

    def end(self) -> None:
        """End the child and the processes that it has started; its decoder is in its process group."""
        pid = self.process.pid
        if pid is not None:
            # there is no such group before the child has called setsid, so the process itself is killed too, below
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()


class VideoWorkers:
    """Up to `count` child processes at a time; leaving the `with` block ends those that still run."""

    def __init__(
        self, settings: ExtractionSettings, count: int, limits: Limits, device: DeviceProcess | None = None
    ) -> None:
        """With a `device`, which must have been started before the first video, it computes the masks of all."""
        self._device = device
        self._settings = settings
        self._count = count
        self._limits = limits
        self._children: list[_Child] = []
        watching = (
            ["watchmove.pipeline.masks.motion_network_layers"] if settings.motion_network and device is None else []
        )
        # children inherit the environment of the server that forks them
        with _one_thread_each():
            self._context = fork_server([*_PRELOADED, *watching])

    def __enter__(self) -> "VideoWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.end()

    def has_room(self) -> bool:
        """Whether another job would start at once."""
        return len(self._children) < self._count

    def is_idle(self) -> bool:
        """Whether no child is running."""
        return not self._children

    def start(self, job: VideoJob) -> None:
        """Start a child process for a video."""
        arguments = (job, self._settings, self._limits, self._device.address if self._device else "")
        process = self._context.Process(target=work, args=arguments, name=f"video {job.video.id}", daemon=True)
        process.start()
        self._children.append(_Child(job, process))

    def finished(self, seconds: float) -> Iterator[tuple[VideoJob, VideoOutcome]]:
        """Yield the videos that have ended, after waiting up to `seconds` for the first.

        Raises:
            Unavailable: a child found the scratch disk full, no ffmpeg, or no device, which is no video's fault.
        """
        wait([child.process.sentinel for child in self._children], timeout=min(seconds, _POLL_SECONDS))
        for child in tuple(self._children):
            # also for a child that has ended: it may have written too much just before
            broken = child.exceeded(self._limits)
            if child.process.is_alive() and not broken:
                continue
            child.end()
            self._children.remove(child)
            yield child.job, judge(child.job, child.process.exitcode, time.monotonic() - child.began, broken)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit linear algebra to one thread per process; it reads the limit when loaded, and each core has a worker."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def judge(job: VideoJob, exit_code: int | None, seconds: float, broken_limit: str = "") -> VideoOutcome:
    """The outcome of a child that has ended: its verdict, or if it left none, an outcome that its exit code implies.

    Without a verdict its files are removed, so that a video never appears with only part of its frames.

    Raises:
        Unavailable: the child found the scratch disk full, no ffmpeg, or no device.
    """
    verdict = _verdict(job)
    # a verdict that was complete before the time limit ended the child counts
    if verdict is not None and broken_limit != "output-limit":
        return verdict
    if exit_code == UNAVAILABLE_EXIT_CODE:
        raise Unavailable(
            f"{job.folder}: the scratch disk is full, ffmpeg does not start, or extract.device has failed (the line "
            "before says which); free space, set work.scratch, install ffmpeg, or run again"
        )
    shutil.rmtree(job.folder, ignore_errors=True)
    outcome = Outcome.TIMED_OUT if broken_limit == "time-limit" else Outcome.UNREADABLE
    detail = "" if broken_limit else f"its worker ended with exit code {exit_code}"
    reason = broken_limit or "crashed"
    return VideoOutcome(video=job.video, outcome=outcome, reason=reason, detail=detail, seconds=round(seconds, 3))


def _verdict(job: VideoJob) -> VideoOutcome | None:
    with suppress(FileNotFoundError, ValidationError):
        verdict = TimedOutcome.model_validate_json((job.folder / VERDICT).read_bytes(), strict=True)
        # the child has read an untrusted file, so it is not trusted to say which video this is
        return verdict.model_copy(update={"video": job.video})
    return None


def folder_bytes(folder: Path) -> int:
    """Total bytes of the files in a folder; a file that is removed meanwhile does not count."""
    total = 0
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                total += entry.stat().st_size
    return total
