"""PASCAL VOC's average precision: 11-point (Everingham et al., IJCV 2010, section 4.2) and area (VOC 2010 on).

Equal scores keep the order they are given in. A class without objects that count has no average precision (None) and is
left out of the mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.voc.annotations import VocImage, read_voc, split_names
from watchmove.pipeline.voc.detections import (
    Detection,
    DetectionColumns,
    columns_of,
    detection_files,
    read_detection_file,
)
from watchmove.pipeline.voc.matching import NO_OBJECTS, GroundTruth, ground_truth_by_class, match

_RECALL_LEVELS = np.arange(0.0, 1.1, 0.1)
"""Everingham et al., IJCV 2010, section 4.2. As floats, 0.3, 0.6 and 0.7 are slightly too high.

The published evaluators share these floats, and therefore their figures.
"""


@dataclass(frozen=True)
class ClassScore:
    """One class: average precision in [0, 1], None without objects that count, and how many boxes it is made of."""

    ap_11_point: float | None
    ap_area: float | None
    n_ground_truth: int
    """Objects that count, that is, not difficult."""
    n_difficult: int
    n_detections: int


@dataclass(frozen=True)
class DetectionScores:
    """Average precision per class, and its mean over the classes that have one (None where none has)."""

    per_class: dict[str, ClassScore]
    """In order of class name."""
    mean_ap_11_point: float | None
    mean_ap_area: float | None
    iou_threshold: float
    n_images: int
    split: str | None = None

    @property
    def classes_without_objects(self) -> tuple[str, ...]:
        """Classes that the mean leaves out, because no object of theirs counts."""
        return tuple(name for name, score in self.per_class.items() if score.ap_area is None)

    def as_json(self) -> dict[str, object]:
        """Everything, as plain numbers, strings, lists and dicts; None where there is no figure."""
        return asdict(self) | {"classes_without_objects": list(self.classes_without_objects)}


def average_precision(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> tuple[float, float]:
    """11-point and area average precision of a curve, float64 (N,) each, recall rising; NaN counts as 0 precision."""
    # best[i] is the highest precision at recall[i] or more
    best = np.maximum.accumulate(np.nan_to_num(precision)[::-1])[::-1]
    first = np.searchsorted(recall, _RECALL_LEVELS, side="left")
    # levels of recall that are never reached have a precision of 0
    eleven_point = np.append(best, 0.0)[first].sum() / len(_RECALL_LEVELS)
    area = (np.diff(recall, prepend=0.0) * best).sum()
    return float(eleven_point), float(area)


def _score_class(
    truth: GroundTruth, found: DetectionColumns, numbers: Mapping[str, int], iou_threshold: float
) -> ClassScore:
    n_difficult = int(truth.difficult.sum())
    n_ground_truth = len(truth.difficult) - n_difficult
    if n_ground_truth == 0:
        return ClassScore(None, None, 0, n_difficult, len(found.scores))
    order = np.argsort(-found.scores, kind="stable")
    image_numbers = np.array([numbers[image_id] for image_id in found.image_ids], np.intp)[order]
    true_positive, false_positive = match(image_numbers, found.boxes_xyxy[order], truth, iou_threshold)
    n_true, n_false = np.cumsum(true_positive), np.cumsum(false_positive)
    # detections of difficult objects are in neither sum, so the first sums may be 0
    precision = n_true / np.maximum(n_true + n_false, 1)
    eleven_point, area = average_precision(precision, n_true / n_ground_truth)
    return ClassScore(eleven_point, area, n_ground_truth, n_difficult, len(found.scores))


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not None; None if all are."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


class _Scorer:
    """Scores classes one at a time against prepared ground truth, so that memory holds the detections of one class."""

    def __init__(self, images: Sequence[VocImage], iou_threshold: float) -> None:
        if not 0 < iou_threshold <= 1:
            raise InvalidInput(f"iou threshold ({iou_threshold:g}) must be above 0 and at most 1; 0.5 is VOC's")
        self.numbers = {image.image_id: number for number, image in enumerate(images)}
        if len(self.numbers) < len(images):
            raise InvalidInput("an image id occurs twice among the images scored; list each once")
        self.truth = ground_truth_by_class(images)
        self._iou_threshold = iou_threshold
        self._per_class: dict[str, ClassScore] = {}

    def add(self, name: str, found: DetectionColumns) -> None:
        truth = self.truth.get(name, NO_OBJECTS)
        self._per_class[name] = _score_class(truth, found, self.numbers, self._iou_threshold)

    def scores(self, split: str | None) -> DetectionScores:
        """Scores of the classes added, and of those in the ground truth for which nothing was detected."""
        for name in self.truth.keys() - self._per_class.keys():
            self.add(name, columns_of([]))
        per_class = dict(sorted(self._per_class.items()))
        eleven_point = mean_of_known([score.ap_11_point for score in per_class.values()])
        area = mean_of_known([score.ap_area for score in per_class.values()])
        return DetectionScores(per_class, eleven_point, area, self._iou_threshold, len(self.numbers), split)


def evaluate_detections(
    images: Sequence[VocImage], detections: Mapping[str, Sequence[Detection]], iou_threshold: float = 0.5
) -> DetectionScores:
    """Score detections, by class, against annotated images; every class that either names is scored.

    Detections of equal score count in the order given. Raises InvalidInput for a detection in an image that is not
    among `images`, an image id that occurs twice, or a threshold outside (0, 1].
    """
    scorer = _Scorer(images, iou_threshold)
    for name, found in detections.items():
        if unknown := next((box.image_id for box in found if box.image_id not in scorer.numbers), None):
            raise InvalidInput(f"detections of {name}: image {unknown!r} is not among the images scored; leave it out")
        scorer.add(name, columns_of(found))
    return scorer.scores(None)


def _shared_prefixes(names: Sequence[str]) -> set[str]:
    """Prefixes that all names share, each followed by an underscore and at least one more letter."""
    per_name = [{name[:at] for at, letter in enumerate(name[:-1]) if at and letter == "_"} for name in names]
    return set.intersection(*per_name)


def _split_of_files(voc: Path, directory: Path, names: Sequence[str]) -> tuple[str, str | None]:
    """The SPLIT that files called SPLIT_CLASS share, and the list to read, None where the folder has no such list.

    Both parts may hold underscores: a split that has a list comes first, then the one whose classes are in the
    annotations most often, then the longest of several lists, or the shortest of several guesses.
    """
    shared = _shared_prefixes(names)
    if not shared:
        raise InvalidInput(
            f"{directory}: detections of several splits ({', '.join(names[:6])}); say which with a split"
        )
    listed = shared & set(split_names(voc))
    if len(listed) == 1:
        return next(iter(listed)), next(iter(listed))

    def plausibility(split: str) -> tuple[int, int]:
        known = ground_truth_by_class(read_voc(voc, split if listed else None))
        return sum(name[len(split) + 1 :] in known for name in names), len(split) if listed else -len(split)

    # sorted, because a set of strings has another order in every process
    best = max(sorted(listed or shared), key=plausibility)
    return best, best if listed else None


def score_directory(voc: Path, detections: Path, iou_threshold: float, split: str | None = None) -> DetectionScores:
    """Score the comp4_det_SPLIT_CLASS.txt files of a folder against a VOC folder, or a plain folder of XML files.

    The images are those of ImageSets/Main/SPLIT.txt for the split given, or else for the one that the files' names
    share where it has such a list, or else all annotated ones; these too where a split is given to a folder without any
    list. A class that is annotated and has no file scores 0. Raises InvalidInput as the readers do, and where no file
    is of the split, or files are of several.
    """
    files = detection_files(detections)
    if split is None:
        prefix, listed = _split_of_files(voc, detections, list(files))
    else:
        prefix, listed = split, split if split_names(voc) else None
    of_split = {name[len(prefix) + 1 :]: path for name, path in files.items() if name.startswith(f"{prefix}_")}
    if not of_split:
        raise InvalidInput(f"{detections}: no detections of split {prefix!r}, only {', '.join(list(files)[:6])}")
    scorer = _Scorer(read_voc(voc, listed), iou_threshold)
    for class_name, path in of_split.items():
        scorer.add(class_name, read_detection_file(path, scorer.numbers))
    return scorer.scores(listed)
