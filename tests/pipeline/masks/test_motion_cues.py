"""The maps of motion are read from their PNG as they were written, to half a step."""

import cv2
import numpy as np
import pytest

from watchmove.pipeline.masks.motion_cues import cues_in, cues_png

WHOLE = slice(0, 100)


def test_maps_are_read_as_written() -> None:
    """Each map in its place; the difference is at most half of a fifteenth."""
    cues = np.random.default_rng(0).random((24, 32, 4), np.float32)
    found = cues_in(cues_png(cues, (24, 32), WHOLE, WHOLE))

    assert found is not None
    assert found.shape == (4, 24, 32)
    assert np.abs(found.transpose(1, 2, 0) / 255 - cues).max() <= 0.5 / 15 + 1e-6


def test_black_borders_have_no_motion() -> None:
    """Maps of the visible part have their place in the whole frame."""
    found = cues_in(cues_png(np.ones((10, 30, 4), np.float32), (24, 32), slice(6, 16), slice(1, 31)))

    assert found is not None
    assert (found[:, 6:16, 1:31] == 255).all()
    assert found.sum() == 4 * 10 * 30 * 255


def test_it_takes_a_few_kilobytes() -> None:
    """Smooth maps of a frame of 427x240; JPEGs of such frames have 30 to 60 kB."""
    noise = np.random.default_rng(0).random((60, 107, 4), np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)

    assert len(cues_png((smooth - smooth.min()) / np.ptp(smooth), (60, 107), WHOLE, WHOLE)) < 10_000


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_other_pictures_have_no_maps(rows: int) -> None:
    """No picture, and pictures whose height is not that of four maps."""
    png = cv2.imencode(".png", np.zeros((rows, 5), np.uint8))[1].tobytes() if rows else b"no picture"

    assert cues_in(png) is None
    assert cues_in(b"") is None
