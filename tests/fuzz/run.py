"""The fuzzer as a command: `python -m tests.fuzz.run --minutes 60`; `make fuzz` runs it.

It tries videos of all formats and the inputs of all other readers in turn, until the time is over, and prints a table.
It ends with exit code 1 and the command that reproduces it where an input was handled wrongly.
"""

import argparse
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.reader_inputs import READERS, check_reader
from tests.fuzz.video_formats import FORMATS
from tests.fuzz.videos import Result, check_video

FIRST_SEED = 1000
"""Seed of the first input of a long run, so that it tries other inputs than the tests do."""


def check(name: str, seed: int) -> Result | str:
    """Check one input of a format or reader: the result, or what was wrong."""
    try:
        with TemporaryDirectory() as folder:
            if name in FORMATS:
                return check_video(name, seed, Path(folder))
            return Result(check_reader(name, seed, Path(folder)))
    except AssertionError as find:
        return str(find)


def results_of(names: list[str], seeds: Iterator[int], end: float) -> Iterator[tuple[str, int, Result | str]]:
    """Check each seed for each name in turn, on all cores, until the time `end` of `time.monotonic`."""
    inputs = ((name, seed) for seed in seeds for name in names)
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        waiting: dict[Future[Result | str], tuple[str, int]] = {}
        while time.monotonic() < end:
            for name, seed in itertools.islice(inputs, 2 * workers - len(waiting)):
                waiting[pool.submit(check, name, seed)] = (name, seed)
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield *waiting.pop(future), future.result()
        for future, (name, seed) in waiting.items():
            yield name, seed, future.result()


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="try only this input of each format")
    parser.add_argument("--format", choices=[*FORMATS, *READERS], help="try only this format or reader")
    chosen = parser.parse_args()
    seeds = iter([chosen.seed]) if chosen.seed is not None else itertools.count(FIRST_SEED)
    tables: dict[str, list[Result]] = {}
    finds = []
    end = time.monotonic() + 60 * chosen.minutes
    for name, seed, result in results_of([chosen.format] if chosen.format else [*FORMATS, *READERS], seeds, end):
        if isinstance(result, str):
            finds.append(f"{name} seed {seed}: {result}\n  make fuzz FORMAT={name} SEED={seed}")
            print(finds[-1], flush=True)
        else:
            tables.setdefault(name, []).append(result)
    print_table(tables)
    print(f"{len(finds)} finds", *finds, sep="\n")
    return 1 if finds else 0


def print_table(tables: dict[str, list[Result]]) -> None:
    """Print, in Markdown, what became of the inputs of each format."""
    print("| input | tried | outcomes | frames | damaged | altered | inputs with altered frames |")
    print("| --- | --: | --- | --: | --: | --: | --: |")
    for name, results in tables.items():
        outcomes = ", ".join(
            f"{outcome} {count}" for outcome, count in Counter(r.outcome for r in results).most_common()
        )
        frames, damaged = sum(r.frames for r in results), sum(r.damaged for r in results)
        altered, inputs = sum(len(r.altered) for r in results), sum(bool(r.altered) for r in results)
        print(f"| {name} | {len(results)} | {outcomes} | {frames} | {damaged} | {altered} | {inputs} |")
    print(f"{sum(map(len, tables.values()))} inputs")


if __name__ == "__main__":
    sys.exit(main())
