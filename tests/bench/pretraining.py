"""Measures what reading frames costs the training loop, and how good the trained network is.

    python tests/bench/pretraining.py [--videos 30] [--rounds 3] [--learn] [KEY=VALUE ...]

Frames come from videos of the drawn world with their true masks, blurred at the edge. KEY=VALUE are pretraining
settings in YAML, for example iterations=150. The first line reports images/s of the loop with the default network,
alternately from shards and from one batch in memory: medians, and the medians of their ratio in wall time and in
processor time. With --learn, a second line reports a complete training: loss, IoU on held-out videos, and the IoU of
the average mask there.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.pretraining.batches import Batch, MaskDataset
from watchmove.pipeline.pretraining.loop import TrainingLoop
from watchmove.pipeline.pretraining.mask_network import mask_iou
from watchmove.pipeline.pretraining.pretraining import PretrainingHooks, PretrainingProgress, new_network, pretrain
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.training.ranks import Ranks
from watchmove.pipeline.world.drawing import draw_video

WORLD = WorldSettings(frames_per_video=16)
LEAST_AREA_FRACTION = 0.01
"""Frames whose true masks cover less are left out. Set by hand."""
UNTIMED_STEPS, STEPS = 2, 6
"""Steps before the clock starts, in which memory is allocated, and steps that are timed. Set by hand."""
AVERAGED_EXAMPLES = 640
"""Number of training examples of which the average mask is computed. Set by hand."""


def drawn_samples(videos: int) -> Iterator[Sample]:
    """Yield every second frame of videos with moving objects, except frames in which hardly any of them is visible."""
    for number in range(videos):
        video = draw_video(number, WORLD, "moving")
        for index in range(0, len(video.frames), 2):
            if video.masks[index].mean() < LEAST_AREA_FRACTION:
                continue
            soft = cv2.GaussianBlur(video.masks[index].astype(np.float32), (0, 0), 1.5)
            _, jpeg = cv2.imencode(".jpg", video.frames[index][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            _, png = cv2.imencode(".png", np.rint(soft * 255).astype(np.uint8))
            yield Sample(f"drawn{number:04d}-{index:06d}", jpeg.tobytes(), png.tobytes(), {"video": f"drawn{number}"})


class Repeated(MaskDataset):
    """Dataset that returns its first batch for every step, so that nothing is read."""

    def training_batch(self, iteration: int) -> Batch:  # noqa: ARG002 (the interface's)
        """Return the first batch."""
        return self._first

    @cached_property
    def _first(self) -> Batch:
        return super().training_batch(0)


class EnoughError(Exception):
    """Raised when all timed steps have been done."""


class Clock:
    """Wall and processor seconds of a training's steps, without the first two; raises EnoughError after the last.

    The training is longer than the timed steps, so that later batches are read meanwhile, as in any other step.
    """

    def __init__(self) -> None:
        self.wall = self.processor = self._now = self._spent = 0.0
        self.steps = 0

    def tell(self, progress: PretrainingProgress) -> None:
        """Record that a step has ended."""
        now, spent = time.monotonic(), time.process_time()
        if progress.iteration > UNTIMED_STEPS:
            self.wall += now - self._now
            self.processor += spent - self._spent
            self.steps += 1
        self._now, self._spent = now, spent
        if self.steps == STEPS:
            raise EnoughError


def timed(data: MaskDataset, settings: PretrainingSettings, clock: Clock, folder: Path) -> None:
    """Run one training from the start with the clock as its progress callback."""
    ranks = Ranks(torch.device("cpu"))
    loop = TrainingLoop(
        new_network(settings, ranks.device), data, settings, PretrainingHooks(folder, clock.tell), ranks
    )
    with contextlib.suppress(EnoughError):
        loop.run("bench")


def overhead(shard: Path, settings: PretrainingSettings, rounds: int, folder: Path) -> dict[str, float]:
    """Time the loop alternately on shards and on one batch in memory; a ratio of 1 means that reading costs nothing."""
    update = {"iterations": 10**6, "validation_frames": 1, "checkpoint_every_iterations": 10**6}
    settings = settings.model_copy(update=update)
    pairs = []
    for _ in range(rounds):
        shards, memory = Clock(), Clock()
        timed(MaskDataset.of_shards([shard], settings), settings, shards, folder)
        timed(Repeated.of_shards([shard], settings), settings, memory, folder)
        pairs.append((shards, memory))
    images = STEPS * settings.batch_size
    return {
        "images_per_second_from_shards": round(images / statistics.median(shards.wall for shards, _ in pairs), 2),
        "images_per_second_from_memory": round(images / statistics.median(memory.wall for _, memory in pairs), 2),
        "ratio_of_wall": round(statistics.median(memory.wall / shards.wall for shards, memory in pairs), 4),
        "ratio_of_processor_time": round(
            statistics.median(memory.processor / shards.processor for shards, memory in pairs), 4
        ),
    }


def average_mask_iou(shard: Path, settings: PretrainingSettings) -> float:
    """Return the held-out IoU of the average training mask at its best threshold, which uses no image."""
    data = MaskDataset.of_shards([shard], settings)
    batches = range(max(1, AVERAGED_EXAMPLES // settings.batch_size))
    targets = torch.cat([data.training_batch(number).targets for number in batches])
    certain = (targets >= 0).sum(0).clamp(min=1)
    average = (targets == 1).sum(0) / certain
    held_out = torch.cat([batch.targets for batch in data.validation_batches()])
    logits = [(average - level / 20).expand(len(held_out), -1, -1) for level in range(1, 20)]
    return max(float(mask_iou(levels, held_out).mean()) for levels in logits)


def main() -> None:
    """Draw videos, train, and print a line of JSON for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3, help="number of timed runs of each loop; 0: none")
    parser.add_argument("--learn", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chosen = {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in arguments.settings)}
    settings = PretrainingSettings.model_validate({"validation_fraction": 0.4, "iterations": 100} | chosen)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_shard(folder / "drawn.tar", drawn_samples(arguments.videos))
        if arguments.rounds:
            print(json.dumps(overhead(folder / "drawn.tar", settings, arguments.rounds, folder / "timed")), flush=True)
        if arguments.learn:
            print(json.dumps({"settings": chosen, "frames": count} | learning(folder / "drawn.tar", settings, folder)))


def learning(shard: Path, settings: PretrainingSettings, folder: Path) -> dict[str, object]:
    """Run a complete training: its time, its loss, and its held-out IoU compared with that of the average mask."""
    began, spent = time.monotonic(), time.process_time()
    result = pretrain([shard], settings, PretrainingHooks(folder / "out"))
    return {
        "training_images_per_second": round(result.images_per_second, 1),
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(time.process_time() - spent, 1),
        "average_mask_iou": round(average_mask_iou(shard, settings), 3),
        "loss": round(result.curve[-1].loss, 4),
        "held_out_iou": [(p.iteration, p.validation_iou) for p in result.curve if p.validation_iou is not None],
    }


if __name__ == "__main__":
    main()
