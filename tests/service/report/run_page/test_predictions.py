"""The table of predictions, from the tar that pretraining has stored."""

import io
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from tests.service.report.run_page.test_stages import encoded
from watchmove.pipeline.dataset.shard import Sample
from watchmove.service.report.run_page.page_files import PageFiles
from watchmove.service.report.run_page.predictions import predictions_table


def crop(video: str, *levels: int, moments: tuple[int, ...] = (10, 20)) -> Sample:
    """A crop of one colour; below its trimap of level 0, a prediction of each of the levels."""
    image = np.full((115, 115, 3), 90, np.uint8)
    picture = np.vstack([np.full((56, 56), level, np.uint8) for level in (0, *levels)])
    metadata: dict[str, object] = {"video": video, "iterations": list(moments)}
    return Sample(f"{video}-000000", encoded(image, "JPEG"), encoded(picture, "PNG"), metadata)


def level(files: PageFiles, name: str) -> int:
    """The level of grey in the middle of a picture."""
    with PIL.Image.open(io.BytesIO(files.contents[name])) as picture:
        return int(np.asarray(picture.convert("L"))[picture.height // 2, picture.width // 2])


def test_a_row_has_its_crop_trimap_and_predictions() -> None:
    """In the order of the moments."""
    files = PageFiles()
    table = predictions_table(files, [crop("a.mp4", 100, 200), crop("b.mp4", 50, 250)])
    assert table is not None

    assert table.iterations == (10, 20)
    assert [row.video for row in table.rows] == ["a.mp4", "b.mp4"]
    assert [level(files, row.image) for row in table.rows] == pytest.approx([90, 90], abs=3)
    assert [level(files, row.trimap) for row in table.rows] == [0, 0]
    assert [[level(files, name) for name in row.predictions] for row in table.rows] == [[100, 200], [50, 250]]


def test_what_does_not_fit_is_left_out() -> None:
    """Damaged crops, other numbers of pictures than moments, and other moments than those of the first row."""
    good = crop("a.mp4", 100, 200)
    others = [
        replace(good, jpeg=b""),
        replace(good, mask_png=b"no picture"),
        replace(good, metadata={"video": "a.mp4"}),
        crop("b.mp4", 100),
        crop("c.mp4", 100, 200, moments=(1, 2)),
    ]
    table = predictions_table(PageFiles(), [*others[:4], good, *others])
    assert table is not None

    assert [row.video for row in table.rows] == ["a.mp4"]
    assert predictions_table(PageFiles(), others[:4]) is None
    assert predictions_table(PageFiles(), []) is None
