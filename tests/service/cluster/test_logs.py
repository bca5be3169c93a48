"""Logs of a workflow's pods, through the Kubernetes API and through Argo's server."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.service.cluster.argo_cluster import Answer, ArgoCluster, pod
from watchmove.service.cli.main import app
from watchmove.service.cluster.lines import lines_of
from watchmove.service.cluster.logs import Choice, LogLine, follow_logs
from watchmove.service.cluster.workflow_api import connect

NODES = {
    "w-1": pod("plan(0)", "Succeeded", startedAt="2026-01-01T00:01:00Z"),
    "w-2": pod("extract(0:0)(0)", "Failed", startedAt="2026-01-01T00:03:00Z"),
    "w-3": pod("extract(1:1)(0)", "Succeeded", startedAt="2026-01-01T00:02:00Z"),
}
LOGS: dict[str, Any] = {"w-step-1": [b"planned\n"], "w-step-2": [b"one\n", b"two\n"], "w-step-3": [b"three\n"]}
RUNNING, FAILED = {"phase": "Running"}, {"phase": "Failed"}


@pytest.fixture
def logged(cluster: ArgoCluster) -> ArgoCluster:
    """A cluster with a workflow of two steps and their logs."""
    cluster.add("w", {**FAILED, "nodes": dict(NODES)})
    cluster.logs = dict(LOGS)
    return cluster


def logs(*words: str) -> Result:
    """What `watchmove logs` does in the namespace `science`."""
    return CliRunner().invoke(app, ["logs", *words, "-n", "science"])


def followed(cluster: ArgoCluster) -> Iterator[LogLine]:
    """The lines of the workflow `w`, with short waits."""
    return follow_logs(connect("science"), cluster.workflows["w"], Choice(), poll_seconds=0.01)


@pytest.mark.usefixtures("logged")
def test_lines_begin_with_the_name_of_their_pod() -> None:
    """Pods stand in the order in which they began; the last workflow needs no name."""
    done = logs()

    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "plan(0): planned",
        "extract(1:1)(0): three",
        "extract(0:0)(0): one",
        "extract(0:0)(0): two",
    ]


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--step", "plan"], ["planned"]),
        (["--step", "extract"], ["three", "one", "two"]),
        (["--step", "extract(1:1)(0)"], ["three"]),
        (["--failed"], ["one", "two"]),
        (["--failed", "--step", "plan"], []),
        (["--follow", "--step", "plan"], ["planned"]),
    ],
)
def test_pods_are_chosen_by_step_and_failure(words: list[str], expected: list[str]) -> None:
    """A step, one of its pods, or what failed."""
    done = logs("w", *words)

    assert done.exit_code == 0, done.stderr
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == expected


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize("words", [[], ["--follow"]])
def test_an_unknown_step_lists_the_known(words: list[str]) -> None:
    """A misspelt step is invalid input with those that there are."""
    done = logs("w", "--step", "extarct", *words)

    assert done.exit_code == 65
    assert "--step extarct: workflow w has no pod of it; it has pods of: plan, extract" in done.stderr


@pytest.mark.parametrize("words", [[], ["--follow"]])
def test_control_characters_are_made_visible(logged: ArgoCluster, words: list[str]) -> None:
    """What a pod writes cannot move the cursor, name the window or break a line; tabs become spaces."""
    logged.logs["w-step-1"] = [b"a\x1b[2Jb\x07\tc\r\n", "\u202ed\n".encode()]
    done = logs("w", "--step", "plan", *words)

    assert done.stdout.splitlines() == ["plan(0): a?[2Jb? c", "plan(0): ?d"]


def test_a_pod_that_is_gone_is_said_and_the_others_follow(logged: ArgoCluster) -> None:
    """Argo removes pods that succeeded; that is a remark and no failure."""
    del logged.logs["w-step-1"]
    done = logs("w")

    assert done.exit_code == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert first.startswith("plan(0): (")
    assert "gone" in first
    assert len(others) == 3


def test_a_pod_that_has_not_started_is_said(kubernetes: ArgoCluster) -> None:
    """A pod that waits for a node, and one whose image is pulled while Argo calls it running."""
    nodes = {"w-1": pod("plan(0)", "Pending"), "w-2": pod("plan(1)", "Running")}
    kubernetes.add("w", {**RUNNING, "nodes": nodes})
    kubernetes.logs = {"w-step-2": 400}
    done = logs("w")

    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == ["plan(0): (has not started)", "plan(1): (its container has not started)"]


@pytest.mark.parametrize("words", [[], ["--follow"]])
def test_logs_that_may_not_be_read_are_invalid_input(logged: ArgoCluster, words: list[str]) -> None:
    """Without permission for one pod's log there is none for the others."""
    logged.logs = dict.fromkeys(logged.logs, 403)
    done = logs("w", *words)

    assert done.exit_code == 65
    assert "403 no log; ask for the permissions" in done.stderr


def test_a_node_that_does_not_answer_hides_its_own_logs_alone(logged: ArgoCluster) -> None:
    """The other logs are printed, and the code says that another try may help."""
    logged.logs["w-step-3"] = 500
    done = logs("w")

    assert done.exit_code == 75
    assert "extract(1:1)(0): (the log breaks off: " in done.stdout
    assert done.stdout.splitlines()[-1] == "extract(0:0)(0): two"
    assert "logs of 1 pods could not be read" in done.stderr


def test_following_gives_lines_as_they_come_and_pods_as_they_appear(cluster: ArgoCluster) -> None:
    """A line is there before its pod ends; a later pod is followed too; it ends with the workflow."""
    write_on = threading.Event()

    def written() -> Iterator[bytes]:
        yield b"begun\n"
        assert write_on.wait(60)
        yield b"done\n"

    cluster.add("w", {**RUNNING, "nodes": {"w-1": pod("plan(0)", "Running")}})
    cluster.logs = {"w-step-1": written(), "w-step-2": [b"later\n"]}
    lines = followed(cluster)
    first = next(lines)
    cluster.workflows["w"]["status"] = {
        **RUNNING,
        "nodes": {"w-1": pod("plan(0)", "Running"), "w-2": pod("extract(0:0)", "Running")},
    }
    second = next(lines)
    cluster.workflows["w"]["status"]["phase"] = "Succeeded"
    write_on.set()

    assert (first, second) == (LogLine("plan(0)", "begun"), LogLine("extract(0:0)", "later"))
    assert list(lines) == [LogLine("plan(0)", "done")]


def test_following_waits_for_a_container_to_start(kubernetes: ArgoCluster) -> None:
    """A log that is refused as early is asked for again."""
    answer, early = kubernetes.answer, iter([400, 400])

    def starting(method: str, path: str, body: dict[str, Any]) -> Answer:
        code = next(early, 0) if path.endswith("/log") else 0
        return (code, {"message": "waiting to start"}) if code else answer(method, path, body)

    kubernetes.answer = starting  # type: ignore[method-assign]
    kubernetes.logs = {"w-step-1": [b"begun\n"]}
    kubernetes.add("w", {**RUNNING, "nodes": {"w-1": pod("plan(0)", "Running")}})
    lines = followed(kubernetes)
    first = next(lines)
    kubernetes.workflows["w"]["status"]["phase"] = "Succeeded"

    assert first == LogLine("plan(0)", "begun")
    assert list(lines) == []


def test_following_goes_on_after_a_connection_is_lost(cluster: ArgoCluster) -> None:
    """The log is read again, and a line that was given already is not given twice; without any new line it is said."""
    answer, tries = cluster.answer, iter((2, 3, 3))

    def broken_off(lines: int) -> Iterator[bytes]:
        yield from (b"line %d\n" % i for i in range(lines))
        yield b"half a"
        raise ConnectionAbortedError

    def breaking(method: str, path: str, body: dict[str, Any]) -> Answer:
        if path.endswith("/log"):
            cluster.logs["w-step-1"] = broken_off(next(tries))
        return answer(method, path, body)

    cluster.answer = breaking  # type: ignore[method-assign]
    cluster.add("w", {**RUNNING, "phase": "Failed", "nodes": {"w-1": pod("plan(0)", "Failed")}})
    *lines, last = followed(cluster)

    assert lines == [LogLine("plan(0)", f"line {i}") for i in range(3)]
    assert last.text.startswith("(the log breaks off: ")


def test_following_more_pods_than_at_a_time_reads_all(cluster: ArgoCluster) -> None:
    """Of hundreds of pods each is read once, though not all at the same time."""
    nodes = {f"w-{i}": pod(f"extract({i}:{i})", "Succeeded") for i in range(250)}
    cluster.logs = {f"w-step-{i}": [f"{i}\n".encode()] for i in range(250)}
    cluster.add("w", {"phase": "Succeeded", "nodes": nodes})
    texts = [line.text for line in followed(cluster)]

    assert sorted(texts, key=int) == [str(i) for i in range(250)]


class Pieces:
    """An answer whose body comes in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.closed = False

    def stream(self, amount: int, *, decode_content: bool) -> Iterator[bytes]:
        """The pieces."""
        assert amount > 0
        assert decode_content
        yield from self.pieces

    def close(self) -> None:
        """End the connection."""
        self.closed = True


def test_lines_do_not_depend_on_how_they_are_divided() -> None:
    """A line is complete at its end and not at that of a piece; the last one needs no end."""
    answer = Pieces("gr\u00fc".encode()[:3], "gr\u00fc".encode()[3:] + b"n\n\nb", b"\nc\n\xff")

    assert list(lines_of(answer)) == ["gr\u00fcn", "", "b", "c", "\ufffd"]
    assert answer.closed


def test_a_line_without_an_end_is_divided() -> None:
    """A pod that writes no line end does not fill the memory of who reads it."""
    lines = list(lines_of(Pieces(*[b"x" * 2**20] * 5)))

    assert len(lines) > 2
    assert sum(map(len, lines)) == 5 * 2**20
