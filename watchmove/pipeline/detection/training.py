"""Training a detector on a trunk: Fast R-CNN's SGD (Girshick, ICCV 2015, section 2.3), stoppable and resumable."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from watchmove.pipeline.arrays import BoxArray
from watchmove.pipeline.detection.fast_rcnn import FastRCNN, detection_loss
from watchmove.pipeline.detection.training_set import Batch, TrainingSet
from watchmove.pipeline.errors import NotFinite, Stopped
from watchmove.pipeline.files.weights import name_of_not_finite
from watchmove.pipeline.networks.alexnet import AlexNet, normalise_image
from watchmove.pipeline.networks.rescaling import (
    RESCALING_IMAGES,
    equalise_rates_of_change,
    rescale_to_unit_variance,
)
from watchmove.pipeline.settings.evaluation import EvaluationSettings
from watchmove.pipeline.training.checkpoints import load_checkpoint, save_checkpoint
from watchmove.pipeline.training.identity import training_identity
from watchmove.pipeline.voc.annotations import VocImage, read_image

_BIAS_RATE = 2.0
"""Learning rate of biases relative to that of weights (Fast R-CNN, section 2.3, SGD hyper-parameters)."""
_CURVE_POINTS = 100
"""Points of the loss curve in the report; set by hand."""


@dataclass
class DetectorHistory:
    """Progress of a training, as checkpoints keep it."""

    iteration: int = 0
    """Steps done."""
    curve: list[tuple[int, float]] = field(default_factory=list)
    """Iteration and mean loss since the point before."""
    pending: list[float] = field(default_factory=list)
    """Losses since the last point."""


@dataclass(frozen=True)
class DetectorProgress:
    """Values that a running training reports after each step."""

    iteration: int
    """Steps done."""
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class DetectorHooks:
    """The folder of a training's checkpoints, and functions that it calls."""

    checkpoint_directory: Path
    on_progress: Callable[[DetectorProgress], None] = field(default=lambda _: None)
    should_stop: Callable[[], bool] = field(default=lambda: False)
    on_checkpoint: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class TrainedDetector:
    """A trained detector and its loss curve."""

    model: FastRCNN
    curve: tuple[tuple[int, float], ...]
    """Iteration, and mean loss since the point before."""


def detector_learning_rate(iteration: int, settings: EvaluationSettings) -> float:
    """Learning rate of weights in step `iteration`, counted from 0: a linear warm-up, then constant between drops.

    It drops each time that another `learning_rate_drop_fraction` of the iterations has passed, as in Caffe's policy
    `step`: once with 0.75, twice with 0.333.
    """
    rate = settings.learning_rate
    if iteration < settings.warmup_iterations:
        rate *= (iteration + 1) / settings.warmup_iterations
    # counted in steps, so that 0.33333 of 150,000 means 50,000 for the second drop too
    steps_between_drops = math.ceil(settings.iterations * settings.learning_rate_drop_fraction)
    return rate * settings.learning_rate_drop_factor ** (iteration // steps_between_drops)


def train_detector(
    trunk: AlexNet,
    images: Sequence[VocImage],
    proposals: Mapping[str, BoxArray],
    classes: Sequence[str],
    settings: EvaluationSettings,
    hooks: DetectorHooks,
) -> TrainedDetector:
    """Train Fast R-CNN on a trunk, which it changes, or continue from the checkpoint in the hooks' folder.

    `proposals` are boxes float32 (P, 4) xyxy in pixels of each image. The same arguments give the same weights on the
    same CPU and number of threads, stopped in between or not. Raises Stopped after saving when `should_stop` is true;
    InvalidInput where an image, its proposals or its class is missing; NotFinite where the loss or a weight is not
    finite, of which no checkpoint is written; Unavailable where a checkpoint cannot be written.
    """
    data = TrainingSet(images, proposals, classes, settings)
    if settings.rescale_trunk:
        _rescale(trunk, data.images, settings)
    model = _new_model(trunk, data, classes, settings)
    optimizer = _optimizer(model, settings)
    image_ids = [image.image_id for image in images]
    identity = training_identity(settings.model_dump(mode="json"), list(classes), image_ids, sort_keys=True)
    folder = hooks.checkpoint_directory
    history = load_checkpoint(folder, model, optimizer, identity, DetectorHistory) or DetectorHistory()

    def save() -> None:
        _check_finite(model, history.iteration, settings)
        save_checkpoint(folder, model, optimizer, vars(history), identity)
        hooks.on_checkpoint()

    model.train()
    for batch in _batches(data, history.iteration, settings.iterations):
        if hooks.should_stop():
            save()
            raise Stopped(
                f"training of the detector stopped at iteration {history.iteration}; run it again to continue"
            )
        loss, rate = _step(model, optimizer, batch, history.iteration, settings)
        _remember(history, loss, settings.iterations)
        hooks.on_progress(DetectorProgress(history.iteration, loss, rate))
        if history.iteration % settings.checkpoint_every_iterations == 0 or history.iteration == settings.iterations:
            save()  # the last one too: testing, which follows, may take hours, and be stopped
    return TrainedDetector(model.eval(), tuple(history.curve))


def _check_finite(model: FastRCNN, iteration: int, settings: EvaluationSettings) -> None:
    """Raise NotFinite if a weight is not finite, which a step with a finite loss can cause."""
    name = name_of_not_finite(model.state_dict())
    if name is not None:
        raise _diverged(f"{name} is not finite", iteration, settings)


def _diverged(what: str, iteration: int, settings: EvaluationSettings) -> NotFinite:
    return NotFinite(
        f"detector: {what} at iteration {iteration}: learning_rate ({settings.learning_rate:g}) is too high; lower it, "
        "or set warmup_iterations or max_gradient_norm"
    )


def _rescale(trunk: AlexNet, images: Sequence[VocImage], settings: EvaluationSettings) -> None:
    """Rescale each layer on some training images, as the settings say, so that one learning rate fits all trunks."""
    chosen = np.random.default_rng(settings.seed).permutation(len(images))[:RESCALING_IMAGES]
    size = (trunk.shape.input_pixels, trunk.shape.input_pixels)
    squares = [cv2.resize(read_image(images[index].path), size, interpolation=cv2.INTER_AREA) for index in chosen]
    pixels = torch.stack([normalise_image(np.asarray(square, np.uint8)) for square in squares])
    if settings.rescaling == "between-layers":
        equalise_rates_of_change(trunk, pixels, settings.seed)
    else:
        rescale_to_unit_variance(trunk, pixels)


def _new_model(trunk: AlexNet, data: TrainingSet, classes: Sequence[str], settings: EvaluationSettings) -> FastRCNN:
    model = FastRCNN(trunk, classes, settings.dropout, settings.seed)
    mean, deviation = data.target_statistics()
    model.target_mean.copy_(mean)
    model.target_deviation.copy_(deviation)
    trunk.freeze_through(settings.freeze_through)
    return model.to(settings.device)


def _optimizer(model: FastRCNN, settings: EvaluationSettings) -> torch.optim.SGD:
    """SGD with twice the learning rate and no weight decay for biases, as published; frozen layers are excluded."""
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    weights = [parameter for name, parameter in trained if not name.endswith("bias")]
    biases = [parameter for name, parameter in trained if name.endswith("bias")]
    groups = [
        {"params": weights, "weight_decay": settings.weight_decay, "rate": 1.0},
        {"params": biases, "weight_decay": 0.0, "rate": _BIAS_RATE},
    ]
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, fused=True)


def _batches(data: TrainingSet, first: int, last: int) -> Iterator[Batch]:
    """Batches of the steps from `first` to `last`, exclusive; a thread reads the next one during each step."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = deque([reader.submit(data.batch, iteration) for iteration in range(first, min(first + 1, last))])
        for iteration in range(first + 1, last + 1):
            batch = coming.popleft().result()
            if iteration < last:
                coming.append(reader.submit(data.batch, iteration))
            yield batch


def _step(
    model: FastRCNN, optimizer: torch.optim.SGD, batch: Batch, iteration: int, settings: EvaluationSettings
) -> tuple[float, float]:
    """One step of SGD; its loss and its learning rate."""
    rate = detector_learning_rate(iteration, settings)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    device = settings.device
    boxes = [regions.boxes_xyxy.to(device) for regions in batch.regions]
    labels = torch.cat([regions.labels for regions in batch.regions]).to(device)
    deltas = torch.cat([regions.deltas for regions in batch.regions]).to(device)
    with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
        # dropout is seeded by the step, so that a resumed training draws the same masks
        # the hash of integers is the same in every process, unlike that of strings
        torch.manual_seed(hash((settings.seed, iteration)))
        scores, given = model(batch.images.to(device), boxes)
    loss = detection_loss(scores, given, labels, model.normalised(deltas, labels))
    if not torch.isfinite(loss):
        raise _diverged(f"the loss is {loss.item()}", iteration, settings)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    if settings.max_gradient_norm:
        parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
        torch.nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm)
    optimizer.step()
    return loss.item(), rate


def _remember(history: DetectorHistory, loss: float, iterations: int) -> None:
    history.iteration += 1
    history.pending.append(loss)
    if len(history.pending) >= max(iterations // _CURVE_POINTS, 1) or history.iteration == iterations:
        history.curve.append((history.iteration, float(np.mean(history.pending))))
        history.pending.clear()
