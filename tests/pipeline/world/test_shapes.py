"""The areas, outlines and names of shapes."""

import numpy as np
import pytest

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.world.shapes import SHAPES, outline_coverage, shape_coverage, shape_outline
from watchmove.pipeline.world.unseen import UNSEEN_OUTLINES, UNSEEN_SHAPES

AREAS = {
    "disk": np.pi,
    "square": 1.8**2,
    "triangle": 3 * np.sqrt(3) / 4,
    "star": 5 * 0.45 * np.sin(np.pi / 5),
    "cross": 2 * 2 * 0.68 - 0.68**2,
    "ring": np.pi * (1 - 0.52**2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_area(name: str) -> None:
    """The covered area is that of the shape, within 1.5 %."""
    coverage = shape_coverage(name, 102)

    assert float(coverage.sum()) == pytest.approx(AREAS[name] * 50**2, rel=0.015)


@pytest.mark.parametrize("name", SHAPES)
def test_within_its_square_and_smooth(name: str) -> None:
    """Outlines are within [-1, 1], the outermost pixels are empty, and edges are antialiased."""
    coverage = shape_coverage(name, 40)

    assert np.abs(shape_outline(name)).max() <= 1 + 1e-9
    assert coverage[[0, -1]].max() < 0.2
    assert coverage[:, [0, -1]].max() < 0.2
    assert ((coverage > 0.05) & (coverage < 0.95)).sum() > 8 or name == "square"


@pytest.mark.parametrize("name", UNSEEN_SHAPES)
def test_an_unseen_shape_covers_the_area_of_its_outline(name: str) -> None:
    """The covered area is that of the polygon by the shoelace formula, within 1.5 %, and within the square."""
    outline = UNSEEN_OUTLINES[name]
    x, y = outline.T
    area = abs(float((x * np.roll(y, 1) - y * np.roll(x, 1)).sum())) / 2

    assert np.abs(outline).max() <= 1 + 1e-9
    assert float(outline_coverage(outline, 102).sum()) == pytest.approx(area * 50**2, rel=0.015)


def test_unknown_shape_is_refused() -> None:
    """The message lists the known shapes."""
    with pytest.raises(InvalidInput, match="'blob': is unknown; use one of disk"):
        shape_outline("blob")
