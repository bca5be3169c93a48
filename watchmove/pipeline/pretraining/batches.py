"""Shards as batches: which frames are in which step, decided by seed and step alone, so that a training can resume."""

import copy
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.dataset.frame_order import ALONE, Share, epoch_order, runs_of, share_of
from watchmove.pipeline.dataset.frame_table import FrameTable, LocalShards, ShardBytes, frames_in
from watchmove.pipeline.dataset.shard import Sample, sample_in
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import INPUT_PIXELS
from watchmove.pipeline.pretraining.device_examples import UncutBatch, cut_together, together
from watchmove.pipeline.pretraining.examples import IGNORED, uncut_example_of
from watchmove.pipeline.pretraining.objectives import Example, objective_of
from watchmove.pipeline.settings.pretraining import PretrainingSettings


class Batch(NamedTuple):
    """`images` uint8 (N, 3, 227, 227); `targets` int8, (N, 56, 56) trimaps or what else the objective asks.

    `unusable`: frames that were passed over.
    """

    images: Tensor
    targets: Tensor
    unusable: int


class MaskDataset:
    """Frames of some shards, split by video into those learnt from and those held out."""

    def __init__(
        self, frames: FrameTable, source: ShardBytes, settings: PretrainingSettings, share: Share = ALONE
    ) -> None:
        """Frames are read when they are needed, by this rank its share of every batch."""
        self.frames = frames
        self._source = source
        self._settings = settings
        self._objective = objective_of(settings)
        self._share = share
        held_out = held_out_videos(frames.videos, settings.validation_fraction)
        apart = np.array([video in held_out for video in frames.videos])[frames.video]
        self.training: NDArray[np.int64] = np.flatnonzero(~apart)
        self.held_out: NDArray[np.int64] = np.flatnonzero(apart)
        self._runs = runs_of(frames, self.training)
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    @classmethod
    def of_shards(cls, shards: Sequence[Path], settings: PretrainingSettings) -> "MaskDataset":
        """All frames of local shards. Raises InvalidInput where one is no tar, or they hold no frame."""
        return cls(frames_in(shards), LocalShards(), settings)

    def training_batch(self, iteration: int) -> Batch:
        """This rank's share of the batch of step `iteration` (from 0): every epoch in another order, each frame once.

        Raises:
            InvalidInput: a shard is gone. Unavailable: it cannot be read now.
        """
        return self._batch([self._example(row, seed) for row, seed in self._drawn(iteration)])

    def uncut_batch(self, iteration: int) -> UncutBatch:
        """The same, where masks are learnt, before any pixel is touched.

        `cut_batch` makes the same examples of it, on any device.
        """
        samples = [(self._sample(row), np.random.default_rng(seed)) for row, seed in self._drawn(iteration)]
        return together(
            [None if sample is None else uncut_example_of(sample, self._settings, rng) for sample, rng in samples]
        )

    def cut_batch(self, batch: UncutBatch) -> Batch:
        """Its examples, cut where the batch lies."""
        return Batch(*cut_together(batch, self._settings), batch.unusable)

    def validation_batches(self) -> list[Batch]:
        """This rank's share of some frames of held-out videos, each with one jitter that no setting changes.

        In crops exactly centred, the average mask alone has an IoU of 0.7: they would measure next to nothing.
        """
        count = min(self._settings.validation_frames, len(self.held_out))
        chosen = self.held_out[np.linspace(0, len(self.held_out) - 1, count).astype(int)]
        mine = range(self._share.rank, count, self._share.ranks)
        plain = copy.copy(self)
        plain._settings = self._settings.model_copy(update={"colour_jitter": 0.0})
        examples = [plain._example(int(chosen[number]), (0, 2, number)) for number in mine]
        size = max(1, self._settings.batch_size // self._share.ranks)
        return [self._batch(examples[start : start + size]) for start in range(0, len(examples), size)]

    def _drawn(self, iteration: int) -> list[tuple[int, tuple[int, ...]]]:
        """The table's rows of this rank's share of a step, each with the seed of all that is drawn for its example."""
        first = iteration * self._settings.batch_size
        places = np.arange(first, first + self._settings.batch_size)
        rows = np.array([self._row_at(place) for place in places.tolist()])
        mine = share_of(rows, self._share).tolist()
        return [(int(rows[i]), (self._settings.seed, 1, int(places[i]))) for i in mine]

    def _row_at(self, place: int) -> int:
        """The table's row of the frame at a place of the training."""
        epoch, within = divmod(place, len(self.training))
        with self._lock:
            if epoch not in self._orders:
                self._orders.pop(epoch - 2, None)
                window = self._settings.shuffle_window_frames
                self._orders[epoch] = epoch_order(self._settings.seed, epoch, self._runs, window)
            return int(self.training[self._orders[epoch][within]])

    def _example(self, row: int, seed: tuple[int, ...]) -> Example | None:
        """The example at a row; None where it cannot be used, be it for its picture, its mask or its metadata."""
        sample = self._sample(row)
        if sample is None:
            return None
        return self._objective.example_of(sample, self._settings, np.random.default_rng(seed))

    def _sample(self, row: int) -> Sample | None:
        """The frame at a row; None where its files are not what they should be."""
        frames = self.frames
        shard, offset, size_bytes = frames.shards[frames.shard[row]], frames.offset[row], frames.size_bytes[row]
        content = self._source.read_range(shard, int(offset), int(size_bytes))
        if not frames.is_whole(row, content):
            return None
        try:
            return sample_in(content, frames.keys[row].decode())
        except InvalidInput:
            return None

    def _batch(self, examples: Sequence[Example | None]) -> Batch:
        usable = [example for example in examples if example is not None]
        images = np.zeros((len(usable), INPUT_PIXELS, INPUT_PIXELS, 3), np.uint8)
        targets = np.full((len(usable), *self._objective.target_shape), IGNORED, np.int8)
        for number, example in enumerate(usable):
            images[number], targets[number] = example
        unusable = len(examples) - len(usable)
        # axes: (N, H, W, C) -> (N, C, H, W)
        return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(targets), unusable)


def held_out_videos(videos: Sequence[str], fraction: float) -> frozenset[str]:
    """Whole videos to hold out: where there are two or more, at least one and never all; their names decide which."""
    ranked = sorted(set(videos), key=lambda video: hashlib.sha256(video.encode()).digest())
    if fraction == 0 or len(ranked) < 2:
        return frozenset()
    return frozenset(ranked[: min(len(ranked) - 1, max(1, round(fraction * len(ranked))))])
