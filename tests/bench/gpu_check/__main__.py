"""Everything that has a path on a GPU, compared with the CPU: `make gpu-check`, or

    python -m tests.bench.gpu_check [--device cuda|cpu] [--raft-weights FILE] [--only WORDS] [--minutes 8]

Prints a table in Markdown: differences from the CPU with their tolerances, speeds, peak memory of the device, and a
verdict in each row. With `--device cpu` the same code runs on little data on a machine without a GPU: masks by
`extract.device: torch-cpu`, trainings on the CPU, and ranks by gloo; only NCCL and decoding by the GPU are left out.

Exits with 0 if no row failed, with 65 if there is no GPU or a file is missing, and with 70 if a tolerance is broken or
a row ended with an error.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import cv2
import torch

from tests.bench.gpu_check.decoding import decoding_rows
from tests.bench.gpu_check.detector import detector_rows
from tests.bench.gpu_check.masks import flow_rows, masks_rows
from tests.bench.gpu_check.rows import Row, Verdict, judged, markdown, skipped
from tests.bench.gpu_check.setup import FULL, SMALL, Setup
from tests.bench.gpu_check.several_ranks import rank_rows
from tests.bench.gpu_check.trainings import pretraining_rows
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.runner.exit_codes import BUG
from watchmove.service.runner.runner import run_to_exit_code
from watchmove.service.watching.gpu_checks import driver_version

ROOT = Path(__file__).parents[3]
_RESERVE_SECONDS = 90.0
"""Time that the longest row takes: a row begins only if as much is left. Set by hand."""


def rows(setup: Setup, only: str, seconds: float) -> Iterator[Row]:
    """Run everything whose name has the words `only`, and begin nothing after the time has passed."""
    began = time.monotonic()
    parts = (flow_rows, masks_rows, decoding_rows, pretraining_rows, detector_rows, rank_rows)
    works: Iterator[tuple[str, Callable[[], Row]]] = chain.from_iterable(part(setup) for part in parts)
    for what, work in works:
        if only not in what:
            continue
        passed = time.monotonic() - began
        row = judged(what, work) if passed < seconds else skipped(what, f"{passed / 60:.1f} minutes have passed")
        taken = time.monotonic() - began - passed
        print(f"{what}: {row.verdict}, {taken:.0f} s", file=sys.stderr, flush=True)
        yield row


def header(setup: Setup) -> str:
    """What the table was measured on, as a paragraph."""
    if setup.device == "cuda":
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        device = f"{names}; driver {driver_version() or 'unknown'}, CUDA {torch.version.cuda}"
    else:
        device = "no GPU: the device is the CPU, on little data"
    threads = f"{torch.get_num_threads()} threads for PyTorch and one for masks"
    processor = f"{platform.machine()} processor, {os.cpu_count()} cores, {threads}"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{device}; PyTorch {torch.__version__}; {processor}; {when}; {commit()}."


def commit() -> str:
    """The commit that was measured, and whether files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changes = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return f"commit {git('rev-parse', '--short', 'HEAD')}{changes}"
    except (OSError, subprocess.CalledProcessError):
        return "commit unknown"


def main(words: Sequence[str] | None = None) -> int:
    """Parse the arguments, `words` or those of the process, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--raft-weights", default="", help="safetensors file of torchvision's raft_large or raft_small")
    parser.add_argument("--only", default="", metavar="WORDS", help="only the rows whose names have these words")
    parser.add_argument("--minutes", type=float, default=8.0, help="time after which no row runs")
    arguments = parser.parse_args(words)
    failed: list[str] = []

    def body() -> None:
        if arguments.device == "cuda" and not torch.cuda.is_available():
            raise InvalidInput("--device (cuda): PyTorch finds no GPU; run it where there is one, or give --device cpu")
        cv2.setNumThreads(1)
        with tempfile.TemporaryDirectory() as folder:
            sizes = FULL if arguments.device == "cuda" else SMALL
            setup = Setup(arguments.device, sizes, Path(folder), arguments.raft_weights)
            found = list(rows(setup, arguments.only, 60 * arguments.minutes - _RESERVE_SECONDS))
            print(f"{header(setup)}\n\n{markdown(found)}")
        failed.extend(row.what for row in found if row.verdict is Verdict.FAIL)

    code = run_to_exit_code(body)
    if failed:
        print(f"gpu-check: failed: {'; '.join(failed)}; see the verdicts", file=sys.stderr)
    return code or (BUG.exit_code if failed else 0)


if __name__ == "__main__":
    sys.exit(main())
