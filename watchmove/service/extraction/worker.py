"""One video in one child process: a crash, a hang or a memory bomb costs that video and nothing else.

The child writes its samples and then, last, its verdict into a folder of its own. The parent judges by what it finds
there and by how the child ended, so nothing that a hostile video does to the child can be mistaken for a result.
"""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from pydantic import ValidationError

from watchmove.pipeline.errors import Unavailable
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.extraction.child import UNAVAILABLE_EXIT_CODE, VERDICT, Limits, VideoJob, work
from watchmove.service.extraction.device_process import DeviceProcess
from watchmove.service.records.outcomes import Outcome, VideoOutcome

_LOOK_EVERY_SECONDS = 0.1
_PRELOADED = ["watchmove.service.extraction.child", "watchmove.service.cli.main"]
"""Loaded once for all children: each runs its parent's main module anew, which is the command line."""


@dataclass
class _Child:
    job: VideoJob
    process: BaseProcess
    began: float = field(default_factory=time.monotonic)
    ended_for: str = ""

    def exceeded(self, limits: Limits) -> str:
        """Which limit it has broken by now, as a reason; else nothing."""
        if time.monotonic() - self.began > limits.timeout_seconds:
            return "time-limit"
        return "output-limit" if folder_bytes(self.job.folder) > limits.output_mebibytes * 2**20 else ""

    def end(self) -> None:
        """End it and whatever it has started; its decoder is in its process group."""
        pid = self.process.pid
        if pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()


class VideoWorkers:
    """Up to `count` children at work at a time; leaving the `with` block ends those that still are."""

    def __init__(
        self, settings: ExtractionSettings, count: int, limits: Limits, device: DeviceProcess | None = None
    ) -> None:
        """With a `device`, which must have been started before the first video, it computes the masks of all."""
        self._device = device
        self._settings = settings
        self._count = count
        self._limits = limits
        self._children: list[_Child] = []
        self._context = multiprocessing.get_context("forkserver")
        teaching = ["watchmove.pipeline.masks.teacher_network"] if settings.teacher and device is None else []
        self._context.set_forkserver_preload([*_PRELOADED, *teaching])
        with _one_thread_each():
            forkserver.ensure_running()

    def __enter__(self) -> "VideoWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.end()

    def has_room(self) -> bool:
        """Whether another job would start at once."""
        return len(self._children) < self._count

    def is_idle(self) -> bool:
        """Whether no child is at work."""
        return not self._children

    def start(self, job: VideoJob) -> None:
        """Begin one video."""
        arguments = (job, self._settings, self._limits, self._device.address if self._device else "")
        process = self._context.Process(target=work, args=arguments, name=f"video {job.video.id}", daemon=True)
        process.start()
        self._children.append(_Child(job, process))

    def finished(self, seconds: float) -> Iterator[tuple[VideoJob, VideoOutcome]]:
        """Videos that ended within the next `seconds`; waits for the first only.

        Raises:
            Unavailable: a child found the scratch disk full, no ffmpeg, or no device, which is no video's fault.
        """
        wait([child.process.sentinel for child in self._children], timeout=min(seconds, _LOOK_EVERY_SECONDS))
        for child in tuple(self._children):
            broken = child.exceeded(self._limits)
            if child.process.is_alive() and not broken:
                continue
            child.end()
            self._children.remove(child)
            yield child.job, judge(child.job, child.process.exitcode, time.monotonic() - child.began, broken)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Linear algebra reads its number of threads when it is loaded: a worker per core needs one thread per worker."""
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
    """The outcome of a child that has ended: its verdict, or what its end says where it left none.

    Without a verdict nothing that it wrote stays: half a video's frames never appear.

    Raises:
        Unavailable: the child found the scratch disk full, no ffmpeg, or no device.
    """
    verdict = _verdict(job)
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
        verdict = VideoOutcome.model_validate_json((job.folder / VERDICT).read_bytes())
        return verdict.model_copy(update={"video": job.video})
    return None


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder; one that goes while this looks counts as nothing."""
    total = 0
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                total += entry.stat().st_size
    return total
