"""Detections as PASCAL VOC's development kit reads them: comp4_det_SPLIT_CLASS.txt, one line a box.

A line is `image_id score xmin ymin xmax ymax`, boxes 1-based with their last pixel inside; boxes become 0-based,
max exclusive here. An image id may hold spaces, a split or a class underscores.
"""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import write_bytes
from watchmove.pipeline.files.numbers import number_of
from watchmove.pipeline.files.text_lines import text_lines

_PREFIX = "comp4_det_"
_NAME = re.compile(r"comp[34](?:[-_][0-9A-Za-z-]+)?_det_(.+_.+)\.txt", re.IGNORECASE)
"""Names of result files: VOC's own, and those in which reference codes put a number or a UUID, as `comp4-12345_det_`.
Competition 3 differs from 4 in its training data alone."""

_WANTED = "a line is 'image_id score xmin ymin xmax ymax'"


@dataclass(frozen=True, slots=True)
class Detection:
    """One box that a detector reports for one class; a higher score is more confident."""

    image_id: str
    score: float
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class DetectionColumns:
    """The detections of one class as arrays, in the file's order: a class can have millions."""

    image_ids: Sequence[str]
    scores: NDArray[np.float64]
    """float64 (N,)."""
    boxes_xyxy: NDArray[np.float64]
    """float64 (N, 4), 0-based, max exclusive."""


def columns_of(detections: Sequence[Detection]) -> DetectionColumns:
    """Detections as columns, in the same order."""
    return DetectionColumns(
        [detection.image_id for detection in detections],
        np.array([detection.score for detection in detections], np.float64),
        np.array([detection.box_xyxy for detection in detections], np.float64).reshape(-1, 4),
    )


def detection_files(directory: Path) -> dict[str, Path]:
    """The detection files of a folder, by what their names say after `_det_`: SPLIT_CLASS, in order of that.

    Raises InvalidInput where there is none, where one is no file, or where two are of one split and class.
    """
    files: dict[str, Path] = {}
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        if match := _NAME.fullmatch(path.name):
            if not path.is_file():
                raise InvalidInput(f"{path}: not a file; give a file of detections there or remove it")
            other = files.setdefault(match.group(1), path)
            if other is not path:
                raise InvalidInput(f"{directory}: {other.name} and {path.name} are of one class; remove one of them")
    if not files:
        raise InvalidInput(f"{directory}: no {_PREFIX}SPLIT_CLASS.txt here; give the folder that holds such files")
    return dict(sorted(files.items()))


def _complaint(line: str, image_ids: Container[str] | None) -> str | None:
    """What is wrong with one line, or None."""
    fields = line.strip().rsplit(None, 5)
    if len(fields) != 6:
        return f"{len(fields)} fields; {_WANTED}"
    try:
        numbers = np.array([number_of(field) for field in fields[1:]])
    except ValueError as error:
        return f"{error}; {_WANTED}"
    if not np.isfinite(numbers).all():
        return "a number is not finite; remove the line or give real numbers"
    # the last pixel is included, so a side is maximum - minimum + 1; a side of 0 is accepted
    if numbers[3] < numbers[1] - 1 or numbers[4] < numbers[2] - 1:
        return f"the box ends before it begins; {_WANTED}"
    if image_ids is not None and fields[0] not in image_ids:
        return f"image {fields[0]!r} is not among the images scored; remove the line or score the split that has it"
    return None


def _raise_for_bad_line(path: Path, lines: Sequence[str], image_ids: Container[str] | None) -> None:
    for number, line in enumerate(lines, start=1):
        if line.strip() and (complaint := _complaint(line, image_ids)):
            raise InvalidInput(f"{path}, line {number}: {complaint}")


def _columns_of_lines(lines: Sequence[str]) -> DetectionColumns:
    """Columns of lines that each hold an id without spaces and five numbers. Raises ValueError for any other line."""
    rows = [line.strip().partition(" ") for line in lines if line.strip()]
    if not rows:
        return columns_of([])
    if not all(numbers for _, _, numbers in rows):
        raise ValueError("not six fields")
    # comments=None, because by default a line with more text after a # would be accepted
    numbers = np.loadtxt([numbers for _, _, numbers in rows], np.float64, comments=None, ndmin=2)
    if numbers.shape != (len(rows), 5):
        raise ValueError("not six fields")
    return DetectionColumns([image_id for image_id, _, _ in rows], numbers[:, 0], numbers[:, 1:] - [1, 1, 0, 0])


def _columns_of_odd_lines(lines: Sequence[str]) -> DetectionColumns:
    """Columns of valid lines whose fields are separated by any white space, or whose ids contain spaces."""
    rows = [line.strip().rsplit(None, 5) for line in lines if line.strip()]
    numbers = np.array([[number_of(field) for field in row[1:]] for row in rows])
    return DetectionColumns([row[0] for row in rows], numbers[:, 0], numbers[:, 1:] - [1, 1, 0, 0])


def _is_sound(columns: DetectionColumns, image_ids: Container[str] | None) -> bool:
    extents = columns.boxes_xyxy[:, 2:] - columns.boxes_xyxy[:, :2]
    known = image_ids is None or all(image_id in image_ids for image_id in columns.image_ids)
    return known and bool(np.isfinite(columns.scores).all() and np.isfinite(extents).all() and (extents >= 0).all())


def read_detection_file(path: Path, image_ids: Container[str] | None = None) -> DetectionColumns:
    """Read one class's detections, in the file's order; with `image_ids`, only these may occur.

    Raises InvalidInput that names file, line and fix for a line of another form, a number that is not finite, a box
    that ends before it begins, or an image that is not known.
    """
    lines = text_lines(path, _WANTED)
    try:
        columns = _columns_of_lines(lines)
    except ValueError:
        # lines are examined one by one only if reading all at once has failed
        _raise_for_bad_line(path, lines, image_ids)
        columns = _columns_of_odd_lines(lines)
    if not _is_sound(columns, image_ids):
        _raise_for_bad_line(path, lines, image_ids)
    return columns


def read_detections(directory: Path, split: str, image_ids: Container[str] | None = None) -> dict[str, list[Detection]]:
    """Read comp4_det_SPLIT_CLASS.txt of every class of one split. Raises InvalidInput as `read_detection_file` does."""
    detections = {}
    for name, path in detection_files(directory).items():
        if name.startswith(f"{split}_"):
            columns = read_detection_file(path, image_ids)
            boxes = (tuple(box) for box in columns.boxes_xyxy.tolist())
            rows = zip(columns.image_ids, columns.scores.tolist(), boxes, strict=True)
            detections[name.removeprefix(f"{split}_")] = [Detection(*row) for row in rows]
    return detections


def write_detections(directory: Path, split: str, detections: Mapping[str, Sequence[Detection]]) -> None:
    """Write one comp4_det_SPLIT_CLASS.txt for each class, in the given order, corners to 6 decimals.

    Scores have nine significant digits, which keep any two different float32 values apart, and so the order of boxes.
    """
    for class_name, found in detections.items():
        lines = [
            f"{box.image_id} {box.score:.9g} {x0 + 1:.6f} {y0 + 1:.6f} {x1:.6f} {y1:.6f}\n"
            for box in found
            for x0, y0, x1, y1 in [box.box_xyxy]
        ]
        write_bytes(directory / f"{_PREFIX}{split}_{class_name}.txt", "".join(lines).encode())
