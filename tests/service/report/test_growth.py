"""Average precision over frames and freezing: comparable runs, charts, and the words of the report."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from rich.console import Console

from tests.service.report.test_result import MADE_BY, records
from watchmove.service.cli.result_table import print_result
from watchmove.service.records import layout
from watchmove.service.report.figures import frames_figure, freezing_figure
from watchmove.service.report.growth import growth
from watchmove.service.report.images import svg
from watchmove.service.report.result import Growth, GrowthPoint, PretrainingFacts, RunResult, SeedSpread, result_rows
from watchmove.service.report.run_page.page import page_environment
from watchmove.service.store.folder import FileStore

LINE = "backbones", "+0.098 for ten times the frames", "95 % band"
SUPERVISED = "s3://weights/imagenet.safetensors"


def result(name: str, frames: int, figure: float, recipe: str = "same", level: int = 0) -> RunResult:
    """The result of a run with a pretrained backbone over two seeds and a supervised baseline."""
    rows = result_rows(
        [*records("pretrained", [figure - 0.01, figure + 0.01], level), *records(SUPERVISED, [0.61, 0.59], level)]
    )
    facts = PretrainingFacts(backbone=f"backbone-{frames}", frames=frames, decides={"extraction recipe": recipe})
    return RunResult(made_by=MADE_BY, run=name, rows=rows, evaluation_keys=(), pretraining=facts)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """A store with results of three comparable runs and of others."""
    store = FileStore(tmp_path)
    runs = [result("a", 1000, 0.30), result("b", 10_000, 0.405), result("c", 100_000, 0.495)]
    others = [result("other", 500_000, 0.9, "another"), result("frozen", 400_000, 0.9, level=3)]
    for one in [*runs, *others, result("again", 10_000, 0.1)]:
        store.write(layout.run_record(one.run, "result"), one.model_dump_json().encode())
    store.write(layout.run_record("torn", "result"), b'{"run": ')
    store.write(layout.run_record("a", "plan"), b"no result")
    return store


def test_runs_that_compare_make_one_line(store: FileStore) -> None:
    """There is one point for each comparable backbone; damaged results and other protocols are left out."""
    found = growth(store, result("b", 10_000, 0.405), SUPERVISED)

    assert [(point.run, point.frames) for point in found.points] == [("a", 1000), ("b", 10_000), ("c", 100_000)]
    assert found.slope == pytest.approx(0.0975)
    assert found.goal == pytest.approx(0.6)
    assert (found.goal_of, found.refused) == (SUPERVISED, "")
    assert found.frames == pytest.approx(10 ** (4 + (0.6 - 0.4) / 0.0975), rel=1e-6)
    assert 100_000 < (found.frames_low or 0) < (found.frames or 0) < (found.frames_high or 0)


def test_a_run_that_is_left_out_is_named_with_the_setting_that_differs(store: FileStore) -> None:
    """Another recipe, another freezing level and a damaged result have a line each; comparable runs have none."""
    found = growth(store, result("b", 10_000, 0.405), SUPERVISED)

    reasons = {left.run: left.why for left in found.left_out}
    assert list(reasons) == ["frozen", "other", "torn"]
    assert reasons["other"] == "extraction recipe is another instead of same"
    assert reasons["frozen"] == "it has no figure of the pretrained trunk with 0 frozen convolutions"
    assert "no valid record" in reasons["torn"]
    page = page_environment().get_template("growth.html.j2").render(growth=found, frames_figure="")
    assert "3 other runs of this store left out" in page
    assert "<li>other: extraction recipe is another instead of same</li>" in page


def test_the_terminal_shows_points_and_the_runs_left_out(store: FileStore, capsys: pytest.CaptureFixture[str]) -> None:
    """`watchmove results` prints each point of the curve, and a line for each run left out."""
    own = result("b", 10_000, 0.405)
    print_result(own.model_copy(update={"growth": growth(store, own, "")}), Console(), as_json=False)

    printed = capsys.readouterr().out
    assert "100,000" in printed
    assert "no forecast: there is no supervised baseline" in printed
    assert "left out of the growth: other: extraction recipe is another instead of same" in printed


def test_without_a_baseline_there_is_no_forecast(store: FileStore) -> None:
    """Without a baseline, or with a single run, the reason for the missing forecast is given."""
    without = growth(store, result("b", 10_000, 0.405), "")
    alone = growth(store, result("b", 10_000, 0.405, "nobody's"), SUPERVISED)

    assert without.slope is not None
    assert "evaluate.supervised" in without.refused
    assert "fewer than 3" in alone.refused
    assert (len(alone.points), alone.slope, alone.frames) == (1, None, None)


def labels(figure: Figure | None) -> list[str]:
    """The labels in a chart's legend."""
    assert figure is not None
    return list(figure.axes[0].get_legend_handles_labels()[1])


def errorbar(figure: Figure, name: str) -> ErrorbarContainer:
    """The drawn series with error bars of a given label."""
    boxes = (box for box in figure.axes[0].containers if isinstance(box, ErrorbarContainer))
    return next(box for box in boxes if box.get_label() == name)


def points(figure: Figure, name: str) -> list[tuple[float, ...]]:
    """The positions of the points of a series."""
    line = errorbar(figure, name).lines[0]
    assert line is not None
    return [tuple(map(float, point)) for point in np.asarray(line.get_xydata())]


def whiskers(figure: Figure, name: str) -> list[list[tuple[float, ...]]]:
    """Both ends of each error bar of a series."""
    (bars,) = errorbar(figure, name).lines[2]
    return [[tuple(map(float, end)) for end in np.asarray(bar)] for bar in bars.get_segments()]


def test_the_figure_over_frames_shows_points_line_band_and_goal(store: FileStore) -> None:
    """Points, line, baseline and forecast are drawn; without a forecast none is, and one backbone gives no chart."""
    whole = growth(store, result("b", 10_000, 0.405), SUPERVISED)
    figure = frames_figure(whole)
    assert figure is not None
    axes = figure.axes[0]

    assert axes.get_xscale() == "log"
    assert set(labels(figure)) == {*LINE, "supervised, 0.600", "forecast"}
    assert points(figure, "forecast") == [(whole.frames, whole.goal)]
    assert whiskers(figure, "forecast") == [[(whole.frames_low, whole.goal), (whole.frames_high, whole.goal)]]
    refused = growth(store, result("b", 10_000, 0.405), "")
    assert set(labels(frames_figure(refused))) == set(LINE)
    assert frames_figure(growth(store, result("x", 7, 0.2, "nobody's"), "")) is None
    again = frames_figure(whole)
    assert again is not None
    assert b"<svg" in svg(figure) == svg(again)


def test_the_figure_over_freezing_has_a_line_for_each_trunk() -> None:
    """Means are in order of level with bars as long as the interval; a single level gives no chart."""
    made = [*records("pretrained", [0.5, 0.52], 5), *records("pretrained", [0.6, 0.62]), *records("random", [0.3])]
    figure = freezing_figure(result_rows(made))
    assert figure is not None
    assert labels(figure) == ["pretrained", "random"]
    assert np.allclose(points(figure, "pretrained"), [(0, 0.61), (5, 0.51)])
    (_, low), (_, high) = whiskers(figure, "pretrained")[0]
    assert (low, high) == pytest.approx((0.61 - 0.12706, 0.61 + 0.12706), abs=1e-4)  # t(0.975; 1) · 0.01
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["none", "conv1–5"]
    assert freezing_figure(result_rows(records("random", [0.3]))) is None


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((), "No backbone of this store"),
        ((1000,), "one backbone under these settings, of 1,000 frames"),
        ((1000, 2000), "2 backbones in this"),
    ],
)
def test_the_report_says_how_many_backbones_compare(counts: tuple[int, ...], said: str) -> None:
    """The page states the number of comparable backbones, and that a trend needs several."""
    figure = SeedSpread(count=1, mean=0.3, deviation=None, low=None, high=None)
    made = [GrowthPoint(run="r", backbone=str(one), frames=one, ap_11_point=figure) for one in counts]
    shown = Growth(freeze_through=0, points=tuple(made), refused="too few")
    page = page_environment().get_template("growth.html.j2").render(growth=shown, frames_figure="")

    assert said in page
    assert "No forecast: too few." in page
