"""Frames with soft masks as a dataset holds them, drawn: a bright square on dark noise."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample, write_shard

WIDTH, HEIGHT = 96, 72


def encoded(image_rgb: NDArray[np.uint8], soft_mask: NDArray[np.float32], key: str) -> Sample:
    """Make a sample of an image (H, W, 3) and a mask (H, W) in [0, 1]; the image is stored as PNG, without loss."""
    _, picture = cv2.imencode(".png", np.ascontiguousarray(image_rgb[..., ::-1]))
    _, mask = cv2.imencode(".png", np.rint(soft_mask * 255).astype(np.uint8))
    return Sample(key, picture.tobytes(), mask.tobytes(), {"video": key.rpartition("-")[0]})


def drawn_sample(video: str, frame: int) -> Sample:
    """A square of 16 to 32 pixels whose place and size the key decides."""
    rng = np.random.default_rng([*video.encode(), frame])
    image = rng.integers(0, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    side = int(rng.integers(16, 33))
    x, y = int(rng.integers(0, WIDTH - side)), int(rng.integers(0, HEIGHT - side))
    image[y : y + side, x : x + side] += 150
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[y : y + side, x : x + side] = 1
    return encoded(image, mask, f"{video}-{frame:06d}")


def lit_from_above(video: str, frame: int) -> Sample:
    """Noise with a square, darker and less blue from top to bottom: this tells the rotation, and grey the colour."""
    rng = np.random.default_rng([*video.encode(), frame])
    light = np.linspace(160, 0, HEIGHT)[:, None, None] * (0.2, 0.6, 1.0)
    image = (rng.integers(0, 90, (HEIGHT, WIDTH, 3)) + light).astype(np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    y, x = (int(rng.integers(0, side - 32)) for side in (HEIGHT, WIDTH))
    mask[y : y + 32, x : x + 32] = 1
    return encoded(image, mask, f"{video}-{frame:06d}")


def drawn_samples(videos: int, frames: int) -> Iterator[Sample]:
    """`frames` frames of each of some videos."""
    for video in range(videos):
        for frame in range(frames):
            yield drawn_sample(f"video{video}", frame)


def drawn_shard(path: Path, videos: int, frames: int) -> Path:
    """A tar file of `drawn_samples`."""
    write_shard(path, drawn_samples(videos, frames))
    return path
