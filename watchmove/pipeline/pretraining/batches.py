"""Batches of a dataset: the frames of each step depend on the seed and the step alone, so a training can resume."""

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
from watchmove.pipeline.dataset.trimap import IGNORED
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.choice import input_pixels_of
from watchmove.pipeline.pretraining.device_examples import UncutBatch, cut_on_device, stack_uncut
from watchmove.pipeline.pretraining.examples import uncut_example_of
from watchmove.pipeline.pretraining.objectives import Example, objective_of
from watchmove.pipeline.settings.pretraining import PretrainingSettings


class Batch(NamedTuple):
    """One rank's share of the examples of a step."""

    images: Tensor
    """uint8 RGB (N, 3, 227, 227)."""
    targets: Tensor
    """int8, of the objective: trimaps (N, 56, 56), bins of colours (N, 2, 56, 56), or 0 quarter turns (N,), as images
    are rotated later."""
    unusable: int
    """Number of frames of the share that were left out because they cannot be used."""


class MaskDataset:
    """Dataset of frames in shards, split by video into training frames and held-out frames."""

    def __init__(
        self, frames: FrameTable, source: ShardBytes, settings: PretrainingSettings, share: Share = ALONE
    ) -> None:
        """Take the table of frames and the source of their bytes; frames are read only when a batch needs them."""
        self.frames = frames
        self._source = source
        self._settings = settings
        self._objective = objective_of(settings)
        self._share = share
        held_out = held_out_videos(frames.videos, settings.validation_fraction)
        # axes: (videos,) -> (N,), by the video of each frame
        apart = np.array([video in held_out for video in frames.videos])[frames.video]
        self.training: NDArray[np.int64] = np.flatnonzero(~apart)
        self.held_out: NDArray[np.int64] = np.flatnonzero(apart)
        self._runs = runs_of(frames, self.training)
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    @classmethod
    def of_shards(cls, shards: Sequence[Path], settings: PretrainingSettings) -> "MaskDataset":
        """Build the dataset of local shards. Raises InvalidInput if one is not a tar or they hold no frame."""
        return cls(frames_in(shards), LocalShards(), settings)

    def training_batch(self, iteration: int) -> Batch:
        """Read this rank's share of the batch of step `iteration`, counted from 0.

        Each epoch has another order and contains each frame once.

        Raises:
            InvalidInput: a shard is missing or too short.
            Unavailable: a shard cannot be read now.
        """
        return self._batch([self._example(row, seed) for row, seed in self._drawn(iteration)])

    def uncut_batch(self, iteration: int) -> UncutBatch:
        """Read this rank's share of a batch without cutting examples, for objectives that can be cut in batches.

        `cut_batch` makes the examples of `training_batch` from it, on any device. Raises as `training_batch` does.
        """
        samples = [(self._sample(row), np.random.default_rng(seed)) for row, seed in self._drawn(iteration)]
        return stack_uncut(
            [None if sample is None else uncut_example_of(sample, self._settings, rng) for sample, rng in samples]
        )

    def cut_batch(self, batch: UncutBatch) -> Batch:
        """Cut the examples of a batch on the device where it is."""
        images, trimaps = cut_on_device(batch, self._settings)
        targets = self._objective.cut_targets
        return Batch(images, trimaps if targets is None else targets(images, trimaps), batch.unusable)

    def validation_batches(self) -> list[Batch]:
        """Return this rank's share of up to `validation_frames` held-out frames, in the same crops every time.

        Crops are jittered by fixed seeds: with exactly centred crops the average mask alone has an IoU of 0.7, so a
        score would say little about the network. Colours are not changed.
        """
        count = min(self._settings.validation_frames, len(self.held_out))
        # rows are ordered by shard, so evenly spaced ones are spread over the shards
        chosen = self.held_out[np.linspace(0, len(self.held_out) - 1, count).astype(int)]
        numbers_of_rank = range(self._share.rank, count, self._share.ranks)
        plain = copy.copy(self)
        plain._settings = self._settings.model_copy(update={"colour_jitter": 0.0})
        # 0 in place of the training's seed makes scores comparable between seeds
        examples = [plain._example(int(chosen[number]), (0, 2, number)) for number in numbers_of_rank]
        size = max(1, self._settings.batch_size // self._share.ranks)
        return [self._batch(examples[start : start + size]) for start in range(0, len(examples), size)]

    def shown_crops(self, most: int) -> list[tuple[Sample, Example]]:
        """Return up to `most` held-out frames, of as many videos as there are, each with its crop and target.

        They are the same for any number of ranks and any seed of the training, and their colours are not changed. A
        frame that cannot be used is left out. Raises as `training_batch` does.
        """
        _, first = np.unique(self.frames.video[self.held_out], return_index=True)
        rows = self.held_out[np.sort(first)] if len(first) >= most else self.held_out
        chosen = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
        plain = self._settings.model_copy(update={"colour_jitter": 0.0})
        crops = []
        for number, row in enumerate(chosen.tolist()):
            sample = self._sample(row)
            # the seeds of the first frames that are measured
            rng = np.random.default_rng((0, 2, number))
            example = self._objective.example_of(sample, plain, rng) if sample is not None else None
            if sample is not None and example is not None:
                crops.append((sample, example))
        return crops

    def _drawn(self, iteration: int) -> list[tuple[int, tuple[int, ...]]]:
        """Return the table's rows of this rank's share of a step, each with its example's seed."""
        first = iteration * self._settings.batch_size
        places = np.arange(first, first + self._settings.batch_size)
        rows = np.array([self._row_at(place) for place in places.tolist()])
        share = share_of(rows, self._share).tolist()
        # The position is part of the seed, not the row: a frame is cut differently in every epoch.
        return [(int(rows[i]), (self._settings.seed, 1, int(places[i]))) for i in share]

    def _row_at(self, place: int) -> int:
        """Return the table's row of the frame at a position of the training, counted over all epochs."""
        epoch, within = divmod(place, len(self.training))
        with self._lock:  # several reader threads ask, and an order of millions of frames is computed once
            if epoch not in self._orders:
                # A batch can span two epochs; older orders are not needed any more.
                self._orders.pop(epoch - 2, None)
                window = self._settings.shuffle_window_frames
                self._orders[epoch] = epoch_order(self._settings.seed, epoch, self._runs, window)
            return int(self.training[self._orders[epoch][within]])

    def _example(self, row: int, seed: tuple[int, ...]) -> Example | None:
        """Make the example of a row; None if its image, its mask or its metadata cannot be used."""
        sample = self._sample(row)
        if sample is None:
            return None
        return self._objective.example_of(sample, self._settings, np.random.default_rng(seed))

    def _sample(self, row: int) -> Sample | None:
        """Read the frame of a row; None if its bytes are damaged or do not hold the sample's files."""
        frames = self.frames
        shard, offset, size_bytes = frames.shards[frames.shard[row]], frames.offset[row], frames.size_bytes[row]
        content = self._source.read_range(shard, int(offset), int(size_bytes))
        # counted, not raised: max_corrupt_fraction decides how many are too many
        if not frames.is_whole(row, content):
            return None
        try:
            return sample_in(content, frames.keys[row].decode())
        except InvalidInput:
            return None

    def _batch(self, examples: Sequence[Example | None]) -> Batch:
        usable = [example for example in examples if example is not None]
        pixels = input_pixels_of(self._settings.trunk)
        images = np.zeros((len(usable), pixels, pixels, 3), np.uint8)
        targets = np.full((len(usable), *self._objective.target_shape), IGNORED, np.int8)
        for number, example in enumerate(usable):
            images[number], targets[number] = example
        unusable = len(examples) - len(usable)
        # axes: (N, H, W, C) -> (N, C, H, W), a view: memory stays channels last, as the network has it
        return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(targets), unusable)


def held_out_videos(videos: Sequence[str], fraction: float) -> frozenset[str]:
    """Choose the videos to hold out by the hashes of their names, about `fraction` of them.

    Of two or more videos at least one is held out, and never all. With `fraction` 0, or a single video, none is.
    """
    ranked = sorted(set(videos), key=lambda video: hashlib.sha256(video.encode()).digest())
    if fraction == 0 or len(ranked) < 2:
        return frozenset()
    return frozenset(ranked[: min(len(ranked) - 1, max(1, round(fraction * len(ranked))))])
