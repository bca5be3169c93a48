"""The cells of a series: what is run, in which order, and what the series' name depends on."""

from dataclasses import replace

import pytest

from watchmove.service.claims.cell_records import series_id
from watchmove.service.claims.cells import cells_of
from watchmove.service.claims.series import COMPARED_FROZEN, REAL_RUNS, Series, series_of
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings

GIVEN = ("file:///videos", "file:///frames")


@pytest.fixture(scope="module")
def settings() -> Settings:
    """Those of `make claims`."""
    return load_settings(LAPTOP.with_name("claims.yaml"))


def test_both_worlds_have_one_pretraining(settings: Settings) -> None:
    """The presets of the drawn and of the real world differ in places and in detectors only."""
    real = load_settings(LAPTOP.with_name("claims-real.yaml"))

    assert real.pretrain == settings.pretrain
    assert real.store == settings.store


@pytest.mark.parametrize("given", [None, GIVEN])
@pytest.mark.parametrize("quick", [True, False])
def test_cells_have_names_of_their_own_and_come_after_what_they_need(
    settings: Settings, given: tuple[str, str] | None, quick: bool
) -> None:
    """First the frames, then all pretrainings, then all detectors, then the page."""
    cells = cells_of(series_of(settings, given, quick=quick))
    stages = [cell.stage for cell in cells]

    assert len({cell.name for cell in cells}) == len(cells)
    assert list(dict.fromkeys(stages)) == ["frames", "pretrain", "detect", "page"]
    assert stages == sorted(stages, key=["frames", "pretrain", "detect", "page"].index)


def test_what_is_compared_has_every_seed(settings: Settings) -> None:
    """Five sizes, few images, and each frozen level of the compared runs and of a random trunk."""
    series = series_of(settings, None, quick=False)
    detectors = [cell for cell in cells_of(series) if cell.stage == "detect"]
    frozen = [cell for cell in detectors if cell.level]

    for run in series.runs:
        assert [cell.seed for cell in detectors if cell.run == run and not cell.level and not cell.images] == [0, 1, 2]
    assert len({run.fraction for run in series.runs if run.objective == "masks"}) == 5
    assert len([cell for cell in frozen if cell.run is None]) == 15
    assert len([cell for cell in frozen if cell.run and cell.run.name in COMPARED_FROZEN]) == 45
    assert sorted(cell.images for cell in detectors if cell.images) == [150] * 6


def test_all_runs_share_steps_and_detection_set(settings: Settings) -> None:
    """They differ in objective, seeds and frames alone."""
    series = series_of(settings, GIVEN, quick=False)
    shared = {
        series.pretraining(run, (0,)).pretrain.model_copy(update={"objective": "masks"}).model_dump_json()
        for run in REAL_RUNS
    }
    sets = {series.evaluation(run, 0).voc for run in (None, *REAL_RUNS)}

    assert len(shared) == 1
    assert sets == {settings.voc}


def changed_series(settings: Settings, change: str) -> Series:
    """The drawn series with one change."""
    series = series_of(settings, None, quick=False)
    if change == "workers":
        work = settings.work.model_copy(update={"workers": 7})
        return replace(series, settings=settings.model_copy(update={"work": work}))
    if change == "iterations":
        pretrain = settings.pretrain.model_copy(update={"iterations": 3})
        return replace(series, settings=settings.model_copy(update={"pretrain": pretrain}))
    if change == "seeds":
        return replace(series, seeds=(0, 1))
    return replace(series, levels=(1,))


@pytest.mark.parametrize(
    ("change", "same"), [("workers", True), ("iterations", False), ("seeds", False), ("levels", False)]
)
def test_a_series_is_named_by_all_that_decides_it(settings: Settings, change: str, same: bool) -> None:
    """The machine does not decide it, so that it can be moved to a larger one."""
    series = series_of(settings, None, quick=False)

    assert (series_id(changed_series(settings, change)) == series_id(series)) is same
