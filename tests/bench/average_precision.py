"""How long average precision takes: `python tests/bench/average_precision.py [--images 5000] [--classes 20]`.

Random objects, and `--detections` of every class in every image, ten million in all. Two ways: from detections in
memory, class by class, and with --files from comp4_det files against VOC's XML, both of which it reads. Prints JSON,
seconds of the clock and of the processor, and ends with 1 where a way takes more than `--bound-seconds`.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.voc.annotations import VocImage, VocObject, write_split, write_voc_image
from watchmove.pipeline.voc.average_precision import evaluate_detections, score_directory
from watchmove.pipeline.voc.detections import Detection, write_detections

_WIDTH, _HEIGHT = 500, 375
"""Pixels of an image: a usual size in VOC 2007."""
_OBJECTS_PER_IMAGE = 3
"""Set by hand, near the mean of VOC 2007."""
_NEAR_SHARE = 0.1
"""Share of the detections that are drawn near an object; set by hand."""


def _boxes(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Boxes xyxy of integer corners, float64 (count, 4), within the image."""
    start = generator.integers(0, [300, 225], (count, 2))
    return np.concatenate([start, start + generator.integers(20, 150, (count, 2))], axis=1).astype(np.float64)


def made_up_images(n_images: int, n_classes: int) -> list[VocImage]:
    """Images with three objects each, of which a tenth are difficult."""
    generator, images = np.random.default_rng(0), []
    for number in range(n_images):
        rows = zip(_boxes(generator, _OBJECTS_PER_IMAGE).tolist(), generator.random(_OBJECTS_PER_IMAGE), strict=True)
        objects = [VocObject(f"class{generator.integers(n_classes):02d}", tuple(box), odd < 0.1) for box, odd in rows]
        images.append(VocImage(f"{number:06d}", Path(f"{number:06d}.jpg"), _WIDTH, _HEIGHT, tuple(objects)))
    return images


def made_up_detections(images: Sequence[VocImage], number: int, per_image: int) -> list[Detection]:
    """Detections of one class: a tenth are near an object of the image, of whatever class, the rest anywhere."""
    generator, found = np.random.default_rng([1, number]), []
    n_near = max(int(per_image * _NEAR_SHARE), 1)
    for image in images:
        boxes, objects = _boxes(generator, per_image), np.array([one.box_xyxy for one in image.objects])
        boxes[:n_near] = objects[generator.integers(0, len(objects), n_near)] + generator.normal(0, 3, (n_near, 4))
        scores = generator.random(per_image)
        rows = zip(scores.tolist(), boxes.tolist(), strict=True)
        found += [Detection(image.image_id, score, tuple(box)) for score, box in rows]
    return found


class _Clock:
    """Context manager that measures wall and processor seconds of its block."""

    def __init__(self) -> None:
        self.seconds = self.processor_seconds = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.monotonic() - self._began[0]
        self.processor_seconds += time.process_time() - self._began[1]


def by_class(options: argparse.Namespace, images: Sequence[VocImage]) -> Iterator[tuple[str, list[Detection]]]:
    """Each class with its detections, one at a time in memory."""
    for number in range(options.classes):
        yield f"class{number:02d}", made_up_detections(images, number, options.detections)


def from_memory(options: argparse.Namespace, images: Sequence[VocImage]) -> tuple[_Clock, list[float | None]]:
    """Score each class's detections."""
    clock, scores = _Clock(), []
    for name, found in by_class(options, images):
        with clock:
            scores.append(evaluate_detections(images, {name: found}).per_class[name].ap_area)
    return clock, scores


def from_files(options: argparse.Namespace, images: Sequence[VocImage]) -> tuple[_Clock, list[float | None]]:
    """Write annotations and detections to a folder, and score the folder."""
    with tempfile.TemporaryDirectory() as folder:
        root, picture = Path(folder), np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
        for image in images:
            write_voc_image(root / "voc", image.image_id, picture, image.objects)
        write_split(root / "voc", "test", [image.image_id for image in images])
        for name, found in by_class(options, images):
            write_detections(root / "detections", "test", {name: found})
        clock = _Clock()
        with clock:
            scores = score_directory(root / "voc", root / "detections", 0.5)
    return clock, [score.ap_area for _, score in sorted(scores.per_class.items())]


def main() -> None:
    """Parse the arguments, measure, and print the result."""
    parser = argparse.ArgumentParser(description="Measure how long average precision takes.")
    parser.add_argument("--images", type=int, default=5000, help="images of the set")
    parser.add_argument("--classes", type=int, default=20, help="classes")
    parser.add_argument("--detections", type=int, default=100, help="detections of each class in each image")
    parser.add_argument("--bound-seconds", type=float, default=20.0, help="most seconds of processor time allowed")
    parser.add_argument("--files", action="store_true", help="read files instead (1 GB in the temporary folder)")
    options = parser.parse_args()
    clock, scores = (from_files if options.files else from_memory)(
        options, made_up_images(options.images, options.classes)
    )
    known = [score for score in scores if score is not None]
    figures = {
        "detections": options.images * options.classes * options.detections,
        "seconds": round(clock.seconds, 2),
        "processor_seconds": round(clock.processor_seconds, 2),
        "mean_ap_area": round(float(np.mean(known)), 6),
    }
    print(json.dumps(figures))
    sys.exit(int(clock.processor_seconds > options.bound_seconds))


if __name__ == "__main__":
    main()
