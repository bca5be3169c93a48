"""How far trainings and evaluations are, and when they are expected to end."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from rich.console import Console

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import end_shard, touch_videos
from watchmove.service.cli.status_table import print_status
from watchmove.service.records import layout
from watchmove.service.records.record import Origin, commit, origin
from watchmove.service.records.training import (
    EvaluationPointer,
    EvaluationRecord,
    backbone_id_of,
    evaluations_of,
)
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan
from watchmove.service.watching.status import RunStatus, status

NOW = 10_000.0


@pytest.fixture
def context(make_context: MakeContext) -> StepContext:
    """A run whose videos have ended, with three seeds of a pretraining of 2,000 steps, and four evaluations."""
    made = make_context("evaluate.freeze_through=[0]", "evaluate.initialisations=[random, pretrained]")
    pretraining = made.settings.pretrain.model_copy(update={"iterations": 2000, "seeds": (3, 4, 5)})
    evaluating = made.settings.evaluate.model_copy(update={"seeds": (0,)})
    settings = made.settings.model_copy(update={"pretrain": pretraining, "evaluate": evaluating})
    made = replace(made, settings=settings)
    touch_videos(made, "a.mp4", "b.mp4")
    planned = plan(made, "run")
    for shard in range(planned.shards):
        end_shard(made, planned, shard, {}, at=5000.0)
    return made


def asked(context: StepContext, capsys: pytest.CaptureFixture[str]) -> tuple[RunStatus, list[str]]:
    """The status of the run, and the lines that are printed of it."""
    found = status(context.store, "run", lambda: NOW)
    capsys.readouterr()
    print_status(found, Console(width=160), as_json=False)
    return found, capsys.readouterr().out.splitlines()


def write_checkpoints(context: StepContext, seed: int, *contents: bytes) -> None:
    """Checkpoints of the pretraining with a seed, in slots of which none is older than another."""
    identity = backbone_id_of(context.settings, gather(context, "run").dataset, seed)
    for slot, content in enumerate(contents):
        context.store.write(layout.backbone(identity, f"checkpoints/checkpoint-{slot}.json"), content)


def checkpoint(iteration: int, at: float | None = None) -> bytes:
    """The facts of a checkpoint that status reads; without a time, as an earlier version writes them."""
    known: Mapping[str, float] = {} if at is None else {"written_at_unix_seconds": at}
    return json.dumps({"iteration": iteration, **known}).encode()


def test_a_pretraining_has_begun_with_its_first_checkpoint(
    context: StepContext, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its newest checkpoint that can be read counts; other seeds may be done, or not begun."""
    dataset = gather(context, "run").dataset
    assert asked(context, capsys)[0].steps["pretrain"] == "waiting"

    write_checkpoints(context, 4, checkpoint(1250), checkpoint(1000), b'{"iteration": -5}', b"{torn")
    done = backbone_id_of(context.settings, dataset, 3)
    context.store.write(layout.backbone(done, "record.json"), b"{}")
    found, said = asked(context, capsys)

    assert found.steps["pretrain"] == "begun"
    assert [(one.seed, one.steps_stored, one.steps) for one in found.pretrainings] == [(3, 2000, 2000), (4, 1250, 2000)]
    assert "pretraining with seed 4: 1,250 of 2,000 steps stored" in said


@pytest.mark.parametrize(
    ("stored", "end"),
    [
        ([checkpoint(1000, 9000.0), checkpoint(1500, 9800.0)], "1970-01-01 02:56 UTC, in 0:10:00"),
        (
            [checkpoint(1500, 9800.0), checkpoint(500, 7000.0), checkpoint(1000, 9000.0)],
            "1970-01-01 02:56 UTC, in 0:10",
        ),
        ([checkpoint(1000, 6000.0), checkpoint(1500, 6800.0)], "1970-01-01 02:06 UTC, 0:40:00 ago: late"),
        ([checkpoint(1000, 9000.0)], ""),  # the first says nothing about the pace
        ([checkpoint(1000), checkpoint(1500, 9800.0)], ""),
        ([checkpoint(1000, 9000.0), checkpoint(1000, 9800.0)], ""),
        ([checkpoint(1000, 9800.0), checkpoint(1500, 9000.0)], ""),  # clocks of two machines
        ([checkpoint(1000, 9000.0), checkpoint(1500, 1e300)], ""),
    ],
)
def test_the_end_of_a_pretraining_goes_by_its_two_newest_checkpoints(
    context: StepContext, capsys: pytest.CaptureFixture[str], stored: list[bytes], end: str
) -> None:
    """500 steps are left, and 500 took 800 seconds; where the pace is not known, no end is named."""
    write_checkpoints(context, 4, *stored)
    (line,) = (line for line in asked(context, capsys)[1] if line.startswith("pretraining"))

    assert (f"steps stored, expected end {end}" in line) if end else line.endswith("steps stored")


def evaluate(context: StepContext, number: int, at: float, seconds: float = 600.0) -> None:
    """An evaluation of the run that ended at a time."""
    made_by: Origin = origin(context.settings, {}).model_copy(update={"written_at_unix_seconds": at})
    key = layout.evaluation(f"run-{number}", "record.json")
    record = EvaluationRecord(
        made_by=made_by,
        evaluation=evaluations_of(context.settings)[number],
        backbone="random",
        mean_ap_11_point=0.1,
        mean_ap_area=0.1,
        per_class={},
        loss=(),
        seconds=seconds,
    )
    commit(context.store, key, record)
    pointer = EvaluationPointer(made_by=made_by, key=key)
    commit(context.store, layout.run_record("run", f"evaluate-{number}"), pointer)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        # one after the other: two are left
        ([9000.0, 9600.0], "2 of 4 done, expected end 1970-01-01 03:00 UTC, in 0:13:20"),
        # two at once, so that the two that are left take as long as one
        ([9600.0, 9600.0], "2 of 4 done, expected end 1970-01-01 02:50 UTC, in 0:03:20"),
        # the first is that of an earlier run
        ([1000.0, 9600.0], "2 of 4 done, expected end 1970-01-01 03:00 UTC, in 0:13:20"),
        ([6000.0, 6600.0], "2 of 4 done, expected end 1970-01-01 02:10 UTC, 0:36:40 ago: late"),
    ],
)
def test_the_end_of_the_evaluations_goes_by_those_that_are_done(
    context: StepContext, capsys: pytest.CaptureFixture[str], ends: list[float], said: str
) -> None:
    """Their durations and their number at once give the end; before the first nothing is said, nor after the last."""
    assert not [line for line in asked(context, capsys)[1] if line.startswith("evaluations")]
    for number, at in enumerate(ends):
        evaluate(context, number, at)
    (line,) = (line for line in asked(context, capsys)[1] if line.startswith("evaluations"))
    for number in (2, 3):
        evaluate(context, number, 9900.0)
    found, after = asked(context, capsys)

    assert line == f"evaluations: {said}"
    assert found.steps["evaluate"] == "done"
    assert not [line for line in after if line.startswith("evaluations")]


def test_evaluations_that_took_no_time_have_an_end(context: StepContext, capsys: pytest.CaptureFixture[str]) -> None:
    """A record may state a duration of nothing."""
    evaluate(context, 0, 9000.0, seconds=0.0)

    assert asked(context, capsys)[0].evaluations is not None
