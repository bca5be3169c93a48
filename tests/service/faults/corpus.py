"""A few very small videos, settings that extract them fast, and the results that tests compare after a fault."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from watchmove.pipeline.dataset.shard import read_shard
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.video import moving_square
from watchmove.service.extraction.recipe import recipe_of
from watchmove.service.records.outcomes import ShardRecord, VideoOutcome
from watchmove.service.records.shard_index import read_index
from watchmove.service.records.stream import shard_records
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store

STEPS = ((3, 0), (0, 3), (-3, 0), (2, 2), (0, -3), (-2, 2))
"""The square's motion in each video, in pixels per frame. Set by hand."""
FRAMES = 10
"""Frames of each video: enough for some to be kept. Set by hand."""
RUN = "faults"

QUICK = (
    "work.workers=1",
    "work.commit_every_seconds=0.2",
    "work.video_timeout_seconds=60",
    "extract.shorter_side_pixels=96",
    "extract.min_confidence=0",
    "extract.min_flow_trust=0",
    "extract.min_change=0",
)
"""Settings for fast extraction, without thresholds that would reject these simple videos' frames."""

Frames = dict[str, tuple[bytes, bytes, str, bytes]]
"""JPEG, mask, metadata and motion of every committed frame by its key."""


def draw(folder: Path) -> None:
    """Six videos of a moving square, 128 x 96 pixels, and a file that is no video."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, step in enumerate(STEPS):
        frames = moving_square(step, FRAMES, height=96, width=128, side_pixels=28).frames
        write_video(folder / f"{number}.mp4", frames, 24.0)
    (folder / "text.mp4").write_text("no video\n")


def words(videos: str, store: str, *more: str) -> list[str]:
    """Return overrides of the laptop's settings."""
    return [*QUICK, f"videos={videos}", f"store={store}", *more]


def command(step: str, overrides: list[str], *arguments: str) -> list[str]:
    """Return a `watchmove` command line of this run."""
    settings = [part for word in overrides for part in ("--set", word)]
    return [sys.executable, "-m", "watchmove", step, "--run", RUN, *arguments, *settings]


def started(words_of_run: list[str], **environment: str) -> "subprocess.Popen[str]":
    """Start the extraction of the only shard in a process of its own."""
    line = command("extract", words_of_run, "--shard", "0")
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **environment}
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=variables)


class Committed(NamedTuple):
    """The contents of all records of a shard."""

    frames: Frames
    ended: dict[str, tuple[str, str]]
    """Outcome and reason of each video by its key."""


def committed(words_of_run: list[str], scratch: Path) -> Committed:
    """Read every committed frame and every video's outcome, and check that all data and indices are complete."""
    settings = load_settings(LAPTOP, words_of_run)
    store = open_store(settings.store)
    frames: Frames = {}
    outcomes: list[VideoOutcome] = []
    for _, record in shard_records(store, recipe_of(settings)):
        frames.update(_frames(store, record, scratch / "committed.tar"))
        outcomes.extend(record.videos)
    ended = {row.video.key: (row.outcome.value, row.reason) for row in outcomes}
    kept = Counter(key.rpartition("-")[0] for key in frames)

    assert len(ended) == len(outcomes), "a video is committed twice"
    assert kept == Counter({row.video.id: row.frames_kept for row in outcomes if row.frames_kept})
    return Committed(frames, ended)


def _frames(store: Store, record: ShardRecord, path: Path) -> Frames:
    data = store.read(record.data_key)
    assert data is not None
    assert hashlib.sha256(data).hexdigest() == record.data_sha256
    path.write_bytes(data)
    samples = list(read_shard(path))
    for place in (places := read_index(store, record.index_key)):
        with tarfile.open(fileobj=io.BytesIO(data[place.offset :][: place.size_bytes])) as alone:
            assert alone.getnames() == [f"{place.key}.{part}" for part in ("jpg", "mask.png", "json", "motion.png")]

    assert [place.key for place in places] == [sample.key for sample in samples]
    return {
        sample.key: (sample.jpeg, sample.mask_png, json.dumps(sample.metadata), sample.motion_png) for sample in samples
    }


def planned(words_of_run: list[str]) -> None:
    """Plan the run."""
    subprocess.run(command("plan", words_of_run), check=True, capture_output=True)


def extracted(words_of_run: list[str], **environment: str) -> int:
    """Extract the only shard, and return the exit code, which is 0 or 75 (unavailable)."""
    process = started(words_of_run, **environment)
    _, errors = process.communicate()

    assert process.returncode in (0, 75), errors
    return process.returncode
