"""Verdicts of the claims: what is shown, what is not, and what is contradicted, from given figures."""

from collections.abc import Mapping, Sequence

import pytest

from watchmove.service.claims.rows import (
    FEW_IMAGES,
    Claim,
    compared,
    compared_in_pairs,
    detection_claims,
    frozen_key,
    growth_claim,
)
from watchmove.service.claims.series import FROZEN_LEVELS

APART = {"masks": (0.5, 0.51, 0.52), "random": (0.4, 0.41, 0.39)}


def by_name(figures: Mapping[str, Sequence[float]]) -> dict[str, Claim]:
    """The claims by their names."""
    return {claim.name: claim for claim in detection_claims(figures)}


def test_a_claim_is_shown_only_if_all_its_comparisons_are() -> None:
    """Pretraining beats random on all images, and on few too."""
    few = {f"masks{FEW_IMAGES}": (0.3, 0.31, 0.32), f"random{FEW_IMAGES}": (0.3, 0.31, 0.32)}

    assert by_name(APART)["beats-random"].verdict == "shown"
    assert by_name(APART | few)["beats-random"].verdict == "not shown"
    assert (
        by_name(APART | {f"masks{FEW_IMAGES}": (0.2, 0.21), f"random{FEW_IMAGES}": (0.3, 0.31)})["beats-random"].verdict
        == "opposite"
    )


def test_a_claim_without_figures_is_not_shown() -> None:
    """Nothing is compared, and nothing is claimed."""
    assert {claim.verdict for claim in detection_claims({})} == {"not shown"}


def test_on_par_has_a_margin_and_better_has_none() -> None:
    """Half a hundredth below is on par, and is no proof of being better."""
    figures = {"masks": (0.5, 0.501, 0.499), "rotation": (0.505, 0.506, 0.504), "shuffled": (0.505, 0.506, 0.504)}
    found = by_name(figures)
    on_par = found["on-par-with-others"].comparisons[0]

    assert on_par.verdict == "shown"
    assert on_par.difference == pytest.approx(-0.005)
    assert found["not-the-frames"].verdict == "opposite"


def test_frozen_layers_are_compared_by_the_mean_over_levels_of_each_seed() -> None:
    """A lead over all seeds is shown, though the levels differ more than the lead."""
    figures = {
        frozen_key(name, level): [0.5 - level / 10 + lead + seed / 1000 for seed in range(3)]
        for name, lead in (("masks", 0.02), ("random", 0.0), ("rotation", 0.0), ("colour", 0.0))
        for level in FROZEN_LEVELS
    }
    found = by_name(figures)["stable-when-frozen"]

    assert found.verdict == "shown"
    assert found.comparisons[0].difference == pytest.approx(0.02)
    assert found.comparisons[0].lower == pytest.approx(0.5 - 0.3 + 0.001)


def test_true_masks_are_compared_on_the_frames_whose_truth_is_known() -> None:
    """Where these are not all frames."""
    figures = {"true": (0.5, 0.51), "masks": (0.6, 0.61), "known": (0.4, 0.41)}

    assert by_name(figures)["true-masks-better"].comparisons[0].what == "true against known"


def test_one_seed_shows_nothing() -> None:
    """There is a difference, and no interval."""
    one = compared("a against b", [0.9], [0.1])

    assert one is not None
    assert (one.verdict, one.low) == ("not shown", None)
    assert compared("a against b", [], [0.1]) is None
    assert compared_in_pairs("a against b", []) is None


def test_growth_is_shown_by_the_slope_of_the_line() -> None:
    """Five sizes that rise without noise; without a line there is no comparison."""
    points = [(size, 0.1 * exponent) for exponent, size in enumerate((10, 100, 1000), start=1) for _ in range(2)]
    rising, falling = growth_claim(points), growth_claim([(size, -figure) for size, figure in points])

    assert (rising.verdict, falling.verdict) == ("shown", "opposite")
    assert rising.comparisons[0].difference == pytest.approx(0.1)
    assert growth_claim([(10, 0.1), (20, 0.2)]).comparisons == ()
