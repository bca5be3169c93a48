"""Outlines of drawn masks."""

import numpy as np
import pytest

from watchmove.service.explanation.video_page.drawing import outlined


@pytest.mark.parametrize("colour", [(255, 0, 0), (255, 255, 0), (0, 0, 0), (255, 255, 255)])
def test_an_outline_is_seen_on_any_colour(colour: tuple[int, int, int]) -> None:
    """Along the border there are pixels that differ from the object by half of the range; the rest stays."""
    image = np.full((40, 60, 3), colour, np.uint8)
    mask = np.zeros((40, 60), np.float32)
    mask[10:30, 20:40] = 0.7
    drawn = outlined(image, mask, 0.7)
    changed = np.abs(drawn.astype(int) - image).max(axis=2)

    assert (changed[10:30, 18:42] >= 128).any(axis=1).all()
    assert changed[13:27, 23:37].max() == 0
    assert changed[:8].max() == changed[:, :17].max() == 0
    assert np.array_equal(outlined(image, mask, 0.71), image)
