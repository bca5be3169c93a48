"""Processor seconds, peak memory and scrape of an exporter that starts on a made-up store of a large run.

    python tests/bench/exporter.py --shards 5000 --videos 160

The exporter is `watchmove exporter` in a process of its own. Its processor seconds and its peak memory are those from
its start until its port answers, the time to load the program included; of ten scrapes the slowest is shown.
"""

import argparse
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.gathering import make_store
from tests.service.prometheus_server import free_port

SCRAPES = 10
"""Number of requests, of which the slowest is shown."""


def main() -> None:
    """Make the store, start the exporter twice, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=5000)
    parser.add_argument("--videos", type=int, default=160, help="videos in each shard")
    options = parser.parse_args()
    table = Table(title=f"{options.shards * options.videos:,} videos in {options.shards:,} shard records")
    for heading in ("start", "wall seconds", "processor seconds", "peak MB", "slowest scrape, seconds", "samples"):
        table.add_column(heading, justify="left" if heading == "start" else "right")
    with tempfile.TemporaryDirectory() as name:
        words = [f"store=file://{name}/store", f"videos=file://{name}/videos"]
        # A process of its own makes the store, because a child's peak memory begins at its parent's at the fork.
        maker = multiprocessing.get_context("spawn").Process(target=make_store, args=(words, *vars(options).values()))
        maker.start()
        maker.join()
        for start in ("first", "again"):
            table.add_row(start, *measured(f"file://{name}/store"))
    Console().print(table)


def measured(store: str) -> tuple[str, ...]:
    """Start an exporter on a store, scrape it, end it, and return the columns of its row."""
    port = free_port()
    places = ("--set", f"store={store}", "--set", f"work.metrics_port={port}")
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-m", "watchmove", "exporter", *places]) as process:
        try:
            wait_for(process, port)
            wall, used, peak = time.monotonic() - began, processor_seconds(process.pid), peak_megabytes(process.pid)
            times, samples = [], 0
            for _ in range(SCRAPES):
                asked = time.monotonic()
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                    samples = sum(not line.startswith(b"#") for line in answer)
                times.append(time.monotonic() - asked)
        finally:
            process.terminate()
    return f"{wall:.1f}", f"{used:.1f}", f"{peak:.0f}", f"{max(times):.3f}", f"{samples:,}"


def wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until the port is open, which is after the first complete reading."""
    while process.poll() is None:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"the exporter ended with exit code {process.returncode}; its message is above")


def processor_seconds(pid: int) -> float:
    """Return the user and system seconds of a process, from Linux' /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """Return the peak resident memory of a process in MB, from Linux' /proc."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
