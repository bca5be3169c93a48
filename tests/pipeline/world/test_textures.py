"""The structure, contrast and colours of textures."""

import numpy as np
import pytest

from watchmove.pipeline.world.textures import TEXTURES, background, object_texture, smooth_noise
from watchmove.pipeline.world.unseen import UNSEEN_TEXTURES, unseen_pattern


def test_noise_is_smooth_at_its_scale() -> None:
    """Noise at a scale of 16 pixels has mean 0, standard deviation 1, and small steps between pixels."""
    noise = smooth_noise(np.random.default_rng(0), 100, 140, 16.0)

    assert noise.shape == (100, 140)
    assert abs(float(noise.mean())) < 1e-4
    assert float(noise.std()) == pytest.approx(1, abs=1e-4)
    assert float(np.abs(np.diff(noise, axis=1)).mean()) < 0.12


@pytest.mark.parametrize("kind", TEXTURES)
def test_textures_have_grain_and_follow_the_seed(kind: str) -> None:
    """Every kind, even plain, has structure that flow can follow, and the same seed gives the same texture."""
    draw = [object_texture(np.random.default_rng(seed), kind, 64, 0.1, shaded=False) for seed in (3, 3, 4)]

    assert draw[0].shape == (64, 64, 3)
    assert float(draw[0].std(axis=(0, 1)).max()) > 4
    assert np.array_equal(draw[0], draw[1])
    assert not np.array_equal(draw[0], draw[2])


@pytest.mark.parametrize("kind", UNSEEN_TEXTURES)
def test_unseen_textures_have_two_tones_and_follow_the_seed(kind: str) -> None:
    """Both colours occur, with soft borders between them, and the same seed gives the same pattern."""
    pattern, again = (unseen_pattern(np.random.default_rng(3), kind, 64) for _ in range(2))

    assert pattern.min() == 0
    assert pattern.max() == 1
    assert 0.05 < float(pattern.mean()) < 0.95
    assert np.array_equal(pattern, again)


def test_stripes_differ_from_plain() -> None:
    """A pattern has much more contrast than noise alone."""
    stripes, plain = (
        np.mean(
            [object_texture(np.random.default_rng(s), kind, 64, 0.1, shaded=False).std(axis=(0, 1)) for s in range(8)]
        )
        for kind in ("stripes", "plain")
    )

    assert stripes > 1.5 * plain


def test_shading_darkens_one_side() -> None:
    """A shaded texture is darker by at least a fifth in some part."""
    plain, shaded = (
        object_texture(np.random.default_rng(5), "plain", 64, 0.6, shaded=shaded).astype(float)
        for shaded in (False, True)
    )

    assert (shaded.mean(axis=2) < 0.8 * plain.mean(axis=2)).mean() > 0.05


def test_backgrounds_are_muted_and_objects_are_not() -> None:
    """Objects are more saturated than any background."""
    rng = np.random.default_rng(1)
    muted = np.mean([np.ptp(background(rng, 60, 80, rng.uniform()).astype(int), axis=2).mean() for _ in range(6)])
    vivid = np.mean(
        [
            np.ptp(object_texture(rng, "plain", 40, rng.uniform(), shaded=False).astype(int), axis=2).mean()
            for _ in range(6)
        ]
    )

    assert vivid > 2.5 * muted
