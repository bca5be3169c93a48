"""Measure J on DAVIS without and with a motion network that has learnt from other sequences only.

    OMP_NUM_THREADS=1 python tests/bench/motion_network.py --davis DIR [--clips DIR] [--shares 0.5,0.3] [--videos 99]
        [--generations 1] [--steps 900] [--frames 24]

Sequences are assigned to two halves alternately. A network learns from the kept frames and masks of one half, and of
the clips if there are any, and takes part in the masks of the other half. No true mask is used in training. With
--videos it learns from fewer sequences of its half, chosen at random; in a second generation, it learns from the masks
in which the first one took part. The frames are those of near_ground.py: as filmed, and with pasted ground and rocks.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tests.bench.near_ground import KINDS, Shot, examined, js_of, scored, shots_of
from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.extraction.sampled_video import extract_video
from watchmove.pipeline.masks.chain import StageMaps
from watchmove.pipeline.masks.drawn_faults import TaughtFrame
from watchmove.pipeline.masks.motion_cues import cues_png
from watchmove.pipeline.masks.motion_network_layers import load_network, save_network
from watchmove.pipeline.masks.motion_network_training import taught_frame, train_motion_network
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings


class Score(NamedTuple):
    """One scored frame: its J, confidence, and whether it is kept; J of the network alone, NaN without one."""

    j: float
    confidence: float
    is_kept: bool
    alone: float


Scores = dict[tuple[str, str], list[Score]]
"""Scores of frames by sequence and kind."""


def taught(image: Image, soft_mask: FloatArray, stages: tuple[StageMaps, slice, slice]) -> TaughtFrame | None:
    """What is learnt from a kept frame, by way of the files of its sample."""
    maps, rows, columns = stages
    inside = np.ascontiguousarray(image[rows, columns])
    height, width = maps.cues.shape[:2]
    motion = cues_png(maps.cues.astype(np.float32), (height, width), slice(0, height), slice(0, width))
    _, jpeg = cv2.imencode(".jpg", inside[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    _, png = cv2.imencode(".png", np.rint(soft_mask[rows, columns] * 255).astype(np.uint8))
    return taught_frame(Sample("frame", jpeg.tobytes(), png.tobytes(), {}, motion))


def of_clips(folder: Path) -> Iterator[TaughtFrame]:
    """What is learnt from the kept frames of the videos in a folder."""
    for path in sorted(folder.glob("*.mp4")):
        for frame in extract_video(path, ExtractionSettings()).frames:
            if frame.reject_reason is not None or frame.stages is None:
                continue
            if one := taught(frame.image, frame.soft_mask, frame.stages):
                yield one


def measured(
    davis: Path, name: str, frames: int, settings: ExtractionSettings, stages: StageSeconds
) -> tuple[Scores, list[TaughtFrame]]:
    """Scores of a sequence in each kind, and what is learnt from its kept frames as filmed."""
    scores: Scores = {}
    learnt: list[TaughtFrame] = []
    for kind, shot in zip(KINDS, shots_of(davis, name, frames), strict=True):
        found = examined(shot, settings, stages)
        alone = _alone(shot, [frame.stages for frame in found], settings)
        rows = zip(js_of(found, shot), scored(found, shot), scored(alone, shot), strict=True)
        scores[name, kind] = [Score(j, one.confidence, one.reject_reason is None, other) for j, one, other in rows]
        if kind == KINDS[0]:
            for image, frame in zip(shot.images, found, strict=True):
                if frame.stages is not None and (one := taught(image, frame.soft_mask, frame.stages)):
                    learnt.append(one)
    return scores, learnt


def _alone(
    shot: Shot, stages: Sequence[tuple[StageMaps, slice, slice] | None], settings: ExtractionSettings
) -> list[float]:
    """J of what the network says of each kept frame without the rest of the chain; NaN for others."""
    if not settings.motion_network:
        return [float("nan")] * len(stages)
    network = load_network(Path(settings.motion_network))
    js = []
    for image, truth, found in zip(shot.images, shot.truths, stages, strict=True):
        if found is None:
            js.append(float("nan"))
            continue
        maps, rows, columns = found
        small = cv2.resize(image[rows, columns], maps.cues.shape[1::-1], interpolation=cv2.INTER_AREA)
        lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.uint8)
        [said] = network.predict([lab], [maps.cues.astype(np.float32)])
        mask = np.zeros(truth.shape, np.float32)
        mask[rows, columns] = cv2.resize(said, mask[rows, columns].shape[::-1])
        js.append(jaccard(mask >= 0.5, truth))
    return js


def row_of(scores: Scores, kind: str) -> list[str]:
    """Figures of all sequences in one kind: J by sequence, kept frames, and J of the surest."""
    of_kind = [frames for (_, other), frames in scores.items() if other == kind and frames]
    every = [frame for frames in of_kind for frame in frames]
    kept = np.array([frame.j for frame in every if frame.is_kept])
    ordered = [frame.j for frame in sorted(every, key=lambda frame: -frame.confidence)]
    alone = np.array([frame.alone for frame in every])
    return [
        f"{np.mean([np.mean([frame.j for frame in frames]) for frames in of_kind]):.3f}",
        f"{100 * len(kept) / len(every):.0f} %",
        f"{kept.mean():.3f}",
        f"{100 * (kept >= 0.5).mean():.1f} %",
        *(f"{np.mean(ordered[: round(part * len(ordered))]):.3f}" for part in (0.3, 0.5)),
        "" if np.isnan(alone).all() else f"{np.nanmean(alone):.3f}",
    ]


def harmed(before: Scores, after: Scores, least: float = 0.03) -> str:
    """The sequences whose J falls by more than `least`, with the difference."""
    means = {key: np.mean([frame.j for frame in frames]) for key, frames in before.items() if frames}
    falls = {key: np.mean([frame.j for frame in after[key]]) - mean for key, mean in means.items()}
    worst = sorted((fall, *key) for key, fall in falls.items() if fall < -least)
    return ", ".join(f"{name} ({kind}) {fall:.3f}" for fall, name, kind in worst)


def main() -> None:
    """Print a table without a network and with one of each share and generation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages/ and Annotations/")
    parser.add_argument("--clips", type=Path, help="folder of videos that are learnt from too")
    parser.add_argument("--shares", default="0.5")
    parser.add_argument("--videos", type=int, default=99, help="most sequences of a half that are learnt from")
    parser.add_argument("--generations", type=int, default=1)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--frames", type=int, default=24, help="of each sequence, the first ones")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    names = sorted(path.name for path in (options.davis / "JPEGImages").iterdir())
    clips = list(of_clips(options.clips)) if options.clips else []
    table = Table("share", "kind", "J", "kept", "their J", "J >= 0.5", "surest 30 %", "50 %", "network alone")

    def measure(settings: dict[str, ExtractionSettings], label: str) -> tuple[Scores, dict[str, list[TaughtFrame]]]:
        scores, learnt, stages = Scores(), {}, StageSeconds()
        for name in names:
            found, learnt[name] = measured(options.davis, name, options.frames, settings[name], stages)
            scores |= found
        for kind in KINDS:
            table.add_row(label, kind, *row_of(scores, kind))
        print(label, {stage: round(seconds, 1) for stage, seconds in stages.cpu.items()}, flush=True)
        return scores, learnt

    with tempfile.TemporaryDirectory() as folder:
        before, learnt = measure(dict.fromkeys(names, ExtractionSettings()), "none")
        for generation in range(1, options.generations + 1):
            weights: dict[str, str] = {}
            for half in (0, 1):
                order = np.random.default_rng(options.seed).permutation(names[half::2])[: options.videos]
                frames = [*(frame for name in order for frame in learnt[name]), *clips]
                began, path = time.process_time(), Path(folder) / f"{generation}-{half}.safetensors"
                save_network(train_motion_network(frames, options.seed, options.steps), path, {})
                print(f"half {half}: {len(frames)} frames, {time.process_time() - began:.0f} s", flush=True)
                weights |= dict.fromkeys(names[1 - half :: 2], str(path))
            for share in map(float, options.shares.split(",")):
                chosen = {
                    name: ExtractionSettings(motion_network=path, motion_network_share=share)
                    for name, path in weights.items()
                }
                after, found = measure(chosen, f"{share:g}, generation {generation}")
                print(f"harmed: {harmed(before, after)}", flush=True)
            learnt = found
    Console().print(table)


if __name__ == "__main__":
    main()
