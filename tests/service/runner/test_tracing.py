"""Spans go to the collector that the environment names, and nothing about them ends or holds up a step."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.collector import Collector, collector, values_of
from tests.service.slim_packages import link_packages, run_slim
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.runner.events import log_event, log_step, with_event
from watchmove.service.runner.tracing import add_to_span, close_tracing, span, trace_id_of

STORE = "s3://bucket/store"
EMPTY = ("plan", "--run", "r", "--set", "videos=file:///PLACE/videos", "--set", "store=file:///PLACE/store")
"""A step that fails at once: the folder of videos does not exist."""
ERROR = 2
"""The status of a span that has failed, in OTLP."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that this process sends to."""
    with collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
        yield found
        close_tracing()


def _plan(place: Path, program: str = "", **environment: str) -> list[str]:
    """The lines on standard error of a plan that fails with exit code 65, in JSON; `program` runs before it."""
    words = [word.replace("/PLACE", str(place)) for word in ("--log", "json", *EMPTY)]
    text = f"import sys; {program or 'pass'}\nfrom watchmove.__main__ import main\nsys.argv[1:] = {words!r}\nmain()"
    line, named = [sys.executable, "-c", text], os.environ | environment
    done = subprocess.run(line, capture_output=True, text=True, env=named, check=False)

    assert done.returncode == 65, done.stderr
    return done.stderr.splitlines()


def _warnings(lines: list[str]) -> list[tuple[str, str]]:
    """Events and reasons of the warnings among lines of the log."""
    rows = map(json.loads, lines)
    return [(row["event"], row["reason"]) for row in rows if row["level"] == "warning"]


def test_the_trace_of_a_run_is_what_a_shell_computes() -> None:
    """`printf %s STORE/RUN | sha256sum`: whoever knows the run finds its trace."""
    digest = hashlib.sha256(b"s3://bucket/store/first").hexdigest()

    assert f"{trace_id_of(STORE, 'first'):032x}" == digest[:32] == "776029a7bc994a6693766c0a495b911a"


def test_a_step_in_two_processes_is_in_one_trace(tmp_path: Path) -> None:
    """Its span has the log's ids, the ending and the reason, and no span above it."""
    with collector() as found:
        lines = [_plan(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=found.endpoint) for _ in range(2)]
    steps = [json.loads(first) for first, _ in lines]
    spans = found.spans()
    expected = trace_id_of(f"file://{tmp_path}/store", "r").to_bytes(16)

    assert [one.name for one in spans] == ["plan", "plan"]
    assert {one.trace_id for one in spans} == {expected}
    assert {one.parent_span_id for one in spans} == {b""}
    assert [(row["trace_id"], row["span_id"]) for row in steps] == [
        (one.trace_id.hex(), one.span_id.hex()) for one in spans
    ]
    assert values_of(spans[0].attributes) == {
        "watchmove.run": "r",
        "watchmove.step": "plan",
        "watchmove.ending": "invalid input",
        "watchmove.exit_code": 65,
    }
    assert spans[0].status.code == ERROR
    assert spans[0].status.message == f"invalid input: {json.loads(lines[0][1])['reason']}"


def test_what_a_step_logs_is_below_its_span(sent: Collector) -> None:
    """With seconds it is a span that lasts as long, else an event; also in another thread than the step's."""
    with span("evaluate", STORE, "first", {"step": "evaluate", "number": 3}):
        stored = with_event(lambda: None, "checkpoint", evaluation="e1")
        log_event("evaluation", evaluation="e1", mean_ap=0.5, nothing=None, seconds=2.5)
        log_event("promoted", backbone="b1")
        thread = threading.Thread(target=stored)  # which has a context of its own
        thread.start()
        thread.join()
    close_tracing()
    by_name = {one.name: one for one in sent.spans()}
    step, evaluation, checkpoint = (by_name.pop(name) for name in ("evaluate", "evaluation", "checkpoint"))
    ids = {"watchmove.run": "first", "watchmove.step": "evaluate", "watchmove.number": 3}

    assert by_name == {}
    assert evaluation.parent_span_id == step.span_id
    assert evaluation.end_time_unix_nano - evaluation.start_time_unix_nano == 2_500_000_000
    assert values_of(evaluation.attributes) == {
        **ids,
        "watchmove.evaluation": "e1",
        "watchmove.mean_ap": 0.5,
        "watchmove.seconds": 2.5,
    }
    assert [(one.name, values_of(one.attributes)) for one in step.events] == [
        ("promoted", {"watchmove.backbone": "b1"})
    ]
    assert checkpoint.trace_id == step.trace_id
    assert ids.items() <= values_of(checkpoint.attributes).items()


def test_an_error_has_no_address_with_a_password(sent: Collector) -> None:
    """Neither the message of the status nor an attribute, and no trace of Python."""

    def fail() -> None:
        with span("plan", STORE, "first", {"step": "plan"}):
            facts = {"key": "https://me:hush@host/v\udcff.mp4", "seconds": 1.0}
            add_to_span("video", facts, "refused by https://me:hush@host")
            raise Unavailable("https://me:hush@host/x:\nno route")

    with pytest.raises(Unavailable):
        fail()
    close_tracing()
    plan, video = sorted(sent.spans(), key=lambda one: one.name)

    assert (plan.status.code, plan.status.message) == (ERROR, "unavailable, retry later: https://…@host/x: no route")
    assert (video.status.code, video.status.message) == (ERROR, "refused by https://…@host")
    assert values_of(video.attributes)["watchmove.key"] == "https://…@host/v?.mp4"
    assert [*plan.events, *video.events] == []
    assert not any(b"hush" in body for body in sent.bodies)


def test_the_variables_of_the_sdk_name_the_service(sent: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """They replace the defaults; headers go with each request."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nights")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.namespace.name=vision,host.name=other")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hush")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with span("plan", STORE, "first", {}):
        pass
    close_tracing()
    resource = sent.resource()

    assert (resource["service.name"], resource["k8s.namespace.name"], resource["host.name"]) == (
        "nights",
        "vision",
        "other",
    )
    assert resource["k8s.pod.name"] == socket.gethostname()
    assert sent.headers[0]["authorization"] == "Bearer hush"
    assert b"hush" not in sent.bodies[0]


def test_without_variables_the_service_is_watchmove(sent: Collector) -> None:
    """And no pod is named outside of one."""
    with span("plan", STORE, "first", {}):
        pass
    close_tracing()

    assert sent.resource()["service.name"] == "watchmove"
    assert "k8s.pod.name" not in sent.resource()


@pytest.mark.parametrize(
    "variables",
    [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {"RANK": "1"}],
    ids=["disabled", "no exporter", "second rank"],
)
def test_spans_can_be_switched_off(tmp_path: Path, variables: dict[str, str]) -> None:
    """By the SDK's variables, without a warning; and of several ranks only the first sends them."""
    with collector() as found:
        lines = _plan(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=found.endpoint, **variables)

    assert found.bodies == []
    assert _warnings(lines) == []


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "not asked for"])
def test_opentelemetry_is_imported_only_where_it_is_asked_for(tmp_path: Path, asked: bool) -> None:
    """It costs each start a moment, and need not be installed."""
    program = "import atexit; atexit.register(lambda: print('IMPORTED' if 'opentelemetry' in sys.modules else 'NOT'))"
    words = [word.replace("/PLACE", str(tmp_path)) for word in EMPTY]
    text = f"import sys; {program}\nfrom watchmove.__main__ import main\nsys.argv[1:] = {words!r}\nmain()"
    with collector() as found:
        named = os.environ | ({"OTEL_EXPORTER_OTLP_ENDPOINT": found.endpoint} if asked else {})
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=named, check=False)

    assert done.stdout == ("IMPORTED\n" if asked else "NOT\n")


def test_the_packages_of_the_slim_image_suffice(sent: Collector, tmp_path: Path) -> None:
    """Its lock has the SDK."""
    words = [word.replace("/PLACE", str(tmp_path)) for word in EMPTY]
    done = run_slim(link_packages(tmp_path / "packages"), *words)

    assert done.returncode == 65
    assert [one.name for one in sent.spans()] == ["plan"]


def test_without_the_packages_a_warning_says_what_would_do(tmp_path: Path) -> None:
    """And the step ends as it would have."""
    lines = _plan(tmp_path, "sys.modules['opentelemetry'] = None", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")

    ((event, reason),) = _warnings(lines)

    assert event == "no spans are sent"
    assert reason.startswith("import of opentelemetry halted")
    assert reason.endswith("; install watchmove[otel], or set OTEL_SDK_DISABLED=true")


@pytest.mark.parametrize(
    ("variables", "event", "reason"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "no spans are sent", "OTEL_EXPORTER_OTLP_PROTOCOL is grpc; set it"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "-1"}, "no spans are sent", "schedule_delay_millis must be positive; correct"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense"}, "tracing is impaired", "Invalid URL 'nonsense/v1/traces'"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"}, "tracing is impaired", "not a valid host or port"),
        ({}, "tracing is impaired", "Connection refused"),
    ],
    ids=["protocol", "number", "address", "host", "no collector"],
)
def test_what_keeps_spans_from_being_sent_is_one_warning(
    tmp_path: Path, variables: dict[str, str], event: str, reason: str
) -> None:
    """The exit code is that of the step."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{closed.getsockname()[1]}"}
        ((said, why),) = _warnings(_plan(tmp_path, **{**endpoint, **variables}))

    assert said == event
    assert reason in why


@pytest.mark.parametrize(
    "headers", ["authorization: Bearer hush", "authorization=Bearer hu\x0bsh", "x=Bearer%20hush%0A", "x=%E2%82%AChush"]
)
def test_no_warning_quotes_a_header(tmp_path: Path, headers: str) -> None:
    """The SDK does, if it cannot use one."""
    with collector() as found:
        lines = _plan(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=found.endpoint, OTEL_EXPORTER_OTLP_HEADERS=headers)

    assert not [line for line in lines if "hush" in line or "hu\\x0bsh" in line or "hu\\u000bsh" in line]


def test_no_warning_has_the_secrets_of_the_address(tmp_path: Path) -> None:
    """A user's password and a key in the query."""
    address = "http://me:hush@127.0.0.1:1/v1/traces?api-key=hush"
    lines = _plan(tmp_path, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=address)

    assert [event for event, _ in _warnings(lines)] == ["tracing is impaired"]
    assert "hush" not in "".join(lines)


def test_a_silent_collector_holds_up_the_end_for_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK itself would wait for 30 s, and for an hour with this time limit of a request."""
    with collector(answers=False) as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
        with span("plan", STORE, "first", {}):
            pass
        began = time.monotonic()
        close_tracing()

        assert 1.9 <= time.monotonic() - began < 20


def test_a_signal_leaves_time_to_send_the_span(tmp_path: Path) -> None:
    """A step that is stopped has a span that says so, though the process ends before the next batch is due."""
    program = (
        "from watchmove.service.runner.events import log_step\n"
        "from watchmove.service.runner.runner import run_to_exit_code, step_context\n"
        "from watchmove.service.settings.loading import LAPTOP, load_settings\n"
        "@log_step\n"
        "def extract(context, run, shard):\n"
        "    print('began', flush=True)\n"
        "    context.stop.wait()\n"
        "    context.check_stop()\n"
        "def body():\n"
        f"    with step_context(load_settings(LAPTOP, ['store=file://{tmp_path}'])) as context:\n"
        "        extract(context, 'first', 4)\n"
        "raise SystemExit(run_to_exit_code(body))\n"
    )
    with collector() as found:
        slowly = {"OTEL_EXPORTER_OTLP_ENDPOINT": found.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | slowly
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"began\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=120) == 143
    (stopped,) = found.spans()

    assert stopped.status.code == ERROR
    assert stopped.status.message.startswith("stopped: received a signal")
    assert values_of(stopped.attributes)["watchmove.shard"] == 4


def test_a_step_needs_a_store_only(sent: Collector) -> None:
    """`export` has no context."""

    class Store:
        uri = STORE

    @log_step
    def export(store: Store, run: str) -> None:
        raise InvalidInput(f"no {run} in {store.uri}")

    with pytest.raises(InvalidInput):
        export(Store(), "first")
    close_tracing()
    (found,) = sent.spans()

    assert (found.name, found.status.message) == ("export", f"invalid input: no first in {STORE}")
    assert int.from_bytes(found.trace_id) == trace_id_of(STORE, "first")
