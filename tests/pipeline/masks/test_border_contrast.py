"""Contrast to the border: colours inside of the frames of a shot, and masks that it finds where motion is false."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.masks.border_contrast import (
    CONTRAST_SHARE,
    border_contrast,
    is_supported,
    shows_motion,
    with_contrast,
)
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.cpu import segmentation as cpu_segmentation
from watchmove.pipeline.masks.device import segmentation as device_segmentation
from watchmove.pipeline.settings.extraction import ExtractionSettings


def lab_of(colours: Image) -> Image:
    """A frame (h, w, 3) in RGB as 8-bit L*a*b*."""
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2LAB), np.uint8)


def test_colours_that_are_seldom_at_the_border_have_contrast() -> None:
    """A red square has nearly 1, grey ground nearly 0; blue, which is at the border of another frame only, little."""
    frames = [np.full((60, 100, 3), 110, np.uint8) for _ in range(2)]
    for frame in frames:
        frame[20:40, 30:60] = (200, 30, 30)
        frame[44:50, 44:50] = (20, 20, 220)
    frames[1][:, :30] = (20, 20, 220)
    first, _ = border_contrast([lab_of(frame) for frame in frames])

    assert first.dtype == np.float32
    assert first.shape == (60, 100)
    assert first[24:36, 34:56].min() > 0.95
    assert first[:10].max() < 0.1
    assert first[46:48, 46:48].max() < 0.3
    assert 0 <= first.min() <= first.max() <= 1


@pytest.mark.parametrize("size", [(24, 24), (5, 40), (1, 1)])
def test_frames_of_any_size_have_contrast(size: tuple[int, int]) -> None:
    """Frames of noise, and frames without an inside."""
    labs = list(np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8))
    for contrast in border_contrast(labs):
        assert contrast.shape == size
        assert np.isfinite(contrast).all()


def test_it_is_averaged_with_the_evidence() -> None:
    """With its share."""
    rng = np.random.default_rng(0)
    evidence = list(rng.random((2, 30, 40), np.float32))
    labs = list(rng.integers(0, 256, (2, 30, 40, 3), dtype=np.uint8))
    mixed = with_contrast(evidence, labs)

    for one, motion, contrast in zip(mixed, evidence, border_contrast(labs), strict=True):
        assert one.dtype == np.float32
        assert np.allclose(one, (1 - CONTRAST_SHARE) * motion + CONTRAST_SHARE * contrast)


def test_only_strong_evidence_shows_motion() -> None:
    """One frame of a shot is enough; a few pixels are not."""
    still = np.full((60, 100), 0.1, np.float32)
    noisy, moving = still.copy(), still.copy()
    noisy[:5, :10], moving[20:40, 20:40] = 0.9, 0.4

    assert not shows_motion([still, noisy])
    assert shows_motion([still, moving])


def test_masks_are_supported_by_what_moves_inside() -> None:
    """Half as much again as outside; an empty mask and a full one never are."""
    mask = np.zeros((120, 200), np.float32)
    mask[40:80, 60:120] = 1
    evidence = np.full((30, 50), 0.2, np.float32)
    moving, resting = evidence.copy(), evidence.copy()
    moving[10:20, 15:30], resting[10:20, 15:30] = 0.5, 0.25

    assert is_supported([mask, mask], [moving, resting])
    assert not is_supported([mask], [resting])
    assert not is_supported([mask], [np.zeros_like(evidence)])
    assert not is_supported([np.zeros_like(mask)], [moving])
    assert not is_supported([np.ones_like(mask)], [moving])


def moving_over_water(count: int) -> tuple[list[Image], list[NDArray[np.bool_]]]:
    """Frames (160, 240, 3) of a red square before blue texture, and the square's masks.

    The upper part of the texture rests; the lower part, before which the square is too, moves at random like water.
    """
    rng = np.random.default_rng(0)
    height, width = 160, 240
    rows, columns = np.mgrid[:height, :width].astype(np.float32)

    def smooth_noise(sigma: float) -> NDArray[np.float32]:
        noise = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), sigma)
        return np.asarray(noise / noise.std(), np.float32)

    texture, is_water, frames, masks = 120 + 35 * smooth_noise(1.5), rows >= 90, [], []
    for number in range(count):
        x, y = (axis + 3 * smooth_noise(12) * is_water for axis in (columns, rows))
        water = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        frame = np.clip(np.dstack([0.5 * water, 0.7 * water, water]), 0, 255).astype(np.uint8)
        mask = np.zeros((height, width), bool)
        mask[60:110, 40 + 6 * number : 90 + 6 * number] = True
        square = np.full((50, 50, 3), (200, 30, 40), np.uint8)
        square[::10] = square[:, ::10] = (160, 60, 40)
        frame[mask] = square.reshape(-1, 3)
        frames.append(frame)
        masks.append(mask)
    return frames, masks


@pytest.mark.parametrize("device", ["cpu", "torch-cpu"])
def test_an_object_is_found_where_the_background_moves_at_random(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its colours, on both devices; motion alone finds the water."""
    cv2.setNumThreads(1)
    frames, truths = moving_over_water(6)
    segment = shot_segmenter(ExtractionSettings(device=device, flow="dis"))
    found = [frame.soft_mask >= 0.5 for frame in segment([frames])[0]]
    for module in (cpu_segmentation, device_segmentation):
        monkeypatch.setattr(module, "shows_motion", lambda _: False)
    without = [frame.soft_mask >= 0.5 for frame in segment([frames])[0]]

    assert min(jaccard(mask, truth) for mask, truth in zip(found, truths, strict=True)) > 0.9
    assert max(jaccard(mask, truth) for mask, truth in zip(without, truths, strict=True)) < 0.5
