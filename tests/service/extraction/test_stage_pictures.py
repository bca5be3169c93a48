"""Pictures of the stages of a frame: the colours of flow, the size of the strip, and which frame is shown."""

import colorsys
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.extraction.sampled_video import Frame
from watchmove.pipeline.files.images import decoded_image
from watchmove.pipeline.masks.chain import StageMaps
from watchmove.service.extraction.stage_pictures import STAGES, flow_colours, most_confident, stage_strip

WHOLE = slice(None)


def maps(height: int, width: int, value: float = 0.5) -> StageMaps:
    """Maps of one value, with flow to the right."""
    plain = np.full((height, width), value, np.float16)
    return StageMaps(np.dstack([plain * 4, plain * 0]), plain, plain, plain, np.dstack([plain] * 4))


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    """A JPEG as RGB."""
    picture = decoded_image(jpeg)
    assert picture is not None
    return picture[..., ::-1]


def frame(image: NDArray[np.uint8], confidence: float = 0.9, reason: str | None = None, number: int = 0) -> Frame:
    """An examined frame without an object."""
    mask = np.zeros(image.shape[:2], np.float32)
    shown = (maps(-(-image.shape[0] // 4), -(-image.shape[1] // 4)), WHOLE, WHOLE)
    return Frame(number, 0.0, 0, image, mask, confidence, reason, (), stages=shown)


@pytest.mark.parametrize("degrees", [0, 60, 120, 180, 240, 300])
def test_the_hue_of_flow_is_its_direction(degrees: int) -> None:
    """From right over down to left and up, as the wheel of the page has them; no motion is white."""
    x, y = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    field = np.zeros((4, 4, 2), np.float32)
    field[:2] = (3 * x, 3 * y)
    drawn = flow_colours(field)
    expected = [255 * part for part in colorsys.hsv_to_rgb(degrees / 360, 1, 1)]

    assert np.abs(drawn[0, 0] - np.array(expected)).max() <= 6
    assert drawn[3, 3].tolist() == [255, 255, 255]


def test_the_noise_of_a_still_frame_is_pale() -> None:
    """Flow of a twentieth of a pixel has a tenth of the full colour."""
    drawn = flow_colours(np.full((4, 4, 2), (0.05, 0.0), np.float32))

    assert drawn.min() > 220


def test_a_strip_has_its_pictures_from_top_to_bottom() -> None:
    """The frame, its flow, and three grey maps, each as large as the frame; equal frames give equal bytes."""
    image = np.full((96, 128, 3), (200, 40, 40), np.uint8)
    motion, appearance, votes = (np.full((24, 32), value, np.float16) for value in (0.2, 0.5, 0.8))
    shown = StageMaps(maps(24, 32).flow, motion, appearance, votes, maps(24, 32).cues)
    jpeg = stage_strip(frame(image), (shown, WHOLE, WHOLE))
    strip = decoded(jpeg)
    colours = [strip[96 * n + 48, 64].tolist() for n in range(len(STAGES))]

    assert strip.shape == (96 * len(STAGES), 128, 3)
    assert colours == [
        pytest.approx(colour, abs=6) for colour in ([200, 40, 40], [255, 0, 0], *([g] * 3 for g in (51, 128, 204)))
    ]
    assert stage_strip(frame(image), (shown, WHOLE, WHOLE)) == jpeg


def test_maps_are_drawn_inside_black_borders() -> None:
    """The bars that extraction cuts off are black in the maps, and the frame itself is whole."""
    image = np.full((96, 128, 3), 120, np.uint8)
    jpeg = stage_strip(frame(image), (maps(16, 32, 1.0), slice(16, 80), WHOLE))
    strip = decoded(jpeg)[..., 0]

    assert strip[8, 64] == pytest.approx(120, abs=6)
    for n in range(2, len(STAGES)):
        assert [int(strip[96 * n + row, 64]) for row in (4, 48, 92)] == pytest.approx([0, 255, 0], abs=8)


def test_a_strip_of_any_frame_is_small() -> None:
    """Noise of high resolution, which JPEG compresses worst."""
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)

    assert len(stage_strip(frame(image), (maps(180, 320), WHOLE, WHOLE))) <= 56 * 1024


def test_the_most_confident_kept_frame_is_shown() -> None:
    """Neither a rejected one nor one whose stages are unknown; of equals the first."""
    image = np.zeros((8, 8, 3), np.uint8)
    frames = [frame(image, 0.7, number=0), frame(image, 0.9, number=1), frame(image, 0.9, number=2)]
    better = [frame(image, 0.99, "near-duplicate"), replace(frame(image, 0.99), stages=None)]
    shown = most_confident([*better, *frames])

    assert shown is not None
    assert shown.index == 1
    assert most_confident(better) is None
