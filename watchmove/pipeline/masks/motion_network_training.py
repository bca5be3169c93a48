"""The training of a motion network on frames that the system has kept, with the masks that it has made of them."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.dataset.trimap import FOREGROUND, IGNORED, trimap_of
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.images import decoded_image
from watchmove.pipeline.masks.drawn_faults import TaughtFrame, with_faults
from watchmove.pipeline.masks.motion_cues import cues_in
from watchmove.pipeline.masks.motion_network_layers import MotionNetworkNetwork

STEPS = 900
"""Steps of training by default. docs/explanation/masks.md measures others."""

FRAMES_PER_STEP = 10
"""Frames of each step. Set by hand; not tuned."""

_LEARNING_RATE = 2e-3
"""Highest learning rate of the one cycle (Smith, 2018) that it follows. Set by hand; not tuned."""

_WARMING_STEPS = 0.1
"""Part of the steps in which the learning rate rises."""

_FOREGROUND, _BACKGROUND = 0.7, 0.4
"""Thresholds of the trimap, the defaults of pretraining."""


def taught_frame(sample: Sample) -> TaughtFrame | None:
    """What a motion network learns from a frame of a shard; None where its motion is not known or it cannot be decoded.

    Shards of extractions before version 10, and of imported masks, have no motion.
    """
    cues = cues_in(sample.motion_png) if sample.motion_png else None
    image, mask = decoded_image(sample.jpeg), decoded_image(sample.mask_png)
    if cues is None or image is None or mask is None or image.shape != mask.shape:
        return None
    size = cues.shape[:0:-1]
    # shrunk before the conversion, as for appearance
    lab = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2LAB)
    soft_mask = cv2.resize(mask[..., 0], size, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    inputs = np.concatenate([cues, lab.transpose(2, 0, 1)]).astype(np.float32) / np.float32(255)
    return TaughtFrame(inputs, trimap_of(soft_mask, _FOREGROUND, _BACKGROUND))


def train_motion_network(
    frames: Sequence[TaughtFrame],
    seed: int,
    steps: int = STEPS,
    on_step: Callable[[int, float], None] = lambda *_: None,
) -> MotionNetworkNetwork:
    """Train a network on frames, each step on ten of one size; the same frames and seed give the same weights.

    `on_step` is called after every step with its number, from 1, and its loss.

    Raises:
        InvalidInput: there is no frame.
    """
    if not frames:
        raise InvalidInput("no frame has motion to learn from; extract its videos again with this version")
    rng = np.random.default_rng(seed)
    network = MotionNetworkNetwork(torch.Generator().manual_seed(seed))
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _LEARNING_RATE, total_steps=steps + 1, pct_start=_WARMING_STEPS
    )
    for step in range(1, steps + 1):
        loss = _loss(network, _drawn_batch(frames, rng))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        on_step(step, loss.item())
    return network.eval()


def _drawn_batch(frames: Sequence[TaughtFrame], rng: np.random.Generator) -> list[TaughtFrame]:
    """Random frames of the size of a random frame, each with faults."""
    shape = frames[int(rng.integers(len(frames)))].trimap.shape
    batch: list[TaughtFrame] = []
    while len(batch) < FRAMES_PER_STEP:
        frame, other = (frames[index] for index in rng.integers(len(frames), size=2))
        # where most frames have another size, a picture of the same frame is near ground too
        if frame.trimap.shape == shape:
            batch.append(with_faults(frame, other if other.trimap.shape == shape else frame, rng))
    return batch


def _loss(network: MotionNetworkNetwork, batch: Sequence[TaughtFrame]) -> torch.Tensor:
    """Mean binary cross-entropy of the pixels that the trimaps do not ignore."""
    inputs: FloatArray = np.stack([frame.inputs for frame in batch])
    trimaps = torch.from_numpy(np.stack([frame.trimap for frame in batch]))
    counts = trimaps != IGNORED
    logits = network(torch.from_numpy(inputs))
    return functional.binary_cross_entropy_with_logits(logits[counts], (trimaps[counts] == FOREGROUND).float())
