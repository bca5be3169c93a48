"""Cost of a detector compared with its network alone: `python tests/bench/detector_speed.py [--regions 2000 ...]`.

One random picture, trained on and tested on. Prints JSON, in processor seconds an image: all of a training step and all
of detection, each beside the bare network (convolutions, torchvision's roi_pool, fully connected layers, in training
with the gradient and SGD's step) on the same tensors, and the ratio of the two.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from watchmove.pipeline.detection.fast_rcnn import FastRCNN, detection_loss
from watchmove.pipeline.detection.images import network_image
from watchmove.pipeline.detection.testing import detect_in_image
from watchmove.pipeline.detection.training import _optimizer, _step
from watchmove.pipeline.detection.training_set import TrainingSet
from watchmove.pipeline.networks.alexnet import random_backbone
from watchmove.pipeline.settings.evaluation import EvaluationSettings
from watchmove.pipeline.voc.annotations import VocImage, VocObject, read_image


def seconds_of(work: Callable[[], object], repeats: int) -> float:
    """Least processor seconds of one call; a first call warms up and is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def _picture(folder: Path, width: int, regions: int) -> tuple[VocImage, dict[str, np.ndarray]]:
    generator, height = np.random.default_rng(0), width * 3 // 4
    cv2.imwrite(str(folder / "a.jpg"), generator.integers(0, 255, (height, width, 3)).astype(np.uint8))
    box = (0.2 * width, 0.2 * height, 0.7 * width, 0.8 * height)
    image = VocImage("a", folder / "a.jpg", width, height, (VocObject("cat", box),))
    corners = generator.random((regions, 4)) * [width * 0.6, height * 0.6, width * 0.3, height * 0.3]
    corners[:, 2:] += corners[:, :2] + 16
    near = np.array(box) + generator.normal(0, 0.03 * width, (regions // 10, 4))
    return image, {"a": np.concatenate([corners, near]).clip(0, [width, height] * 2).astype(np.float32)}


def measure(width: int, regions: int, repeats: int) -> dict[str, float]:
    """Processor seconds of the detector and of its network alone, and their ratios."""
    settings = EvaluationSettings()
    with tempfile.TemporaryDirectory() as folder:
        image, proposals = _picture(Path(folder), width, regions)
        model = FastRCNN(random_backbone(0), ["cat"], settings.dropout, 0)
        data, optimizer = TrainingSet([image], proposals, ["cat"], settings), _optimizer(model, settings)
        batch = data.batch(0)
        labels = torch.cat([one.labels for one in batch.regions])
        targets = torch.cat([one.deltas for one in batch.regions])
        boxes = [one.boxes_xyxy for one in batch.regions]

        def bare_step() -> None:
            scores, deltas = model(batch.images, boxes)
            loss = detection_loss(scores, deltas, labels, targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

        train = seconds_of(lambda: _step(model, optimizer, data.batch(0), 0, settings), repeats) / 2
        bare_train = seconds_of(bare_step, repeats) / 2
        model.eval()
        found = torch.from_numpy(proposals["a"])
        pixels, scale = network_image(read_image(image.path), settings)
        parts = torch.split(found * scale, settings.rois_per_forward)

        @torch.no_grad()
        def bare_test() -> list[tuple[Tensor, Tensor]]:
            features = model.features(pixels[None])
            return [model.outputs(model.pooled(features, [part])) for part in parts]

        test = seconds_of(lambda: detect_in_image(model, read_image(image.path), found, settings), repeats)
        bare = seconds_of(bare_test, repeats)
    names = ("train", "bare_train", "train_over_bare", "test", "bare_test", "test_over_bare")
    values = (train, bare_train, train / bare_train, test, bare, test / bare)
    return dict(zip(names, (round(value, 4) for value in values), strict=True))


def main() -> None:
    """Parse the arguments, measure, and print the result."""
    parser = argparse.ArgumentParser(description="Measure what a detector costs around its network.")
    parser.add_argument("--width", type=int, default=500, help="width of the picture, in pixels")
    parser.add_argument("--regions", type=int, default=2000, help="proposals of the picture")
    parser.add_argument("--repeats", type=int, default=3, help="calls of which the quickest counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(json.dumps(measure(options.width, options.regions, options.repeats)))


if __name__ == "__main__":
    main()
