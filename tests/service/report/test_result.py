"""Results over several seeds, in records and in printed tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.voc.annotations import Detection, VocImage, VocObject
from watchmove.pipeline.voc.average_precision import evaluate_detections
from watchmove.service.cli.result_table import print_result, print_scores
from watchmove.service.records import layout
from watchmove.service.records.record import Origin, point
from watchmove.service.records.training import (
    ClassificationPointer,
    ClassificationRecord,
    Evaluation,
    EvaluationPointer,
    EvaluationRecord,
    backbone_id_of,
)
from watchmove.service.report.evaluated_cells import classification_records, evaluation_records
from watchmove.service.report.result import ClassificationResult, Growth, LeftOut, RunResult, result_rows
from watchmove.service.settings.evaluate import EvaluateSettings
from watchmove.service.settings.settings import Settings
from watchmove.service.store.folder import FileStore

MADE_BY = Origin(settings={}, settings_hash="0" * 16, version="0", image="", inputs={}, written_at_unix_seconds=0)


def records(initialisation: str, figures: Sequence[float | None], freeze_through: int = 0) -> list[EvaluationRecord]:
    """One evaluation for each figure, with seeds from 0."""
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
    """Rows keep the order of the records; another freezing level is another row."""
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
    """Without any figure the spread is None."""
    [row] = result_rows(records("random", [None, None]))

    assert row.ap_11_point is None


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets in a file's name are printed, not read as markup."""
    uri = "file:///[bold]/[/x].safetensors"
    result = RunResult(made_by=MADE_BY, run="r", rows=result_rows(records(uri, [0.6])), evaluation_keys=())
    print_result(result, Console(width=160), as_json=False)

    assert uri in capsys.readouterr().out


def test_control_codes_of_a_result_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """The record is read from the store, so its names and reasons may be of anyone who writes there."""
    code = "\x1b[2J"
    rows = (result_rows(records("random", [0.6]))[0].model_copy(update={"initialisation": code, "preset": code}),)
    layers = (
        ClassificationResult(initialisation=code, layer=code, seeds=(0,), ap_11_point=None, ap_area=None, left_out={}),
    )
    grown = Growth(freeze_through=0, points=(), left_out=(LeftOut(run=code, why=code),), refused=code)
    result = RunResult(made_by=MADE_BY, run=code, rows=rows, evaluation_keys=(), classification=layers, growth=grown)
    print_result(result, Console(width=160), as_json=False)

    assert "\x1b" not in capsys.readouterr().out


def test_names_of_classes_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets in the name of a class are no markup, and control codes, as a file's name may have, are left out."""
    image = VocImage("a", Path("a.jpg"), 9, 9, (VocObject("[/cat]", (0, 0, 4, 4)),))
    print_scores(evaluate_detections([image], {"\x1b[2J": [Detection("a", 0.9, (0.0, 0.0, 4.0, 4.0))]}), as_json=False)
    printed = capsys.readouterr().out

    assert "[/cat]" in printed
    assert "\x1b" not in printed


def test_one_seed_is_printed_without_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    """With one seed the table has dashes for deviation and interval, and JSON has null."""
    rows = result_rows([*records("random", [0.3, 0.4, 0.5]), *records("pretrained", [0.6])])
    result = RunResult(made_by=MADE_BY, run="r", rows=rows, evaluation_keys=())
    print_result(result, Console(width=120), as_json=False)
    random, pretrained = (line for line in capsys.readouterr().out.splitlines() if "quick, changed" in line)

    assert "0.1516 to 0.6484" in random
    assert "–" not in random
    assert pretrained.count("–") == 2
    assert '"low":null' in result.model_dump_json()


def test_evaluations_of_other_settings_or_weights_are_not_taken_for_these(tmp_path: Path) -> None:
    """If a run's name is reused, evaluations of the earlier run under the same numbers are refused."""
    store = FileStore(tmp_path)
    own = {"backbone": backbone_id_of(Settings(), "frames")}
    for number, record in enumerate([*records("random", [0.3]), records("run:x", [0.4])[0].model_copy(update=own)]):
        key = layout.evaluation(str(number), "record.json")
        store.write(key, record.model_dump_json().encode())
        point(store, layout.run_record("r", f"evaluate-{number}"), EvaluationPointer(made_by=MADE_BY, key=key))
    found = [record for _, record in evaluation_records(store, "r", Settings(), "frames")]

    assert [record.mean_ap_area for record in found] == [0.3, 0.4]
    # An equal backbone may have been evaluated first as that of another run.
    assert [record.evaluation.initialisation for record in found] == ["random", "pretrained"]
    with pytest.raises(InvalidInput, match="evaluation 1 was made with other settings or weights; run evaluate again"):
        list(evaluation_records(store, "r", Settings(evaluate=EvaluateSettings(seeds=(0, 1))), "frames"))
    with pytest.raises(InvalidInput, match="evaluation 1 was made with other settings or weights"):
        list(evaluation_records(store, "r", Settings(), "other frames"))


def test_pretrained_figures_are_over_seeds_of_pretraining_times_those_of_the_detector(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The interval is that of the means of the trunks: with means 0.4 and 0.6 it is t(0.975; 1) · 0.1 to each side."""
    made = [
        one.model_copy(update={"evaluation": one.evaluation.model_copy(update={"pretraining_seed": seed})})
        for seed, figures in ((0, [0.39, 0.41]), (1, [0.58, 0.62]))
        for one in records("pretrained", figures)
    ]
    nested, alone = result_rows(made)[0], result_rows(made[:2])[0]
    spread = nested.ap_11_point
    assert spread is not None
    assert (spread.count, spread.over, nested.seeds_in_words()) == (2, "pretraining seeds", "2 × 2")
    assert (spread.mean, spread.low, spread.high) == pytest.approx((0.5, 0.5 - 1.27062, 0.5 + 1.27062), abs=1e-4)
    assert spread.detector_deviation == pytest.approx(((0.01**2 * 2 + 0.02**2 * 2) / 2) ** 0.5)
    assert (alone.seeds_in_words(), nested.caution()) == ("1 × 2", "")
    result = RunResult(made_by=MADE_BY, run="r", rows=(alone,), evaluation_keys=())
    print_result(result, Console(width=160), as_json=False)
    assert "caution: the spread of pretrained covers detector seeds only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "layers"),
    [
        ({"classification": True}, ["conv1", "fc7"]),
        ({"classification": False}, []),
        ({"classification": True, "initialisations": ("pretrained", "random")}, []),
    ],
)
def test_layers_are_those_of_the_settings(tmp_path: Path, changed: dict[str, Any], layers: list[str]) -> None:
    """Classification records that are not requested, or of another trunk, are not part of the result."""
    store = FileStore(tmp_path)
    for layer in ("conv1", "fc7"):
        record = ClassificationRecord(
            made_by=MADE_BY,
            initialisation="random",
            seed=0,
            layer=layer,
            backbone="random",
            mean_ap_11_point=0.5,
            mean_ap_area=0.5,
            per_class={},
            seconds=1.0,
        )
        store.write(layout.classification("any", layer), record.model_dump_json().encode())
    keys = tuple(layout.classification("any", layer) for layer in ("conv1", "fc7"))
    point(store, layout.run_record("r", "classify-0"), ClassificationPointer(made_by=MADE_BY, keys=keys))
    found = classification_records(store, "r", Settings(evaluate=EvaluateSettings(**changed)), "frames")

    assert [record.layer for record in found] == layers


def test_scores_say_which_classes_the_mean_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Classes without objects are named below the table; without such classes the line is absent."""
    image = VocImage("a", Path("a.jpg"), 9, 9, (VocObject("cat", (0, 0, 4, 4)),))
    found = [Detection("a", 0.9, (0.0, 0.0, 4.0, 4.0))]
    print_scores(evaluate_detections([image], {"cat": found, "sea cow": found}), as_json=False)
    with_two = capsys.readouterr().out
    print_scores(evaluate_detections([image], {"cat": found}), as_json=False)

    assert "left out of the mean: sea cow" in with_two
    assert "left out" not in capsys.readouterr().out
