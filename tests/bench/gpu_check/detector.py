"""Fast R-CNN on the device against the CPU, on drawn images."""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.bench.gpu_check.rows import DeviceMemory, Figure, Row, Stopwatch
from tests.bench.gpu_check.setup import Setup
from watchmove.pipeline.arrays import BoxArray
from watchmove.pipeline.detection.fast_rcnn import FastRCNN
from watchmove.pipeline.detection.proposals import selective_search
from watchmove.pipeline.detection.testing import _outputs
from watchmove.pipeline.detection.training import DetectorHooks, DetectorProgress, train_detector
from watchmove.pipeline.detection.training_set import proposals_of
from watchmove.pipeline.networks.alexnet import random_backbone
from watchmove.pipeline.networks.alexnet_shape import SHAPES as TRUNK_SHAPES
from watchmove.pipeline.settings.evaluation import EvaluationSettings, ProposalSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.voc.annotations import VocImage, read_image, read_voc
from watchmove.pipeline.world.drawing import draw_world
from watchmove.pipeline.world.shapes import SHAPES

FIRST_LOSS, LAST_LOSS, PROBABILITY = 0.005, 0.05, 0.01
"""Most difference of the loss as a part of the CPU's, in the first step and in the mean of the last ones, and largest
difference of a probability. Set by hand."""
_UNTIMED_STEPS, _LAST = 2, 3
"""Steps before the clock starts, and number of the last steps whose mean loss is compared. Set by hand."""


@dataclass
class Training:
    """Losses of a detector's training, times at which its steps ended, and the trained detector."""

    losses: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def tell(self, progress: DetectorProgress) -> None:
        """Record that a step has ended."""
        self.losses.append(progress.loss)
        self.ends.append(time.perf_counter())

    def steps_per_second(self) -> float:
        """Speed after the first steps."""
        ends = self.ends[_UNTIMED_STEPS - 1 :]
        return (len(ends) - 1) / (ends[-1] - ends[0])


def detector_rows(setup: Setup) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Training and testing."""
    yield "detector, training", lambda: training_row(setup)
    yield "detector, testing", lambda: testing_row(setup)


def training_row(setup: Setup) -> Row:
    """Train on both devices, and compare losses and speed."""
    memory = DeviceMemory(setup.device)
    ours, _ = train(setup, setup.device)
    mebibytes = memory.mebibytes
    theirs, _ = reference(setup)
    first, tail = (
        abs(np.mean(ours.losses[part]) / np.mean(theirs.losses[part]) - 1) for part in (slice(1), slice(-_LAST, None))
    )
    figures = (
        Figure("difference of the loss, step 1", float(first), FIRST_LOSS),
        Figure(f"of the last of {len(ours.losses)}", float(tail), LAST_LOSS),
    )
    images = _settings(setup, "cpu").images_per_batch
    device, cpu = (images * training.steps_per_second() for training in (ours, theirs))
    return Row("detector, training", figures, "images", (device, cpu), mebibytes)


def testing_row(setup: Setup) -> Row:
    """Test a detector that was trained on the CPU on both devices, and compare probabilities and speed."""
    images, proposals = drawn_images(setup)
    memory, watches = DeviceMemory(setup.device), (Stopwatch(), Stopwatch())
    found = []
    for place, watch in zip((setup.device, "cpu"), watches, strict=True):
        model, settings = copy.deepcopy(reference(setup)[1]).to(place), _settings(setup, place)
        _probabilities(model, images[0], proposals, settings)  # the first call allocates memory and chooses kernels
        found.append([watch.of(partial(_probabilities, model, image, proposals, settings)) for image in images])
    largest = max(float((a - b).abs().max()) for a, b in zip(*found, strict=True))
    figure = Figure("largest difference of a probability", largest, PROBABILITY)
    device, cpu = (len(images) / watch.seconds for watch in watches)
    return Row("detector, testing", (figure,), "images", (device, cpu), memory.mebibytes)


@torch.no_grad()
def _probabilities(
    model: FastRCNN, image: VocImage, proposals: Mapping[str, BoxArray], settings: EvaluationSettings
) -> Tensor:
    """Probabilities (P, C) of an image's proposals, on the CPU."""
    return _outputs(model, read_image(image.path), proposals_of(image, proposals), settings)[0]


@cache
def reference(setup: Setup) -> tuple[Training, FastRCNN]:
    """The training on the CPU, and its detector."""
    return train(setup, "cpu")


def train(setup: Setup, device: str) -> tuple[Training, FastRCNN]:
    """Train a detector on a device from random weights, without dropout, which draws other units on a GPU."""
    training, (images, proposals) = Training(), drawn_images(setup)
    trunk = random_backbone(0, TRUNK_SHAPES[setup.sizes.trunk])
    with tempfile.TemporaryDirectory(dir=setup.folder) as folder:
        hooks = DetectorHooks(Path(folder), training.tell)
        model = train_detector(trunk, images, proposals, SHAPES, _settings(setup, device), hooks).model
    return training, model


@cache
def drawn_images(setup: Setup) -> tuple[tuple[VocImage, ...], dict[str, BoxArray]]:
    """Drawn images with their annotations, and the proposals of each."""
    draw_world(setup.folder / "images", WorldSettings(videos=0, train_images=setup.sizes.images, test_images=0))
    images = read_voc(setup.folder / "images" / "voc", "train")
    search = ProposalSettings(mode="single")
    return images, {image.image_id: selective_search(read_image(image.path), search) for image in images}


def _settings(setup: Setup, device: str) -> EvaluationSettings:
    sizes = {"shorter_side_pixels": setup.sizes.detector_side, "iterations": setup.sizes.detector_steps}
    return EvaluationSettings.model_validate({"device": device, "dropout": 0, **sizes})
