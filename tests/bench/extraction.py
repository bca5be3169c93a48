"""Measure the cost of extraction on one core: frames per second, overhead, memory, and the projection to a large run.

    OMP_NUM_THREADS=1 python tests/bench/extraction.py --data $WATCHMOVE_TEST_DATA

The step runs as in a pod, with one worker; the worker and its decoder share one core. The same videos then go through
the function of the worker in this process, where its stages are timed separately. Other load on the machine hardly
changes processor time, but does change wall time; shares of wall time are therefore taken from the same run.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from rich.console import Console
from rich.table import Table

from tests.service.conftest import context_of
from watchmove.pipeline.extraction import sampled_video
from watchmove.pipeline.extraction.survey import survey_video
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable
from watchmove.pipeline.video.shots import CutDetector
from watchmove.service.extraction.child import AUDIT, KEPT, VideoJob, extract_to_folder
from watchmove.service.extraction.recipe import recipe_of
from watchmove.service.records.outcomes import VideoOutcome
from watchmove.service.records.stream import shard_records
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings
from watchmove.service.steps.plan import plan
from watchmove.service.store.opening import open_store

FILES, HOURS, FRAMES_PER_SECOND = 787_479, 8_081, 30.0
"""Videos, hours and frame rate of the projected run: all videos of YFCC100M, at an assumed rate."""

ONE_SHARD = ("plan.max_shard_videos=100000", "plan.max_shard_mebibytes=1000000", "work.workers=1")

PROPER = ("decoding", "cuts", "masks", "coding")


@dataclass
class Stages:
    """Wall and processor seconds inside stages; the decoder's own processor time is its process's."""

    wall: Counter[str] = field(default_factory=Counter)
    processor: Counter[str] = field(default_factory=Counter)

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with its time added to a stage."""

        def run(*arguments: Any, **named: Any) -> Any:
            wall, processor = time.perf_counter(), time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.wall[stage] += time.perf_counter() - wall  # type: ignore[assignment]
                self.processor[stage] += time.process_time() - processor  # type: ignore[assignment]

        return run


def children_seconds() -> float:
    """Processor time of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Step(NamedTuple):
    """The step as a pod runs it: wall seconds from its start to its end, and processor seconds outside its workers."""

    rows: list[VideoOutcome]
    wall: float
    processor: float


def run_step(settings: Settings, scratch: Path) -> Step:
    """Plan in this process, and extract in a new one, so that the time of its workers is counted apart."""
    plan(context_of(settings, scratch), "bench")
    words = [f"{name}={getattr(settings, name)}" for name in ("videos", "store")]
    words += [f"extract.reading={settings.extract.reading}", *ONE_SHARD]
    line = [sys.executable, "-m", "watchmove", "extract", "--run", "bench", "--shard", "0"]
    began, before = time.perf_counter(), children_seconds()
    subprocess.run([*line, *(part for word in words for part in ("--set", word))], check=True, capture_output=True)
    wall, processor = time.perf_counter() - began, children_seconds() - before
    records = shard_records(open_store(settings.store), recipe_of(settings))
    return Step([row for _, record in records for row in record.videos], wall, processor)


def run_here(rows: list[VideoOutcome], settings: Settings, scratch: Path) -> tuple[Stages, int]:
    """The worker's function on the same videos, in stages; also the bytes that it wrote."""
    stages = Stages()
    sampled_video._examine_windows = stages.timed("masks", sampled_video._examine_windows)
    VideoReader._next_image = stages.timed("decoding", VideoReader._next_image)  # type: ignore[method-assign]
    CutDetector.add = stages.timed("cuts", CutDetector.add)  # type: ignore[method-assign]
    cv2.imencode = stages.timed("coding", cv2.imencode)
    written = 0
    decoders = children_seconds()
    for row in rows:
        results = scratch / row.video.id
        results.mkdir()
        path = Path(settings.videos.removeprefix("file://")) / row.video.key
        job = VideoJob(row.video, path, results)
        stages.timed("all", extract_to_folder)(job, settings.extract)
        written += sum((results / name).stat().st_size for name in (KEPT, AUDIT) if (results / name).exists())
    stages.processor["decoder"] = children_seconds() - decoders  # type: ignore[assignment]
    return stages, written


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("WATCHMOVE_TEST_DATA", ""), help="folder with `videos`")
    parser.add_argument("--folder", default="", help="only the videos in this folder of `videos`")
    parser.add_argument("--times", type=int, default=1, help="each video so often, as a shard holds hundreds")
    parser.add_argument("--hours", type=float, default=HOURS, help="length of the large run's videos together")
    parser.add_argument("--files", type=int, default=FILES, help="how many they are")
    parser.add_argument("--reading", choices=("sparse", "complete"), default="sparse", help="extract.reading")
    options = parser.parse_args()
    videos = Path(options.data, "videos", options.folder)
    if not options.data or not videos.is_dir():
        parser.error(f"{videos}: no folder of videos; name one with --data or WATCHMOVE_TEST_DATA")
    cv2.setNumThreads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        copies = Path(name, "videos")
        for number in range(options.times):
            shutil.copytree(videos, copies / str(number), copy_function=os.symlink)
        words = [f"videos=file://{copies}", f"store=file://{name}/store", f"extract.reading={options.reading}"]
        settings = load_settings(LAPTOP, [*words, *ONE_SHARD])
        step = run_step(settings, Path(name, "scratch"))
        stages, written = run_here(step.rows, settings, Path(name, "scratch"))
        a_longer_frame = None
        if options.reading == "sparse":
            a_longer_frame = seconds_of_a_longer_frame(sorted(videos.rglob("*.*")), Path(name))
    console = Console(width=120)
    console.print(measured(step, stages))
    console.print(bill(step.rows, stages, written, a_longer_frame, options.files, options.hours))


def measured(step: Step, stages: Stages) -> Table:
    """The table of measurements."""
    decoded, sampled = frames_of(step.rows)
    in_workers = sum(row.seconds for row in step.rows)
    proper = sum(stages.wall[stage] for stage in PROPER) / stages.wall["all"]
    of_workers = stages.processor["all"] + stages.processor["decoder"]
    other = of_workers - sum(stages.processor[stage] for stage in ("decoder", *PROPER))
    whole = of_workers + step.processor
    table = Table("what", "figure", title=f"{len(step.rows)} videos, one core")
    for what, figure in (
        ("frames of the videos a second of wall time, whole step", f"{decoded / step.wall:.1f}"),
        ("sampled frames a second of wall time, whole step", f"{sampled / step.wall:.2f}"),
        ("frames of the videos a second of processor time", f"{decoded / whole:.1f}"),
        ("sampled frames a second of processor time", f"{sampled / whole:.2f}"),
        ("wall time of the step", f"{step.wall:.1f} s, {in_workers:.1f} s of it in workers"),
        ("share of it outside decoding, cuts, masks and coding", f"{1 - proper * in_workers / step.wall:.1%}"),
        ("the same, of processor time", f"{(other + step.processor) / whole:.1%}"),
        *((f"processor time, {stage}", f"{stages.processor[stage]:.1f} s") for stage in ("decoder", *PROPER[1:])),
        ("processor time, the step's own process", f"{step.processor:.1f} s, start included"),
        ("processor time, all", f"{whole:.1f} s"),
        ("peak resident memory of a worker", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"),
        ("kept", f"{sum(row.frames_kept for row in step.rows)} of {sampled} sampled"),
    ):
        table.add_row(what, figure)
    return table


def seconds_of_a_longer_frame(paths: list[Path], scratch: Path) -> float:
    """Processor seconds of a survey for each frame by which a video is longer, measured on copies that repeat it."""
    frames, seconds = 0, 0.0
    for path in paths:
        longer = scratch / "longer.mkv"
        words = ["-v", "error", "-y", "-stream_loop", "4", "-i", str(path), "-map", "0:v:0", "-c", "copy", str(longer)]
        if subprocess.run([ffmpeg_executable(), "-nostdin", *words], check=False, capture_output=True).returncode:
            continue  # Matroska cannot hold this codec, or the file is no video
        surveys, spent = [], []
        for video in (path, longer):
            before = time.process_time() + children_seconds()
            surveys.append(survey_video(video, ExtractionSettings()))
            spent.append(time.process_time() + children_seconds() - before)
        if surveys[0] is not None and surveys[1] is not None:
            frames += len(surveys[1].times_seconds) - len(surveys[0].times_seconds)
            seconds += spent[1] - spent[0]
    return seconds / frames


def bill(
    rows: list[VideoOutcome], stages: Stages, written: int, a_longer_frame: float | None, files: int, hours: float
) -> Table:
    """The table of the projection to a large run, with every assumption.

    `a_longer_frame` is what a frame costs by which a video is longer; None if that is what each frame costs.
    """
    decoded, sampled = frames_of(rows)
    looked = stages.processor["masks"] + stages.processor["coding"]
    reading = stages.processor["all"] + stages.processor["decoder"] - looked
    frames = hours * 3600 * FRAMES_PER_SECOND
    samples = files * sampled / len(rows)
    a_video, a_sample = reading / len(rows), looked / sampled
    if a_longer_frame is None:
        a_longer_frame = reading / decoded
    more = frames - files * decoded / len(rows)
    hours_of_reading = (files * a_video + more * a_longer_frame) / 3600
    rate = sum(row.video.size_bytes for row in rows) / (decoded / FRAMES_PER_SECOND)
    table = Table("sum", "figure", title=f"{files:,} videos, {hours:,.0f} h")
    for what, figure in (
        (f"frames = {hours:,.0f} h x 3,600 x {FRAMES_PER_SECOND:g} a second (assumed)", f"{frames:,.0f}"),
        (f"reading = videos x {a_video * 1000:,.0f} ms, as here", f"{files * a_video / 3600:,.0f} core-hours"),
        (
            f"and {more:,.0f} more frames than the videos here have x {a_longer_frame * 1000:.3f} ms",
            f"{more * a_longer_frame / 3600:,.0f} core-hours",
        ),
        (f"samples = videos x {sampled / len(rows):.1f}, as here (assumed)", f"{samples:,.0f}"),
        (f"masks = samples x {a_sample * 1000:.0f} ms", f"{samples * a_sample / 3600:,.0f} core-hours"),
        ("together", f"{hours_of_reading + samples * a_sample / 3600:,.0f} core-hours"),
        (
            f"bytes read = hours x {rate / 1000:.0f} kB a second, as here (assumed)",
            f"{hours * 3600 * rate / 1e12:.2f} TB",
        ),
        ("bytes written = videos x as here (assumed)", f"{files * written / len(rows) / 1e9:,.0f} GB"),
    ):
        table.add_row(what, figure)
    return table


def frames_of(rows: list[VideoOutcome]) -> tuple[int, int]:
    """Numbers of decoded and of examined frames."""
    sampled = sum(row.frames_kept + sum(row.frames_rejected.values()) for row in rows)
    return sum(row.frames_seen for row in rows), sampled


if __name__ == "__main__":
    main()
