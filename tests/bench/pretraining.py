"""How fast and how well pretraining learns: `python tests/bench/pretraining.py [--videos N] [KEY=VALUE ...]`.

Frames come from videos of the drawn world with their true masks, softened at the edge. KEY=VALUE are pretraining
settings in YAML, such as iterations=150. Prints one line of JSON: images/s of the reader alone, of the network alone on
one batch in memory, and of the training; loss, IoU on held-out videos, and the IoU there of the average mask.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from pipeline.alexnet import random_backbone
from pipeline.mask_dataset import MaskDataset, normalised
from pipeline.mask_network import MaskNetwork, mask_iou, mask_loss
from pipeline.pretraining import PretrainingHooks, pretrain
from pipeline.settings.pretraining import PretrainingSettings
from pipeline.settings.world import WorldSettings
from pipeline.tar_dataset import Sample, write_shard
from pipeline.world import draw_video

WORLD = WorldSettings(frames_per_video=16)
LEAST_AREA_FRACTION = 0.01


def drawn_samples(videos: int) -> Iterator[Sample]:
    """Every second frame of videos in which something moves, unless hardly any of it is in the picture."""
    for number in range(videos):
        video = draw_video(number, WORLD, "moving")
        for index in range(0, len(video.frames), 2):
            if video.masks[index].mean() < LEAST_AREA_FRACTION:
                continue
            soft = cv2.GaussianBlur(video.masks[index].astype(np.float32), (0, 0), 1.5)
            _, jpeg = cv2.imencode(".jpg", video.frames[index][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            _, png = cv2.imencode(".png", np.rint(soft * 255).astype(np.uint8))
            yield Sample(f"drawn{number:04d}-{index:06d}", jpeg.tobytes(), png.tobytes(), {"video": f"drawn{number}"})


def images_per_second(work: Callable[[int], object], images: int, rounds: int = 5) -> float:
    """Speed of `work`, called with 1, 2, … after one call that does not count."""
    work(0)
    began = time.monotonic()
    for number in range(1, rounds + 1):
        work(number)
    return rounds * images / (time.monotonic() - began)


def network_step(shard: Path, settings: PretrainingSettings) -> Callable[[int], object]:
    """A step of training on one batch that stays in memory."""
    batch = MaskDataset.of_shards([shard], settings).training_batch(0)
    trunk = random_backbone(0, batch_norm=settings.batch_norm)
    images, network = normalised(batch.images), MaskNetwork(trunk, torch.Generator().manual_seed(0))
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, fused=True)

    def step(_: int) -> None:
        optimizer.zero_grad()
        mask_loss(network(images), batch.trimaps).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def average_mask_iou(shard: Path, settings: PretrainingSettings) -> float:
    """Held-out IoU of the best threshold of the average training mask: what looking at no picture reaches."""
    data = MaskDataset.of_shards([shard], settings)
    learnt = torch.cat([data.training_batch(number).trimaps for number in range(max(1, 640 // settings.batch_size))])
    certain = (learnt >= 0).sum(0).clamp(min=1)
    average = (learnt == 1).sum(0) / certain
    held_out = torch.cat([batch.trimaps for batch in data.validation_batches()])
    logits = [(average - level / 20).expand(len(held_out), -1, -1) for level in range(1, 20)]
    return max(float(mask_iou(one, held_out).mean()) for one in logits)


def main() -> None:
    """Draw, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chosen = {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in arguments.settings)}
    settings = PretrainingSettings.model_validate({"validation_fraction": 0.4, "iterations": 100} | chosen)
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "drawn.tar"
        count = write_shard(shard, drawn_samples(arguments.videos))
        reader = images_per_second(MaskDataset.of_shards([shard], settings).training_batch, settings.batch_size)
        network = images_per_second(network_step(shard, settings), settings.batch_size)
        began, spent = time.monotonic(), time.process_time()
        result = pretrain([shard], settings, PretrainingHooks(Path(folder) / "out"))
        facts = {
            "settings": chosen,
            "frames": count,
            "reader_images_per_second": round(reader, 1),
            "network_images_per_second": round(network, 1),
            "training_images_per_second": round(result.images_per_second, 1),
            "seconds": round(time.monotonic() - began, 1),
            "processor_seconds": round(time.process_time() - spent, 1),
            "average_mask_iou": round(average_mask_iou(shard, settings), 3),
            "loss": round(result.curve[-1].loss, 4),
            "held_out_iou": [(p.iteration, p.validation_iou) for p in result.curve if p.validation_iou is not None],
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
