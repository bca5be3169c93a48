"""COCO's masks by hand, in a round trip, and written wrongly."""

from contextlib import suppress
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

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
    """The four columns and three rows between the corners, and no pixel more."""
    mask = mask_of(SQUARE, 10, 12)

    assert mask[1:4, 2:6].all()
    assert mask.sum() == 12


@pytest.mark.parametrize("polygon", [[-5, 2, 3, 2, 3, 6, -5, 6], ["-5", "2", "3", "2", "3", "6.0", "-5", "6"]])
def test_parts_outside_of_the_image_are_cut_off(polygon: list[object]) -> None:
    """What is inside stays: three columns and four rows; corners written as text are the same."""
    mask = mask_of([polygon], 10, 12)

    assert mask[2:6, :3].all()
    assert mask.sum() == 12


@st.composite
def polygons(draw: st.DrawFn) -> tuple[list[list[float]], int, int]:
    """One to three polygons on an image, partly outside, crossing themselves, tiny, with whole, half or any corners."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    step = draw(st.sampled_from([1.0, 0.5, 0.01]))
    # up to two sides beyond the image
    x = st.integers(round(-2 * width / step), round(3 * width / step)).map(lambda corner: corner * step)
    y = st.integers(round(-2 * height / step), round(3 * height / step)).map(lambda corner: corner * step)
    corners = st.lists(st.tuples(x, y), min_size=3, max_size=8).map(
        lambda points: [v for point in points for v in point]
    )
    return draw(st.lists(corners, min_size=1, max_size=3)), height, width


@settings(max_examples=400, deadline=None)
@given(polygons())
def test_polygons_are_filled_as_the_coco_api_fills_them(case: tuple[list[list[float]], int, int]) -> None:
    """Every pixel is that of pycocotools."""
    segmentation, height, width = case
    wanted = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))

    np.testing.assert_array_equal(mask_of(segmentation, height, width), wanted.astype(bool))


@settings(max_examples=60)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)))
def test_run_lengths_are_read_as_the_coco_api_writes_them(mask: NDArray[np.uint8]) -> None:
    """Packed by pycocotools, unpacked here."""
    packed_mask = coco_mask.encode(np.asfortranarray(mask))
    segmentation = {"size": list(mask.shape), "counts": packed_mask["counts"].decode()}

    np.testing.assert_array_equal(mask_of(segmentation, *mask.shape), mask.astype(bool))


@pytest.mark.parametrize(
    ("iscrowd", "value"),
    [(1, UNSURE), ("1", UNSURE), (True, UNSURE), ("true", UNSURE), (0, 1), ("0", 1), (False, 1), (None, 1), ("", 1)],
)
def test_iscrowd_may_be_text(iscrowd: object, value: float) -> None:
    """`"0"` is an object, although Python takes a text that is not empty for true."""
    soft_mask = soft_mask_of([{"iscrowd": iscrowd, "segmentation": SQUARE}], 10, 12).soft_mask

    assert soft_mask.max() == np.float32(value)


def test_a_bad_object_is_left_out_and_its_box_excluded() -> None:
    """The good one stays, also where the boxes overlap; without a box the rest of the image is excluded."""
    bad = {"segmentation": None, "bbox": [4, 2, 4, 4]}
    found = soft_mask_of([{"segmentation": SQUARE}, bad], 10, 12)
    without_box = soft_mask_of([{"segmentation": SQUARE}, {"segmentation": None}], 10, 12).soft_mask

    assert len(found.problems) == 1
    assert (found.soft_mask[1:4, 2:6] == 1).all()
    assert (found.soft_mask[4:6, 4:8] == np.float32(UNSURE)).all()
    assert (found.soft_mask[6:] == 0).all()
    assert (without_box[6:] == np.float32(UNSURE)).all()
    with pytest.raises(UnreadableVideo, match="object 1"):
        soft_mask_of([bad], 10, 12)


def test_a_bad_value_of_iscrowd_is_a_bad_object() -> None:
    """It does not say whether the region is an object."""
    with pytest.raises(UnreadableVideo, match="iscrowd is 'maybe'"):
        soft_mask_of([{"iscrowd": "maybe", "segmentation": SQUARE}], 10, 12)


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
    soft_mask = soft_mask_of([{"iscrowd": 0, "segmentation": SQUARE}, crowd], 10, 12).soft_mask

    assert set(np.unique(soft_mask).tolist()) == {float(np.float32(UNSURE)), 1.0}
    assert (soft_mask[1:4, 2:6] == 1).all()


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "bad-mask"),
        ([], "bad-mask"),
        ([[1, 2, 3, 4]], "bad-mask"),
        ([[1, 2, 3, 4, 5]], "bad-mask"),
        ([[1, 2, 3, 4, "a", 6]], "bad-mask"),
        ([[1, 2, 3, 4, float("nan"), 6]], "bad-mask"),
        ([[1, 2, 3, 4, 10**400, 6]], "bad-mask"),
        ([[1, 2, 3, 4, 1e300, 6]], "bad-mask"),
        ([[0, 0, 9e5, 9e5] * 2], "bad-mask"),
        ([[0, 0, 8000, 0] * 100], "bad-mask"),
        ([[1, 2, 3, 4, "1_0", 6]], "bad-mask"),
        ([[1, 2, 3, 4, "１", 6]], "bad-mask"),
        ([[1, 2, 3, 4, True, 6]], "bad-mask"),
        ([1, 2, 3, 4, 5, 6], "bad-mask"),
        ({"size": [9, 9], "counts": [81]}, "bad-mask"),
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
