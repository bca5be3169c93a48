"""Hours and costs of runs are those that records have, each counted once."""

from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import commit_part, end_shard, planned_videos, row, touch_videos
from watchmove.service.records import layout
from watchmove.service.records.outcomes import DeviceUse, MachineUse
from watchmove.service.records.record import Origin, commit, find, origin
from watchmove.service.records.training import (
    BackboneRecord,
    CurveRow,
    Evaluation,
    EvaluationPointer,
    EvaluationRecord,
    PretrainPointer,
)
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.plan import plan
from watchmove.service.watching.exporter import RecordCollector

PRICES = ("work.price_per_core_hour=0.05", "work.price_per_gpu_hour=2")
USE = MachineUse(seconds=1800.0, cores=8, gpus=2)
"""Four core-hours and one GPU-hour."""


def at(context: StepContext, written: float) -> Origin:
    """The origin of a record that was written at a time."""
    return origin(context.settings, {}).model_copy(update={"written_at_unix_seconds": written})


def trained(context: StepContext, runs: Mapping[str, float], use: MachineUse | None = USE) -> None:
    """A backbone, with the pointers of runs to it, by the times at which these were written."""
    record = BackboneRecord(
        made_by=at(context, min(runs.values())),
        backbone="b",
        dataset="d",
        weights_key="w",
        weights_sha256="",
        images_per_second=1.0,
        use=use,
        curve=(CurveRow(iteration=1, loss=1.0, learning_rate=0.1, validation_iou=None),),
    )
    commit(context.store, layout.backbone("b", "record.json"), record)
    for run, written in runs.items():
        pointer = PretrainPointer(made_by=at(context, written), backbones={0: "b"})
        commit(context.store, layout.run_record(run, "pretrain"), pointer)


def evaluated(context: StepContext, run: str, number: int, use: MachineUse | None = USE) -> None:
    """An evaluation of a run."""
    key = layout.evaluation(f"{run}-{number}", "record.json")
    record = EvaluationRecord(
        made_by=at(context, 2000.0),
        evaluation=Evaluation(initialisation="random", freeze_through=0, seed=number),
        backbone="random",
        mean_ap_11_point=0.1,
        mean_ap_area=0.1,
        per_class={},
        loss=(),
        seconds=1800.0,
        use=use,
    )
    commit(context.store, key, record)
    pointer = EvaluationPointer(made_by=at(context, 2000.0), key=key)
    commit(context.store, layout.run_record(run, f"evaluate-{number}"), pointer)


def samples(context: StepContext, metric: str, run: str = "run") -> dict[str, float]:
    """The samples of a run's metric by step."""
    collector, registry = RecordCollector(context.store, context.settings.work), CollectorRegistry()
    registry.register(collector)
    collector.refresh()
    found = {step: registry.get_sample_value(metric, {"run": run, "step": step}) for step in STEPS}
    return {step: value for step, value in found.items() if value is not None}


STEPS = ("extract", "gather", "pretrain", "evaluate", "report")


@pytest.fixture
def context(make_context: MakeContext) -> StepContext:
    """Six videos, planned as `run`, and prices."""
    made = make_context(*PRICES)
    touch_videos(made, *(f"{number}.mp4" for number in range(6)))
    return made


def test_hours_and_costs_of_each_step(context: StepContext) -> None:
    """Workers have a core each; trainings and evaluations have all cores and GPUs of their processes."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {}, at=1000.0)  # six videos of two seconds
    trained(context, {"run": 1500.0})
    for number in range(2):
        evaluated(context, "run", number)
    extraction = 6 * 2 / 3600

    assert samples(context, "watchmove_run_core_hours") == pytest.approx(
        {"extract": extraction, "pretrain": 4.0, "evaluate": 8.0}
    )
    assert samples(context, "watchmove_run_gpu_hours") == {"extract": 0.0, "pretrain": 1.0, "evaluate": 2.0}
    assert samples(context, "watchmove_run_estimated_cost") == pytest.approx(
        {"extract": extraction * 0.05, "pretrain": 2.2, "evaluate": 4.4}
    )


def test_a_gpu_that_extracts_is_counted(make_context: MakeContext) -> None:
    """Its hours are those in which a process has held it, at work or waiting; without a price there is no cost."""
    context = make_context("extract.device=cuda", "work.price_per_core_hour=0.05")
    touch_videos(context, "0.mp4")
    planned = plan(context, "run")
    rows = tuple(row(video, "kept") for video in planned_videos(context, planned, 0))
    commit_part(context, planned, (0, 0), rows, 1000.0, 60.0, DeviceUse(busy_seconds=5400, waiting_seconds=1800))

    assert samples(context, "watchmove_run_gpu_hours") == {"extract": 2.0}
    assert samples(context, "watchmove_run_estimated_cost") == {}


@pytest.mark.parametrize("price", [(), PRICES[:1], PRICES[1:]], ids=["none", "cores alone", "GPUs alone"])
def test_a_missing_price_serves_no_cost(make_context: MakeContext, price: tuple[str, ...]) -> None:
    """A cost that leaves out a part of what was used would be too low."""
    context = make_context(*price)
    touch_videos(context, "0.mp4")
    plan(context, "run")
    trained(context, {"run": 1500.0})

    assert samples(context, "watchmove_run_core_hours")["pretrain"] == 4.0
    assert "pretrain" not in samples(context, "watchmove_run_estimated_cost")


def test_shared_work_counts_once(context: StepContext) -> None:
    """A run that reuses a backbone did not pay for it, whatever its name."""
    plan(context, "run")
    plan(context, "another")
    trained(context, {"another": 1600.0, "run": 1500.0})

    assert samples(context, "watchmove_run_core_hours")["pretrain"] == 4.0
    assert "pretrain" not in samples(context, "watchmove_run_core_hours", "another")


def test_records_without_their_use_have_no_hours(context: StepContext) -> None:
    """A record of an earlier version has no such field; with one such evaluation, the sum of all is unknown."""
    plan(context, "run")
    trained(context, {"run": 1500.0}, use=None)
    evaluated(context, "run", 0)
    evaluated(context, "run", 1, use=None)
    key = layout.backbone("b", "record.json")
    written = context.store.read(key)
    assert written is not None
    context.store.write(key, written.replace(b' "use": null,\n', b""))
    record = find(context.store, key, BackboneRecord)

    assert record is not None
    assert context.store.read(key) != written
    assert record.use is None
    assert samples(context, "watchmove_run_core_hours") == {}
