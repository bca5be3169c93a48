"""The time line of a run, from the times of its records."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from watchmove.service.records.datasets import ExtractionTime, GatherRecord
from watchmove.service.records.outcomes import MachineUse
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.training import BackboneRecord, Evaluation, EvaluationRecord
from watchmove.service.report.run_page.timeline import Timeline, timeline_of

EXTRACTION = ExtractionTime(began_unix_seconds=110, ended_unix_seconds=190, seconds=150, core_seconds=720, parts=2)


def written(at: float, **settings: Any) -> SimpleNamespace:
    """The origin of a record."""
    return SimpleNamespace(written_at_unix_seconds=at, settings=settings)


def timeline(backbone_at: float, extraction: ExtractionTime | None) -> Timeline:
    """A run that plans at 100, gathers at 200 and has a pretraining of 40 s and an evaluation of 30 s."""
    curve = [SimpleNamespace(iteration=50)]
    backbone = SimpleNamespace(
        made_by=written(backbone_at, pretrain={"batch_size": 8}),
        images_per_second=10.0,
        curve=curve,
        seed=3,
        use=MachineUse(seconds=40, cores=9, gpus=0),
    )
    cell = Evaluation(initialisation="pretrained", freeze_through=2, seed=1)
    evaluation = SimpleNamespace(made_by=written(290), evaluation=cell, seconds=30.0, use=None)
    return timeline_of(
        cast("PlanRecord", SimpleNamespace(made_by=written(100))),
        cast("GatherRecord", SimpleNamespace(made_by=written(200), extraction=extraction)),
        [cast("BackboneRecord", backbone)],
        [cast("EvaluationRecord", evaluation)],
    )


def test_rows_bars_and_waits() -> None:
    """Bars lie where their work was, and what no bar covers is waiting."""
    found = timeline(250, EXTRACTION)
    names = [row.name for row in found.rows]

    assert names == ["plan", "extract", "gather", "pretrain, seed 3", "evaluate pretrained, conv1–2 frozen, seed 1"]
    assert [(row.began, row.ended) for row in found.rows] == [
        (100, 100),
        (110, 190),
        (200, 200),
        (210, 250),
        (260, 290),
    ]
    assert (found.began, found.ended, found.reused) == (100, 290, 0)
    assert found.waited_seconds == pytest.approx(10 + 20 + 10)
    assert found.left(found.rows[1]) == pytest.approx(100 * 10 / 190)
    assert found.width(found.rows[1]) == pytest.approx(100 * 80 / 190)
    assert found.rows[1].remark == "150 s of work in 2 parts of shards"
    assert [row.core_hours for row in found.rows] == [None, 0.2, None, 0.1, None]
    assert found.core_hours == pytest.approx(0.3)


def test_a_backbone_of_an_earlier_run_has_no_bar() -> None:
    """It was made before this run was planned; a run that extracts nothing has no extraction."""
    found = timeline(50, None)

    assert [row.name.split()[0] for row in found.rows] == ["plan", "gather", "evaluate"]
    assert found.reused == 1
