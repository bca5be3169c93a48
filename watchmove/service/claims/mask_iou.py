"""IoU with true masks, video by video: of motion's masks, of trivial ones, and of a network's from single frames."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample, read_shard
from watchmove.pipeline.dataset.trimap import FOREGROUND, IGNORED
from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import normalise_images
from watchmove.pipeline.pretraining.batches import held_out_videos
from watchmove.pipeline.pretraining.examples import (
    TARGET_PIXELS,
    cut,
    example_of,
    uncut_example_of,
)
from watchmove.pipeline.pretraining.mask_network import MaskNetwork
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.service.records.datasets import DatasetRecord
from watchmove.service.report.images import soft_mask_of
from watchmove.service.store.store import Store

_HALF = 0.5
"""A soft mask is foreground from here on where it is compared as a whole."""
_BELOW_HALF = 0.4999
"""Upper limit of background: together with the other all pixels inside the frame are certain."""


class WholeFrames(NamedTuple):
    """Mean IoU with the truth of one video's frames: of motion's masks, and of the better of two trivial ones."""

    motion: float
    trivial: float


class Crop(NamedTuple):
    """A crop of a held-out frame; masks are (56, 56) bool, and count inside the frame only."""

    image: NDArray[np.uint8]
    """RGB (H, W, 3), as large as the trunk's input."""
    network: NDArray[np.bool_]
    motion: NDArray[np.bool_]
    truth: NDArray[np.bool_]


class HeldOutVideo(NamedTuple):
    """Mean IoU with the truth of a held-out video's crops: the network's from a still image, motion's, the average's.

    `example` is the first of the crops.
    """

    network: float
    motion: float
    average: float
    example: Crop


def whole_frames(store: Store, motion: DatasetRecord, truth: DatasetRecord, scratch: Path) -> dict[str, WholeFrames]:
    """Compare the masks of the same frames in two snapshots, by video.

    The trivial masks are all of the frame, and a centred box of half its sides.
    """
    found: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for video, sample, true in _pairs(store, motion, truth, scratch):
        mask, right = _binary(sample), _binary(true)
        box = np.zeros_like(right)
        height, width = right.shape
        box[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
        found[video].append((jaccard(mask, right), jaccard(np.ones_like(right), right), jaccard(box, right)))
    means = {video: np.mean(rows, axis=0) for video, rows in found.items()}
    return {video: WholeFrames(float(row[0]), float(row[1:].max())) for video, row in means.items()}


def average_mask(
    store: Store, motion: DatasetRecord, settings: PretrainingSettings, scratch: Path
) -> NDArray[np.bool_]:
    """Return where more than half of the masks of the training crops are foreground, (56, 56).

    It is what a network would predict that has learnt nothing but how crops are placed.
    """
    certain, held_out = _certain(settings), _held_out(store, motion, settings, scratch)
    foreground = np.zeros((TARGET_PIXELS, TARGET_PIXELS), np.int64)
    known = np.zeros_like(foreground)
    for number, sample in enumerate(_samples(store, motion, scratch)):
        if _id_of(sample) not in held_out:
            example = example_of(sample, certain, np.random.default_rng((0, 3, number)))
            if example is not None:
                foreground += example.trimap == FOREGROUND
                known += example.trimap != IGNORED
    return np.asarray(2 * foreground > known)


@torch.inference_mode()
def held_out_crops(
    store: Store,
    snapshots: tuple[DatasetRecord, DatasetRecord],
    network: MaskNetwork,
    average: NDArray[np.bool_],
    settings: PretrainingSettings,
    scratch: Path,
) -> dict[str, HeldOutVideo]:
    """Compare a network's prediction and other masks with the truth, in the crops of validation, by held-out video.

    `snapshots` have frames with motion's masks, all that the network was trained and validated on, and with true ones
    where they are known. The prediction is made from the image alone; the crop is placed by motion's mask. `average` is
    compared too: it is the same for all crops.
    """
    motion, truth = snapshots
    certain, held_out = _certain(settings), _held_out(store, motion, settings, scratch)
    found: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
    examples: dict[str, Crop] = {}
    for number, (video, sample, true) in enumerate(_pairs(store, motion, truth, scratch)):
        if _id_of(sample) not in held_out:
            continue
        uncut = uncut_example_of(sample, settings, np.random.default_rng((0, 2, number)))
        if uncut is None:
            continue
        own, right = (cut(uncut.image, _soft(one), uncut.square, certain, flip=uncut.flip) for one in (sample, true))
        # axes: (H, W, C) -> (1, C, H, W)
        image = normalise_images(torch.from_numpy(own.image).permute(2, 0, 1)[None])
        inside, wanted = right.trimap != IGNORED, right.trimap == FOREGROUND
        predicted, moved = (network(image)[0] > 0).numpy() & inside, (own.trimap == FOREGROUND) & inside
        if wanted.any():
            found[video].append((jaccard(predicted, wanted), jaccard(moved, wanted), jaccard(average & inside, wanted)))
            examples.setdefault(video, Crop(own.image, predicted, moved, wanted))
    means = {video: np.mean(rows, axis=0) for video, rows in found.items()}
    return {
        video: HeldOutVideo(float(row[0]), float(row[1]), float(row[2]), examples[video])
        for video, row in means.items()
    }


def _certain(settings: PretrainingSettings) -> PretrainingSettings:
    """The settings with thresholds between which no pixel is left."""
    return settings.model_copy(update={"foreground_threshold": _HALF, "background_threshold": _BELOW_HALF})


def _held_out(store: Store, motion: DatasetRecord, settings: PretrainingSettings, scratch: Path) -> frozenset[str]:
    """The ids of the held-out videos of all that the network was trained on, also of those without a known truth."""
    videos = [_id_of(sample) for sample in _samples(store, motion, scratch)]
    return held_out_videos(videos, settings.validation_fraction)


def _pairs(
    store: Store, motion: DatasetRecord, truth: DatasetRecord, scratch: Path
) -> Iterator[tuple[str, Sample, Sample]]:
    """Yield the name of the video, the frame with motion's mask, and the same frame with its true mask."""
    true: Mapping[str, Sample] = {sample.key: sample for sample in _samples(store, truth, scratch)}
    for sample in _samples(store, motion, scratch):
        if sample.key in true:
            yield str(sample.metadata.get("video")), sample, true[sample.key]


def _samples(store: Store, dataset: DatasetRecord, scratch: Path) -> Iterator[Sample]:
    for shard in dataset.shards:
        path = store.local(shard.key, scratch / "frames.tar")
        if path is None:
            raise InvalidInput(f"{store.uri}/{shard.key}: not there; run the cell of the frames again")
        yield from read_shard(path)


def _id_of(sample: Sample) -> str:
    return sample.key.rpartition("-")[0]


def _soft(sample: Sample) -> NDArray[np.float32]:
    mask = soft_mask_of(sample)
    if mask is None:
        raise InvalidInput(f"{sample.key}: its mask cannot be decoded; extract its shard again")
    return mask


def _binary(sample: Sample) -> NDArray[np.bool_]:
    return np.asarray(_soft(sample) >= _HALF)
