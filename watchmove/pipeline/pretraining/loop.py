"""The training loop of pretraining: steps, curve and checkpoints. It can stop at any step and resume on other ranks."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from torch import nn

from watchmove.pipeline.errors import InvalidInput, NotFinite, Stopped
from watchmove.pipeline.files.weights import name_of_not_finite
from watchmove.pipeline.pretraining.batches import Batch, MaskDataset
from watchmove.pipeline.pretraining.device_examples import UncutBatch
from watchmove.pipeline.pretraining.held_out import HeldOut, ShownPredictions, measure_held_out
from watchmove.pipeline.pretraining.history import PretrainingHistory, PretrainingProgress, curve_point
from watchmove.pipeline.pretraining.objectives import objective_of, why_unusable
from watchmove.pipeline.pretraining.step import Stepper, pretraining_learning_rate
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.checkpoint_writer import CheckpointWriter
from watchmove.pipeline.training.checkpoints import load_checkpoint, snapshot_of
from watchmove.pipeline.training.data_wait import DataWait
from watchmove.pipeline.training.ranks import Ranks
from watchmove.pipeline.training.read_ahead import read_ahead

_CURVE_POINTS = 100
"""Number of points of the training's curve without those of validations. Set by hand: as fine as a plot shows."""
_MOST_READERS = 8
"""Largest default number of reader threads: more add little, as reading is many times faster than training on a core.
Set by hand; not tuned."""
_TOLERANT_BATCHES = 100
"""Number of batches that unusable frames are compared with at the start of a training, so that a single bad batch does
not end it. Set by hand."""


@dataclass(frozen=True)
class PretrainingHooks:
    """Folder, callbacks and resources of a training. Of several ranks only the first writes files and reports."""

    directory: Path
    """Folder of the checkpoints and of the result."""
    on_progress: Callable[[PretrainingProgress], None] = field(default=lambda _: None)
    """Called after every step."""
    should_stop: Callable[[], bool] = field(default=lambda: False)
    """Called at every step of every rank; if it returns true on one rank, all ranks stop."""
    on_checkpoint: Callable[[], None] = field(default=lambda: None)
    """Called in the writing thread after each complete checkpoint."""
    ranks: Ranks | None = None
    """This process's place among the ranks; None: it trains alone."""
    readers: int = 0
    """Number of threads that read and decode frames; 0: half of the cores, at most eight."""
    on_validation: Callable[[int, HeldOut, float], None] = field(default=lambda *_: None)
    """Called after each measurement on held-out videos, with the iteration, the result and the seconds it took."""


class TrainingLoop:
    """One training of a network on a dataset, from the newest checkpoint or from the start."""

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
        self.shown: ShownPredictions | None = None
        self._usable = 0
        self._wait = DataWait()
        self._objective = objective_of(settings)
        self._stepper = Stepper(network, settings, ranks)
        self._data, self._settings, self._hooks, self._ranks = data, settings, hooks, ranks

    def run(self, identity: str) -> nn.Module:
        """Train to the end and return the trained network, or its running average if there is one.

        `identity` is that of the training. Raises Stopped, InvalidInput and Unavailable as `pretrain_frames` does.
        """
        self._resume(identity)
        if self._ranks.is_first:
            self.shown = ShownPredictions(self._hooks.directory, self._data, self._settings)
        validation = self._data.validation_batches()
        if not self.history.frames_read:  # a resumed training has counted them before
            self._count(*map(int, self._ranks.total(*_counts(validation))))
        first, self._wait = self.history.iteration, DataWait()
        # One slot more than are kept, for the checkpoint being written.
        slots = self._settings.keep_checkpoints + 1
        with CheckpointWriter(self._hooks.directory, slots, self._hooks.on_checkpoint) as writer:
            for batch in self._batches():
                if self._must_stop(batch):
                    self._save_and_stop(writer, identity)
                self._advance(batch)
                self._report_progress((self.history.iteration - first) / self._wait.elapsed_seconds)
                self._record_point(validation)
                if self._checkpoint_is_due():
                    self._save(writer, identity)
            self._check_finite()  # the last step is followed by no checkpoint, which would check it
        return self._stepper.measured

    def _resume(self, identity: str) -> None:
        """Resume from the newest complete checkpoint: the first rank reads it and sends it to the others."""
        saved = None
        if self._ranks.is_first:
            stepper = self._stepper
            average = stepper.average_state()
            trained = (stepper.network, stepper.optimizer, identity)
            saved = load_checkpoint(self._hooks.directory, *trained, PretrainingHistory, average)
        self.history = saved or PretrainingHistory()
        if self._ranks.are_several:
            text = self._ranks.text_from_first(json.dumps(self.history.as_json()))
            self.history = PretrainingHistory.from_json(json.loads(text))
            self._stepper.share_state(self.history.iteration)

    def _batches(self) -> Iterator[Batch | None]:
        """Yield this rank's shares of the remaining batches, read ahead; None if asked to stop while one is late."""
        device = self._ranks.device
        pinned = device.type == "cuda"  # a GPU copies from page-locked memory while it computes
        settings = self._settings
        uncut = settings.crop_on == "device" or (settings.crop_on == "auto" and pinned)
        uncut = uncut and self._objective.cut_targets is not None

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

        readers = self._hooks.readers or max(1, min(_MOST_READERS, (os.cpu_count() or 1) // 2))
        first, last = self.history.iteration, settings.iterations
        for batch in self._wait.timed(read_ahead(read, first, last, readers, self._hooks.should_stop)):
            yield self._data.cut_batch(batch.on(device)) if isinstance(batch, UncutBatch) else batch

    def _must_stop(self, batch: Batch | None) -> bool:
        """Return whether any rank must stop; if none must, count the frames that all ranks read for this step."""
        # One exchange for both, as each costs a round trip between the ranks.
        stop = batch is None or self._hooks.should_stop()
        counts = _counts([batch] if batch is not None else [])
        stops, self._usable, unusable = map(int, self._ranks.total(stop, *counts))
        if not stops:
            self._count(self._usable, unusable)
        return bool(stops)

    def _save_and_stop(self, writer: CheckpointWriter, identity: str) -> NoReturn:
        """Save a checkpoint, wait until the first rank has written it, and raise Stopped.

        All ranks wait, because torchrun kills the others as soon as one ends.
        """
        if writer.newest != self.history.iteration:  # it may have been saved just before
            self._save(writer, identity)
        writer.wait()
        self._ranks.total(0)
        raise Stopped(f"pretraining stopped at iteration {self.history.iteration}; run it again to continue")

    def _advance(self, batch: Batch | None) -> None:
        """Do one step. A batch of fewer than two usable frames is skipped, as batch normalisation needs two."""
        pending = self.history.pending
        self.history.iteration += 1
        if batch is None or self._usable < 2:
            # The curve needs a loss for every step: the previous one, or that of an even guess.
            pending.append(pending[-1] if pending else self._objective.chance_loss)
            return
        loss = self._stepper.step(batch, self.history.iteration - 1)
        if not math.isfinite(loss):
            raise self._diverged(f"loss is {loss}")
        pending.append(loss)

    def _report_progress(self, steps_per_second: float) -> None:
        history = self.history
        self.images_per_second = steps_per_second * self._settings.batch_size
        if self._ranks.is_first:
            step = (history.iteration, self._settings.iterations, history.pending[-1])
            pace = (self.images_per_second, self._wait.fraction)
            self._hooks.on_progress(PretrainingProgress(*step, *pace, history.frames_unusable))

    def _record_point(self, validation: Sequence[Batch]) -> None:
        """Add a point to the curve if one is due; held-out videos are measured less often, and after the last step."""
        history, settings = self.history, self._settings
        measured = (
            history.iteration % settings.validate_every_iterations == 0 or history.iteration == settings.iterations
        )
        due = history.iteration % max(1, settings.iterations // _CURVE_POINTS) == 0
        if not (measured or due):
            return
        held_out = self._validate(validation) if measured else None
        if measured and self.shown is not None:
            self.shown.keep(self._stepper.measured, history.iteration, self._ranks.device)
        mean, rate = (
            sum(history.pending) / len(history.pending),
            pretraining_learning_rate(history.iteration - 1, settings),
        )
        history.curve.append(curve_point(history.iteration, mean, rate, held_out, settings.objective))
        history.pending = []

    def _validate(self, validation: Sequence[Batch]) -> HeldOut | None:
        began = time.monotonic()
        held_out = measure_held_out(self._stepper.measured, self._objective, validation, self._ranks)
        if held_out is not None and self._ranks.is_first:
            self._hooks.on_validation(self.history.iteration, held_out, time.monotonic() - began)
        return held_out

    def _checkpoint_is_due(self) -> bool:
        done, last = self.history.iteration, self._settings.iterations
        return done % self._settings.checkpoint_every_iterations == 0 and done < last

    def _save(self, writer: CheckpointWriter, identity: str) -> None:
        """Begin to write a checkpoint. Raises NotFinite if a weight is not finite: it would replace a good one."""
        self._check_finite()
        if self._ranks.is_first:
            stepper, history = self._stepper, self.history
            average = stepper.average_state()
            facts = (history.as_json(), identity, history.score)
            writer.write(snapshot_of(stepper.network, stepper.optimizer, *facts, average))

    def _check_finite(self) -> None:
        """Raise NotFinite if a weight or its average is not finite, which a step with a finite loss can cause."""
        for tensors in (self._stepper.network.state_dict(), self._stepper.average_state()):
            name = name_of_not_finite(tensors)
            if name is not None:
                raise self._diverged(f"{name} is not finite")

    def _diverged(self, what: str) -> NotFinite:
        rate = f"pretrain.{self._settings.learning_rate_name} ({self._settings.highest_learning_rate})"
        at = f"at iteration {self.history.iteration}"
        return NotFinite(f"{what} {at}; lower {rate}; the last good checkpoint is kept")

    def _count(self, usable: int, unusable: int) -> None:
        """Add to the frames read by all ranks. Raises InvalidInput if more of them than allowed cannot be used."""
        history, settings = self.history, self._settings
        history.frames_read += usable + unusable
        history.frames_unusable += unusable
        allowed = settings.max_corrupt_fraction * max(history.frames_read, _TOLERANT_BATCHES * settings.batch_size)
        if history.frames_unusable > allowed:
            counts = f"{history.frames_unusable} of {history.frames_read} frames {why_unusable(settings)}"
            rule = f"pretrain.max_corrupt_fraction ({settings.max_corrupt_fraction})"
            raise InvalidInput(f"{counts}, above {rule}; extract them again or change these settings")


def _counts(batches: Sequence[Batch]) -> tuple[int, int]:
    """Return the numbers of usable and of unusable frames in batches."""
    return sum(len(batch.images) for batch in batches), sum(batch.unusable for batch in batches)
