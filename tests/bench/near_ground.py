"""Measure J on DAVIS with near ground pasted into the frames, with other constants of `masks.cpu.near_ground`.

    OMP_NUM_THREADS=1 python tests/bench/near_ground.py --davis DIR [--frames 24] [--sequences A,B] [--splits 20]

Three kinds of frames: `as filmed`; `ground`, a strip of another sequence's image along the lower border; `rocks`, high
pieces of it that enter along the lower border and leave. What is pasted moves 1.5 to 2.5 times as far as the camera's
motion moves far background, so the truth is known: it is the annotation outside of what was pasted. Frames where more
than three fifths of the object are covered are not scored. Then constants are chosen on half of the sequences and
measured on the other half, for random halves.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.dataset.true_masks import annotation_paths, jaccard, read_annotation
from watchmove.pipeline.extraction.shot import ExaminedFrame, WindowToExamine, examine_shot
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.cpu import near_ground, segmentation
from watchmove.pipeline.masks.cpu.camera import fit_camera_motion
from watchmove.pipeline.masks.cpu.windows import WindowFlow, window_flow
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings

Found = TypeVar("Found")

KINDS = ("as filmed", "ground", "rocks")

VARIANTS: dict[str, dict[str, Any]] = {
    "without near ground": {"MAX_REGIONS": 0},
    "as it is": {"MAX_REGIONS": near_ground.MAX_REGIONS},
    "regions of 1 pixel, 2.5 sigma": {"_MIN_MOTION_PIXELS": 1.0, "_NOISE_FACTOR": 2.5},
    "shifts instead of affine models": {"GRADIENT_RIDGE": 1e6},
}
"""For the name of each row, the constants that differ. The first one is what the others are compared with."""

_CANVAS_FRAMES = 16
"""Width of the pasted canvas in widths of the frame; the fastest camera of the sequences crosses fewer."""

_HIDDEN_SHARE = 0.6
"""Part of the object beyond which a frame is not scored."""


@dataclass(frozen=True)
class Shot:
    """Frames (H, W, 3) with their flow, the visible part of the annotated object, and all of it (H, W)."""

    images: list[Image]
    truths: list[NDArray[np.bool_]]
    annotated: list[NDArray[np.bool_]]
    flow: WindowFlow


def _profile(rng: np.random.Generator, kind: str, height: int, length: int) -> NDArray[np.float64]:
    """Height in pixels (length,) of what is pasted, at each column of its canvas."""

    def smooth_noise(sigma: float) -> NDArray[np.float32]:
        noise = cv2.GaussianBlur(rng.normal(size=(1, length)).astype(np.float32), (0, 0), sigma)[0]
        return np.asarray(noise / noise.std(), np.float32)

    ground = rng.uniform(0.12, 0.3) * height * (1 + 0.35 * smooth_noise(25))
    if kind == "ground":
        return np.asarray(ground, np.float64)
    peaks = smooth_noise(40) - 0.4
    rocks = np.where(peaks > 0, 0.25 * height + 0.2 * height * np.minimum(peaks, 1.2) / 0.6 + ground * 0.3, 0)
    return np.asarray(cv2.GaussianBlur(rocks[None].astype(np.float32), (0, 0), 4)[0], np.float64)


def _pasted(
    images: list[Image], donor: Image, shifts: NDArray[np.float64], kind: str, rng: np.random.Generator
) -> tuple[list[Image], list[NDArray[np.bool_]]]:
    """Images (H, W, 3) with a layer from the lower half of `donor` in front, and where it is (H, W).

    shifts: (T, 2), by how many pixels far background has moved since the first frame, x then y.
    """
    height, width = images[0].shape[:2]
    half = cv2.resize(donor[donor.shape[0] // 2 :], (width, height))
    canvas = np.tile(np.concatenate([half, half[:, ::-1]], axis=1), (1, _CANVAS_FRAMES // 2, 1))
    factor = rng.uniform(1.5, 2.5)
    profile = _profile(rng, kind, height, canvas.shape[1])
    rows, found, covered = np.arange(height)[:, None], [], []
    for image, shift in zip(images, shifts, strict=True):
        columns = np.arange(width) - factor * shift[0] + canvas.shape[1] / 2
        # held near the lower border, where a camera that tilts would lose it
        down = float(np.clip(factor * shift[1], -0.06 * height, 0.06 * height))
        top = height - np.interp(columns, np.arange(canvas.shape[1]), profile)[None] + down
        coverage = np.clip(rows - top + 0.5, 0, 1).astype(np.float32)
        x = np.broadcast_to(columns[None], (height, width)).astype(np.float32)
        y = np.broadcast_to(rows - down, (height, width)).astype(np.float32)
        layer = cv2.remap(canvas, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
        found.append(np.rint(image + (layer - image) * coverage[..., None]).astype(np.uint8))
        covered.append(np.asarray(coverage >= 0.5))
    return found, covered


def _flow(images: list[Image]) -> WindowFlow:
    return window_flow([np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in images])


def _camera_shifts(images: list[Image], flow: WindowFlow) -> NDArray[np.float64]:
    """By how many pixels (T, 2) the middle of far background has moved since the first frame."""
    generator = np.random.default_rng(0)
    steps = [fit_camera_motion(flow.fields[t, 1], generator)[2] for t in range(len(images) - 1)]
    return np.vstack([np.zeros(2), np.cumsum(steps, axis=0)])


def scored(frames: Sequence[Found], shot: Shot) -> list[Found]:
    """Those of what was found in all frames of a shot that are scored: without the first and the last frame.

    Frames need enough of the object.
    """
    kept = [
        truth.sum() >= (1 - _HIDDEN_SHARE) * full.sum() for truth, full in zip(shot.truths, shot.annotated, strict=True)
    ]
    return list(compress(frames, [False, *kept[1:-1], False]))


def examined(shot: Shot, settings: ExtractionSettings, stages: StageSeconds | None = None) -> list[ExaminedFrame]:
    """Every frame of a shot as extraction examines it, with the flow that was computed before."""
    window = WindowToExamine(shot.images, range(len(shot.images)))
    with patch.object(segmentation, "window_flow", lambda *_: shot.flow):
        return examine_shot([window], settings, shot_segmenter(settings), stages)


def js_of(frames: Sequence[ExaminedFrame], shot: Shot) -> list[float]:
    """J of each scored frame."""
    pairs = zip(scored(frames, shot), scored(shot.truths, shot), strict=True)
    return [jaccard(frame.soft_mask >= 0.5, truth) for frame, truth in pairs]


def _images(folder: Path, frames: int) -> list[Image]:
    return [np.asarray(PIL.Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.jpg"))[:frames]]


def shots_of(davis: Path, name: str, frames: int) -> Iterator[Shot]:
    """Yield the first frames of a sequence in each of KINDS; the same call gives the same shots."""
    known = sorted(path.name for path in (davis / "JPEGImages").iterdir())
    number = known.index(name)
    images = _images(davis / "JPEGImages" / name, frames)
    annotated = [read_annotation(path) for path in annotation_paths(davis / "Annotations" / name)[:frames]]
    flow = _flow(images)
    yield Shot(images, annotated, annotated, flow)
    shifts = _camera_shifts(images, flow)
    donor = _images(davis / "JPEGImages" / known[(number + 11) % len(known)], 6)[5]
    for row, kind in enumerate(KINDS[1:]):
        generator = np.random.default_rng(1000 * row + number)
        pasted, covered = _pasted(images, donor, shifts, kind, generator)
        truths = [truth & ~hidden for truth, hidden in zip(annotated, covered, strict=True)]
        yield Shot(pasted, truths, annotated, _flow(pasted))


def measure(davis: Path, names: list[str], frames: int, report: Callable[[str], None]) -> NDArray[np.float64]:
    """J (variant, kind, sequence); NaN where an object is always hidden."""
    settings = ExtractionSettings()
    found = np.full((len(VARIANTS), len(KINDS), len(names)), np.nan)
    for column, name in enumerate(names):
        for row, shot in enumerate(shots_of(davis, name, frames)):
            for index, constants in enumerate(VARIANTS.values()):
                with patch.multiple(near_ground, **constants):
                    if js := js_of(examined(shot, settings), shot):
                        found[index, row, column] = np.mean(js)
            report(f"{name}, {KINDS[row]}: " + " ".join(f"{value:.3f}" for value in found[:, row, column]))
    return found


def cross_validated(found: NDArray[np.float64], splits: int) -> NDArray[np.float64]:
    """For both halves of each split and each kind: J on the half of the choice, on the other, and there without it.

    found: (variant, kind, sequence). The variant of the highest mean over kinds is chosen. Returns (2 splits, kind, 3).
    """
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(splits):
        order = generator.permutation(found.shape[2])
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        for chosen_on, other in (halves, halves[::-1]):
            best = int(np.nanmean(found[:, :, chosen_on], axis=2).mean(axis=1).argmax())
            parts = found[best][:, chosen_on], found[best][:, other], found[0][:, other]
            rows.append(np.stack([np.nanmean(part, axis=1) for part in parts], axis=1))
    return np.array(rows)


def main() -> None:
    """Print J of every variant, then the cross-validated figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages/ and Annotations/")
    parser.add_argument("--frames", type=int, default=24, help="of each sequence, the first ones")
    parser.add_argument("--sequences", default="")
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    known = sorted(path.name for path in (options.davis / "JPEGImages").iterdir())
    names = [name for name in options.sequences.split(",") if name] or known
    found = measure(options.davis, names, options.frames, lambda line: print(line, flush=True))
    table = Table("J", *KINDS)
    for variant, values in zip(VARIANTS, np.nanmean(found, axis=2), strict=True):
        table.add_row(variant, *(f"{value:.3f}" for value in values))
    Console().print(table)
    if len(names) > 1:
        split = cross_validated(found, options.splits)
        table = Table("cross-validated", "half of the choice", "other half", "there, without near ground", "gain")
        for row, kind in enumerate(KINDS):
            figures = [split[:, row, 0], split[:, row, 1], split[:, row, 2], split[:, row, 1] - split[:, row, 2]]
            table.add_row(kind, *(f"{values.mean():.3f} ± {values.std():.3f}" for values in figures))
        Console().print(table)


if __name__ == "__main__":
    main()
