"""How good and how fast a detector is: `python tests/bench/detection.py --voc DIR [--preset quick] [KEY=VALUE ...]`.

DIR is a set in VOC's layout with the splits named by --train and --test. KEY=VALUE are detector settings in YAML, such
as seed=1. Prints one line of JSON: seconds of the clock and of the processor for each part, recall of the proposals,
mAP, AP of every class, and mAP on the images of training, which shows whether it is data or steps that lack.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torchvision.ops import box_iou

from watchmove.pipeline.detection.proposal_files import proposals_from_bytes, proposals_to_bytes
from watchmove.pipeline.detection.proposals import selective_search
from watchmove.pipeline.detection.testing import detect_objects
from watchmove.pipeline.detection.training import DetectorHooks, train_detector
from watchmove.pipeline.networks.alexnet import load_backbone, random_backbone
from watchmove.pipeline.settings.evaluation import QUICK, EvaluationSettings
from watchmove.pipeline.voc.annotations import VocImage, read_image, read_voc
from watchmove.pipeline.voc.average_precision import evaluate_detections

Proposals = dict[str, NDArray[np.float32]]


def recall(images: Sequence[VocImage], proposals: Mapping[str, NDArray[np.float32]], iou: float) -> float:
    """Fraction of annotated objects that some proposal overlaps by `iou` or more."""
    hits = []
    for image in images:
        if image.objects and len(proposals[image.image_id]):
            objects = torch.tensor([one.box_xyxy for one in image.objects], dtype=torch.float32)
            best = box_iou(objects, torch.from_numpy(proposals[image.image_id])).max(dim=1).values
            hits += (best >= iou).tolist()
    return float(np.mean(hits))


def searched(images: Sequence[VocImage], settings: EvaluationSettings, cache: Path | None) -> Proposals:
    """Proposals of all images, from the cache file where it exists."""
    if cache is not None and cache.is_file():
        return proposals_from_bytes(cache.read_bytes(), str(cache))
    proposals = {image.image_id: selective_search(read_image(image.path), settings.proposals) for image in images}
    if cache is not None:
        cache.write_bytes(proposals_to_bytes(proposals))
    return proposals


class _Stopwatch:
    """Wall and processor seconds since the previous reading."""

    def __init__(self) -> None:
        self._before = self._now()

    def read(self) -> list[float]:
        """Wall and processor seconds, rounded to a tenth."""
        now, before = self._now(), self._before
        self._before = now
        return [round(later - earlier, 1) for later, earlier in zip(now, before, strict=True)]

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.monotonic(), time.process_time()


def measure(options: argparse.Namespace, settings: EvaluationSettings) -> dict[str, Any]:
    """Search proposals, train, test and score a detector once."""
    train, test = (read_voc(options.voc, split) for split in (options.train, options.test))
    stopwatch = _Stopwatch()
    proposals = searched([*train, *test], settings, options.proposals)
    search_seconds = stopwatch.read()
    trunk = load_backbone(options.backbone) if options.backbone else random_backbone(settings.seed)
    classes = sorted({one.name for image in train for one in image.objects})
    with tempfile.TemporaryDirectory() as folder:
        detector = train_detector(trunk, train, proposals, classes, settings, DetectorHooks(Path(folder)))
    train_seconds = stopwatch.read()
    scores = evaluate_detections(test, detect_objects(detector.model, test, proposals, settings), 0.5)
    test_seconds = stopwatch.read()
    learnt = evaluate_detections(train, detect_objects(detector.model, train, proposals, settings), 0.5)
    return {
        "search_seconds": search_seconds,
        "train_seconds": train_seconds,
        "test_seconds": test_seconds,
        "recall_at_0.5": round(recall(test, proposals, 0.5), 4),
        "recall_at_0.7": round(recall(test, proposals, 0.7), 4),
        "mean_ap_11_point": scores.mean_ap_11_point,
        "mean_ap_area": scores.mean_ap_area,
        "ap_area": {name: score.ap_area for name, score in scores.per_class.items()},
        "train_mean_ap_11_point": learnt.mean_ap_11_point,
        "last_loss": detector.curve[-1][1],
    }


def main() -> None:
    """Parse the arguments, measure, and print the result."""
    parser = argparse.ArgumentParser(description="Train and test one detector, and measure it.")
    parser.add_argument("--voc", type=Path, required=True, help="set in VOC's layout")
    parser.add_argument("--train", default="train", help="split to learn from")
    parser.add_argument("--test", default="test", help="split to score on")
    parser.add_argument("--backbone", type=Path, help="safetensors trunk; without it a random one")
    parser.add_argument("--preset", choices=("paper", "quick"), default="paper", help="what the settings start from")
    parser.add_argument("--proposals", type=Path, help="file to read proposals from, or to keep them in")
    parser.add_argument("--at-least", type=float, default=0.0, help="end with 1 where the 11-point mAP is lower")
    parser.add_argument("--threads", type=int, default=2, help="threads of the network")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="detector settings")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    words = (word.partition("=") for word in options.settings)
    start = (QUICK if options.preset == "quick" else EvaluationSettings()).model_dump()
    settings = EvaluationSettings.model_validate(start | {key: yaml.safe_load(value) for key, _, value in words})
    figures = measure(options, settings)
    print(json.dumps(figures))
    sys.exit(int(figures["mean_ap_11_point"] < options.at_least))


if __name__ == "__main__":
    main()
