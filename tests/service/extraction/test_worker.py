"""A video in its own process: whatever it does costs that video alone."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.waiting import poll
from watchmove.pipeline.dataset.shard import read_shard
from watchmove.pipeline.errors import Unavailable
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.extraction import child as video_child
from watchmove.service.extraction.child import AUDIT, KEPT, UNAVAILABLE_EXIT_CODE, VERDICT, Limits, VideoJob
from watchmove.service.extraction.worker import VideoWorkers, judge
from watchmove.service.records.outcomes import Credit, Outcome, Video, VideoOutcome

pytestmark = pytest.mark.serial

GENEROUS = Limits(timeout_seconds=120, memory_mebibytes=4096, output_mebibytes=64)


def job_for(path: Path, folder: Path) -> VideoJob:
    """A job on one video with an empty results folder."""
    folder.mkdir(exist_ok=True)
    credit = Credit(owner="somebody", licence="Attribution License", page_url="https://example.org/1")
    return VideoJob(Video(id="0123456789abcdef", key="clip.mp4", etag="e", size_bytes=1, credit=credit), path, folder)


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
    """Its frames come with a mask, where they are from, and whom to credit."""
    outcome = run_one(job_for(square, tmp_path / "results"))
    samples = list(read_shard(tmp_path / "results" / KEPT))

    assert outcome.outcome is Outcome.KEPT
    assert outcome.frames_seen == 30
    assert len(samples) == outcome.frames_kept > 0
    assert samples[0].metadata["video"] == "clip.mp4"
    assert samples[0].metadata["reject_reason"] is None
    assert samples[0].metadata["owner"] == "somebody"
    assert samples[0].metadata["licence"] == "Attribution License"
    assert samples[0].metadata["page_url"] == "https://example.org/1"


def test_a_text_file_is_unreadable(tmp_path: Path) -> None:
    """A name that ends in .mp4 makes no video."""
    path = tmp_path / "text.mp4"
    path.write_text("this is no video\n" * 100)
    outcome = run_one(job_for(path, tmp_path / "results"))

    assert outcome.outcome is Outcome.UNREADABLE
    assert outcome.reason


def test_a_verdict_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    """The parent reads it as UTF-8, so that a name beyond ASCII is not taken for a crash."""
    (tmp_path / "results").mkdir()
    program = f"""
from dataclasses import replace
from pathlib import Path
from tests.service.extraction.test_worker import GENEROUS, job_for
from watchmove.service.extraction.child import work
from watchmove.pipeline.settings.extraction import ExtractionSettings
job = job_for(Path({str(tmp_path / "absent.mp4")!r}), Path({str(tmp_path / "results")!r}))
named = replace(job, video=job.video.model_copy(update={{"key": "\\u6f22.mp4"}}))
work(named, ExtractionSettings(), GENEROUS)
"""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", program], env=os.environ | ascii_only, check=True)
    verdict = (tmp_path / "results" / VERDICT).read_text(encoding="utf-8")

    assert VideoOutcome.model_validate_json(verdict).video.key == "\u6f22.mp4"


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


def test_a_hanging_video_times_out(square: Path, tmp_path: Path) -> None:
    """The child is ended when its time is up."""
    began = time.monotonic()
    outcome = run_one(job_for(square, tmp_path / "results"), Limits(0.2, 4096, 64))

    assert outcome.outcome is Outcome.TIMED_OUT
    assert time.monotonic() - began < 10


def test_a_video_without_a_frame_at_its_deadline_has_timed_out(square: Path, tmp_path: Path) -> None:
    """It ends as a video does whose child is ended: with the limit that `work.video_timeout_seconds` sets."""
    outcome = video_child.extract_to_folder(
        job_for(square, tmp_path / "results"), ExtractionSettings(), deadline=time.monotonic() - 1
    )

    assert (outcome.outcome, outcome.reason) == (Outcome.TIMED_OUT, "time-limit")


def test_a_memory_bomb_is_unreadable(square: Path, tmp_path: Path) -> None:
    """The child hits its own limit; the parent and the machine do not notice."""
    outcome = run_one(job_for(square, tmp_path / "results"), Limits(60, 64, 64))

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

    def nothing(*_: object, **__: object) -> None:
        """This process is no child, and keeps its group and its limits."""

    monkeypatch.setattr(video_child, "write_shard", refuse)
    monkeypatch.setattr(video_child, "_lead_process_group", nothing)
    monkeypatch.setattr(video_child, "limit_resources", nothing)
    job = job_for(square, tmp_path / "results")
    with pytest.raises(SystemExit) as caught:
        video_child.work(job, ExtractionSettings(), GENEROUS)

    assert caught.value.code == UNAVAILABLE_EXIT_CODE
    assert not (job.folder / AUDIT).exists()
    with pytest.raises(Unavailable, match="scratch disk is full"):
        judge(job, UNAVAILABLE_EXIT_CODE, 1.0)


def test_output_is_bounded(square: Path, tmp_path: Path) -> None:
    """A child whose files take more space together than it may write is an outcome, and leaves nothing."""
    job = job_for(square, tmp_path / "results")
    for name in ("one", "two"):
        (job.folder / name).write_bytes(bytes(2**19 + 1))
    outcome = run_one(job, Limits(60, 4096, 1))

    assert (outcome.outcome, outcome.reason) == (Outcome.UNREADABLE, "output-limit")
    assert not job.folder.exists()


def test_a_hanging_decoder_ends_with_its_video(square: Path, tmp_path: Path) -> None:
    """A child that is given up takes along the decoder that it started, which would go on for ever."""
    decoder = tmp_path / "bin" / "ffmpeg"
    decoder.parent.mkdir()
    decoder.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    decoder.chmod(0o755)
    code = (
        "from tests.service.extraction.test_worker import *; "
        f"job = job_for(Path({str(square)!r}), Path({str(tmp_path / 'results')!r})); "
        "print(run_one(job, Limits(3, 4096, 64)).outcome)"
    )
    environment = {**os.environ, "PATH": f"{decoder.parent}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)

    assert done.stdout.strip() == "timed-out"
    assert not is_running(int((tmp_path / "pid").read_text()))


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_children_do_not_outlive_a_killed_parent(square: Path, tmp_path: Path) -> None:
    """Whoever kills the step with SIGKILL has ended its children too, a moment later."""
    code = (
        "from tests.service.extraction.test_worker import *; "
        "workers = VideoWorkers(ExtractionSettings(), 1, GENEROUS); "
        f"workers.start(job_for(Path({str(square)!r}), Path({str(tmp_path / 'results')!r}))); "
        "pid = workers._children[0].process.pid; print(pid, flush=True); "
        "assert poll(lambda: os.getsid(pid) == pid, 60); "  # the child has begun: it leads a session of its own
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)

    assert done.returncode == -signal.SIGKILL
    assert poll(lambda: not is_running(int(done.stdout)), 10)
    assert not (tmp_path / "results" / "verdict.json").exists()
