"""Average precision: public figures, cases worked out by hand, and a slow obvious implementation."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.voc.annotations import (
    Detection,
    VocImage,
    VocObject,
    read_voc,
    write_detections,
    write_split,
    write_voc_image,
)
from watchmove.pipeline.voc.average_precision import average_precision, evaluate_detections, score_directory

Box = tuple[float, float, float, float]


def _from_inclusive(x1: float, y1: float, x2: float, y2: float) -> Box:
    """The public sets give boxes with their last pixel inside."""
    return x1, y1, x2 + 1, y2 + 1


def _rows(path: Path) -> list[tuple[str, list[float]]]:
    return [
        (words[0], [float(w) for w in words[1:]]) for line in path.read_text().splitlines() if (words := line.split())
    ]


def _read_text_set(truth: Path, found: Path, *, sizes: bool) -> tuple[list[VocImage], dict[str, list[Detection]]]:
    """A set of one text file an image; with `sizes`, a row's last two numbers are added to its first two."""

    def box(x1: float, y1: float, x2: float, y2: float) -> Box:
        return _from_inclusive(x1, y1, x1 + x2, y1 + y2) if sizes else _from_inclusive(x1, y1, x2, y2)

    images, detections = [], dict[str, list[Detection]]()
    for path in sorted(truth.glob("*.txt")):
        objects = tuple(VocObject(name, box(*numbers)) for name, numbers in _rows(path))
        images.append(VocImage(path.stem, path, 0, 0, objects))
    for path in sorted(found.glob("*.txt")):
        for name, (score, *numbers) in _rows(path):
            detections.setdefault(name, []).append(Detection(path.stem, score, box(*numbers)))
    return images, detections


@pytest.mark.parametrize(
    ("iou", "eleven_point", "area"),
    [
        (0.1, 0.3333333333, 0.3371980676),
        (0.3, 0.2683982683, 0.2456866804),
        (0.5, 0.0303030303, 0.0222222222),
        (0.75, 0.0, 0.0),
    ],
)
def test_published_seven_images(test_data: Path, iou: float, eleven_point: float, area: float) -> None:
    """A published set full of equal scores gives its published figures at each threshold."""
    folder = test_data / "voc-eval" / "review_odm" / "test_case_1"
    scores = evaluate_detections(*_read_text_set(folder / "gts", folder / "dets", sizes=True), iou)

    assert scores.mean_ap_11_point == pytest.approx(eleven_point, abs=1e-6)
    assert scores.mean_ap_area == pytest.approx(area, abs=1e-6)


def test_published_eighty_five_images(test_data: Path) -> None:
    """686 objects of many classes give the mean that two public evaluators give."""
    folder = test_data / "voc-eval" / "cartucho" / "input"
    images, detections = _read_text_set(folder / "ground-truth", folder / "detection-results", sizes=False)
    scores = evaluate_detections(images, detections, 0.5)

    assert (len(images), sum(len(image.objects) for image in images)) == (85, 686)
    assert scores.mean_ap_area == pytest.approx(0.310477, abs=1e-6)
    assert scores.mean_ap_11_point == pytest.approx(0.316965, abs=1e-6)


def test_published_voc_images(test_data: Path, tmp_path: Path) -> None:
    """Real VOC annotations, a plain folder of them, give the published figures by way of comp4 files."""
    folder = test_data / "voc" / "toyexample"
    annotations = folder / "gts_vocpascal_format"
    annotated = {image.image_id for image in read_voc(annotations, None)}
    detections = dict[str, list[Detection]]()
    for path in sorted((folder / "dets_classname_abs_xyx2y2").glob("*.txt")):
        for name, (score, x1, y1, x2, y2) in _rows(path):
            if path.stem in annotated:
                box = (x1 - 1, y1 - 1, x2, y2)
                detections.setdefault(name, []).append(Detection(path.stem, score, box))
    write_detections(tmp_path, "toy", detections)
    scores = score_directory(annotations, tmp_path, 0.5)

    assert scores.n_images == 10
    assert scores.mean_ap_11_point == pytest.approx(0.886364, abs=1e-6)
    assert scores.mean_ap_area == pytest.approx(0.895833, abs=1e-6)


@pytest.mark.parametrize(
    ("precision", "recall", "eleven_point", "area"),
    [
        ([0, 0.5, 1 / 3], [0, 0.5, 0.5], 0.5 / 11 * 6, 0.25),
        ([np.nan, 0.5], [0, 1], 0.5, 0.5),
        ([1.0], [1.0], 1.0, 1.0),
        ([], [], 0.0, 0.0),
        ([1, 0.5, 2 / 3], [0.5, 0.5, 1], (6 + 5 * 2 / 3) / 11, 0.5 + 0.5 * 2 / 3),
    ],
)
def test_curve_by_hand(precision: list[float], recall: list[float], eleven_point: float, area: float) -> None:
    """Short curves give what the definition gives on paper."""
    assert average_precision(np.array(precision), np.array(recall)) == pytest.approx((eleven_point, area))


def _one_class(objects: Sequence[Box], found: Sequence[tuple[float, Box]]) -> tuple[float | None, float | None]:
    image = VocImage("a", Path("a.jpg"), 100, 100, tuple(VocObject("cat", box) for box in objects))
    scores = evaluate_detections([image], {"cat": [Detection("a", score, box) for score, box in found]})
    return scores.mean_ap_11_point, scores.mean_ap_area


HIT, FAR = (0.0, 0.0, 10.0, 10.0), (70.0, 70.0, 90.0, 90.0)


@pytest.mark.parametrize(
    ("found", "area"),
    [
        pytest.param([(0.9, HIT)], 1.0, id="one hit"),
        pytest.param([(0.9, FAR), (0.8, HIT)], 0.5, id="a miss before it"),
        pytest.param([(0.9, HIT), (0.8, FAR)], 1.0, id="a miss after it"),
        pytest.param([(0.5, HIT), (0.5, FAR)], 1.0, id="equal scores keep their order: hit first"),
        pytest.param([(0.5, FAR), (0.5, HIT)], 0.5, id="equal scores keep their order: miss first"),
        pytest.param([(0.2, FAR), (0.9, HIT)], 1.0, id="sorted by score, not by place"),
        pytest.param([], 0.0, id="nothing detected"),
    ],
)
def test_one_object_by_hand(found: list[tuple[float, Box]], area: float) -> None:
    """With one object to find, both measures are the precision when it is found."""
    assert _one_class([HIT], found) == pytest.approx((area, area))


def test_ties_stay_in_order_when_there_are_many() -> None:
    """Forty equal scores, the hit first: a sort that is not stable would move it."""
    assert _one_class([HIT], [(0.5, HIT), *[(0.5, FAR)] * 39]) == (1.0, 1.0)


def test_class_without_objects_is_left_out_and_named() -> None:
    """It has no figure, the mean is that of the others, and the result says so in JSON too."""
    hard = VocObject("dog", FAR, difficult=True)
    image = VocImage("a", Path("a.jpg"), 100, 100, (VocObject("cat", HIT), VocObject("owl", FAR), hard))
    found = [Detection("a", 0.9, HIT)]
    scores = evaluate_detections([image], {"cat": found, "cow": found, "dog": found})
    as_json = json.loads(json.dumps(scores.as_json(), allow_nan=False))

    assert scores.classes_without_objects == ("cow", "dog")
    assert list(scores.per_class) == ["cat", "cow", "dog", "owl"]
    assert scores.per_class["owl"].ap_area == 0.0
    assert scores.mean_ap_area == pytest.approx(0.5)
    assert as_json["per_class"]["cow"]["ap_11_point"] is None
    assert as_json["classes_without_objects"] == ["cow", "dog"]


def test_no_objects_at_all_has_no_mean() -> None:
    """Without any object there is no figure, rather than a 0 that looks like one."""
    scores = evaluate_detections([VocImage("a", Path("a.jpg"), 9, 9, ())], {"cat": []})

    assert scores.mean_ap_area is None
    assert scores.mean_ap_11_point is None


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.5, float("nan")])
def test_impossible_threshold_is_refused(threshold: float) -> None:
    """An overlap is above 0 and at most 1."""
    with pytest.raises(InvalidInput, match="iou threshold"):
        evaluate_detections([], {}, threshold)


def test_detection_in_an_unknown_image_is_refused() -> None:
    """The message names class and image."""
    with pytest.raises(InvalidInput, match="cat: image 'b'"):
        evaluate_detections([VocImage("a", Path("a"), 9, 9, ())], {"cat": [Detection("b", 1.0, HIT)]})


def _slow_iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def _slow_ap(images: Sequence[VocImage], found: Sequence[Detection], threshold: float) -> tuple[float, float]:
    """Average precision in the words of the definition, one detection and one object at a time."""
    objects = {image.image_id: image.objects for image in images}
    n_objects = sum(not one.difficult for image in images for one in image.objects)
    taken: set[tuple[str, int]] = set()
    curve, n_true, n_false = list[tuple[float, float]](), 0, 0
    for detection in sorted(found, key=lambda one: -one.score):
        overlaps = [_slow_iou(detection.box_xyxy, one.box_xyxy) for one in objects[detection.image_id]]
        best = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
        if best is None or overlaps[best] < threshold or (detection.image_id, best) in taken:
            n_false += 1
        elif not objects[detection.image_id][best].difficult:
            taken.add((detection.image_id, best))
            n_true += 1
        if n_true + n_false:
            curve.append((n_true / n_objects, n_true / (n_true + n_false)))
    levels = [0.1 * step for step in range(11)]
    eleven_point = sum(max((p for r, p in curve if r >= level), default=0.0) for level in levels) / 11
    recalls = [0.0, *(r for r, _ in curve)]
    area = sum((recalls[i + 1] - recalls[i]) * max(p for _, p in curve[i:]) for i in range(len(curve)))
    return eleven_point, area


_corner = st.integers(0, 6)
_boxes = st.builds(lambda x, y, w, h: (x, y, x + w + 1, y + h + 1), _corner, _corner, _corner, _corner)
_images = st.lists(
    st.lists(st.builds(VocObject, st.just("cat"), _boxes, st.booleans()), max_size=4).map(tuple), min_size=1, max_size=3
)


@settings(max_examples=150)
@given(
    _images, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), _boxes), max_size=12), st.sampled_from([0.3, 0.5])
)
def test_agrees_with_the_definition(
    objects: list[tuple[VocObject, ...]], found: list[tuple[int, int, Box]], threshold: float
) -> None:
    """Small boxes and few scores make ties, duplicates and exact thresholds common; both ways agree on all of them."""
    images = [VocImage(str(number), Path("x"), 9, 9, few) for number, few in enumerate(objects)]
    detections = [Detection(str(image % len(images)), score / 4, box) for image, score, box in found]
    counting = any(not one.difficult for image in images for one in image.objects)
    scores = evaluate_detections(images, {"cat": detections}, threshold)
    ours = (scores.mean_ap_11_point, scores.mean_ap_area)

    assert ours == (pytest.approx(_slow_ap(images, detections, threshold)) if counting else (None, None))


def _picture() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.zeros((20, 20, 3), np.uint8)


def _voc_folder(root: Path, class_name: str, lists: dict[str, list[str]], n_images: int = 4) -> None:
    for number in range(n_images):
        write_voc_image(root, f"i{number}", _picture(), [VocObject(class_name, HIT)])
    for split, ids in lists.items():
        write_split(root, split, ids)


@pytest.mark.parametrize(
    ("lists", "class_name", "written_split", "asked", "split", "n_images"),
    [
        pytest.param({"test": ["i0", "i1"], "train": ["i2"]}, "cat", "test", None, "test", 2, id="from the names"),
        pytest.param({"test": ["i0", "i1"], "train": ["i2"]}, "cat", "test", "test", "test", 2, id="as asked"),
        pytest.param({}, "cat", "test", None, None, 4, id="no lists: all images"),
        pytest.param({}, "cat", "test", "test", None, 4, id="no lists, a split asked for"),
        pytest.param({"train": ["i2"]}, "cat", "test", None, None, 4, id="another list: all images"),
        pytest.param({"test_a": ["i0"]}, "big_cat", "test_a", None, "test_a", 1, id="underscores in both"),
        pytest.param({"test": ["i0"], "test_a": ["i1"]}, "cat", "test_a", None, "test_a", 1, id="longest list"),
        pytest.param({"test": ["i0"], "test_a": ["i1"]}, "a_cat", "test", None, "test", 1, id="the one with the class"),
        pytest.param({}, "big_cat", "my_test", None, None, 4, id="no lists, underscores in both"),
    ],
)
def test_split_is_found(
    tmp_path: Path,
    lists: dict[str, list[str]],
    class_name: str,
    written_split: str,
    asked: str | None,
    split: str | None,
    n_images: int,
) -> None:
    """The split comes from the argument or from the file names and lists, underscores or not; the class with it."""
    _voc_folder(tmp_path / "voc", class_name, lists)
    ids = lists.get(split or "", [f"i{number}" for number in range(4)])
    write_detections(tmp_path / "found", written_split, {class_name: [Detection(one, 0.5, HIT) for one in ids]})
    scores = score_directory(tmp_path / "voc", tmp_path / "found", 0.5, asked)

    assert (scores.split, scores.n_images) == (split, n_images)
    assert {name: score.ap_area for name, score in scores.per_class.items()} == {class_name: pytest.approx(1.0)}


def test_annotated_class_without_a_file_scores_zero(tmp_path: Path) -> None:
    """Leaving a class out does not raise the mean."""
    _voc_folder(tmp_path / "voc", "cat", {"test": ["i0", "i1"]}, 2)
    write_voc_image(tmp_path / "voc", "i1", _picture(), [VocObject("dog", HIT)])
    write_detections(tmp_path / "found", "test", {"cat": [Detection("i0", 0.5, HIT)]})
    scores = score_directory(tmp_path / "voc", tmp_path / "found", 0.5)

    assert scores.per_class["dog"].ap_11_point == 0.0
    assert scores.mean_ap_11_point == pytest.approx(0.5)


def test_detections_of_several_splits_need_a_choice(tmp_path: Path) -> None:
    """Mixed files are refused with their names; a split that has no file is refused too."""
    _voc_folder(tmp_path / "voc", "cat", {"test": ["i0"], "train": ["i1"]}, 2)
    write_detections(tmp_path / "found", "test", {"cat": [Detection("i0", 0.5, HIT)]})
    write_detections(tmp_path / "found", "train", {"cat": [Detection("i1", 0.5, HIT)]})

    with pytest.raises(InvalidInput, match=r"several splits \(test_cat, train_cat\)"):
        score_directory(tmp_path / "voc", tmp_path / "found", 0.5)
    with pytest.raises(InvalidInput, match="no detections of split 'val'"):
        score_directory(tmp_path / "voc", tmp_path / "found", 0.5, "val")
    assert score_directory(tmp_path / "voc", tmp_path / "found", 0.5, "train").mean_ap_area == 1.0


def test_image_outside_the_split_is_refused_with_its_line(tmp_path: Path) -> None:
    """The message names file, line and image."""
    _voc_folder(tmp_path / "voc", "cat", {"test": ["i0"]}, 2)
    write_detections(tmp_path / "found", "test", {"cat": [Detection("i0", 0.5, HIT), Detection("i1", 0.5, HIT)]})

    with pytest.raises(InvalidInput, match=r"comp4_det_test_cat.txt, line 2: image 'i1' is not among"):
        score_directory(tmp_path / "voc", tmp_path / "found", 0.5)


def test_many_detections_are_quick() -> None:
    """A hundred thousand detections in 1,000 images take far less than their share of 20 s for a hundred times more."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 300, (100_000, 2))
    boxes = np.concatenate([corners, corners + rng.integers(10, 200, (100_000, 2))], axis=1).astype(float).tolist()
    images = [
        VocImage(
            str(number), Path("x"), 500, 500, tuple(VocObject("cat", tuple(box)) for box in boxes[number : number + 3])
        )
        for number in range(1000)
    ]
    detections = [Detection(str(i % 1000), i * 7 % 1009 / 1009, tuple(box)) for i, box in enumerate(boxes)]
    start = time.process_time()
    scores = evaluate_detections(images, {"cat": detections})

    assert time.process_time() - start < 4
    assert scores.per_class["cat"].n_detections == 100_000
