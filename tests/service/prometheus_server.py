"""A real Prometheus server for tests, and the exporter as a process that it scrapes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.waiting import poll

RULES = Path(__file__).parents[2] / "k8s" / "components" / "monitoring" / "alerts.yaml"
LONGEST_WAIT_SECONDS = 300.0
"""For a machine that does much else; a scrape takes milliseconds, and a new process seconds."""


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


class Prometheus:
    """A server that scrapes some ports of this machine each second, with the recording rules and alerts of the tree."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/api/v1/"

    def query(self, expression: str) -> list[tuple[dict[str, str], Any]]:
        """The labels of each series of the result, and its value, or its values if the expression has a range."""
        result = self._get("query", query=expression)["result"]
        return [(row["metric"], row["values"] if "values" in row else float(row["value"][1])) for row in result]

    def value(self, expression: str) -> float | None:
        """The value of an expression with one series, None if there is none."""
        rows = self.query(expression)
        assert len(rows) < 2, rows
        return float(rows[0][1]) if rows else None

    def wait_for(self, expression: str, wanted: float) -> None:
        """Wait until an expression has a value."""
        self.wait_until(lambda: self.value(expression) == wanted, f"{expression} is not {wanted}")

    def wait_until(self, is_true: Callable[[], object], what: str) -> None:
        """Wait until a function returns true; fail with the text if that takes too long."""
        assert poll(is_true, LONGEST_WAIT_SECONDS, 0.3), f"{what} after {LONGEST_WAIT_SECONDS} seconds"

    def is_ready(self) -> bool:
        """Whether the server answers."""
        try:
            self._get("query", query="1")
        except urllib.error.URLError:
            return False
        return True

    def _get(self, path: str, **words: str) -> Any:
        with urllib.request.urlopen(f"{self._address}{path}?{urllib.parse.urlencode(words)}", timeout=30) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return body["data"]


@contextmanager
def prometheus(folder: Path, ports: Sequence[int]) -> Iterator[Prometheus]:
    """A server that scrapes ports of this machine; the test is skipped where Prometheus is not installed."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed; Debian has it in the package prometheus")
    rules = yaml.safe_load(RULES.read_text())["spec"]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    scraped = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [{"job_name": "watchmove", "static_configs": scraped}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    words = ["config.file=" + str(folder / "prometheus.yaml"), f"storage.tsdb.path={folder / 'tsdb'}"]
    line = [program, *(f"--{word}" for word in words), f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with subprocess.Popen(line) as process:
        server = Prometheus(port)
        try:
            server.wait_until(server.is_ready, "Prometheus does not answer")
            yield server
        finally:
            process.kill()


@contextmanager
def exporter(store: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The exporter of a store as a process, which is killed at the end without a chance to write anything."""
    with watchmove("exporter", "--set", f"store={store}", "--set", f"work.metrics_port={port}") as process:
        yield process


@contextmanager
def watchmove(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command as a process of a group of its own, of which all are killed at the end."""
    line = [sys.executable, "-m", "watchmove", *arguments]
    with subprocess.Popen(line, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
