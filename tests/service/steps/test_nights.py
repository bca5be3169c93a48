"""Runs over a growing folder of videos: which of them train, and what those that do not say about it."""

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import FRAMES_KEPT, end_shard, touch_videos
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cli.result_table import print_summary
from watchmove.service.cli.status_table import print_status
from watchmove.service.records import layout
from watchmove.service.records.datasets import GatherRecord, gathered_of
from watchmove.service.records.record import Record, commit, origin
from watchmove.service.records.training import BackboneRecord, CurveRow, backbone_id_of
from watchmove.service.report.result import result_of
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan
from watchmove.service.steps.report import report
from watchmove.service.steps.run import run_all
from watchmove.service.watching.exporter import RecordCollector
from watchmove.service.watching.runs import runs_of
from watchmove.service.watching.status import status

LEAST = f"gather.min_new_frames={2 * FRAMES_KEPT}"


def night(context: StepContext, run: str, *new_videos: str) -> GatherRecord:
    """Plan, extract and gather after videos were added; of each, three frames are kept."""
    touch_videos(context, *new_videos)
    planned = plan(context, run)
    for shard in range(planned.shards):
        end_shard(context, planned, shard, {})
    gather(context, run)
    return gathered_of(context.store, run)


def trained(context: StepContext, gathered: GatherRecord, seed: int = 0) -> str:
    """Write the record of a pretraining on a run's snapshot, and return the backbone's id."""
    identity = backbone_id_of(context.settings, gathered.dataset, seed)
    record = BackboneRecord(
        made_by=origin(context.settings, {}),
        backbone=identity,
        dataset=gathered.dataset,
        seed=seed,
        weights_key=layout.backbone(identity, "backbone.safetensors"),
        weights_sha256="0" * 64,
        images_per_second=1.0,
        curve=(CurveRow(iteration=1, loss=1.0, learning_rate=0.1, validation_iou=None),),
    )
    commit(context.store, layout.backbone(identity, "record.json"), record)
    return identity


def test_a_run_trains_when_enough_frames_have_come_since_the_last_training(make_context: MakeContext) -> None:
    """The first trains, one with a single video more does not, and a third has two videos more since the training."""
    context = make_context(LEAST)
    first = night(context, "one", "a.mp4", "b.mp4")
    backbone = trained(context, first)
    second, third = night(context, "two", "c.mp4"), night(context, "three", "d.mp4")

    assert (first.no_training, first.new_frames) == ("", None)
    since = f"since backbone {backbone} learnt from dataset {first.dataset}"
    assert second.no_training == f"3 frames are new {since}, below gather.min_new_frames (6)"
    assert third.new_frames is not None
    assert (third.new_frames.frames, third.no_training) == (6, "")


def test_by_default_every_run_trains(make_context: MakeContext) -> None:
    """No frame needs to be new."""
    context = make_context()
    trained(context, night(context, "one", "a.mp4"))

    assert night(context, "two").no_training == ""


@pytest.mark.parametrize(
    "other", ["pretrain.iterations=7", "extract.shorter_side_pixels=144", "pretrain.seeds=[0,1]"], ids=str
)
def test_a_backbone_of_another_recipe_does_not_count(make_context: MakeContext, other: str) -> None:
    """Other settings of extraction or pretraining, or a seed that is not trained yet, have nothing to wait for."""
    context = make_context(LEAST)
    trained(context, night(context, "one", "a.mp4"))
    changed = make_context(LEAST, other)

    assert night(context, "two").no_training
    assert night(changed, "three").no_training == ""


def test_frames_that_a_snapshot_left_out_are_new_to_its_backbone(make_context: MakeContext) -> None:
    """A video whose frames were in the shard, but not in the snapshot, counts; removed ones do not."""
    context = make_context(LEAST)
    touch_videos(context, "a.mp4", "b.mp4", "c.mp4")
    first = night(context, "one")
    folder = Path(context.settings.videos.removeprefix("file://"))
    away = folder.with_name("away")
    # moved and not made again, which would be another version of the video
    for name in ("b.mp4", "c.mp4"):
        away.mkdir(exist_ok=True)
        (folder / name).rename(away / name)
    trained(context, night(context, "two"))
    for path in away.iterdir():
        path.rename(folder / path.name)
    again = night(context, "three")

    assert (first.dataset, again.no_training) == (again.dataset, "")
    assert again.new_frames is not None
    assert again.new_frames.frames == 6


def test_a_damaged_backbone_is_left_out(make_context: MakeContext, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said, and the others count."""
    context = make_context(LEAST)
    trained(context, night(context, "one", "a.mp4"))
    context.store.write(layout.backbone("torn", "record.json"), b"{")

    assert night(context, "two").no_training
    assert "backbone left out" in "".join(capsys.readouterr())


def test_a_run_without_training_says_so_everywhere(
    make_context: MakeContext, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its report, status and state say why; it has no result, and counts as ended."""
    context = make_context(LEAST)
    trained(context, night(context, "one", "a.mp4"))
    why = night(context, "two").no_training
    report(context, "two")
    print_status(status(context.store, "two"), Console(width=300), as_json=False)
    collector, registry = RecordCollector(context.store), CollectorRegistry()
    collector.refresh()
    registry.register(collector)

    assert f"without pretraining and evaluation: {why}." in (context.store.read(layout.report("two")) or b"").decode()
    assert f"no training: {why}" in capsys.readouterr().out
    assert {run.run: run.state for run in runs_of(context.store)} == {
        "one": "gathered",
        "two": "ended without training",
    }
    with pytest.raises(InvalidInput, match="run two: has no result, as it ended without training: 0 frames are new"):
        result_of(context.store, "two")
    assert registry.get_sample_value("watchmove_last_run_ended_timestamp_seconds") is not None
    # The first has gathered for a training, which a run without one does not make up for.
    for run, unfinished in (("one", True), ("two", False)):
        value = registry.get_sample_value("watchmove_unfinished_run_planned_timestamp_seconds", {"run": run})
        assert (value is not None) is unfinished


def test_all_steps_on_one_machine_end_without_training(
    make_context: MakeContext, capsys: pytest.CaptureFixture[str]
) -> None:
    """`watchmove run` neither trains nor evaluates, prints why, and writes a report."""
    context = make_context(LEAST, "world.train_images=2", "world.test_images=2")
    trained(context, night(context, "one", "a.mp4"))
    completed = run_all(context, "two", draw_videos=False, draw_detection_set=True)
    print_summary(completed, context.store.uri, Console(width=80))

    assert (completed.backbones, completed.evaluations) == ((), ())
    assert f"no training: {completed.gathered.no_training}\n" in capsys.readouterr().out
    assert completed.report.endswith("runs/two/report/index.html")


@pytest.mark.parametrize(("later", "stands"), [("result", False), ("gather", True)])
def test_which_later_run_makes_up_for_one_that_failed(make_context: MakeContext, later: str, stands: bool) -> None:
    """For one that failed before gather, any that ended; for one that failed in a training, one with a result."""
    context = make_context(LEAST)
    touch_videos(context, "a.mp4")
    plan(context, "failed-early")
    (Path(context.settings.videos.removeprefix("file://")) / "a.mp4").unlink()
    trained(context, night(context, "failed-late", "b.mp4"))
    night(context, "later")
    if later == "result":
        commit(context.store, layout.run_record("later", "result"), Record(made_by=origin(context.settings, {})))
    collector, registry = RecordCollector(context.store), CollectorRegistry()
    collector.refresh()
    registry.register(collector)
    found = [
        run
        for run in ("failed-early", "failed-late", "later")
        if registry.get_sample_value("watchmove_unfinished_run_planned_timestamp_seconds", {"run": run})
    ]

    assert found == (["failed-late"] if stands else [])


def test_a_report_counts_what_is_not_listed(make_context: MakeContext) -> None:
    """A hidden file, and one whose name is not UTF-8: a reader who counts the files finds them all."""
    context = make_context(LEAST)
    trained(context, night(context, "one", "a.mp4"))
    night(context, "two", "._b.mp4", os.fsdecode(b"\xfc.mp4"))
    report(context, "two")
    page = (context.store.read(layout.report("two")) or b"").decode()

    assert '<th scope="row">left out: hidden-file</th><td>1</td>' in page
    assert '<th scope="row">not listed, as a row or name is malformed</th><td>1</td>' in page
