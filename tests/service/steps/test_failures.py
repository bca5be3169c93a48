"""A step that fails leaves a record, which the exporter shows until the step has succeeded."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import end_shard, touch_videos
from tests.service.steps.test_pretrain import SMALL, made_up_snapshot
from watchmove.pipeline.errors import InvalidInput, NotFinite, Stopped
from watchmove.service.cli.main import main
from watchmove.service.cli.status_table import print_status
from watchmove.service.records import layout
from watchmove.service.records.record import StepFailure, find
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.extract import extract
from watchmove.service.steps.failures import record_failure
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan
from watchmove.service.steps.pretrain import pretrain
from watchmove.service.steps.report import report
from watchmove.service.store.store import ObjectRefused
from watchmove.service.watching.exporter import RecordCollector
from watchmove.service.watching.status import status

FAILED_AT = "watchmove_run_failure_timestamp_seconds"


def states(context: StepContext) -> dict[str, str]:
    """The states of the steps of the run named `run`, and that of the run itself by the name of the run."""
    collector = RecordCollector(context.store)
    collector.refresh()
    families = {family.name: family for family in collector.collect()}
    steps = {one.labels["step"]: one.labels["state"] for one in families["watchmove_run_step_state"].samples}
    return steps | {one.labels["run"]: one.labels["state"] for one in families["watchmove_run_state"].samples}


def failed_at(context: StepContext, step: str, cause: str) -> float | None:
    """When a step of the run named `run` has failed by a cause; None if it has not."""
    collector, registry = RecordCollector(context.store), CollectorRegistry()
    registry.register(collector)
    collector.refresh()
    return registry.get_sample_value(FAILED_AT, {"run": "run", "step": step, "cause": cause})


def test_a_loss_that_is_not_finite_is_seen_until_the_training_succeeds(
    make_context: MakeContext, tmp_path: Path
) -> None:
    """The training diverges with a huge learning rate; with a usual one it ends, and nothing is left of the failure."""
    diverging = make_context(*SMALL, "pretrain.learning_rate=1e30", "pretrain.warmup_fraction=0")
    touch_videos(diverging, "0.mp4")
    plan(diverging, "run")
    made_up_snapshot(diverging, tmp_path)
    with pytest.raises(NotFinite, match="lower pretrain"):
        pretrain(diverging, "run")
    failure = find(diverging.store, layout.failure("run", "pretrain"), StepFailure)
    seen = failed_at(diverging, "pretrain", "not-finite"), states(diverging)
    usual = make_context(*SMALL)
    pretrain(usual, "run")

    assert failure is not None
    assert (failure.step, failure.number, failure.cause) == ("pretrain", None, "not-finite")
    assert seen[0] == failure.made_by.written_at_unix_seconds
    assert (seen[1]["pretrain"], seen[1]["run"]) == ("failed", "failed")
    assert failed_at(usual, "pretrain", "not-finite") is None
    assert not [item.key for item in usual.store.list("runs/") if "failure" in item.key]
    assert (states(usual)["pretrain"], states(usual)["run"]) == ("done", "begun")


def test_the_states_of_a_run_follow_its_records(make_context: MakeContext) -> None:
    """A planned run waits, has begun with its first shard, and fails where gather finds too many failed videos."""
    context = make_context("plan.max_shard_videos=2")
    touch_videos(context, *(f"{number}.mp4" for number in range(4)))
    planned = plan(context, "run")
    seen = [states(context)]
    for shard in range(planned.shards):
        end_shard(context, planned, shard, {f"{number}.mp4": ("missing", "") for number in range(4)})
        seen.append(states(context))
    with pytest.raises(InvalidInput, match="max_failed_fraction"):
        gather(context, "run")
    seen.append(states(context))

    assert [one["extract"] for one in seen] == ["waiting", "begun", "done", "done"]
    assert [one["gather"] for one in seen] == ["waiting", "waiting", "waiting", "failed"]
    assert [one["run"] for one in seen] == ["waiting", "begun", "begun", "failed"]
    assert failed_at(context, "gather", "invalid-input") is not None


def test_what_is_retried_or_mistyped_is_no_failure(make_context: MakeContext) -> None:
    """A step that was stopped leaves no record, nor does one of a run that was never planned."""
    context = make_context()
    touch_videos(context, "0.mp4")
    plan(context, "run")
    context.stop.set()
    with pytest.raises(Stopped):
        extract(context, "run", 0)
    with pytest.raises(InvalidInput, match="run `watchmove plan` first"):
        gather(context, "rnu")

    assert not [item.key for item in context.store.list("runs/") if "failure" in item.key or "rnu" in item.key]


def test_a_step_that_is_called_too_early_has_not_failed(make_context: MakeContext) -> None:
    """Whoever asks for a report of a run that is in progress does not set off an alert."""
    context = make_context()
    touch_videos(context, "0.mp4")
    plan(context, "run")
    for step in (pretrain, report):
        with pytest.raises(InvalidInput, match="run `watchmove"):
            step(context, "run")

    assert not [item.key for item in context.store.list("runs/") if "failure" in item.key]
    assert "failed" not in states(context).values()


def test_a_failed_shard_is_named_by_its_number(make_context: MakeContext) -> None:
    """Each shard has a record of its own, and the exporter one sample for the step."""
    context = make_context()
    touch_videos(context, "0.mp4")
    plan(context, "run")
    other = make_context("extract.shorter_side_pixels=96")
    with pytest.raises(InvalidInput, match="planned as recipe"):
        extract(other, "run", 0)
    failure = find(context.store, layout.failure("run", "extract-0"), StepFailure)

    assert failure is not None
    assert (failure.step, failure.number, failure.cause) == ("extract", 0, "invalid-input")
    assert failed_at(context, "extract", "invalid-input") == failure.made_by.written_at_unix_seconds


def test_a_success_stays_one_where_the_record_of_the_failure_may_not_be_removed(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A role need not have the right to delete."""
    strict, patient = make_context("gather.max_failed_fraction=0.0"), make_context("gather.max_failed_fraction=1.0")
    touch_videos(strict, "0.mp4", "1.mp4")
    end_shard(strict, plan(strict, "run"), 0, {"0.mp4": ("missing", "")})
    with pytest.raises(InvalidInput, match="max_failed_fraction"):
        gather(strict, "run")

    def refuse(_: object, key: str) -> None:
        raise ObjectRefused(f"removing {key}: the store answered AccessDenied")

    monkeypatch.setattr(type(patient.store), "remove", refuse)
    gathered = gather(patient, "run")

    assert gathered.kept_videos == 1
    output = capsys.readouterr()
    assert "AccessDenied" in output.out + output.err


def test_files_that_desktops_add_to_a_store_are_passed_over(make_context: MakeContext) -> None:
    """As macOS does in every folder of a disk of another system, also in those of the records."""
    context = make_context("gather.max_failed_fraction=1.0")
    touch_videos(context, "0.mp4", "1.mp4")
    planned = plan(context, "run")
    end_shard(context, planned, 0, {"0.mp4": ("missing", "")})
    for folder in {item.key.rpartition("/")[0] for item in context.store.list()} | {layout.all_receipts().strip("/")}:
        for name in (".DS_Store", "._00000-0.json", "Thumbs.db"):
            context.store.write(f"{folder}/{name}", b"no record")

    assert gather(context, "run").kept_videos == 1
    assert states(context)["gather"] == "done"


def test_what_a_failed_step_would_have_made_is_answered_with_its_failure(
    make_context: MakeContext, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gather fails; whoever asks for results, a report or the weights is told why, as is status, in one line."""
    monkeypatch.setenv("COLUMNS", "60")
    context = make_context()
    touch_videos(context, "0.mp4", "1.mp4")
    planned = plan(context, "run")
    end_shard(context, planned, 0, {f"{number}.mp4": ("missing", "") for number in range(2)})
    with pytest.raises(InvalidInput) as failed:
        gather(context, "run")
    words = ["--set", f"store={context.store.uri}"]
    said = []
    for command in (["results", "run"], ["report", "--run", "run"], ["export", "run", "--out", "unused"]):
        monkeypatch.setattr("sys.argv", ["watchmove", *command, *words])
        with pytest.raises(SystemExit) as end:
            main()
        said.append((end.value.code, capsys.readouterr().err.splitlines()))
    found = status(context.store, "run")
    print_status(found, Console(), as_json=False)

    line = f"watchmove: invalid input: run run: its step gather failed: {failed.value}"
    assert said == [(65, [line])] * 3
    assert found.failures == {"gather": str(failed.value)}
    assert f"gather failed: {failed.value}" in capsys.readouterr().out.splitlines()


def test_of_many_failed_shards_the_first_are_printed(
    make_context: MakeContext, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON has every failure, without the password of an address in it; a bug's message is one line."""
    context = make_context("plan.max_shard_videos=1")
    touch_videos(context, *(f"{number}.mp4" for number in range(5)))
    plan(context, "run")

    @record_failure
    def extract(context: StepContext, run: str, number: int) -> None:
        raise ValueError(f"shard {number}\nof s3://user:password@bucket in {context.store.uri}, run {run}")

    for number in range(5):
        with pytest.raises(ValueError, match="of s3"):
            extract(context, "run", number)
    found = status(context.store, "run")
    print_status(found, Console(), as_json=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if "failed" in line]

    assert set(found.failures) == {f"extract {number}" for number in range(5)}
    assert found.failures["extract 1"].startswith("shard 1 of s3://…@bucket in ")
    assert [line[:17] for line in lines[1:4]] == [f"extract {number} failed:" for number in range(3)]
    assert lines[4:] == ["2 more failed; --json has them all"]
