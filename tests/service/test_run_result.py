"""Evaluations of several seeds, taken together."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.average_precision import evaluate_detections
from pipeline.voc import Detection, VocImage, VocObject
from service.records import Origin
from service.run_result import RunResult, result_rows
from service.run_summary import print_result, print_scores
from service.training_records import Evaluation, EvaluationRecord

MADE_BY = Origin(settings={}, settings_hash="0" * 16, version="0", image="", inputs={}, written_at_unix_seconds=0)


def records(initialisation: str, figures: Sequence[float | None], freeze_through: int = 0) -> list[EvaluationRecord]:
    """One evaluation for each figure, of the seeds 0, 1, and so on."""
    return [
        EvaluationRecord(
            made_by=MADE_BY,
            evaluation=Evaluation(initialisation=initialisation, freeze_through=freeze_through, seed=seed),
            backbone=initialisation,
            mean_ap_11_point=figure,
            mean_ap_area=figure,
            per_class={},
            preset="quick, but iterations 7",
            loss=(),
            seconds=1.5,
        )
        for seed, figure in enumerate(figures)
    ]


def test_seeds_of_one_cell_make_one_row() -> None:
    """Rows keep the order in which their cells come; a frozen trunk is another cell."""
    rows = result_rows(
        [*records("random", [0.3, 0.4]), *records("pretrained", [0.5]), *records("pretrained", [0.4], 2)]
    )

    assert [(row.initialisation, row.freeze_through, row.seeds) for row in rows] == [
        ("random", 0, (0, 1)),
        ("pretrained", 0, (0,)),
        ("pretrained", 2, (0,)),
    ]
    assert rows[0].ap_11_point is not None
    assert rows[0].ap_11_point.mean == pytest.approx(0.35)
    assert rows[0].seconds == 3.0


def test_a_set_without_objects_has_no_figure() -> None:
    """Nothing to average is said as such."""
    [row] = result_rows(records("random", [None, None]))

    assert row.ap_11_point is None


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets in a file's name are no markup."""
    uri = "file:///[bold]/[/x].safetensors"
    result = RunResult(made_by=MADE_BY, run="r", rows=result_rows(records(uri, [0.6])), evaluation_keys=())
    print_result(result, Console(width=160), as_json=False)

    assert uri in capsys.readouterr().out


def test_one_seed_is_printed_without_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a dash where nothing is known; JSON has null."""
    rows = result_rows([*records("random", [0.3, 0.4, 0.5]), *records("pretrained", [0.6])])
    result = RunResult(made_by=MADE_BY, run="r", rows=rows, evaluation_keys=())
    print_result(result, Console(width=120), as_json=False)
    random, pretrained = (line for line in capsys.readouterr().out.splitlines() if "quick, changed" in line)

    assert "0.1516 to 0.6484" in random
    assert "–" not in random
    assert pretrained.count("–") == 2
    assert '"low":null' in result.model_dump_json()


def test_scores_say_which_classes_the_mean_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    """One that is detected and annotated nowhere; without such a one, nothing is said."""
    image = VocImage("a", Path("a.jpg"), 9, 9, (VocObject("cat", (0, 0, 4, 4)),))
    found = [Detection("a", 0.9, (0.0, 0.0, 4.0, 4.0))]
    print_scores(evaluate_detections([image], {"cat": found, "sea cow": found}), as_json=False)
    with_two = capsys.readouterr().out
    print_scores(evaluate_detections([image], {"cat": found}), as_json=False)

    assert "left out of the mean: sea cow" in with_two
    assert "left out" not in capsys.readouterr().out
