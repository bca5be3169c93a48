"""Pretraining on two nodes, each with a launcher of its own as in its pod; one node is lost and both come back."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.conftest import MakeContext
from tests.service.steps.test_pretrain import SMALL, iterations_served, made_up_snapshot
from tests.waiting import poll
from watchmove.service.records.training import BackboneRecord

pytestmark = pytest.mark.serial

_STEPS, _EVERY = 5, 2


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _nodes(store: Path, metrics_port: int, log: Path) -> list[subprocess.Popen[bytes]]:
    """Two launchers, each leading a session; what both say goes to `log`. The port is the first's: here is one host."""
    words = [f"store=file://{store}", *SMALL, f"pretrain.iterations={_STEPS}"]
    words += [
        "pretrain.seeds=[0,1]",
        "pretrain.validate_every_iterations=1000",
        f"pretrain.checkpoint_every_iterations={_EVERY}",
    ]
    master = ["--master-addr", "localhost", "--master-port", str(_free_port())]
    line = [*master, "--", "pretrain", "--run", "run", *(part for word in words for part in ("--set", word))]
    with log.open("wb") as said:
        return [
            subprocess.Popen(
                [sys.executable, "-m", "watchmove.service.launch", "--nnodes", "2", "--node-rank", str(node), *line,
                 "--set", f"work.metrics_port={0 if node else metrics_port}"],
                stderr=said, start_new_session=True,
            )
            for node in range(2)
        ]  # fmt: skip


def _lose(node: subprocess.Popen[bytes]) -> None:
    """Launcher and rank are gone at once, without a word."""
    children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
    for process in (node.pid, *map(int, children)):
        os.kill(process, signal.SIGKILL)


def test_a_lost_node_ends_the_other_with_75_and_together_they_go_on(make_context: MakeContext, tmp_path: Path) -> None:
    """The second try begins at a checkpoint of the first, and ends with the records of both seeds."""
    context = make_context(*SMALL)
    made_up_snapshot(context, tmp_path)
    port, log = _free_port(), tmp_path / "said"
    first, second = _nodes(tmp_path / "store", port, log)
    poll(lambda: iterations_served(port) > _EVERY or first.poll() is not None, 120)
    _lose(second)
    ends = (first.wait(60), second.wait(60))
    checkpoints = sorted((tmp_path / "store").glob("backbones/*/checkpoints/*.json"))
    saved = [int(found) for path in checkpoints for found in re.findall(r'"iteration": ?(\d+)', path.read_text())]
    then = [node.wait(240) for node in _nodes(tmp_path / "store", port, tmp_path / "said-then")]
    found = [path.read_text() for path in (tmp_path / "store").glob("backbones/*/record.json")]
    records = sorted(map(BackboneRecord.model_validate_json, found), key=lambda record: record.seed)

    assert ends == (75, -signal.SIGKILL), log.read_text()
    assert max(saved) in range(_EVERY, _STEPS)
    assert then == [0, 0], (tmp_path / "said-then").read_text()
    assert [(record.seed, record.curve[-1].iteration) for record in records] == [(0, _STEPS), (1, _STEPS)]
