"""The training loop: steps, the curve, checkpoints and ends, stoppable at any step and resumable on other ranks."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn

from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.pretraining.batches import Batch, MaskDataset
from watchmove.pipeline.pretraining.device_examples import UncutBatch
from watchmove.pipeline.pretraining.held_out import measure_held_out
from watchmove.pipeline.pretraining.history import PretrainingHistory, curve_point
from watchmove.pipeline.pretraining.objectives import objective_of
from watchmove.pipeline.pretraining.step import Stepper, pretraining_learning_rate
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.checkpoint_writer import CheckpointWriter
from watchmove.pipeline.training.checkpoints import load_checkpoint, snapshot_of
from watchmove.pipeline.training.ranks import Ranks
from watchmove.pipeline.training.read_ahead import read_ahead

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
class PretrainingHooks:
    """Where a training keeps its checkpoints and its result, whom it tells, and who takes part.

    Of several ranks each asks its own `should_stop`, and where one is told to stop all do; the first alone writes and
    tells. `on_checkpoint` is called in a thread of its own, after a checkpoint is whole. `readers`: threads that read
    and decode; 0: half of the cores, at most eight.
    """

    directory: Path
    on_progress: Callable[[PretrainingProgress], None] = field(default=lambda _: None)
    should_stop: Callable[[], bool] = field(default=lambda: False)
    on_checkpoint: Callable[[], None] = field(default=lambda: None)
    ranks: Ranks | None = None
    readers: int = 0


class TrainingLoop:
    """One training of a network on a dataset, from where its checkpoints say it is."""

    def __init__(
        self,
        network: nn.Module,
        data: MaskDataset,
        settings: PretrainingSettings,
        hooks: PretrainingHooks,
        ranks: Ranks,
    ) -> None:
        self.history = PretrainingHistory()
        self.images_per_second = 0.0
        self._usable = 0
        self._objective = objective_of(settings)
        self._stepper = Stepper(network, settings, ranks)
        self._data, self._settings, self._hooks, self._ranks = data, settings, hooks, ranks

    def run(self, identity: str) -> nn.Module:
        """Train to the end, and give the network that counts: the average of its weights where one is kept.

        Raises what `pretrain` raises.
        """
        self._resume(identity)
        validation = self._data.validation_batches()
        if not self.history.frames_read:
            self._count(*map(int, self._ranks.total(*_counts(validation))))
        first, began = self.history.iteration, time.monotonic()
        places = self._settings.keep_checkpoints + 1
        with CheckpointWriter(self._hooks.directory, places, self._hooks.on_checkpoint) as writer:
            for batch in self._batches():
                if self._stops(batch):
                    self._stop(writer, identity)
                self._advance(batch)
                self._tell((self.history.iteration - first) / max(time.monotonic() - began, 1e-9))
                self._note(validation)
                if self._checkpoint_is_due():
                    self._save(writer, identity)
            self._check_finite()
        return self._stepper.measured

    def _resume(self, identity: str) -> None:
        """Take up the newest whole checkpoint: the first rank reads it, and the others have it from there."""
        saved = None
        if self._ranks.is_first:
            stepper = self._stepper
            average = stepper.average_state()
            saved = load_checkpoint(self._hooks.directory, stepper.network, stepper.optimizer, identity, average)
        if self._ranks.are_several:
            saved = json.loads(self._ranks.text_from_first(json.dumps(saved)))
        self.history = PretrainingHistory.from_json(saved)
        if self._ranks.are_several:
            self._stepper.share_state(self.history.iteration)

    def _batches(self) -> Iterator[Batch | None]:
        """This rank's shares of the batches to come, read ahead; pinned where a GPU fetches them."""
        device = self._ranks.device
        pinned = device.type == "cuda"
        settings = self._settings
        uncut = settings.crop_on == "device" or (settings.crop_on == "auto" and pinned)
        uncut = uncut and settings.objective == "masks"

        def read(iteration: int) -> Batch | UncutBatch:
            if uncut:
                frames = self._data.uncut_batch(iteration)
                return frames.pinned() if pinned else frames
            batch = self._data.training_batch(iteration)
            return (
                batch._replace(images=batch.images.pin_memory(), targets=batch.targets.pin_memory())
                if pinned
                else batch
            )

        readers = self._hooks.readers or max(1, min(8, (os.cpu_count() or 1) // 2))
        first, last = self.history.iteration, settings.iterations
        for batch in read_ahead(read, first, last, readers, self._hooks.should_stop):
            yield self._data.cut_batch(batch.on(device)) if isinstance(batch, UncutBatch) else batch

    def _stops(self, batch: Batch | None) -> bool:
        """Whether any rank is told to stop; else what this step reads is counted, over all ranks."""
        stop = batch is None or self._hooks.should_stop()
        counts = _counts([batch] if batch is not None else [])
        stops, self._usable, unusable = map(int, self._ranks.total(stop, *counts))
        if not stops:
            self._count(self._usable, unusable)
        return bool(stops)

    def _stop(self, writer: CheckpointWriter, identity: str) -> NoReturn:
        """Save and raise Stopped, on all ranks once the first has saved: whoever ends early has the others killed."""
        if writer.newest != self.history.iteration:
            self._save(writer, identity)
        writer.wait()
        self._ranks.total(0)
        raise Stopped(f"pretraining stopped at iteration {self.history.iteration}; run it again to continue")

    def _advance(self, batch: Batch | None) -> None:
        """One step; batch normalisation needs two frames, so a smaller batch is passed over."""
        pending = self.history.pending
        self.history.iteration += 1
        if batch is None or self._usable < 2:
            pending.append(pending[-1] if pending else self._objective.chance_loss)
            return
        loss = self._stepper.step(batch, self.history.iteration - 1)
        if not math.isfinite(loss):
            raise self._diverged(f"loss is {loss}")
        pending.append(loss)

    def _tell(self, steps_per_second: float) -> None:
        history = self.history
        self.images_per_second = steps_per_second * self._settings.batch_size
        if self._ranks.is_first:
            told = (history.iteration, self._settings.iterations, history.pending[-1])
            self._hooks.on_progress(PretrainingProgress(*told, self.images_per_second, history.frames_unusable))

    def _note(self, validation: Sequence[Batch]) -> None:
        """Add a point to the curve where one is due; held-out videos are looked at more rarely and at the end."""
        history, settings = self.history, self._settings
        measured = (
            history.iteration % settings.validate_every_iterations == 0 or history.iteration == settings.iterations
        )
        due = history.iteration % max(1, settings.iterations // _CURVE_POINTS) == 0
        if not (measured or due):
            return
        held_out = (
            measure_held_out(self._stepper.measured, self._objective, validation, self._ranks) if measured else None
        )
        mean, rate = (
            sum(history.pending) / len(history.pending),
            pretraining_learning_rate(history.iteration - 1, settings),
        )
        history.curve.append(curve_point(history.iteration, mean, rate, held_out, settings.objective))
        history.pending = []

    def _checkpoint_is_due(self) -> bool:
        done, last = self.history.iteration, self._settings.iterations
        return done % self._settings.checkpoint_every_iterations == 0 and done < last

    def _save(self, writer: CheckpointWriter, identity: str) -> None:
        """Begin to write where the training is; only values that are finite replace a checkpoint."""
        self._check_finite()
        if self._ranks.is_first:
            stepper, history = self._stepper, self.history
            average = stepper.average_state()
            facts = (history.as_json(), identity, history.score)
            writer.write(snapshot_of(stepper.network, stepper.optimizer, *facts, average))

    def _check_finite(self) -> None:
        """Raise before weights that are not finite replace good ones: a step can ruin them after a finite loss."""
        for name, tensor in self._stepper.network.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise self._diverged(f"{name} is not finite")

    def _diverged(self, what: str) -> InvalidInput:
        rate = f"pretrain.learning_rate ({self._settings.learning_rate})"
        at = f"at iteration {self.history.iteration}"
        return InvalidInput(f"{what} {at}; lower {rate}; the last good checkpoint stays")

    def _count(self, usable: int, unusable: int) -> None:
        """Frames read by all ranks; raise when more than allowed cannot be used, a bad batch at the start forgiven."""
        history, settings = self.history, self._settings
        history.frames_read += usable + unusable
        history.frames_unusable += unusable
        allowed = settings.max_corrupt_fraction * max(history.frames_read, 100 * settings.batch_size)
        if history.frames_unusable > allowed:
            counts = f"{history.frames_unusable} of {history.frames_read} frames"
            rule = f"pretrain.max_corrupt_fraction ({settings.max_corrupt_fraction})"
            raise InvalidInput(f"{counts} are damaged or show no certain object, above {rule}; extract them again")


def _counts(batches: Sequence[Batch]) -> tuple[int, int]:
    """Frames in some batches that are usable, and those that are not."""
    return sum(len(batch.images) for batch in batches), sum(batch.unusable for batch in batches)
