"""From frames of one shot to soft masks of what moves in them, in torch: `segmentation` for a GPU.

The same chain with the same random draws, all windows of a shot at once. What differs is rounding, and OpenCV's
interpolation, which looks to a thirty-second of a pixel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import torch
from torch import Tensor

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import Unavailable
from watchmove.pipeline.flow.choice import chosen_method
from watchmove.pipeline.flow.dis import dis_flow
from watchmove.pipeline.flow.torch_maps import area_resize
from watchmove.pipeline.flow.torch_methods import TensorFlowMethod, chosen_device, tensor_flow_method
from watchmove.pipeline.masks.chain import (
    CONSENSUS_ROUNDS,
    DISAGREEMENT_PENALTY,
    OUTLINE_SCALE,
    REFIT_FRAME_STEP,
    WORKING_SCALE,
    SegmentedFrame,
)
from watchmove.pipeline.masks.cpu.appearance import BY_MOTION, BY_OUTLINES
from watchmove.pipeline.masks.cpu.camera import CANDIDATES, camera_grid, drawn_triples
from watchmove.pipeline.masks.cpu.common_fate import SHARE
from watchmove.pipeline.masks.device.appearance import fit_appearance_maps, pixel_feature_maps
from watchmove.pipeline.masks.device.camera import motion_lengths, motion_saliencies, residual_motions
from watchmove.pipeline.masks.device.common_fate import like_objects, pixel_weight_maps
from watchmove.pipeline.masks.device.edges import aligned_to_edges, calibrated, levelled
from watchmove.pipeline.masks.device.memory import Parts
from watchmove.pipeline.masks.device.windows import STEPS, Windows, agreements, far_fields, smoothed_along_flow
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.masks.teacher import average_with_teacher
from watchmove.pipeline.settings.extraction import ExtractionSettings

_FRAMES_AT_ONCE = 64
"""Frames, or pairs of frames, that a GPU is first given together."""


@dataclass(frozen=True)
class _OwnMotions:
    """What fields say without the camera: P residuals (P, 2, h, w) over `gaps` (P,) frames, each of one of N frames
    (P,), and the means over each frame's, motion in pixels per frame and saliency, both (N, h, w).
    """

    residuals: Tensor
    gaps: Tensor
    frames: Tensor
    pixels_per_frame: Tensor
    saliency: Tensor


class TorchSegmenter:
    """Segments shots on one device; keeps its networks, and how much the device's memory has turned out to hold."""

    def __init__(self, settings: ExtractionSettings) -> None:
        """Raises InvalidInput where there is no such device, or where RAFT's weights are missing or do not fit."""
        cv2.setNumThreads(1)
        self._settings = settings
        self._device = chosen_device(settings)
        self._flow = None if chosen_method(settings) == "dis" else tensor_flow_method(settings)
        self._parts = Parts(_FRAMES_AT_ONCE)

    def __call__(
        self,
        windows: Sequence[Sequence[Image]],
        wanted: Sequence[Sequence[int]] | None = None,
        stages: StageSeconds | None = None,
    ) -> tuple[tuple[SegmentedFrame, ...], ...]:
        """Soft masks of what moves in one shot, as `segmentation.segment_shot` finds them.

        Raises Unavailable where the device fails, or has too little memory for a single frame or for what is held of
        all of them.
        """
        try:
            return self._segment(windows, wanted, stages or StageSeconds())
        except torch.OutOfMemoryError as error:
            raise Unavailable(
                "extract.device: the GPU has too little memory for a shot; free it, or lower extract.windows_per_shot"
            ) from error
        except torch.AcceleratorError as error:
            raise Unavailable(
                f"extract.device: the GPU fails ({error}); run again, elsewhere if it stays so"
            ) from error

    @torch.inference_mode()
    def _segment(
        self, windows: Sequence[Sequence[Image]], wanted: Sequence[Sequence[int]] | None, stages: StageSeconds
    ) -> tuple[tuple[SegmentedFrame, ...], ...]:
        generator = np.random.default_rng(self._settings.seed)
        images = [image for window in windows for image in window]
        layout = Windows.of([len(window) for window in windows], self._device)
        with stages("flow"):
            pictures = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2)
            fields = self._fields(images, pictures, layout)
            agreement = agreements(fields, layout)
            believed = agreement.amax(dim=0)
        with stages("camera"):
            own = self._own_motion(fields, layout, generator)
            stands_out = own.saliency * (1 - DISAGREEMENT_PENALTY * (1 - believed))
        with stages("smoothing"):
            moving = smoothed_along_flow(stands_out, fields, agreement, layout)
        if self._settings.teacher:
            with stages("teacher"):
                mixed = average_with_teacher(images, list(moving.cpu().numpy()), self._settings)
                moving = torch.from_numpy(np.stack(mixed)).to(self._device)
        with stages("appearance"):
            features = self._parts.run(lambda part: pixel_feature_maps(_shrunk(pictures[part])), len(pictures))
            agreed = self._consensus(pictures, features, moving, own, generator)
        chosen = self._chosen(layout, wanted)
        with stages("edges"):
            masks = self._parts.run(
                lambda part: calibrated(aligned_to_edges(agreed[chosen[part]], pictures[chosen[part]].float())),
                len(chosen),
            )
        with stages("back"):
            trust = believed.mean(dim=(1, 2))
            motion = own.pixels_per_frame[chosen].cpu().numpy()
            found = zip(masks.cpu().numpy(), motion, trust[chosen].tolist(), strict=True)
            frames = iter([SegmentedFrame(mask, moved, trusted) for mask, moved, trusted in found])
        counts = layout.lengths if wanted is None else [len(some) for some in wanted]
        return tuple(tuple(islice(frames, count)) for count in counts)

    def _chosen(self, layout: Windows, wanted: Sequence[Sequence[int]] | None) -> Tensor:
        """Which of all frames are asked for, in order."""
        starts = np.cumsum([0, *layout.lengths[:-1]])
        positions = [range(length) for length in layout.lengths] if wanted is None else wanted
        places = [start + position for start, some in zip(starts, positions, strict=True) for position in some]
        return torch.tensor(places, dtype=torch.int64, device=self._device)

    def _fields(self, images: Sequence[Image], pictures: Tensor, layout: Windows) -> Tensor:
        """Flow (2, N, 2, h, w) at the working size from each frame to the one before and the one after; 0 for none."""
        direction, first, second = layout.pairs()
        height, width = (-(-side // WORKING_SCALE) for side in pictures.shape[-2:])
        if self._flow is None:
            between = _dis_of(images, first, second)
        else:
            between = _flow_of(self._flow, pictures, first, second)
        found = self._parts.run(lambda part: area_resize(between(part), height, width), len(first))
        fields = found.new_zeros((len(STEPS), len(pictures), 2, height, width))
        fields[direction, first] = found
        return fields

    def _own_motion(self, fields: Tensor, layout: Windows, generator: np.random.Generator) -> _OwnMotions:
        """What is left of each frame's fields without the camera."""
        gaps = sorted(self._settings.motion_gaps)
        far = [[far_fields(fields, layout, direction, gap) for gap in gaps] for direction in range(len(STEPS))]
        there = torch.stack([torch.stack([known for _, known in some]) for some in far])  # (direction, gap, frame)
        frame, direction, gap = there.permute(2, 0, 1).nonzero(as_tuple=True)
        every = torch.stack([torch.stack([field for field, _ in some]) for some in far])
        grid = camera_grid(*fields.shape[-2:])
        triples = np.array([drawn_triples(grid, generator) for _ in frame], np.int64).reshape(-1, CANDIDATES, 3)
        chosen, over = every[direction, gap, frame], torch.tensor(gaps, device=gap.device)[gap]
        residuals = self._parts.run(lambda part: residual_motions(chosen[part], triples[part]), len(chosen))
        lengths = motion_lengths(residuals)
        saliency = self._parts.run(lambda part: motion_saliencies(lengths[part]), len(lengths))
        means = (_means(maps, frame, fields.shape[1]) for maps in (lengths / over.view(-1, 1, 1), saliency))
        return _OwnMotions(residuals, over, frame, *means)

    def _consensus(
        self, pictures: Tensor, features: Tensor, moving: Tensor, own: _OwnMotions, generator: np.random.Generator
    ) -> Tensor:
        """Evidence (N, h, w) in which motion, looks and common fate agree: `segmentation._consensus`."""
        units, stands_out = self._settings.appearance_units, moving
        looks = fit_appearance_maps(features, moving, BY_MOTION, units, generator)
        both = _both(looks.predict(features), moving)
        for _ in range(CONSENSUS_ROUNDS):
            taught = slice(None, None, REFIT_FRAME_STEP)
            outlined = self._outlined(pictures[taught], both[taught])
            looks = fit_appearance_maps(features[taught], outlined, BY_OUTLINES, units, generator)
            alike = looks.predict(features)
            fate = self._common_fate(own, _both(alike, moving))
            moving = (1 - SHARE) * stands_out + SHARE * fate
            both = _both(alike, moving)
        return both

    def _outlined(self, pictures: Tensor, evidence: Tensor) -> Tensor:
        """Evidence (N, h, w) that follows the pictures' edges."""
        return self._parts.run(lambda part: _outlined(pictures[part], evidence[part]), len(pictures))

    def _common_fate(self, own: _OwnMotions, both: Tensor) -> Tensor:
        """How much better the motion of what has been found explains each pixel, (N, h, w) in [0, 1]."""
        weights = pixel_weight_maps(levelled(both))
        alike = self._parts.run(
            lambda part: like_objects(own.residuals[part], own.gaps[part], weights[own.frames[part]]), len(own.frames)
        )
        return _means(alike, own.frames, len(both))


def _flow_of(method: TensorFlowMethod, pictures: Tensor, first: Tensor, second: Tensor) -> Callable[[slice], Tensor]:
    """What finds fields (n, 2, H, W) of some pairs of pictures (N, 3, H, W) uint8, in torch."""

    def between(part: slice) -> Tensor:
        return method(_grey(pictures[first[part]]), _grey(pictures[second[part]]))

    return between


def _dis_of(images: Sequence[Image], first: Tensor, second: Tensor) -> Callable[[slice], Tensor]:
    """The same by OpenCV, on the CPU."""
    greys = np.stack([np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in images])

    def between(part: slice) -> Tensor:
        fields = dis_flow(greys[first[part].cpu().numpy()], greys[second[part].cpu().numpy()])
        return torch.from_numpy(fields).to(first.device).permute(0, 3, 1, 2)

    return between


def _grey(pictures: Tensor) -> Tensor:
    """Luma (N, H, W) of RGB (N, 3, H, W) uint8, in whole 8-bit steps as OpenCV rounds it (ITU-R BT.601)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=pictures.device).view(3, 1, 1)
    return (pictures.float() * weights).sum(dim=1).round()


def _shrunk(pictures: Tensor, scale: int = WORKING_SCALE) -> Tensor:
    """(N, 3, H, W) uint8 at 1/`scale` of its size, rounded up, float32 in whole 8-bit steps."""
    height, width = (-(-side // scale) for side in pictures.shape[-2:])
    return area_resize(pictures.float(), height, width).round()


def _means(maps: Tensor, frame: Tensor, count: int) -> Tensor:
    """Means (count, h, w) of the maps (N, h, w) of each frame; 0 where it has none."""
    total = maps.new_zeros((count, *maps.shape[1:])).index_add_(0, frame, maps)
    return total / frame.bincount(minlength=count).clamp(min=1).view(-1, 1, 1)


def _both(alike: Tensor, moving: Tensor) -> Tensor:
    """Geometric mean: what moves and looks like what moves."""
    return (alike * moving).sqrt()


def _outlined(pictures: Tensor, evidence: Tensor) -> Tensor:
    """Evidence (N, h, w) that follows the edges of the pictures at half their size."""
    aligned = levelled(aligned_to_edges(evidence, _shrunk(pictures, OUTLINE_SCALE)))
    return area_resize(aligned[:, None], *evidence.shape[-2:])[:, 0]
