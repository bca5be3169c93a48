"""A model of looks learns which colour moves, and says so where nothing moved."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.appearance import fit_appearance, pixel_features


def red_square() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A Lab picture with a square of another colour, and the square."""
    generator = np.random.default_rng(0)
    lab = generator.normal((120, 128, 128), 4, (60, 80, 3))
    inside = np.zeros((60, 80), bool)
    inside[20:40, 30:55] = True
    lab[inside] += (0, 50, 30)
    return lab.clip(0, 255).astype(np.uint8), inside


def test_features_have_their_shape_and_are_finite() -> None:
    """Fourteen features per pixel, positions from corner to corner."""
    features = pixel_features(red_square()[0])

    assert features.shape == (60, 80, 14)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert features[0, 0, -2:].tolist() == [-2, -2]
    assert features[-1, -1, -2:].tolist() == [2, 2]


def test_colour_that_moves_is_recognised() -> None:
    """Evidence with half of the object missing in half of the frames is filled in."""
    lab, inside = red_square()
    features = [pixel_features(lab)] * 8
    half = inside.copy()
    half[:, 42:] = False
    evidence = [mask.astype(np.float32) for mask in [inside, half] * 4]
    model = fit_appearance(features, evidence, 100, 4, np.random.default_rng(0))
    likeness = model.predict(features[0])

    assert likeness[inside].mean() > 0.75
    assert likeness[~inside].mean() < 0.1


def test_same_seed_gives_the_same_model() -> None:
    """Nothing but the generator decides."""
    lab, inside = red_square()
    features, evidence = [pixel_features(lab)], [inside.astype(np.float32)]
    first, second = (fit_appearance(features, evidence, 20, 2, np.random.default_rng(3)) for _ in range(2))

    assert np.array_equal(first.weights, second.weights)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_evidence_without_contrast_stays_without(level: float) -> None:
    """Where all or nothing moves, so do all looks."""
    features = [pixel_features(red_square()[0])] * 4
    evidence = [np.full((60, 80), level, np.float32)] * 4
    likeness = fit_appearance(features, evidence, 50, 4, np.random.default_rng(0)).predict(features[0])

    assert likeness == pytest.approx(level, abs=0.1)
