"""The figure of one frame through all stages, from the strip that extraction has stored."""

import io
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.service.report.run_page.page_files import PageFiles
from watchmove.service.report.run_page.stages import stages_figure

SETTINGS = PretrainingSettings()
STAGES = ["image", "flow", "motion", "appearance", "votes"]
COLOURS = [(200, 40, 40), (0, 255, 0), (50, 50, 50), (120, 120, 120), (220, 220, 220)]


def encoded(picture: NDArray[np.uint8], kind: str) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture).save(buffer, kind)
    return buffer.getvalue()


def strip() -> Sample:
    """Five plain pictures of 60 x 40 pixels, and a mask of twice the size with a certain, an ignored and no part."""
    pictures = np.vstack([np.full((40, 60, 3), colour, np.uint8) for colour in COLOURS])
    mask = np.zeros((80, 120), np.uint8)
    mask[:, :40], mask[:, 40:80] = 255, 140
    metadata = {"video": "a.mp4", "time_seconds": 1.25, "confidence": 0.876, "stages": STAGES}
    return Sample("0123456789abcdef-000030", encoded(pictures, "JPEG"), encoded(mask, "PNG"), metadata)


def middle(files: PageFiles, name: str, x: int) -> list[int]:
    """The colour in the middle row of a picture."""
    with PIL.Image.open(io.BytesIO(files.contents[name])) as picture:
        assert picture.size == (60, 40)
        return [int(level) for level in np.asarray(picture.convert("RGB"))[20, x]]


def test_every_stage_has_its_picture() -> None:
    """In the order of the stages, of one size, the mask and the trimap last; the caption is that of other frames."""
    files = PageFiles()
    figure = stages_figure(files, strip(), SETTINGS)
    assert figure is not None
    shown = {name: picture.source for name, picture in figure.pictures.items()}

    assert list(shown) == [*STAGES, "mask", "trimap"]
    for name, colour in zip(STAGES, COLOURS, strict=True):
        assert middle(files, shown[name], 30) == pytest.approx(colour, abs=8)
    for name, levels in (("mask", (255, 140, 0)), ("trimap", (255, 128, 0))):
        assert [middle(files, shown[name], x)[0] for x in (10, 30, 50)] == pytest.approx(levels, abs=8)
    assert figure.caption == "a.mp4 at 1.2 s: confidence 0.88"


@pytest.mark.parametrize(
    "broken",
    [
        {"jpeg": b"no picture"},
        {"mask_png": b""},
        {"metadata": {"video": "a.mp4"}},
        {"metadata": {"video": "a.mp4", "stages": []}},
    ],
)
def test_what_is_damaged_has_no_figure(broken: dict[str, object]) -> None:
    """The page says that there is none, instead of failing."""
    assert stages_figure(PageFiles(), replace(strip(), **broken), SETTINGS) is None  # type: ignore[arg-type]


def test_without_stages_there_is_no_figure() -> None:
    """As for runs of earlier versions."""
    assert stages_figure(PageFiles(), None, SETTINGS) is None
