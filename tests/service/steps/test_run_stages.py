"""The stages of a run are counted, and what is left of it is estimated at the pace of the last run."""

import pytest

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import commit_part, end_shard, planned_videos, row, touch_videos
from watchmove.service.records import layout
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.training import backbone_id_of
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan
from watchmove.service.steps.run_stages import EVALUATE, EXTRACT, PRETRAIN, Pace, Stages, done_before, pace_of_last_run

WORDS = ("pretrain.iterations=10", "pretrain.batch_size=4", "evaluate.detector.iterations=20")


class Announced:
    """Remembers what is announced."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int, int, str]] = []

    def update(self, step: str, done: int, total: int, facts: str) -> None:
        """Stages do not move a bar."""

    def stage(self, name: str, number: int, total: int, estimate: str) -> None:
        """One more."""
        self.lines.append((name, number, total, estimate))

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def planned(make_context: MakeContext) -> tuple[StepContext, PlanRecord]:
    """A planned run of four videos in two shards."""
    context = make_context(*WORDS, "plan.max_shard_videos=2")
    touch_videos(context, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    return context, plan(context, "first")


def announced(context: StepContext, record: PlanRecord, pace: Pace | None, *, draws: bool = False) -> Announced:
    """All stages of a run with two evaluations that trains."""
    shown = Announced()
    stages = Stages(shown, draws=draws, evaluations=2)
    for stage in ("world", "plan") if draws else ("plan",):
        stages.begin(stage)
    stages.planned(context.settings, record, 2, pace, done_before(context.store, "first", context.settings, record))
    for stage in (*[EXTRACT] * record.shards, "gather", PRETRAIN, "evaluate", "evaluate", "report"):
        stages.begin(stage)
    return shown


def test_stages_are_counted(planned: tuple[StepContext, PlanRecord]) -> None:
    """Each has its number, of so many as are expected, with one shard until the plan says more; without an estimate."""
    lines = announced(*planned, None, draws=True).lines

    assert [line[0] for line in lines[:5]] == ["world", "plan", "extract", "extract", "gather"]
    assert [line[1] for line in lines] == list(range(1, 10))
    assert [line[2] for line in lines] == [8] * 2 + [9] * 7
    assert {line[3] for line in lines} == {""}


def test_the_estimate_is_what_is_left(planned: tuple[StepContext, PlanRecord]) -> None:
    """Four videos of 30 s, 40 images of 1.5 s, and two detectors of 20 iterations of 3 s; nothing for the report."""
    lines = announced(*planned, Pace("zero", 30.0, 1.5, 3.0)).lines

    assert [line[3].partition(",")[0] for line in lines] == [
        "",
        "about 5 min left",
        "about 4 min left",
        "about 3 min left",
        "about 3 min left",
        "about 2 min left",
        "about 60 s left",
        "",
    ]
    assert lines[1][3].endswith("at the pace of run zero")


def test_a_run_that_ends_without_training_counts_fewer_stages(planned: tuple[StepContext, PlanRecord]) -> None:
    """Its report is the last stage."""
    context, record = planned
    shown = Announced()
    stages = Stages(shown, draws=False)
    stages.begin("plan")
    stages.planned(context.settings, record, 2, None, {})
    for stage in (EXTRACT, EXTRACT, "gather"):
        stages.begin(stage)
    stages.without_training()
    stages.begin("report")

    assert shown.lines[-1][:3] == ("report", 5, 5)


def test_the_pace_is_that_of_the_last_run_that_extracted(planned: tuple[StepContext, PlanRecord]) -> None:
    """A run of 60 s for each of two shards of two videos; one that extracts nothing and a damaged one say nothing."""
    context, record = planned
    none_yet = pace_of_last_run(context.store)
    for shard in range(record.shards):
        end_shard(context, record, shard, {})
    gather(context, "first")
    plan(context, "second")
    gather(context, "second")
    context.store.write(layout.run_record("third", "gather"), b"{")

    assert none_yet is None
    assert pace_of_last_run(context.store) == Pace("first", 30.0, None, None)


def test_what_an_interrupted_run_has_done_is_not_left(planned: tuple[StepContext, PlanRecord]) -> None:
    """Three of four videos of 30 s, the pretraining of 60 s and one of two detectors of 60 s are done."""
    context, record = planned
    none = done_before(context.store, "first", context.settings, record)
    end_shard(context, record, 0, {})
    first, second = (row(video, "kept") for video in planned_videos(context, record, 1))
    commit_part(context, record, (1, 0), (first,), 1000.0, 60.0)
    in_extraction = announced(context, record, Pace("zero", 30.0, 1.5, 3.0)).lines
    commit_part(context, record, (1, 1), (second,), 1000.0, 60.0)
    dataset = gather(context, "first").dataset
    backbone = backbone_id_of(context.settings, dataset)
    context.store.write(layout.backbone(backbone, "record.json"), b"{}")
    context.store.write(layout.run_record("first", "evaluate-0"), b"{}")
    context.store.write(layout.shard_part(record.recipe, record.plan, 1, 7) + ".json", b"{")
    late = announced(context, record, Pace("zero", 30.0, 1.5, 3.0)).lines

    assert none == {EXTRACT: 0, PRETRAIN: 0, EVALUATE: 0}
    assert [line[3].partition(",")[0] for line in in_extraction[1:4]] == [
        "about 4 min left",  # 30 + 60 + 60 + 60 s
        "about 4 min left",
        "about 3 min left",
    ]
    assert [line[3].partition(",")[0] for line in late] == ["", *["about 60 s left"] * 6, ""]
