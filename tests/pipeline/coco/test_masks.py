"""COCO's masks by hand, in a round trip, and written wrongly."""

from contextlib import suppress
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from watchmove.pipeline.coco.masks import UNSURE, mask_of, run_lengths, soft_mask_of
from watchmove.pipeline.errors import UnreadableVideo

SQUARE = [[2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]]


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of equal pixels down the columns, off first."""
    column_major = mask.T.ravel().tolist()
    lengths = [len(list(group)) for _, group in groupby(column_major)]
    return [0, *lengths] if column_major[0] else lengths


def packed(counts: list[int]) -> str:
    """Run lengths as COCO packs them (maskApi.c, rleToString)."""
    text = ""
    for number, count in enumerate(counts):
        value, more = count - (counts[number - 2] if number > 2 else 0), True
        while more:
            code, value = value & 31, value >> 5
            more = value != (-1 if code & 16 else 0)
            text += chr(48 + code + (32 if more else 0))
    return text


def test_a_polygon_of_known_pixels() -> None:
    """Four columns and three rows between the corners, and at most one pixel more around them."""
    mask = mask_of(SQUARE, 10, 12)
    rows, columns = np.nonzero(mask)

    assert mask[1:4, 2:6].all()
    assert (rows.min(), columns.min()) >= (0, 1)
    assert (rows.max(), columns.max()) <= (4, 6)


def test_run_lengths_go_down_the_columns() -> None:
    """Two off, three on, one off in an image of three rows and two columns."""
    mask = mask_of({"size": [3, 2], "counts": [2, 3, 1]}, 3, 2)

    assert mask.tolist() == [[False, True], [False, True], [True, False]]


def test_a_packed_string_of_known_numbers() -> None:
    """By hand: 5, then 40 in two groups, then 1, then 3 as -37 after 40."""
    assert run_lengths("5" + "X1" + "1" + chr(48 + 27 + 32) + chr(48 + 30)) == [5, 40, 1, 3]


@settings(max_examples=60)
@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_there_and_back(mask: NDArray[np.bool_]) -> None:
    """Any mask, as numbers and packed."""
    size, counts = list(mask.shape), runs_of(mask)

    for written in (counts, packed(counts)):
        np.testing.assert_array_equal(mask_of({"size": size, "counts": written}, *mask.shape), mask)


@settings(max_examples=200)
@given(st.text(max_size=30))
def test_any_string_is_run_lengths_or_refused(text: str) -> None:
    """Nothing else is raised, whatever the characters."""
    with suppress(UnreadableVideo):
        assert mask_of({"size": [5, 5], "counts": text}, 5, 5).shape == (5, 5)


def test_crowds_are_between_the_thresholds_and_objects_overwrite_them() -> None:
    """A crowd region over the complete image: UNSURE, except for the pixels of the object."""
    crowd = {"iscrowd": 1, "segmentation": {"size": [10, 12], "counts": [0, 120]}}
    soft_mask = soft_mask_of([{"iscrowd": 0, "segmentation": SQUARE}, crowd], 10, 12)

    assert set(np.unique(soft_mask).tolist()) == {float(np.float32(UNSURE)), 1.0}
    assert (soft_mask[1:4, 2:6] == 1).all()


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "bad-mask"),
        ([[1, 2, 3, 4]], "bad-mask"),
        ([[1, 2, 3, 4, 5]], "bad-mask"),
        ([[1, 2, 3, 4, "a", 6]], "bad-mask"),
        ([[1, 2, 3, 4, float("nan"), 6]], "bad-mask"),
        ([[1, 2, 3, 4, 10**400, 6]], "bad-mask"),
        ([[1, 2, 3, 4, 50, 6]], "mask-beyond-picture"),
        ([[-5, 2, 3, 4, 5, 6]], "mask-beyond-picture"),
        ({"size": [9, 9], "counts": [81]}, "mask-beyond-picture"),
        ({"size": [10, 12], "counts": [119]}, "bad-mask"),
        ({"size": [10, 12], "counts": [121, -1]}, "bad-mask"),
        ({"size": [10, 12], "counts": [1.5, 118.5]}, "bad-mask"),
        ({"size": [10, 12], "counts": [2**63, 2**63]}, "bad-mask"),
        ({"size": [10, 12], "counts": "X"}, "bad-mask"),
        ({"size": [10, 12], "counts": "ooooooooo"}, "bad-mask"),
    ],
)
def test_what_is_no_mask_is_named(segmentation: object, reason: str) -> None:
    """The reason comes from a closed list, and there is no mask."""
    with pytest.raises(UnreadableVideo) as told:
        mask_of(segmentation, 10, 12)

    assert told.value.reason == reason
