"""A run's trace: the spans of a whole run and of its retries, with the ids of its records and its log."""

import json
import os
import subprocess
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import boto3
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.service.collector import Collector, collector, values_of
from tests.service.conftest import MakeContext
from tests.service.steps.test_run import SMALL_NETWORK, command, settled
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.runner.tracing import close_tracing, trace_id_of
from watchmove.service.steps.extract import extract
from watchmove.service.steps.plan import plan

ERROR = 2
"""The status of a span that has failed, in OTLP."""
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAWATCHMOVETEST001",
    "AWS_SECRET_ACCESS_KEY": "c3VjaC1hLXNlY3JldC1rZXktb2YtMzItbGV0dGVycyE",
    "AWS_SESSION_TOKEN": "dGhlLXRva2VuLW9mLWEtc2Vzc2lvbg",
}
OF_THE_LOG = {"event", "level", "timestamp", "trace_id", "span_id"}
"""Fields of a line of the log that are no facts of what happened."""
TOKEN = "Y29sbGVjdG9yLXRva2Vu"
PASSWORD = "ZW5kcG9pbnQtcGFzc3dvcmQ"


def _ran(found: Collector, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command that sends its spans to the collector, with a password in its address and a token in a header."""
    address = found.endpoint.replace("http://", f"http://me:{PASSWORD}@")
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-token={TOKEN}",
        "WATCHMOVE_LOG": "json",
    }
    settings = [*settled("s3://traced"), *SMALL_NETWORK]
    line, environment = command(*words, *settings), os.environ | SECRETS | variables
    return subprocess.run(line, capture_output=True, text=True, check=False, env=environment)


def _sorted(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in sorted(row) if row[key] is not None}


def _ids(span: Span) -> dict[str, Any]:
    return {name.removeprefix("watchmove."): value for name, value in values_of(span.attributes).items()}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_run_and_its_export_are_one_trace(s3_environment: str, tmp_path: Path) -> None:
    """From the plan to the champion, as records and log name it; with a broken video, and without a credential."""
    assert s3_environment
    client = boto3.client("s3")
    with collector() as found:
        drawn = _ran(found, "world")
        assert drawn.returncode == 0, drawn.stderr
        assert found.bodies == []
        client.put_object(Bucket="traced", Key="videos/broken.mp4", Body=b"no video")
        done = _ran(found, "run", "--run", "first", "--videos", "s3://traced/videos", "--voc", "s3://traced/voc")
        assert done.returncode == 0, done.stderr
        exported = _ran(found, "export", "first", "--out", str(tmp_path))
        assert exported.returncode == 0, exported.stderr
    spans = found.spans()
    events = defaultdict(list)
    for line in done.stderr.splitlines():
        row = json.loads(line)
        events[row["event"]].append(row)
    names = {span.span_id: span.name for span in spans}
    (run, step) = ([span for span in spans if span.name == name] for name in ("run", "extract"))

    assert {span.trace_id for span in spans} == {trace_id_of("s3://traced/store", "first").to_bytes(16)}
    assert Counter((names.get(span.parent_span_id, ""), span.name) for span in spans) == {
        ("", "run"): 1,
        ("", "export"): 1,
        **{("run", name): 1 for name in ("plan", "extract", "gather", "pretrain", "report")},
        ("run", "evaluate"): 2,
        ("extract", "video"): 4,
        ("extract", "part"): 1,
        ("pretrain", "validation"): 1,
        ("pretrain", "backbone"): 1,
        ("evaluate", "checkpoint"): 2,
        ("evaluate", "evaluation"): 2,
    }
    assert {row["trace_id"] for row in events["step"]} == {spans[0].trace_id.hex()}
    assert {row["span_id"] for row in events["step"]} == {
        span.span_id.hex() for span in spans if span.parent_span_id == run[0].span_id
    }
    for name in ("video", "part", "checkpoint", "validation", "backbone", "evaluation"):
        ids = {"run", "step", "shard", "number"}
        logged = [{key: row[key] for key in row if key not in OF_THE_LOG} for row in events[name]]
        traced = [_ids(span) for span in spans if span.name == name]
        assert sorted(map(str, map(_sorted, logged))) == sorted(map(str, map(_sorted, traced)))
        assert all(ids & row.keys() >= {"run", "step"} for row in traced)
    (key,) = (row["key"] for row in events["part"])
    part = json.loads(client.get_object(Bucket="traced", Key=f"store/{key}")["Body"].read())
    in_record = {row["video"]["id"]: (row["outcome"], row["reason"]) for row in part["videos"]}
    videos = {_ids(span)["video"]: span for span in spans if span.name == "video"}
    assert {name: (_ids(span)["outcome"], _ids(span)["reason"]) for name, span in videos.items()} == in_record
    (broken,) = [span for span in spans if span.status.code == ERROR]
    assert (_ids(broken)["key"], _ids(broken)["outcome"]) == ("broken.mp4", "unreadable")
    assert broken.status.message.startswith(f"unreadable: {_ids(broken)['reason']}")
    assert _ids(step[0]) == {"run": "first", "step": "extract", "shard": 0, "ending": "done", "exit_code": 0}
    (report,) = [span for span in spans if span.name == "report"]
    assert [event.name for event in report.events] == ["champion"]
    assert {header["Authorization"].partition(" ")[0] for header in found.headers} == {"Basic"}
    sent = [*found.bodies, *(text.encode() for one in (done, exported) for text in (one.stdout, one.stderr))]
    assert not [text for text in sent for secret in (*SECRETS.values(), TOKEN, PASSWORD) if secret.encode() in text]


def test_failed_videos_have_spans_up_to_a_number(
    make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is in the records alone, as no backend shows a trace of a million spans; and a failed step says why."""
    context = make_context()
    (tmp_path / "videos").mkdir()
    for number in range(3):
        (tmp_path / "videos" / f"{number}.mp4").write_bytes(bytes([number]) * 64)
    monkeypatch.setattr("watchmove.service.steps.extract._TRACED_VIDEOS", 2)
    with collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
        # other tests of this process may have asked for a sender without an endpoint
        close_tracing()
        plan(context, "first")
        rows = extract(context, "first", 0)
        with pytest.raises(InvalidInput):
            extract(context, "first", 7)
        close_tracing()
    spans = found.spans()
    failed = [span for span in spans if span.status.code == ERROR]

    assert [row.outcome.value for row in rows] == ["unreadable"] * 3
    assert [span.name for span in failed] == ["video", "video", "extract"]
    assert failed[2].status.message.startswith("invalid input: shard 7: ")
    assert {span.trace_id for span in spans} == {trace_id_of(context.store.uri, "first").to_bytes(16)}
