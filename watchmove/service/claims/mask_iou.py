"""IoU with true masks, video by video: of motion's masks, of trivial ones, and of a network's from single frames."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample, read_shard
from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.images import decoded_image
from watchmove.pipeline.networks.alexnet import normalise_images
from watchmove.pipeline.pretraining.batches import held_out_videos
from watchmove.pipeline.pretraining.examples import FOREGROUND, IGNORED, cut, uncut_example_of
from watchmove.pipeline.pretraining.mask_network import MaskNetwork
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.service.records.datasets import DatasetRecord
from watchmove.service.store.store import Store

_HALF = 0.5
"""A soft mask is foreground from here on where it is compared as a whole."""
_BELOW_HALF = 0.4999
"""Upper limit of background: together with the other all pixels inside the frame are certain."""


class WholeFrames(NamedTuple):
    """Mean IoU with the truth of one video's frames: of motion's masks, and of the better of two trivial ones."""

    motion: float
    trivial: float


class Crops(NamedTuple):
    """Mean IoU with the truth of one held-out video's crops: the network's from a still image, and motion's own."""

    network: float
    motion: float


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


@torch.inference_mode()
def held_out_crops(
    store: Store,
    snapshots: tuple[DatasetRecord, DatasetRecord],
    network: MaskNetwork,
    settings: PretrainingSettings,
    scratch: Path,
) -> dict[str, Crops]:
    """Compare a network's prediction and motion's mask with the truth, in the crops of validation, by held-out video.

    `snapshots` have frames with motion's masks, all that the network was trained and validated on, and with true ones
    where they are known. The prediction is made from the image alone; the crop is placed by motion's mask.
    """
    motion, truth = snapshots
    certain = settings.model_copy(update={"foreground_threshold": _HALF, "background_threshold": _BELOW_HALF})
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    pairs = list(_pairs(store, motion, truth, scratch))
    # of all videos that the network was trained on, not only those with a known truth
    videos = [_id_of(sample) for sample in _samples(store, motion, scratch)]
    held_out = held_out_videos(videos, settings.validation_fraction)
    for number, (video, sample, true) in enumerate(pairs):
        if _id_of(sample) not in held_out:
            continue
        uncut = uncut_example_of(sample, settings, np.random.default_rng((0, 2, number)))
        if uncut is None:
            continue
        own, right = (cut(uncut.image, _soft(one), uncut.square, certain, flip=uncut.flip) for one in (sample, true))
        # axes: (H, W, C) -> (1, C, H, W)
        image = normalise_images(torch.from_numpy(own.image).permute(2, 0, 1)[None])
        predicted = (network(image)[0] > 0).numpy()
        inside, wanted = right.trimap != IGNORED, right.trimap == FOREGROUND
        if wanted.any():
            found[video].append(
                (jaccard(predicted & inside, wanted), jaccard((own.trimap == FOREGROUND) & inside, wanted))
            )
    return {video: Crops(*map(float, np.mean(rows, axis=0))) for video, rows in found.items()}


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
    mask = decoded_image(sample.mask_png)
    if mask is None:
        raise InvalidInput(f"{sample.key}: its mask cannot be decoded; extract its shard again")
    # decoded as three equal channels
    return np.asarray(cv2.extractChannel(mask, 0) / np.float32(255), np.float32)


def _binary(sample: Sample) -> NDArray[np.bool_]:
    return np.asarray(_soft(sample) >= _HALF)
