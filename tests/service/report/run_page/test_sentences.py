"""The sentences at the top of a report claim no more than the seeds show."""

from types import SimpleNamespace
from typing import cast

import pytest

from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.training import Evaluation, EvaluationRecord
from watchmove.service.report.run_page.sentences import transfer_sentence, yield_sentence


def evaluated(initialisation: str, *figures: float | None, freeze_through: int = 0) -> list[EvaluationRecord]:
    """What the sentence reads of an evaluation, for each seed of the detector."""
    cells = [
        Evaluation(initialisation=initialisation, freeze_through=freeze_through, seed=seed)
        for seed in range(len(figures))
    ]
    made = [
        SimpleNamespace(evaluation=cell, mean_ap_11_point=figure) for cell, figure in zip(cells, figures, strict=True)
    ]
    return [cast("EvaluationRecord", one) for one in made]


def test_a_difference_beyond_the_spread_is_said_with_its_interval() -> None:
    """Above and below random weights alike."""
    low, high = evaluated("random", 0.20, 0.21, 0.19), (0.30, 0.31, 0.29)
    better = transfer_sentence([*low, *evaluated("pretrained", *high)])
    worse = transfer_sentence([*evaluated("random", *high), *evaluated("pretrained", 0.20, 0.21, 0.19)])

    assert (
        "mAP of 0.300, 0.100 above random weights, which is more than the spread of the seeds (95 % interval" in better
    )
    assert "mAP of 0.200, 0.100 below random weights, which is more than the spread" in worse
    assert "−0.1" in worse


def test_a_difference_within_the_spread_shows_nothing_yet() -> None:
    """The number of seeds that would show it is named."""
    said = transfer_sentence([*evaluated("random", 0.1, 0.3), *evaluated("pretrained", 0.2, 0.4)])

    assert "0.100 above random weights, which is within the spread of the seeds" in said
    assert "nothing is shown yet; about" in said


def test_a_single_seed_shows_nothing() -> None:
    """It has no spread."""
    said = transfer_sentence([*evaluated("random", 0.1), *evaluated("pretrained", 0.9)])

    assert said.endswith("which shows nothing yet, as a single seed has no spread.")


@pytest.mark.parametrize(
    "records", [[], evaluated("pretrained", 0.3), [*evaluated("random", 0.3), *evaluated("pretrained", None)]]
)
def test_without_both_there_is_no_claim(records: list[EvaluationRecord]) -> None:
    """Nor where the test set has no objects."""
    assert transfer_sentence(records).startswith("Whether pretraining transfers is not known")


def test_the_level_with_fewest_frozen_layers_that_both_have_is_compared() -> None:
    """It is named if layers are frozen."""
    records = [
        *evaluated("random", 0.1, 0.11, freeze_through=2),
        *evaluated("pretrained", 0.5, 0.51),
        *evaluated("pretrained", 0.3, 0.31, freeze_through=2),
        *evaluated("random", 0.0, 0.01, freeze_through=5),
        *evaluated("pretrained", 0.2, 0.21, freeze_through=5),
    ]

    assert transfer_sentence(records).startswith(
        "Pretrained detectors with 2 frozen convolutions reach an mAP of 0.305"
    )


@pytest.mark.parametrize(
    ("videos", "kept", "frames", "said"),
    [
        (
            4,
            10,
            {"kept": 10, "rejected: no-motion": 30},
            "4 videos give 10 frames with a mask, 25 % of the 40 that were sampled.",
        ),
        (1, 1, {"kept": 1}, "One video gives one frame with a mask, 100 % of the 1 that were sampled."),
        (1200, 0, {}, "1,200 videos give 0 frames with a mask."),
    ],
)
def test_the_yield(videos: int, kept: int, frames: dict[str, int], said: str) -> None:
    """Of any number of videos and frames."""
    gathered = cast("GatherRecord", SimpleNamespace(videos_listed=videos, frames=frames))
    dataset = cast("DatasetRecord", SimpleNamespace(kept_frames=kept))

    assert yield_sentence(gathered, dataset) == said


def test_the_yield_of_a_run_with_forgotten_works() -> None:
    """What is left is not said to be what the videos gave."""
    gathered = cast("GatherRecord", SimpleNamespace(videos_listed=4, frames={"kept": 10}))
    dataset = cast("DatasetRecord", SimpleNamespace(kept_frames=8))

    assert yield_sentence(gathered, dataset, works_forgotten=True) == (
        "Works have been forgotten since this run: 8 frames with a mask left of 4 videos, and all other figures are "
        "those before."
    )
