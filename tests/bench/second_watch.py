"""Measure J on DAVIS with and without a teacher that was trained on the masks of other sequences only.

    python tests/bench/second_watch.py --davis DIR [--share 0.3] [KEY=VALUE ...]

Sequences are assigned to two halves alternately. All are segmented without a teacher. A network is trained on the kept
frames and masks of one half, and is then the teacher of the other half. No true mask is used in training. KEY=VALUE are
pretraining settings in YAML.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.extraction.every_frame import mask_frames
from watchmove.pipeline.pretraining.pretraining import PretrainingHooks, pretrain
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.video.frames import frames_of_folder
from watchmove.service.masks.bench import bench_masks

DEFAULTS: dict[str, object] = {
    "iterations": 400,
    "batch_size": 16,
    "learning_rate": 0.05,
    "validation_fraction": 0.2,
    "validate_every_iterations": 100,
    "checkpoint_every_iterations": 10**6,
    "max_corrupt_fraction": 1.0,
}


def write_kept(davis: Path, name: str, target: Path) -> Path:
    """Write a shard of a sequence's kept frames with masks that were found without a teacher."""
    settings = ExtractionSettings()

    def samples() -> Iterator[Sample]:
        for masked in mask_frames(frames_of_folder(davis / "JPEGImages" / name, settings), settings):
            if masked.found.reject_reason is None and masked.frame.image is not None:
                _, jpeg = cv2.imencode(".jpg", masked.frame.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
                _, png = cv2.imencode(".png", np.rint(masked.found.soft_mask * 255).astype(np.uint8))
                yield Sample(f"{name}-{masked.frame.name}", jpeg.tobytes(), png.tobytes(), {})

    write_shard(target, samples())
    return target


def j_of(davis: Path, names: Sequence[str], settings: ExtractionSettings) -> dict[str, float]:
    """Measure J of each sequence."""
    *_, scores = bench_masks(davis, names, 10_000, None, settings)
    found: dict[str, float] = scores.facts()["J_by_sequence"]  # type: ignore[assignment]
    return found


def main() -> None:
    """Print a line for each half, then J of all sequences without and with a teacher."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages/ and Annotations/")
    parser.add_argument("--share", type=float, default=0.3, help="weight of the teacher in the evidence")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in options.settings)}
    pretraining = PretrainingSettings.model_validate(DEFAULTS | chosen)
    names = sorted(path.name for path in (options.davis / "JPEGImages").iterdir())
    before = j_of(options.davis, names, ExtractionSettings())
    after: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = {sequence: write_kept(options.davis, sequence, folder / f"{sequence}.tar") for sequence in names}
        for half in (0, 1):
            began = time.process_time()
            training_shards = [shards[sequence] for sequence in names[half::2]]
            result = pretrain(training_shards, pretraining, PretrainingHooks(folder / str(half)))
            facts = {"half": half, "held_out_iou": [point.validation_iou for point in result.curve][-1]}
            print(json.dumps(facts | {"processor_seconds": round(time.process_time() - began)}), flush=True)
            with_teacher = ExtractionSettings(teacher=str(result.mask_network), teacher_share=options.share)
            after |= j_of(options.davis, names[1 - half :: 2], with_teacher)
    for sequence in names:
        print(f"{sequence}: {before[sequence]:.3f} {after[sequence]:.3f}")
    print(f"J: {statistics.mean(before.values()):.3f} before, {statistics.mean(after.values()):.3f} after")


if __name__ == "__main__":
    main()
