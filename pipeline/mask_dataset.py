"""Shards as batches: which frames are in which step, decided by seed and step alone, so that a training can resume."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.alexnet import CHANNEL_MEAN, CHANNEL_STD
from pipeline.errors import InvalidInput
from pipeline.mask_examples import MaskExample, example_of
from pipeline.settings.pretraining import PretrainingSettings
from pipeline.tar_dataset import SamplePlace, index_shard, read_sample


class Batch(NamedTuple):
    """`images` uint8 (N, 3, 227, 227); `trimaps` int8 (N, 56, 56); `unusable`: frames that were passed over."""

    images: Tensor
    trimaps: Tensor
    unusable: int


class MaskDataset:
    """Frames of some shards, split by video into those learnt from and those held out."""

    def __init__(self, shards: Sequence[Path], settings: PretrainingSettings) -> None:
        """Index the shards; frames are read when they are needed.

        Raises:
            InvalidInput: there are no frames, or a shard cannot be read.
        """
        self._settings = settings
        places = [place for shard in shards for place in index_shard(shard)]
        if not places:
            raise InvalidInput(f"{len(shards)} shards hold no frame; extract from videos in which things move")
        held_out = held_out_videos([_video_of(place) for place in places], settings.validation_fraction)
        self.training = [place for place in places if _video_of(place) not in held_out]
        self.held_out = [place for place in places if _video_of(place) in held_out]

    def training_batch(self, iteration: int) -> Batch:
        """The batch of step `iteration` (from 0): every epoch in another order, each frame once."""
        first = iteration * self._settings.batch_size
        examples = []
        for position in range(first, first + self._settings.batch_size):
            epoch, within = divmod(position, len(self.training))
            place = self.training[epoch_order(self._settings.seed, epoch, len(self.training))[within]]
            rng = np.random.default_rng((self._settings.seed, 1, position))
            examples.append(self._example(place, rng))
        return _batch(examples)

    def validation_batches(self) -> list[Batch]:
        """Frames of held-out videos, spread over them, each with one jitter of its own that no setting changes.

        In crops exactly centred, the average mask alone has an IoU of 0.7: they would measure next to nothing.
        """
        count = min(self._settings.validation_frames, len(self.held_out))
        chosen = [self.held_out[index] for index in np.linspace(0, len(self.held_out) - 1, count).astype(int)]
        examples = [self._example(p, np.random.default_rng((0, 2, number))) for number, p in enumerate(chosen)]
        size = self._settings.batch_size
        return [_batch(examples[start : start + size]) for start in range(0, len(examples), size)]

    def _example(self, place: SamplePlace, rng: np.random.Generator) -> MaskExample | None:
        """The example at a place; None where it cannot be used, be it for its picture, its mask or its metadata."""
        try:
            return example_of(read_sample(place), self._settings, rng)
        except InvalidInput:
            return None


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Order of `count` frames in an epoch; the last two epochs' are remembered."""
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


def held_out_videos(videos: Sequence[str], fraction: float) -> frozenset[str]:
    """Whole videos to hold out: where there are two or more, at least one and never all; their names decide which."""
    ranked = sorted(set(videos), key=lambda video: hashlib.sha256(video.encode()).digest())
    if fraction == 0 or len(ranked) < 2:
        return frozenset()
    return frozenset(ranked[: min(len(ranked) - 1, max(1, round(fraction * len(ranked))))])


def normalised(images: Tensor) -> Tensor:
    """uint8 RGB (N, 3, H, W) to the network's float32 input."""
    mean = torch.tensor(CHANNEL_MEAN, device=images.device).view(1, 3, 1, 1)
    deviation = torch.tensor(CHANNEL_STD, device=images.device).view(1, 3, 1, 1)
    return (images.float() / 255 - mean) / deviation


def _video_of(place: SamplePlace) -> str:
    """Keys are VIDEO-FRAME."""
    return place.key.rpartition("-")[0] or place.key


def _batch(examples: Sequence[MaskExample | None]) -> Batch:
    usable = [example for example in examples if example is not None]
    images = np.zeros((len(usable), 227, 227, 3), np.uint8)
    trimaps = np.full((len(usable), 56, 56), -1, np.int8)
    for number, example in enumerate(usable):
        images[number], trimaps[number] = example
    # axes: (N, H, W, C) -> (N, C, H, W)
    return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(trimaps), len(examples) - len(usable))
