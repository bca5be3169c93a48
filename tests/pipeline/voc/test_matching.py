"""Overlaps and matches whose answers can be worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from watchmove.pipeline.voc.annotations import VocImage, VocObject
from watchmove.pipeline.voc.matching import NO_OBJECTS, ground_truth_by_class, match, paired_iou

Box = tuple[float, float, float, float]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (0, 5, 10, 10), 0.5),
        ((0, 0, 10, 10), (5, 5, 15, 15), 25 / 175),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),
        ((0, 0, 10, 10), (30, 30, 40, 40), 0.0),
        ((3, 3, 3, 3), (3, 3, 3, 3), 0.0),
    ],
)
def test_iou_by_hand(first: Box, second: Box, expected: float) -> None:
    """Equal, half, corner, touching, apart and empty boxes have the overlap that pencil and paper give."""
    iou = paired_iou(np.array([first], float), np.array([second], float))

    assert iou.tolist() == pytest.approx([expected])


def _outcome(boxes: list[Box], objects: list[VocObject], threshold: float = 0.5) -> str:
    """One letter a detection: T true positive, F false positive, - neither."""
    truth = ground_truth_by_class([VocImage("a", Path("a.jpg"), 100, 100, tuple(objects))]).get("cat", NO_OBJECTS)
    numbers = np.zeros(len(boxes), np.intp)
    true, false = match(numbers, np.array(boxes, float).reshape(-1, 4), truth, threshold)
    return "".join("T" if t else "F" if f else "-" for t, f in zip(true, false, strict=True))


CAT = VocObject("cat", (0, 0, 10, 10))
HARD_CAT = VocObject("cat", (50, 50, 60, 60), difficult=True)


@pytest.mark.parametrize(
    ("boxes", "objects", "expected"),
    [
        pytest.param([(0, 0, 10, 10)], [CAT], "T", id="found"),
        pytest.param([(0, 0, 10, 10), (0, 0, 10, 10)], [CAT], "TF", id="a duplicate is false"),
        pytest.param([(0, 5, 10, 10)], [CAT], "T", id="exactly the threshold counts"),
        pytest.param([(0, 6, 10, 10)], [CAT], "F", id="below it does not"),
        pytest.param([(50, 50, 60, 60)] * 3, [CAT, HARD_CAT], "---", id="difficult is never found nor missed"),
        pytest.param([(50, 50, 60, 60), (0, 0, 10, 10)], [CAT, HARD_CAT], "-T", id="difficult and plain"),
        pytest.param([(0, 0, 10, 10)], [], "F", id="nothing to find"),
        pytest.param([(20, 20, 20, 20)], [CAT], "F", id="an empty box is false"),
        # the better of two objects is taken already: the devkit does not look for the second best
        pytest.param(
            [(0, 0, 10, 10), (0, 1, 10, 11)],
            [CAT, VocObject("cat", (0, 4, 10, 14))],
            "TF",
            id="second best is not tried",
        ),
        pytest.param([(0, 0, 10, 10)] * 2, [CAT, CAT], "TF", id="first of equal objects"),
    ],
)
def test_outcome_by_hand(boxes: list[Box], objects: list[VocObject], expected: str) -> None:
    """Each row of the matching table, and the cases between its rows."""
    assert _outcome(boxes, objects) == expected


def test_objects_of_another_image_are_not_matched() -> None:
    """The same box in another image finds nothing."""
    images = [VocImage("a", Path("a"), 9, 9, (CAT,)), VocImage("b", Path("b"), 9, 9, ())]
    truth = ground_truth_by_class(images)["cat"]
    true, false = match(np.array([1, 0]), np.array([CAT.box_xyxy] * 2), truth, 0.5)

    assert true.tolist() == [False, True]
    assert false.tolist() == [True, False]
