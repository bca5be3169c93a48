"""What each stage of the masks contributes: J on DAVIS without it.

    OMP_NUM_THREADS=1 python tests/bench/mask_ablation.py --davis DIR [--frames 30] [--json]

Each row is the complete chain with one stage removed or simplified; nothing else is tuned again. With `--frames N`
only the first N frames of each sequence are segmented, so that J differs a little from that over whole sequences.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.extraction import every_frame
from watchmove.pipeline.flow import dis
from watchmove.pipeline.masks.cpu import appearance, camera, common_fate, edges, segmentation
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.masks.bench import bench_masks

Patches = Callable[[], AbstractContextManager[object]]


def _medium_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> FloatArray:
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(estimator.calc(first, second, None), np.float32)  # type: ignore[call-overload]


def _median_shift(field: FloatArray, _: np.random.Generator) -> NDArray[np.float64]:
    return np.vstack([np.zeros((2, 2)), np.median(field.reshape(-1, 2), axis=0)])


def _enlarged(evidence: FloatArray, image: NDArray[np.uint8]) -> FloatArray:
    return cv2.resize(evidence, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _together(*patches: AbstractContextManager[object]) -> AbstractContextManager[object]:
    stack = ExitStack()
    for context in patches:
        stack.enter_context(context)
    return stack


def _unbalanced() -> AbstractContextManager[object]:
    names = ("FIT_TO_MOTION", "FIT_TO_OUTLINES")
    options = {name: replace(getattr(appearance, name), balance=0.0) for name in names}
    return _together(*(patch.object(segmentation, name, changed) for name, changed in options.items()))


VARIANTS: dict[str, tuple[dict[str, object], Patches]] = {
    "the complete chain": ({}, nullcontext),
    "flow by DIS medium instead of a finer DIS": ({}, lambda: patch.object(dis, "dense_flow", _medium_flow)),
    "motion over one frame only": ({"motion_gaps": (1,)}, nullcontext),
    "camera as a shift instead of affine": (
        {},
        lambda: patch.object(camera, "fit_camera_motion", _median_shift),
    ),
    "near ground without a motion of its own": (
        {},
        lambda: patch.object(segmentation, "without_near_ground", lambda _, residual: residual),
    ),
    "without smoothing along the flow": (
        {},
        lambda: patch.object(segmentation, "smooth_along_flow", lambda maps, *_: list(maps)),
    ),
    "without appearance (motion alone, edges)": (
        {},
        lambda: patch.object(segmentation, "_geometric_mean", lambda _, motion: motion),
    ),
    "appearance alone, without motion at the end": (
        {},
        lambda: patch.object(segmentation, "_geometric_mean", lambda similarity, _: similarity),
    ),
    "appearance fitted once, to motion only; no common fate": (
        {},
        lambda: patch.object(segmentation, "CONSENSUS_ROUNDS", 0),
    ),
    "one round instead of three": ({}, lambda: patch.object(segmentation, "CONSENSUS_ROUNDS", 1)),
    "without common fate": ({}, lambda: patch.object(common_fate, "COMMON_FATE_WEIGHT", 0.0)),
    "without the penalty for inconsistent flow": (
        {},
        lambda: patch.object(segmentation, "DISAGREEMENT_PENALTY", 0.0),
    ),
    "appearance fitted without balance": ({}, _unbalanced),
    "without edges": ({}, lambda: patch.object(segmentation, "align_to_edges", _enlarged)),
    "without levelling": ({}, lambda: patch.object(edges, "level", lambda evidence: evidence)),
    "at most 18 frames together": (
        {"window_frames": 6, "windows_per_shot": 1},
        lambda: patch.object(every_frame, "_CHUNK_TO_SAMPLED_SHOT", 3),
    ),
}
"""For the name of each row, the settings that differ and the functions that are replaced."""


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--sequences", default="")
    parser.add_argument("--only", default="", help="Only rows with this text in their names.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = [name for name in options.sequences.split(",") if name]
    table = Table("variant", "J", "kept", "J of kept", "ms a frame")
    rows = {}
    for variant, (changed, patches) in VARIANTS.items():
        if options.only not in variant:
            continue
        with patches():
            *_, scores = bench_masks(options.davis, names, options.frames, None, ExtractionSettings(**changed))
        facts = scores.facts()
        rows[variant] = facts
        shown = (f"{facts[key]:.3f}" for key in ("J", "kept_share", "kept_J"))
        table.add_row(variant, *shown, f"{facts['cpu_milliseconds']:.0f}")
        if not options.json:
            print(variant, f"{facts['J']:.4f}", flush=True)
    print(json.dumps(rows, indent=1)) if options.json else Console().print(table)


if __name__ == "__main__":
    main()
