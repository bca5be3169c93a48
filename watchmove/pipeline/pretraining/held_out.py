"""Measurement of a network on frames of held-out videos, and its predictions for a few of them as pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.dataset.trimap import IGNORED, trimap_levels
from watchmove.pipeline.files.atomic import write_bytes
from watchmove.pipeline.networks.alexnet import normalise_images
from watchmove.pipeline.pretraining.batches import Batch, MaskDataset
from watchmove.pipeline.pretraining.examples import TARGET_PIXELS
from watchmove.pipeline.pretraining.objectives import Example, Objective
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.ranks import Ranks

PREDICTIONS_NAME = "predictions.tar"
"""Name of the file of predictions in the hooks' folder."""
_CROPS, _MOMENTS = 4, 6
"""Most crops whose predictions are kept, and most validations. Set by hand: a table that fits a page."""
_LONGEST_KEY = 90
"""Most letters of a frame's key; a longer one may not fit into the header of a tar."""
_JPEG_QUALITY = 90


class HeldOut(NamedTuple):
    """Mean loss over certain entries, in nats, and the mean over images of the objective's score, in [0, 1]."""

    loss: float
    score: float


@torch.no_grad()
def measure_held_out(
    network: nn.Module, objective: Objective, batches: Sequence[Batch], ranks: Ranks
) -> HeldOut | None:
    """Return loss and score over the batches of all ranks; None without frames. Raises Unavailable if one is lost."""
    network.eval()
    loss = entries = score = frames = 0.0
    for batch in batches:
        if not len(batch.images):
            continue
        images, target = objective.views(batch.images.to(ranks.device), batch.targets.to(ranks.device))
        logits = network(normalise_images(images))
        # Batches are weighted by what they contribute, so the result does not depend on how frames are batched.
        certain = float((target != IGNORED).sum())
        loss, entries = loss + float(objective.loss(logits, target)) * certain, entries + certain
        score, frames = score + float(objective.scores(logits, target).double().sum()), frames + len(target)
    # one exchange after all batches: ranks may have different numbers of them
    loss, entries, score, frames = ranks.total(loss, entries, score, frames)
    return HeldOut(loss / max(entries, 1), score / frames) if frames else None


def shown_moments(settings: PretrainingSettings) -> frozenset[int]:
    """Return the validations whose predictions are kept, by steps done: evenly chosen, with the first and the last."""
    every, last = settings.validate_every_iterations, settings.iterations
    count = -(-last // every)
    chosen = np.linspace(0, count - 1, min(_MOMENTS, count)).round().astype(int)
    return frozenset(min((number + 1) * every, last) for number in chosen.tolist())


class ShownPredictions:
    """Predictions of masks for a few held-out crops over the training, as pictures in its folder of checkpoints.

    The crops and the moments depend on frames and settings alone, so that a training which resumes from a checkpoint
    writes what is missing of them. Predicting draws no random number and changes no weight or statistic.
    """

    def __init__(self, directory: Path, data: MaskDataset, settings: PretrainingSettings) -> None:
        """Read the crops; there are none if the objective is not masks, or if no video is held out."""
        self._directory = directory
        self._moments = shown_moments(settings)
        crops = data.shown_crops(_CROPS) if settings.objective == "masks" else []
        self._crops: list[tuple[Sample, Example]] = [crop for crop in crops if len(crop[0].key) <= _LONGEST_KEY]

    @torch.no_grad()
    def keep(self, network: nn.Module, iteration: int, device: torch.device) -> None:
        """Write the predictions of a network after `iteration` steps, if they are to be kept.

        The network is left in evaluation mode. Raises Unavailable if the disk cannot be written.
        """
        if not self._crops or iteration not in self._moments:
            return
        network.eval()
        # axes: (N, H, W, C) -> (N, C, H, W)
        images = torch.from_numpy(np.stack([image for _, (image, _) in self._crops])).permute(0, 3, 1, 2)
        probability = torch.sigmoid(network(normalise_images(images.to(device))).float())
        # axes: (N, rows, columns) -> (N * rows, columns), one crop below the other
        levels = (probability * 255).round().to(torch.uint8).flatten(0, 1).cpu().numpy()
        write_bytes(self._path(iteration), _png(levels))

    def write(self) -> Path | None:
        """Write all predictions to one tar and return its path; None without any.

        Each crop is a sample: its image, the metadata of its frame with the `iterations`, and in place of the mask a
        picture of the trimap and of the prediction at each of these, one below the other.
        """
        pictures = {moment: self._picture(moment) for moment in sorted(self._moments)}
        kept = {moment: picture for moment, picture in pictures.items() if picture is not None}
        if not kept:
            return None
        samples = []
        for number, (sample, (image, trimap)) in enumerate(self._crops):
            rows = slice(number * TARGET_PIXELS, (number + 1) * TARGET_PIXELS)
            strip = np.vstack([trimap_levels(trimap), *(picture[rows] for picture in kept.values())])
            bgr = np.ascontiguousarray(image[..., ::-1])
            _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            metadata = {**sample.metadata, "iterations": list(kept)}
            samples.append(Sample(sample.key, jpeg.tobytes(), _png(strip), metadata))
        path = self._directory / PREDICTIONS_NAME
        write_shard(path, samples)
        return path

    def _picture(self, iteration: int) -> NDArray[np.uint8] | None:
        """The predictions after a number of steps, (N * 56, 56); None where they are missing or damaged."""
        path = self._path(iteration)
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if self._crops and path.is_file() else None
        fits = picture is not None and picture.shape == (len(self._crops) * TARGET_PIXELS, TARGET_PIXELS)
        return np.asarray(picture, np.uint8) if fits else None

    def _path(self, iteration: int) -> Path:
        return self._directory / f"predictions-{iteration:08d}.png"


def _png(levels: NDArray[np.uint8]) -> bytes:
    _, png = cv2.imencode(".png", levels)
    return png.tobytes()
