"""Pretraining on the device against the CPU, on frames of the drawn world with their true masks."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.bench.gpu_check.rows import DeviceMemory, Figure, Row, skipped
from tests.bench.gpu_check.setup import Setup
from tests.bench.pretraining import EnoughError, drawn_samples
from watchmove.pipeline.dataset.shard import write_shard
from watchmove.pipeline.pretraining.batches import MaskDataset
from watchmove.pipeline.pretraining.loop import PretrainingHooks, TrainingLoop
from watchmove.pipeline.pretraining.pretraining import PretrainingProgress, new_network
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.ranks import Ranks, device_of

UNTIMED_STEPS = 2
"""Steps before the clock starts, in which memory is allocated and kernels are chosen or compiled. Set by hand."""
LOSS = 0.01
"""Most difference of the loss of a step, as a part of the CPU's. Set by hand. The loss changes little in the first
steps, so that the change of the weights says more."""
_ENDLESS = 10**6
"""Steps of the trainings, of which only the first are done, so that they have the same learning rates."""
_COMPILERS = ("c++", "g++", "clang++", "gcc", "cc")


@dataclass(frozen=True)
class Variant:
    """One way to train on the device; `change` is the most by which the weights' change may differ from the CPU's.

    It is a part of the length of the CPU's, over all weights.
    """

    settings: dict[str, Any]
    change: float
    is_channels_last: bool = True


VARIANTS = {
    "pretraining, fp32": Variant({}, 0.02),
    "pretraining, fp32, not channels last": Variant({}, 0.02, is_channels_last=False),
    "pretraining, fp32, crops on the device": Variant({"crop_on": "device"}, 0.1),
    "pretraining, bf16": Variant({"bfloat16": True}, 0.1),
    "pretraining, compiled": Variant({"compile": True}, 0.02),
    "pretraining, bf16, compiled, crops on the device": Variant(
        {"bfloat16": True, "compile": True, "crop_on": "device"}, 0.15
    ),
}
"""The ways to train that the settings have; all are compared with fp32 on the CPU.

The tolerances are set by hand. On a CPU, the change of the weights differs by 2e-5 with compilation, and by 0.01 with
bf16 or with crops on the device; for the small network by up to 0.03. On GPUs, convolutions have ten bits of precision
by default (TF32).
"""


@dataclass
class Training:
    """The first steps of a training: losses, times at which they ended, and the share of the time spent in waiting."""

    timed_from: int
    """Number of steps before the clock starts."""
    losses: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    waiting_fraction: float = 0.0
    change: Tensor = field(default_factory=lambda: torch.zeros(0))
    """How the weights have changed in the steps that are compared, (N,) on the CPU."""

    def tell(self, progress: PretrainingProgress) -> None:
        """Record that a step has ended."""
        self.losses.append(progress.loss)
        self.ends.append(time.perf_counter())
        self.waiting_fraction = progress.waiting_fraction

    def steps_per_second(self) -> float:
        """Speed of the timed steps."""
        ends = self.ends[self.timed_from - 1 :]
        return (len(ends) - 1) / (ends[-1] - ends[0])


def pretraining_rows(setup: Setup) -> Iterator[tuple[str, Callable[[], Row]]]:
    """A row for each variant; the first one trains on the CPU too."""
    for name, variant in VARIANTS.items():
        yield name, lambda name=name, variant=variant: pretraining_row(setup, name, variant)  # type: ignore[misc]


def pretraining_row(setup: Setup, name: str, variant: Variant) -> Row:
    """Train the first steps on the device, and compare losses and speed with those on the CPU."""
    if variant.settings.get("compile") and not any(map(shutil.which, _COMPILERS)):
        return skipped(name, f"torch.compile needs a C compiler: none of {', '.join(_COMPILERS)} is installed")
    reference, settings = reference_training(setup), _settings(setup).model_copy(update=variant.settings)
    torch.compiler.reset()  # it holds the network of the row before
    memory = DeviceMemory(setup.device)
    layout = torch.channels_last if variant.is_channels_last else torch.contiguous_format
    found = train(setup, setup.device, settings, setup.sizes.timed_steps, layout)
    losses = np.array(found.losses[: len(reference.losses)]) / np.array(reference.losses)
    figures = (
        Figure(f"largest difference of the loss in {len(losses)} steps", float(np.abs(losses - 1).max()), LOSS),
        Figure(
            "difference of the weights' change",
            float((found.change - reference.change).norm() / reference.change.norm()),
            variant.change,
        ),
        Figure("share of the time waiting for data", found.waiting_fraction),
    )
    device, cpu = (setup.sizes.batch * training.steps_per_second() for training in (found, reference))
    return Row(name, figures, "images", (device, cpu), memory.mebibytes)


@cache
def reference_training(setup: Setup) -> Training:
    """The first steps on the CPU in fp32, of which there is one for all variants."""
    return train(setup, "cpu", _settings(setup), 0, torch.channels_last)


def train(
    setup: Setup, device: str, settings: PretrainingSettings, timed_steps: int, layout: torch.memory_format
) -> Training:
    """Do the steps that are compared, and further ones, of a training by the product's loop."""
    ranks, compared = Ranks(device_of(device, 0)), setup.sizes.compared_steps
    # copying the weights after the compared steps takes time, so the clock starts one step later if there are others
    training = Training(compared + 1 if timed_steps else UNTIMED_STEPS)
    network = new_network(settings, ranks.device).to(memory_format=layout)
    before = _weights(network)
    data = MaskDataset.of_shards([drawn_shard(setup.folder, setup.sizes.videos)], settings)

    def on_progress(progress: PretrainingProgress) -> None:
        training.tell(progress)
        if progress.iteration == compared:
            training.change = _weights(network) - before
        if progress.iteration == compared + timed_steps:
            raise EnoughError

    with tempfile.TemporaryDirectory(dir=setup.folder) as folder, suppress(EnoughError):
        TrainingLoop(network, data, settings, PretrainingHooks(Path(folder), on_progress), ranks).run("gpu-check")
    return training


def _weights(network: nn.Module) -> Tensor:
    """All parameters of a network in one tensor (N,) on the CPU, each in the order of its axes."""
    return torch.cat([parameter.detach().cpu().flatten() for parameter in network.parameters()])


@cache
def drawn_shard(folder: Path, videos: int) -> Path:
    """A shard of frames of drawn videos with their true masks."""
    write_shard(folder / "drawn.tar", drawn_samples(videos))
    return folder / "drawn.tar"


def _settings(setup: Setup) -> PretrainingSettings:
    """Settings of all trainings: crops are made by the readers, so that both devices get the same pixels."""
    rare = ("iterations", "validate_every_iterations", "checkpoint_every_iterations")
    given = {"trunk": setup.sizes.trunk, "batch_size": setup.sizes.batch, "crop_on": "cpu", "warmup_fraction": 0}
    return PretrainingSettings.model_validate(given | {"validation_frames": 1} | dict.fromkeys(rare, _ENDLESS))
