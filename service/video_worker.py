"""One video in one child process: a crash, a hang or a memory bomb costs that video and nothing else.

The child writes its samples and then, last, its verdict into a folder of its own. The parent judges by what it finds
there and by how the child ended, so nothing that a hostile video does to the child can be mistaken for a result.
"""

import errno
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import Unavailable, UnreadableVideo
from pipeline.extraction import Extraction, Frame, extract_video
from pipeline.settings.extraction import ExtractionSettings
from pipeline.tar_dataset import Sample, write_shard
from service.outcomes import Outcome, Video, VideoOutcome

AUDIT_FRAMES_PER_REASON = 1
JPEG_QUALITY = 95
_DISK_FULL_EXIT_CODE = 75
_VERDICT, KEPT, AUDIT = "verdict.json", "kept.tar", "audit.tar"


@dataclass(frozen=True)
class VideoJob:
    """A fetched video (`path` is None where it was missing) and the empty folder its results go to."""

    video: Video
    path: Path | None
    folder: Path


@dataclass(frozen=True)
class Limits:
    """What one video may cost."""

    timeout_seconds: float
    memory_mebibytes: int


@dataclass
class _Child:
    job: VideoJob
    process: BaseProcess
    began: float = field(default_factory=time.monotonic)


class VideoWorkers:
    """Up to `count` children at work at a time; leaving the `with` block ends those that still are."""

    def __init__(self, settings: ExtractionSettings, count: int, limits: Limits) -> None:
        self._settings = settings
        self._count = count
        self._limits = limits
        self._children: list[_Child] = []
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["service.video_worker"])
        with _one_thread_each():
            forkserver.ensure_running()

    def __enter__(self) -> "VideoWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.process.kill()
        for child in self._children:
            child.process.join()

    def has_room(self) -> bool:
        """Whether another job would start at once."""
        return len(self._children) < self._count

    def is_idle(self) -> bool:
        """Whether no child is at work."""
        return not self._children

    def start(self, job: VideoJob) -> None:
        """Begin one video."""
        arguments = (job, self._settings, self._limits)
        process = self._context.Process(target=_work, args=arguments, name=f"video {job.video.key}", daemon=True)
        process.start()
        self._children.append(_Child(job, process))

    def finished(self, seconds: float) -> Iterator[tuple[VideoJob, VideoOutcome]]:
        """Videos that ended within the next `seconds`.

        Raises:
            Unavailable: a child found the scratch disk full, which is no video's fault.
        """
        wait([child.process.sentinel for child in self._children], timeout=seconds)
        for child in tuple(self._children):
            overdue = time.monotonic() - child.began > self._limits.timeout_seconds
            if child.process.is_alive() and not overdue:
                continue
            if overdue:
                child.process.kill()
            child.process.join()
            self._children.remove(child)
            seconds = round(time.monotonic() - child.began, 3)
            yield child.job, judge(child.job, child.process.exitcode, seconds, overdue=overdue)


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


def judge(job: VideoJob, exit_code: int | None, seconds: float, *, overdue: bool) -> VideoOutcome:
    """The outcome of a child that has ended: its verdict, or what its end says where it left none.

    Raises:
        Unavailable: the child found the scratch disk full.
    """
    verdict = job.folder / _VERDICT
    if verdict.is_file():
        return VideoOutcome.model_validate_json(verdict.read_bytes())
    if exit_code == _DISK_FULL_EXIT_CODE:
        raise Unavailable(f"{job.folder}: the scratch disk is full; free space or set work.scratch")
    if overdue:
        return VideoOutcome(video=job.video, outcome=Outcome.TIMED_OUT, reason="time-limit", seconds=seconds)
    detail = f"its worker ended with exit code {exit_code}"
    return VideoOutcome(video=job.video, outcome=Outcome.UNREADABLE, reason="crashed", detail=detail, seconds=seconds)


def _work(job: VideoJob, settings: ExtractionSettings, limits: Limits) -> None:
    """The child: extract, write the samples, and write the verdict last."""
    # A terminal or a supervisor signals the whole process group: only the parent may decide to end a child.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _limit_memory(limits.memory_mebibytes)
    began = time.monotonic()
    try:
        outcome = _extract(job, settings)
        seconds = round(time.monotonic() - began, 3)
        partial = job.folder / f"{_VERDICT}.partial"
        partial.write_text(outcome.model_copy(update={"seconds": seconds}).model_dump_json())
        partial.replace(job.folder / _VERDICT)
    except (OSError, Unavailable) as error:
        if isinstance(error, Unavailable) or error.errno in (errno.ENOSPC, errno.EDQUOT):
            sys.exit(_DISK_FULL_EXIT_CODE)
        raise


def _extract(job: VideoJob, settings: ExtractionSettings) -> VideoOutcome:
    if job.path is None:
        return VideoOutcome(video=job.video, outcome=Outcome.MISSING, reason="not-in-store")
    try:
        extraction = extract_video(job.path, settings)
        kept = [_sample(job.video, frame) for frame in extraction.frames if frame.reject_reason is None]
        write_shard(job.folder / KEPT, kept)
        write_shard(job.folder / AUDIT, [_sample(job.video, frame) for frame in _audited(extraction.frames)])
    except UnreadableVideo as error:
        outcome = Outcome.TIMED_OUT if error.reason == "decoder-timeout" else Outcome.UNREADABLE
        return VideoOutcome(video=job.video, outcome=outcome, reason=error.reason, detail=error.detail)
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and "Insufficient memory" not in str(error):
            raise
        return VideoOutcome(video=job.video, outcome=Outcome.UNREADABLE, reason="out-of-memory")
    return _verdict(job.video, extraction)


def _verdict(video: Video, extraction: Extraction) -> VideoOutcome:
    reasons = [frame.reject_reason for frame in extraction.frames if frame.reject_reason is not None]
    rejected = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    kept = len(extraction.frames) - len(reasons)
    commonest = max(rejected, key=lambda reason: rejected[reason], default="nothing-sampled")
    return VideoOutcome(
        video=video,
        outcome=Outcome.KEPT if kept else Outcome.REJECTED,
        reason="" if kept else commonest,
        frames_seen=extraction.frames_seen,
        frames_kept=kept,
        frames_rejected=rejected,
    )


def _audited(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The first few rejected frames of each reason."""
    seen: dict[str, int] = {}
    for frame in frames:
        if frame.reject_reason is None:
            continue
        seen[frame.reject_reason] = seen.get(frame.reject_reason, 0) + 1
        if seen[frame.reject_reason] <= AUDIT_FRAMES_PER_REASON:
            yield frame


def _sample(video: Video, frame: Frame) -> Sample:
    """A frame as the dataset keeps it: JPEG, 8-bit soft mask, and where it comes from."""
    bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    _, png = cv2.imencode(".png", np.rint(frame.soft_mask * 255).astype(np.uint8))
    metadata: dict[str, object] = {
        "video": video.key,
        "video_id": video.id,
        "frame": frame.index,
        "time_seconds": round(frame.time_seconds, 4),
        "shot": frame.shot,
        "confidence": round(float(frame.confidence), 4),
        "reject_reason": frame.reject_reason,
        "owner": "",
        "licence": "",
        "licence_url": "",
    }
    return Sample(f"{video.id}-{frame.index:06d}", jpeg.tobytes(), png.tobytes(), metadata)


def _limit_memory(mebibytes: int) -> None:
    """Cap the address space where the platform enforces it (Linux does, macOS does not)."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mebibytes * 2**20
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
