"""Annotated masks of the kinds that data sets have: grey levels, one bit, 16 bits, palettes and colours."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.dataset.true_masks import annotation_paths, read_annotation
from watchmove.pipeline.errors import InvalidInput

OBJECT = np.zeros((6, 8), bool)
OBJECT[1:4, 2:7] = True
LEFT = OBJECT & (np.arange(8) < 4)


def _palette() -> PIL.Image.Image:
    """Two objects in the colours of DAVIS 2017."""
    image = PIL.Image.fromarray(np.where(LEFT, 2, OBJECT).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return image


def _levels(dtype: type[np.unsignedinteger], level: int) -> NDArray[np.unsignedinteger]:
    return np.where(OBJECT, level, 0).astype(dtype)


@pytest.mark.parametrize(
    "image",
    [
        PIL.Image.fromarray(_levels(np.uint8, 255)),
        PIL.Image.fromarray(OBJECT),
        PIL.Image.fromarray(_levels(np.uint16, 65535)),
        PIL.Image.fromarray(_levels(np.uint8, 255)).convert("LA"),
        PIL.Image.fromarray(_levels(np.uint8, 255)).convert("RGBA"),
        PIL.Image.fromarray(OBJECT[..., None] * np.array([64, 0, 0], np.uint8)),
        _palette(),
    ],
    ids=["grey", "one-bit", "16-bit", "grey-alpha", "rgba", "colour", "palette"],
)
def test_objects_are_bright_or_have_a_colour(image: PIL.Image.Image, tmp_path: Path) -> None:
    """The mask is that of all objects together."""
    image.save(tmp_path / "a.png")

    assert (read_annotation(tmp_path / "a.png") == OBJECT).all()


def test_a_black_annotation_has_no_object(tmp_path: Path) -> None:
    """As where the object is hidden."""
    PIL.Image.fromarray(_levels(np.uint8, 0)).save(tmp_path / "a.png")

    assert not read_annotation(tmp_path / "a.png").any()


@pytest.mark.parametrize(("dtype", "level"), [(np.uint8, 1), (np.uint16, 255)])
def test_an_annotation_that_is_dark_everywhere_is_refused(
    dtype: type[np.unsignedinteger], level: int, tmp_path: Path
) -> None:
    """Numbers of objects as grey levels would be read as a frame without an object."""
    PIL.Image.fromarray(_levels(dtype, level)).save(tmp_path / "a.png")

    with pytest.raises(InvalidInput, match=r"a\.png: its brightest pixel is .* save objects as 255 or in colours"):
        read_annotation(tmp_path / "a.png")


def test_annotations_are_in_the_order_of_their_frames(tmp_path: Path) -> None:
    """Numbers in names are ordered by their values, as those of the frames; hidden files are passed over."""
    for name in ("10.png", "2.png", "1.png", "._1.png", "1.txt"):
        (tmp_path / name).touch()

    assert [path.name for path in annotation_paths(tmp_path)] == ["1.png", "2.png", "10.png"]
