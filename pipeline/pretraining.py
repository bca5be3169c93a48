"""Pretraining: SGD on certain pixels of what moved (Pathak et al., CVPR 2017, section 5), stoppable and resumable."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from pipeline.alexnet import random_backbone, save_backbone
from pipeline.checkpoints import load_checkpoint, save_checkpoint
from pipeline.errors import InvalidInput, Stopped
from pipeline.mask_dataset import Batch, MaskDataset, normalised
from pipeline.mask_network import MaskNetwork, mask_iou, mask_loss
from pipeline.settings.pretraining import PretrainingSettings

BACKBONE_NAME = "backbone.safetensors"
_READERS = max(1, min(8, (os.cpu_count() or 1) // 2))
_PREFETCHED_BATCHES = _READERS + 2
_CURVE_POINTS = 100


@dataclass(frozen=True)
class PretrainingProgress:
    """What a training tells while it runs."""

    iteration: int
    iterations: int
    loss: float
    images_per_second: float
    frames_unusable: int


@dataclass(frozen=True)
class CurvePoint:
    """`loss` is the mean since the point before; `validation_iou` in [0, 1] where it was measured."""

    iteration: int
    loss: float
    learning_rate: float
    validation_iou: float | None


@dataclass(frozen=True)
class PretrainingResult:
    """The curve, the backbone's file, the speed of this process's part of the training, and frames passed over."""

    curve: tuple[CurvePoint, ...]
    backbone: Path
    images_per_second: float
    frames_unusable: int


@dataclass(frozen=True)
class PretrainingHooks:
    """Where a training keeps its checkpoint and its result, and whom it tells."""

    directory: Path
    on_progress: Callable[[PretrainingProgress], None] = field(default=lambda _: None)
    should_stop: Callable[[], bool] = field(default=lambda: False)
    on_checkpoint: Callable[[], None] = field(default=lambda: None)


@dataclass
class _History:
    """How far a training is; goes into its checkpoint."""

    iteration: int = 0
    frames_read: int = 0
    frames_unusable: int = 0
    pending: list[float] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)


def learning_rate(iteration: int, settings: PretrainingSettings) -> float:
    """Learning rate in step `iteration` (from 0): a linear rise, then a cosine to zero."""
    warmup = settings.warmup_fraction * settings.iterations
    if iteration < warmup:
        return settings.learning_rate * (iteration + 1) / (warmup + 1)
    done = (iteration - warmup) / (settings.iterations - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def pretrain(shards: Sequence[Path], settings: PretrainingSettings, hooks: PretrainingHooks) -> PretrainingResult:
    """Train on tar shards of frames with soft masks, or continue from the checkpoint in the hooks' folder.

    The same shards and settings give the same weights on the same CPU and number of threads, stopped in between or not.

    Raises:
        Stopped: told to stop; a checkpoint has been saved.
        InvalidInput: no frames, too many that cannot be used, or a loss that is no longer finite.
        Unavailable: the disk refuses.
    """
    device = _device(settings.device)
    data = MaskDataset(shards, settings)
    trunk = random_backbone(settings.seed, batch_norm=settings.batch_norm)
    trunk.drop6.p = trunk.drop7.p = settings.dropout
    network = MaskNetwork(trunk, torch.Generator().manual_seed(settings.seed))
    # Channels last: a tenth faster on CPUs, more on GPUs.
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(network, settings)
    identity = _identity(data, settings)
    history = _restored(load_checkpoint(hooks.directory, network, optimizer, identity))
    validation = data.validation_batches()

    def save() -> None:
        _check_finite(network, history, settings)
        save_checkpoint(hooks.directory, network, optimizer, asdict(history), identity)
        hooks.on_checkpoint()

    began, first = time.monotonic(), history.iteration
    for batch in _batches(data, history.iteration, settings.iterations):
        if hooks.should_stop():
            save()
            raise Stopped(f"pretraining stopped at iteration {history.iteration}; run it again to continue")
        _step(network, optimizer, batch, history, settings)
        speed = (history.iteration - first) * settings.batch_size / (time.monotonic() - began)
        loss, unusable = history.pending[-1], history.frames_unusable
        hooks.on_progress(PretrainingProgress(history.iteration, settings.iterations, loss, speed, unusable))
        _note(network, validation, history, settings)
        if history.iteration % settings.checkpoint_every_iterations == 0 and history.iteration < settings.iterations:
            save()
    speed = (history.iteration - first) * settings.batch_size / max(time.monotonic() - began, 1e-9)
    _check_finite(network, history, settings)
    backbone = hooks.directory / BACKBONE_NAME
    save_backbone(trunk.cpu(), backbone, {"identity": identity, "iterations": str(settings.iterations)})
    return PretrainingResult(tuple(history.curve), backbone, speed, history.frames_unusable)


def _step(
    network: MaskNetwork, optimizer: torch.optim.SGD, batch: Batch, history: _History, settings: PretrainingSettings
) -> None:
    """One step of SGD; batch normalisation needs two frames, so a smaller batch is passed over."""
    history.frames_read += len(batch.images) + batch.unusable
    history.frames_unusable += batch.unusable
    _check_corrupt(history, settings)
    device = network.mask.weight.device
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(history.iteration, settings)
    # Dropout of a step is drawn from its number, so that a resumed training drops the same units.
    torch.manual_seed(settings.seed * 1_000_003 + history.iteration)
    history.iteration += 1
    if len(batch.images) < 2:
        history.pending.append(history.pending[-1] if history.pending else math.log(2))
        return
    network.train()
    loss = mask_loss(network(normalised(batch.images.to(device))), batch.trimaps.to(device))
    value = float(loss.detach())
    if not math.isfinite(value):
        raise _diverged(f"loss is {value}", history, settings)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    history.pending.append(value)


def _check_finite(network: MaskNetwork, history: _History, settings: PretrainingSettings) -> None:
    """Raise before weights that are no longer finite replace good ones: a step can ruin them after a finite loss."""
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise _diverged(f"{name} is not finite", history, settings)


def _diverged(what: str, history: _History, settings: PretrainingSettings) -> InvalidInput:
    rate = f"pretrain.learning_rate ({settings.learning_rate})"
    return InvalidInput(f"{what} at iteration {history.iteration}; lower {rate}; the last good checkpoint stays")


def _check_corrupt(history: _History, settings: PretrainingSettings) -> None:
    """Raise when more frames than allowed could not be used; one bad batch at the start is forgiven."""
    allowed = settings.max_corrupt_fraction * max(history.frames_read, 100 * settings.batch_size)
    if history.frames_unusable > allowed:
        counts = f"{history.frames_unusable} of {history.frames_read} frames"
        rule = f"pretrain.max_corrupt_fraction ({settings.max_corrupt_fraction})"
        raise InvalidInput(f"{counts} cannot be decoded or show no certain object, above {rule}; extract them again")


def _note(network: MaskNetwork, validation: Sequence[Batch], history: _History, settings: PretrainingSettings) -> None:
    """Add a point to the curve where one is due; held-out IoU is measured more rarely and at the end."""
    measured = history.iteration % settings.validate_every_iterations == 0 or history.iteration == settings.iterations
    due = history.iteration % max(1, settings.iterations // _CURVE_POINTS) == 0
    if not (measured or due):
        return
    iou = _validation_iou(network, validation) if measured else None
    mean = sum(history.pending) / len(history.pending)
    rate = learning_rate(history.iteration - 1, settings)
    history.curve.append(CurvePoint(history.iteration, mean, rate, iou))
    history.pending = []


@torch.no_grad()
def _validation_iou(network: MaskNetwork, validation: Sequence[Batch]) -> float | None:
    """Mean IoU on held-out videos, in [0, 1]; None without any."""
    network.eval()
    device = network.mask.weight.device
    ious = [
        mask_iou(network(normalised(batch.images.to(device))), batch.trimaps.to(device))
        for batch in validation
        if len(batch.images)
    ]
    return float(torch.cat(ious).mean()) if ious else None


def _batches(data: MaskDataset, first: int, last: int) -> Iterator[Batch]:
    """Batches of steps `first` to `last` - 1, prepared ahead by threads while the network computes."""
    with ThreadPoolExecutor(_READERS) as pool:
        ahead = [pool.submit(data.training_batch, i) for i in range(first, min(first + _PREFETCHED_BATCHES, last))]
        try:
            for iteration in range(first, last):
                batch = ahead.pop(0).result()
                if iteration + _PREFETCHED_BATCHES < last:
                    ahead.append(pool.submit(data.training_batch, iteration + _PREFETCHED_BATCHES))
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _optimizer(network: MaskNetwork, settings: PretrainingSettings) -> torch.optim.SGD:
    """SGD in which only matrices and kernels decay; fused: its passes over fc6 and fc7 would take 15 % of a step."""
    weights = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, fused=True)


def _identity(data: MaskDataset, settings: PretrainingSettings) -> str:
    """What two trainings must share for one to continue the other."""
    keys = [place.key for place in (*data.training, *data.held_out)]
    return hashlib.sha256(json.dumps([settings.model_dump(mode="json"), keys]).encode()).hexdigest()[:16]


def _restored(saved: dict[str, object] | None) -> _History:
    if saved is None:
        return _History()
    history = _History(**saved)  # type: ignore[arg-type]
    history.curve = [CurvePoint(**point) for point in saved["curve"]]  # type: ignore[attr-defined]
    return history


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InvalidInput(f"pretrain.device {name}: no GPU can be used here; set it to auto or cpu")
    return torch.device(name)
