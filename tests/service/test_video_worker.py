"""A video in its own process: whatever it does costs that video alone."""

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.errors import Unavailable
from pipeline.settings.extraction import ExtractionSettings
from pipeline.tar_dataset import read_shard
from pipeline.video import write_video
from pipeline.world import moving_square
from service import video_worker
from service.outcomes import Outcome, Video, VideoOutcome
from service.video_worker import AUDIT, KEPT, Limits, VideoJob, VideoWorkers

GENEROUS = Limits(timeout_seconds=120, memory_mebibytes=4096)


def job_for(path: Path | None, folder: Path) -> VideoJob:
    """A job on one video with an empty results folder."""
    folder.mkdir(exist_ok=True)
    return VideoJob(Video(id="0123456789abcdef", key="clip.mp4", etag="e", size_bytes=1), path, folder)


def run_one(job: VideoJob, limits: Limits = GENEROUS) -> VideoOutcome:
    """The outcome of one job."""
    with VideoWorkers(ExtractionSettings(), 1, limits) as workers:
        workers.start(job)
        while True:
            for _, outcome in workers.finished(1.0):
                return outcome


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of a square that moves 3 pixels a frame."""
    path = tmp_path_factory.mktemp("square") / "square.mp4"
    write_video(path, moving_square((3, 0), 30).frames, 24.0)
    return path


def test_a_moving_square_is_kept(square: Path, tmp_path: Path) -> None:
    """Its frames come with a mask, a confidence and where they are from."""
    outcome = run_one(job_for(square, tmp_path / "results"))
    samples = list(read_shard(tmp_path / "results" / KEPT))

    assert outcome.outcome is Outcome.KEPT
    assert outcome.frames_seen == 30
    assert len(samples) == outcome.frames_kept > 0
    assert samples[0].metadata["video"] == "clip.mp4"
    assert samples[0].metadata["reject_reason"] is None


def test_a_text_file_is_unreadable(tmp_path: Path) -> None:
    """A name that ends in .mp4 makes no video."""
    path = tmp_path / "text.mp4"
    path.write_text("this is no video\n" * 100)
    outcome = run_one(job_for(path, tmp_path / "results"))

    assert outcome.outcome is Outcome.UNREADABLE
    assert outcome.reason


def test_one_frame_is_no_motion(tmp_path: Path) -> None:
    """A video of one frame ends as an outcome with its reason."""
    path = tmp_path / "one.mp4"
    write_video(path, moving_square((3, 0), 2).frames[:1], 24.0)
    outcome = run_one(job_for(path, tmp_path / "results"))

    assert (outcome.outcome, outcome.reason) == (Outcome.UNREADABLE, "too-short")


def test_a_truncated_video_is_an_outcome(square: Path, tmp_path: Path) -> None:
    """Half a file gives what can be read of it, or says that nothing can."""
    path = tmp_path / "half.mp4"
    path.write_bytes(square.read_bytes()[: square.stat().st_size // 2])
    outcome = run_one(job_for(path, tmp_path / "results"))

    assert outcome.outcome in (Outcome.KEPT, Outcome.UNREADABLE)


def test_a_missing_video_is_missing(tmp_path: Path) -> None:
    """It was listed, and is gone."""
    assert run_one(job_for(None, tmp_path / "results")).outcome is Outcome.MISSING


def test_a_hanging_video_times_out(square: Path, tmp_path: Path) -> None:
    """The child is ended when its time is up."""
    began = time.monotonic()
    outcome = run_one(job_for(square, tmp_path / "results"), Limits(0.2, 4096))

    assert outcome.outcome is Outcome.TIMED_OUT
    assert time.monotonic() - began < 10


def test_a_memory_bomb_is_unreadable(square: Path, tmp_path: Path) -> None:
    """The child hits its own limit; the parent and the machine do not notice."""
    outcome = run_one(job_for(square, tmp_path / "results"), Limits(60, 64))

    assert outcome.outcome is Outcome.UNREADABLE
    assert outcome.reason in ("out-of-memory", "crashed")


def test_a_crash_is_that_videos_own(square: Path, tmp_path: Path) -> None:
    """A child that is killed from outside leaves an outcome."""
    with VideoWorkers(ExtractionSettings(), 1, GENEROUS) as workers:
        workers.start(job_for(square, tmp_path / "results"))
        pid = workers._children[0].process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        [(_, outcome)] = list(workers.finished(10.0))

    assert (outcome.outcome, outcome.reason) == (Outcome.UNREADABLE, "crashed")


def test_a_full_disk_is_not_the_videos_fault(square: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child says so with its exit code, and the step is told to try again later."""

    def refuse(path: Path, samples: object) -> None:
        assert samples is not None
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(video_worker, "write_shard", refuse)
    job = job_for(square, tmp_path / "results")
    with pytest.raises(SystemExit) as caught:
        video_worker._work(job, ExtractionSettings(), Limits(120, 1 << 20))

    assert caught.value.code == video_worker._DISK_FULL_EXIT_CODE
    assert not (job.folder / AUDIT).exists()
    with pytest.raises(Unavailable, match="scratch disk is full"):
        video_worker.judge(job, caught.value.code, 1.0, overdue=False)
