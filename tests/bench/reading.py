"""Measures how fast frames become batches without a network, and how much a cache fetches for a large dataset.

    python tests/bench/reading.py [--videos 60] [--threads 1 2] [--frames 1600000]

The first line reports the speed of training on one core, for comparison. Then a line for each number of threads
reports batches of frames of the drawn world read from shards on disk: images/s and MB/s in wall time, images per
processor second, and the latter as a multiple of training's. The last lines simulate the order of an epoch of --frames
frames of 40 KiB, read by one rank and by the first of eight: the bytes that a least-recently-used cache fetches, as a
multiple of the bytes that the rank reads.
"""

import argparse
import json
import tempfile
import time
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
import torch

from tests.bench.pretraining import drawn_samples
from watchmove.pipeline.dataset.frame_order import Share, epoch_order, runs_of, share_of
from watchmove.pipeline.dataset.frame_table import FrameTable
from watchmove.pipeline.dataset.shard import write_shard
from watchmove.pipeline.pretraining.batches import MaskDataset
from watchmove.pipeline.pretraining.pretraining import new_network
from watchmove.pipeline.pretraining.step import Stepper
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.ranks import Ranks
from watchmove.pipeline.training.read_ahead import read_ahead
from watchmove.service.training.shard_cache import PIECE_BYTES

FRAME_BYTES = 40_960
"""Size of a simulated frame with its mask and metadata. Set by hand."""
FRAMES_PER_SHARD = 4096
"""Frames of a simulated shard. Set by hand."""


def main() -> None:
    """Draw videos, read them, simulate the cache, and print a line of JSON for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--frames", type=int, default=1_600_000)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    settings = PretrainingSettings(device="cpu", validation_fraction=0.0)
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "drawn.tar"
        count = write_shard(shard, drawn_samples(options.videos))
        data = MaskDataset.of_shards([shard], settings)
        training = training_per_core(data, settings)
        print(json.dumps({"frames": count, "training_images_per_processor_second": round(training, 1)}), flush=True)
        for threads in options.threads:
            facts = reading(data, settings, options.batches, threads)
            facts["multiple_of_training"] = round(facts["images_per_processor_second"] / training, 1)
            print(json.dumps({"threads": threads, **facts}), flush=True)
    for ranks, cache_mebibytes in ((1, 16384), (1, 4096), (8, 16384), (8, 4096)):
        multiple = fetched_multiple(options.frames, settings, ranks, cache_mebibytes)
        print(json.dumps({"ranks": ranks, "cache_mebibytes": cache_mebibytes, "fetched_over_read": round(multiple, 2)}))


def training_per_core(data: MaskDataset, settings: PretrainingSettings) -> float:
    """Return images per processor second of the default network's steps on one batch in memory, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stepper = Stepper(new_network(settings, torch.device("cpu")), settings, Ranks(torch.device("cpu")))
    batch = data.training_batch(0)
    stepper.step(batch, 0)
    began = time.process_time()
    for number in range(1, 4):
        stepper.step(batch, number)
    seconds = time.process_time() - began
    torch.set_num_threads(threads)
    return 3 * settings.batch_size / seconds


def reading(data: MaskDataset, settings: PretrainingSettings, batches: int, threads: int) -> dict[str, float]:
    """Measure the speed of reading `batches` batches ahead with `threads` threads."""
    data.training_batch(0)
    wall, processor = time.monotonic(), time.process_time()
    for _ in read_ahead(data.training_batch, 1, batches + 1, threads, lambda: False):
        pass
    wall, processor = time.monotonic() - wall, time.process_time() - processor
    images = batches * settings.batch_size
    mean_bytes = float(data.frames.size_bytes.mean())
    return {
        "images_per_second": round(images / wall, 1),
        "megabytes_per_second": round(images * mean_bytes / wall / 1e6, 1),
        "images_per_processor_second": round(images / processor, 1),
    }


def fetched_multiple(count: int, settings: PretrainingSettings, ranks: int, cache_mebibytes: int) -> float:
    """Return the bytes of pieces that the first rank fetches in the second epoch over the bytes of frames it reads."""
    numbers = np.arange(count)
    shard, offset = numbers // FRAMES_PER_SHARD, numbers % FRAMES_PER_SHARD * FRAME_BYTES
    frames = FrameTable(
        (),
        (),
        np.zeros(count, "S1"),
        shard.astype(np.int32),
        shard.astype(np.int32),
        offset,
        np.full(count, FRAME_BYTES),
        np.full(count, -1),
    )
    runs = runs_of(frames, numbers)
    held: OrderedDict[tuple[int, int], None] = OrderedDict()
    most, fetched, read = cache_mebibytes * 2**20 // PIECE_BYTES, 0, 0
    for epoch in (0, 1):
        order, fetched, read = epoch_order(0, epoch, runs, settings.shuffle_window_frames), 0, 0
        for first in range(0, count, settings.batch_size):
            rows = order[first : first + settings.batch_size]
            for row in rows[share_of(rows, Share(0, ranks))].tolist():
                read += FRAME_BYTES
                fetched += touched(held, most, int(shard[row]), int(offset[row])) * PIECE_BYTES
    return fetched / read


def touched(held: "OrderedDict[tuple[int, int], None]", most: int, shard: int, offset: int) -> int:
    """Put a frame's pieces into the cache, evict the least recently used, and return how many were missing."""
    missing = 0
    for piece in range(offset // PIECE_BYTES, (offset + FRAME_BYTES - 1) // PIECE_BYTES + 1):
        missing += (shard, piece) not in held
        held[shard, piece] = None
        held.move_to_end((shard, piece))
    while len(held) > most:
        held.popitem(last=False)
    return missing


if __name__ == "__main__":
    main()
