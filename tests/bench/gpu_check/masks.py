"""Flow and masks on the device against the CPU, on drawn shots whose flow and masks are exactly known."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.bench.gpu_check.rows import DeviceMemory, Figure, Row, Stopwatch, skipped
from tests.bench.gpu_check.setup import Setup, Sizes
from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.flow.torch_methods import torch_flow_method
from watchmove.pipeline.masks.choice import ShotSegmenter, shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.world.drawing import DrawnVideo, draw_video
from watchmove.service.extraction.device_client import DeviceClient
from watchmove.service.extraction.device_process import DeviceProcess

MEAN_MASK, SIDES, MEAN_J = 0.005, 0.005, 0.01
"""Most mean difference of soft masks in [0, 1], share of pixels on the other side of one half, and difference of mean
J: the tolerances of `tests/pipeline/masks/device/test_segmentation.py`."""
MEAN_FLOW, FLOW_ERROR = 0.05, 0.02
"""Most mean difference of flow, and difference of its mean error from the truth, in pixels. Set by hand."""
_WINDOW = 16
"""Frames of a window: the default of `extract.window_frames`."""
_FIRST_SEED = 100
"""Seed of the first shot. Set by hand; the tests of masks draw others."""


@cache
def drawn_shots(sizes: Sizes) -> tuple[DrawnVideo, ...]:
    """Shots with moving objects, half of them or so before a panning camera."""
    world = WorldSettings(frames_per_video=sizes.frames, width_pixels=sizes.width, height_pixels=sizes.height)
    return tuple(draw_video(_FIRST_SEED + number, world, "moving") for number in range(sizes.shots))


def flow_rows(setup: Setup) -> Iterator[tuple[str, Callable[[], Row]]]:
    """A row for each flow method that runs in torch."""
    yield "flow variational", lambda: flow_row(setup, "variational")
    name = "flow raft"
    yield name, lambda: flow_row(setup, "raft") if setup.raft_weights else skipped(name, "no --raft-weights are given")


def flow_row(setup: Setup, flow: str) -> Row:
    """Compare one method on both devices: with each other, and with the exact flow."""
    shot, count = drawn_shots(setup.sizes)[0], setup.sizes.flow_frames - 1
    greys = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in shot.frames[: count + 1]])
    first, second = greys[:-1].astype(np.uint8), greys[1:].astype(np.uint8)
    devices = (setup.extraction_device, "cpu")
    methods = [torch_flow_method(_settings(device, flow, setup.raft_weights)) for device in devices]
    methods[0](first[:1], second[:1])  # the first call allocates memory and chooses kernels
    memory, watches = DeviceMemory(setup.device), (Stopwatch(), Stopwatch())
    ours, theirs = (watch.of(partial(method, first, second)) for watch, method in zip(watches, methods, strict=True))
    errors = [np.nanmean(np.linalg.norm(field - shot.flows[:count], axis=-1)) for field in (ours, theirs)]
    apart = np.linalg.norm(ours - theirs, axis=-1)
    figures = (
        Figure("mean difference, px", float(apart.mean()), MEAN_FLOW),
        Figure("largest, px", float(apart.max())),
        Figure("error, px", float(errors[0])),
        Figure("difference from the error of the CPU", float(abs(errors[0] - errors[1])), FLOW_ERROR),
    )
    device, cpu = (count / watch.seconds for watch in watches)
    return Row(f"flow {flow}", figures, "pairs", (device, cpu), memory.mebibytes)


def masks_rows(setup: Setup) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The chain of masks with the flow of the CPU, which isolates the chain, and with the default flow of GPUs.

    An extraction sends its shots to a process that holds the device; the second row is masks that have come from there.
    """
    dis, variational, process = (f"masks, flow {name}" for name in ("dis", "variational", "dis, device process"))
    yield dis, lambda: _masks_here(setup, dis, "dis", setup.sizes.shots, setup.sizes.frames)
    yield process, lambda: _masks_of_process(setup, process)
    yield variational, lambda: _masks_here(setup, variational, "variational", 1, setup.sizes.flow_frames)


def _masks_here(setup: Setup, what: str, flow: str, shots: int, frames: int) -> Row:
    """The row of masks that this process computes."""
    segment = shot_segmenter(_settings(setup.extraction_device, flow))
    segment([list(drawn_shots(setup.sizes)[0].frames[:3])])  # the first call allocates memory and chooses kernels
    memory = DeviceMemory(setup.device)
    row = masks_row(what, segment, flow, drawn_shots(setup.sizes)[:shots], frames)
    return replace(row, mebibytes=memory.mebibytes)


def _masks_of_process(setup: Setup, what: str) -> Row:
    """The row of masks that a process of their own computes, as in extraction; its memory is not known here."""
    settings = _settings(setup.extraction_device, "dis")
    with DeviceProcess(settings) as process:
        client = DeviceClient(process.address)
        client([list(drawn_shots(setup.sizes)[0].frames[:3])])
        return masks_row(what, client, "dis", drawn_shots(setup.sizes)[:1], setup.sizes.frames)


def masks_row(what: str, segment: ShotSegmenter, flow: str, shots: Sequence[DrawnVideo], frames: int) -> Row:
    """Compare the masks of the first frames of shots, shot by shot: both devices are timed in the same minute."""
    segmenters = (segment, shot_segmenter(_settings("cpu", flow)))
    watches = (Stopwatch(), Stopwatch())
    masks: list[list[NDArray[np.float32]]] = [[], []]
    for shot in shots:
        windows = [list(shot.frames[at : min(at + _WINDOW, frames)]) for at in range(0, frames, _WINDOW)]
        for segmenter, watch, found in zip(segmenters, watches, masks, strict=True):
            of_windows = watch.of(partial(segmenter, windows))
            found += [frame.soft_mask for window in of_windows for frame in window]
    ours, theirs = (np.stack(found) for found in masks)
    truths = np.concatenate([shot.masks[:frames] for shot in shots])
    j, expected = (np.mean(list(map(jaccard, found >= 0.5, truths))) for found in (ours, theirs))
    figures = (
        Figure("mean difference", float(np.abs(ours - theirs).mean()), MEAN_MASK),
        Figure("largest", float(np.abs(ours - theirs).max())),
        Figure("pixels on the other side", float(((ours >= 0.5) != (theirs >= 0.5)).mean()), SIDES),
        Figure("J", float(j)),
        Figure("difference from J of the CPU", float(abs(j - expected)), MEAN_J),
    )
    device, cpu = (len(ours) / watch.seconds for watch in watches)
    return Row(what, figures, "frames", (device, cpu))


def _settings(device: str, flow: str, raft_weights: str = "") -> ExtractionSettings:
    return ExtractionSettings.model_validate({"device": device, "flow": flow, "raft_weights": raft_weights})
