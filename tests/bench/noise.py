"""Measures whether a network predicts better masks than the degraded ones that it is trained on.

    python tests/bench/noise.py [--seeds 0,1,2] [--videos 700] [KEY=VALUE ...]

The videos are of the drawn world, whose true masks are known; a frame gives one crop around the true box of each of
its objects. The masks of training videos and of held-out videos are degraded in the same way:

- missed: one of every five objects is erased from every frame of its video, so that the masks of its crops are empty;
- flipped: of all pixels at most --band pixels from the outline, on either side, 30 % change sides. Complete cells of
  --cell x --cell pixels flip at once, because single pixels would be averaged out when masks are scaled to 56x56.

The project's own training uses the degraded masks only. Then three masks are compared with the true mask, at 56x56 and
on the same jittered crops of held-out videos: that of the network (probability at least one half), the degraded mask
itself, and the average degraded mask of training at its best threshold, which uses no image. KEY=VALUE are pretraining
settings in YAML. Crops are jittered half as much as by default, and the learning rate is high, as the loss is a mean
over pixels and the training is short.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.networks.alexnet import normalise_images
from watchmove.pipeline.pretraining.batches import Batch, MaskDataset, held_out_videos
from watchmove.pipeline.pretraining.examples import MaskExample, cut, jittered_square
from watchmove.pipeline.pretraining.loop import TrainingLoop
from watchmove.pipeline.pretraining.mask_network import mask_iou
from watchmove.pipeline.pretraining.pretraining import PretrainingHooks, new_network
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.training.ranks import Ranks
from watchmove.pipeline.world.drawing import draw_video
from watchmove.pipeline.world.video import DrawnVideo

FLIPPED, ONE_MISSED_OF = 0.3, 5
"""Fraction of flipped cells near an outline, and number of objects of which one is missed. Set by hand."""
LEAST_SIDE_PIXELS = 32
"""Shorter side of the smallest box that gives a crop. Set by hand."""
EVERY_FRAMES = 3
"""Crops are made of every third frame, as neighbouring frames are nearly equal. Set by hand."""
AVERAGED_EXAMPLES = 640
"""Number of training examples of which the average mask is computed. Set by hand."""
WORLD = WorldSettings(frames_per_video=6)
DEFAULTS: dict[str, object] = {
    "iterations": 600,
    "batch_size": 16,
    "learning_rate": 4.0,
    "shift_fraction": 0.06,
    "scale_octaves": 0.25,
    "validate_every_iterations": 10**6,
    "checkpoint_every_iterations": 10**6,
    "validation_frames": 10**6,
}


@dataclass(frozen=True)
class Crop:
    """One object in one frame: the image (H, W, 3), the true and the degraded mask (H, W), the object's true box."""

    key: str
    image: NDArray[np.uint8]
    true: NDArray[np.bool_]
    degraded: NDArray[np.bool_]
    box_xyxy: tuple[float, ...]
    is_missed: bool


class AroundObjects(MaskDataset):
    """Dataset of crops around the true boxes in the metadata; masks would give no crop of a missed object."""

    def _example(self, row: int, seed: tuple[int, ...]) -> MaskExample | None:
        sample = self._sample(row)
        if sample is None:
            return None
        image = cv2.imdecode(np.frombuffer(sample.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
        mask = np.asarray(cv2.imdecode(np.frombuffer(sample.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE))
        rng = np.random.default_rng(seed)
        square = jittered_square(tuple(sample.metadata["box_xyxy"]), self._settings, rng)  # type: ignore[arg-type]
        soft = mask.astype(np.float32) / np.float32(255)
        return cut(np.asarray(image, np.uint8), soft, square, self._settings, flip=bool(rng.random() < 0.5))


def degraded(
    mask: NDArray[np.bool_], rng: np.random.Generator, band_pixels: float, cell_pixels: int
) -> NDArray[np.bool_]:
    """Return a mask (H, W) in which 30 % of the pixels near its outline are flipped, in cells."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    band = np.where(mask, inside, outside) <= band_pixels
    height, width = mask.shape
    cells = rng.random((-(-height // cell_pixels), -(-width // cell_pixels))) < FLIPPED
    flips = cells.repeat(cell_pixels, axis=0).repeat(cell_pixels, axis=1)[:height, :width]
    return np.asarray(mask ^ (band & flips if mask.any() else np.False_))


def crops_of(
    name: str, video: DrawnVideo, missed: Sequence[bool], rng: np.random.Generator, options: argparse.Namespace
) -> Iterator[Crop]:
    """Yield crops of every third frame; `missed` tells for each object whether it is erased."""
    for index in range(0, len(video.frames), EVERY_FRAMES):
        true, left = video.masks[index], video.masks[index].copy()
        for box, is_missed in zip(video.boxes_xyxy[index], missed, strict=True):
            if is_missed and np.isfinite(box).all():
                x0, y0, x1, y1 = box.astype(int)
                left[y0:y1, x0:x1] = False
        bad = degraded(left, rng, options.band, options.cell)
        for number, (box, is_missed) in enumerate(zip(video.boxes_xyxy[index], missed, strict=True)):
            if np.isfinite(box).all() and min(box[2:] - box[:2]) >= LEAST_SIDE_PIXELS:
                key = f"{name}-{index:04d}o{number}"
                yield Crop(key, video.frames[index].copy(), true.copy(), bad, tuple(map(float, box)), is_missed)


def drawn_crops(seed: int, held_out_fraction: float, options: argparse.Namespace) -> list[Crop]:
    """Return crops of all videos; one of five objects is missed, in held-out and in training videos separately."""
    rng = np.random.default_rng(seed)
    names = [f"drawn{number:04d}" for number in range(options.videos)]
    held_out = held_out_videos(names, held_out_fraction)
    fates = {part: (fate for _ in count() for fate in rng.permutation(ONE_MISSED_OF) == 0) for part in (True, False)}
    crops: list[Crop] = []
    for number, name in enumerate(names):
        video = draw_video(seed * 1_000_003 + number, WORLD, "moving")
        missed = [bool(next(fates[name in held_out])) for _ in video.class_names]
        crops += crops_of(name, video, missed, rng, options)
    return crops


def write(path: Path, crops: Sequence[Crop], *, true: bool) -> Path:
    """Write a shard of crops' frames with their true masks or with the degraded ones."""

    def samples() -> Iterator[Sample]:
        for crop in crops:
            _, jpeg = cv2.imencode(".jpg", crop.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            _, png = cv2.imencode(".png", (crop.true if true else crop.degraded).astype(np.uint8) * 255)
            yield Sample(crop.key, jpeg.tobytes(), png.tobytes(), {"box_xyxy": crop.box_xyxy})

    write_shard(path, samples())
    return path


def joined(batches: Sequence[Batch]) -> Batch:
    """Join batches into one."""
    return Batch(torch.cat([batch.images for batch in batches]), torch.cat([batch.targets for batch in batches]), 0)


def average_mask(data: MaskDataset, batch_size: int) -> torch.Tensor:
    """Return the mean (56, 56) of the targets of 640 training crops."""
    batches = range(max(1, AVERAGED_EXAMPLES // batch_size))
    targets = torch.cat([data.training_batch(number).targets for number in batches])
    return (targets == 1).sum(0) / (targets >= 0).sum(0).clamp(min=1)


@torch.no_grad()
def predicted(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the network's logits (N, 56, 56) of images uint8 (N, 3, 227, 227)."""
    network.eval()
    return torch.cat([network(normalise_images(part)) for part in torch.split(images, 32)])


def measured(seed: int, settings: PretrainingSettings, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Measure one seed, which decides videos, degradation, first weights and the order of frames."""
    spent = time.process_time()
    crops = drawn_crops(seed, settings.validation_fraction, options)
    shards = {true: write(folder / f"{true}.tar", crops, true=true) for true in (True, False)}
    hard = settings.model_copy(update={"foreground_threshold": 0.51, "background_threshold": 0.49})
    noisy = AroundObjects.of_shards([shards[False]], settings)
    ranks = Ranks(torch.device("cpu"))
    loop = TrainingLoop(new_network(settings, ranks.device), noisy, settings, PretrainingHooks(folder / "out"), ranks)
    network = loop.run(f"noise {seed}")
    images, true, _ = joined(AroundObjects.of_shards([shards[True]], hard).validation_batches())
    degraded_masks = joined(AroundObjects.of_shards([shards[False]], hard).validation_batches()).targets.float() - 0.5
    missed = {crop.key for crop in crops if crop.is_missed}
    found = torch.tensor([noisy.frames.keys[row].decode() not in missed for row in noisy.held_out.tolist()])
    average = average_mask(noisy, settings.batch_size)
    blind = max(float(mask_iou((average - level / 20).expand_as(true), true).mean()) for level in range(1, 20))
    ious = {"network": mask_iou(predicted(network, images), true), "degraded": mask_iou(degraded_masks, true)}
    return {
        "crops_learnt": len(noisy.training),
        "crops_held_out": len(found),
        "missed_share": round(1 - float(found.float().mean()), 3),
        **{f"{name}_iou": round(float(iou.mean()), 4) for name, iou in ious.items()},
        **{f"{name}_iou_of_found": round(float(iou[found].mean()), 4) for name, iou in ious.items()},
        "average_mask_iou": round(blind, 4),
        "processor_seconds": round(time.process_time() - spent, 1),
    }


def main() -> None:
    """Print a line for each seed, then means and standard deviations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--videos", type=int, default=700, help="number of videos, of which a fifth is held out")
    parser.add_argument("--band", type=float, default=4.0, help="pixels of a frame, 320x240")
    parser.add_argument("--cell", type=int, default=4, help="pixels of a frame")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in options.settings)}
    rows = []
    for seed in map(int, options.seeds.split(",")):
        settings = PretrainingSettings.model_validate(DEFAULTS | {"validation_fraction": 0.2, "seed": seed} | chosen)
        with tempfile.TemporaryDirectory() as name:
            rows.append(measured(seed, settings, options, Path(name)))
        print(json.dumps({"seed": seed} | rows[-1]), flush=True)
    for name in rows[0]:
        values = [row[name] for row in rows]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name}: {statistics.mean(values):.3f} ± {spread:.3f}")


if __name__ == "__main__":
    main()
