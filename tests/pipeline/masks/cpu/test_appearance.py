"""An appearance model is fitted to what moves, and recognises it where it does not move."""

import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.masks.cpu.appearance import FIT_TO_MOTION, FIT_TO_OUTLINES, fit_appearance, pixel_features


def red_square() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A Lab image with a square of another colour, and the mask of the square."""
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


def test_missing_parts_of_the_object_are_filled_in() -> None:
    """The evidence lacks half of the object in half of the frames; the prediction has all of it."""
    lab, inside = red_square()
    features = [pixel_features(lab)] * 8
    half = inside.copy()
    half[:, 42:] = False
    evidence = [mask.astype(np.float32) for mask in [inside, half] * 4]
    model = fit_appearance(features, evidence, FIT_TO_MOTION, 100, np.random.default_rng(0))
    similarity = model.predict(features[0])

    assert similarity[inside].mean() > 0.75
    assert similarity[~inside].mean() < 0.1


def test_same_seed_gives_the_same_model() -> None:
    """All randomness comes from the generator."""
    lab, inside = red_square()
    features, evidence = [pixel_features(lab)], [inside.astype(np.float32)]
    first, second = (fit_appearance(features, evidence, FIT_TO_MOTION, 20, np.random.default_rng(3)) for _ in range(2))

    assert np.array_equal(first.weights, second.weights)


def test_without_motion_the_similarity_is_zero() -> None:
    """Evidence of zero everywhere gives a prediction near zero everywhere."""
    features = [pixel_features(red_square()[0])] * 4
    evidence = [np.zeros((60, 80), np.float32)] * 4
    similarity = fit_appearance(features, evidence, FIT_TO_MOTION, 50, np.random.default_rng(0)).predict(features[0])

    assert similarity.max() == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("side", [4, 20])
def test_a_small_object_weighs_as_much_as_all_the_rest(side: int) -> None:
    """A square of a third of a percent of the image is recognised as one of eight percent is."""
    lab, _ = red_square()
    lab[:] = (120, 128, 128)
    inside = np.zeros((60, 80), bool)
    inside[20 : 20 + side, 30 : 30 + side] = True
    lab[inside] = (120, 180, 160)
    features = [pixel_features(lab)] * 20
    model = fit_appearance(features, [inside.astype(np.float32)] * 20, FIT_TO_MOTION, 200, np.random.default_rng(0))

    assert model.predict(features[0])[inside].mean() > 0.7


def test_the_border_counts_as_background() -> None:
    """A colour that moves in the middle and along the border has less similarity than one that moves in the middle."""
    lab, inside = red_square()
    framed = lab.copy()
    framed[:3], framed[-3:] = (120, 178, 158), (120, 178, 158)
    similarity = []
    for picture in (lab, framed):
        features = [pixel_features(picture)[..., :3]] * 8
        evidence = [(picture[..., 1] > 150).astype(np.float32)] * 8
        model = fit_appearance(features, evidence, FIT_TO_OUTLINES, 100, np.random.default_rng(0))
        similarity.append(model.predict(features[0])[inside].mean())

    assert similarity[1] < similarity[0] - 0.1
