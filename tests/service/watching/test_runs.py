"""The runs of a store: how far each is, and what it made."""

import json

import pytest
from rich.console import Console

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import touch_videos
from watchmove.service.cli.status_table import print_runs
from watchmove.service.records import layout
from watchmove.service.records.record import Record, StepFailure, commit, origin
from watchmove.service.report.result import ResultRow, RunResult, SeedSpread
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.plan import plan
from watchmove.service.watching.runs import runs_of


def end(context: StepContext, run: str, step: str, at: float) -> None:
    """Write a record of a step, at a time."""
    made_by = origin(context.settings, {}).model_copy(update={"written_at_unix_seconds": at})
    commit(context.store, layout.run_record(run, step), Record(made_by=made_by))


def _row(initialisation: str, level: int, mean: float) -> ResultRow:
    return ResultRow(
        initialisation=initialisation,
        freeze_through=level,
        seeds=(0,),
        preset="quick",
        train_images=0,
        ap_11_point=SeedSpread(count=1, mean=mean, deviation=None, low=None, high=None),
        ap_area=None,
        seconds=1.0,
    )


@pytest.fixture
def context(make_context: MakeContext) -> StepContext:
    """Three runs: one is planned, one has twelve evaluations, and one has a result."""
    made = make_context()
    touch_videos(made, "a.mp4", "b.mp4")
    plan(made, "planned")
    for number, at in ((2, 900.0), (11, 1000.0)):
        end(made, "evaluated", f"evaluate-{number}", at)
    end(made, "evaluated", "classify-2", 2000.0)
    rows = [_row("random", 0, 0.15), _row("random", 2, 0.3), _row("pretrained", 0, 0.5)]
    made_by = origin(made.settings, {}).model_copy(update={"written_at_unix_seconds": 3000.0})
    result = RunResult(made_by=made_by, run="ended", rows=tuple(rows), evaluation_keys=())
    commit(made.store, layout.run_record("ended", "result"), result)
    return made


def test_each_run_has_the_state_of_its_last_step(context: StepContext) -> None:
    """The last of several evaluations gives the time; a classification is no state."""
    ended, evaluated, planned = runs_of(context.store)

    assert (ended.run, ended.state, ended.last_record_unix_seconds) == ("ended", "ended", 3000.0)
    assert (evaluated.state, evaluated.last_record_unix_seconds) == ("evaluated", 1000.0)
    assert (planned.state, planned.videos_listed, planned.frames_kept) == ("planned", 2, None)
    assert ended.mean_ap == pytest.approx({"random": 0.15, "pretrained": 0.5})


def test_a_step_that_has_failed_is_the_state_until_a_later_record(context: StepContext) -> None:
    """The age is that of the failure."""
    said = []
    for run, step, at in (("evaluated", "report", 3000.0), ("ended", "evaluate", 2000.0)):
        made_by = origin(context.settings, {}).model_copy(update={"written_at_unix_seconds": at})
        failure = StepFailure(made_by=made_by, step=step, cause="invalid-input")
        commit(context.store, layout.failure(run, step), failure)
        said += [(one.state, one.last_record_unix_seconds) for one in runs_of(context.store) if one.run == run]

    assert said == [("report failed", 3000.0), ("ended", 3000.0)]


def test_they_are_a_table_or_json(context: StepContext, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has every name in full at 40 columns, and the age in its largest unit."""
    found = list(runs_of(context.store))
    print_runs(found, 3000.0 + 2 * 86400 + 3600, Console(width=40), as_json=False)
    table = capsys.readouterr().out
    print_runs(found, 3000.0, Console(), as_json=True)

    assert all(name in table for name in ("planned", "evaluated", "ended", "2 d", "pretrained", "0.500"))
    assert [run["run"] for run in json.loads(capsys.readouterr().out)] == ["ended", "evaluated", "planned"]
