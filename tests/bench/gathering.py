"""Seconds and peak memory of status, retry and gather on a made-up store of a large run.

    python tests/bench/gathering.py --shards 8000 --videos 100

Every tenth video is missing and every fourth is kept, with two frames. Each command runs in a process of its own; the
first row is a process that only loads the program.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from watchmove.service.extraction.recipe import recipe_of
from watchmove.service.records import layout
from watchmove.service.records.listing import ListingWriter
from watchmove.service.records.outcomes import Credit, Outcome, ShardRecord, Video, VideoOutcome, video_id
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import json_lines, origin
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings

RUN = "large"
"""Name of the made-up run."""
COMMANDS = (
    ("settings",),
    ("status", RUN),
    ("gather", "--run", RUN),
    ("retry", RUN, "--outcomes", "missing"),
    ("status", f"{RUN}-retry-1"),
)
EXPORTER = """
import sys
from watchmove.service.watching.exporter import RecordCollector
from watchmove.service.store.opening import open_store
collector = RecordCollector(open_store(sys.argv[1]))
collector.refresh()
print(len(list(collector.collect())))
"""
LICENCES = ("Attribution License", "Attribution-ShareAlike License", "Attribution-NonCommercial License")


def main() -> None:
    """Make the store, measure the commands, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=8000)
    parser.add_argument("--videos", type=int, default=100, help="videos in each shard")
    options = parser.parse_args()
    table = Table(title=f"{options.shards * options.videos:,} videos in {options.shards:,} shard records")
    for heading in ("command", "wall seconds", "processor seconds", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "command" else "right")
    with tempfile.TemporaryDirectory() as name:
        words = [f"store=file://{name}/store", f"videos=file://{name}/videos", "gather.max_failed_fraction=1.0"]
        # A process of its own makes the store, because a child's peak memory begins at its parent's at the fork.
        maker = multiprocessing.get_context("spawn").Process(target=make_store, args=(words, *vars(options).values()))
        maker.start()
        maker.join()
        places = [part for word in words for part in ("--set", word)]
        for command in COMMANDS:
            table.add_row(" ".join(command), *measured(["-m", "watchmove", *command, *places]))
        table.add_row("exporter, one refresh", *measured(["-c", EXPORTER, f"file://{name}/store"]))
    Console().print(table)


def measured(arguments: list[str]) -> tuple[str, str, str]:
    """Run a Python process, and return its wall seconds, processor seconds and peak MiB."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{arguments}: exit code {process.returncode}; its message is above")
    used = usage.ru_utime + usage.ru_stime
    return f"{time.monotonic() - began:.1f}", f"{used:.1f}", f"{usage.ru_maxrss / _UNITS_OF_MAXRSS:.0f}"


_UNITS_OF_MAXRSS = 2**20 if sys.platform == "darwin" else 2**10
"""Divides `ru_maxrss` into MiB: macOS gives bytes, Linux KiB."""


def make_store(words: list[str], shards: int, per_shard: int) -> None:
    """Write a plan, its lists and a record for every shard as plain files; the tars that they name do not exist."""
    settings = load_settings(LAPTOP, words)
    recipe, plan, made_by = recipe_of(settings), "a" * 16, origin(settings, {})
    path = Path(settings.store.removeprefix("file://")) / layout.listing(recipe, plan)
    path.parent.mkdir(parents=True)
    listing = ListingWriter(path, made_by, settings.videos)
    for shard in range(shards):
        videos = [video(settings, shard * per_shard + number) for number in range(per_shard)]
        for planned_video in videos:
            listing.add(planned_video)
        put(settings, layout.shard_list(recipe, plan, shard), json_lines(videos))
        stem = layout.shard_part(recipe, plan, shard, 0)
        record = ShardRecord(
            made_by=origin(settings, {f"{settings.videos}/{listed.key}": listed.etag for listed in videos}),
            plan=plan,
            shard=shard,
            part=0,
            data_key=f"{stem}-0123456789ab.tar",
            data_sha256=f"{shard:064x}",
            data_bytes=10240,
            index_key=f"{stem}-0123456789ab.index.json.gz",
            audit_key=f"{stem}-0123456789ab.audit.tar",
            seconds=800.0,
            videos=tuple(ended(listed, number) for number, listed in enumerate(videos)),
        )
        put(settings, f"{stem}.json", record.model_dump_json(indent=1).encode())
    listing.close()
    counts = {"videos_listed": shards * per_shard, "videos_new": shards * per_shard, "files_ignored": 0}
    planned = PlanRecord(made_by=made_by, recipe=recipe, plan=plan, shards=shards, **counts)
    put(settings, layout.run_record(RUN, "plan"), planned.model_dump_json(indent=1).encode())


def video(settings: Settings, number: int) -> Video:
    """Return the made-up video of a number."""
    key = f"{number % 1000:03d}/{number:09d}.mp4"
    etag = f"{number:032x}"
    credit = Credit(
        owner=f"somebody {number % 50_000}",
        licence=LICENCES[number % len(LICENCES)],
        licence_url="http://creativecommons.org/licenses/by-nc-sa/2.0/",
        page_url=f"http://www.example.org/photos/{number % 50_000}@N00/{number}/",
        title=f"A video of something that moves, number {number}",
        taken="2011-07-23 17:51:20.0",
    )
    facts = {"size_bytes": 2**20, "duration_seconds": 30.0, "credit": credit}
    return Video(id=video_id(settings.videos, key, etag), key=key, etag=etag, **facts)


def ended(listed: Video, number: int) -> VideoOutcome:
    """Return the made-up outcome of a number's video."""
    if number % 10 == 0:
        return VideoOutcome(video=listed, outcome=Outcome.MISSING, seconds=0.1)
    frames = 2 if number % 4 == 1 else 0
    rejected = {"no-motion": 6 - frames, "near-duplicate": 2, "low-confidence": 1}
    facts = {"seconds": 8.0, "frames_seen": 700, "frames_kept": frames, "frames_rejected": rejected}
    return VideoOutcome(video=listed, outcome=Outcome.KEPT if frames else Outcome.REJECTED, **facts)


def put(settings: Settings, key: str, data: bytes) -> None:
    """Write a file of the store directly, without the store's atomic writes."""
    path = Path(settings.store.removeprefix("file://")) / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main()
