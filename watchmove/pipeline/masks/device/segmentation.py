"""From frames of one shot to soft masks of its moving objects, in torch: the twin of `cpu.segmentation`.

The same chain with the same random draws, all windows of a shot at once. What differs is the order of sums, and the
interpolation of OpenCV, which rounds positions to a thirty-second of a pixel.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.errors import Unavailable
from watchmove.pipeline.flow.choice import chosen_method
from watchmove.pipeline.flow.torch_maps import area_resize
from watchmove.pipeline.flow.torch_methods import chosen_device, tensor_flow_method
from watchmove.pipeline.masks.border_contrast import is_supported, shows_motion, with_contrast
from watchmove.pipeline.masks.chain import (
    CONSENSUS_ROUNDS,
    DISAGREEMENT_PENALTY,
    OUTLINE_SCALE,
    REFIT_FRAME_STEP,
    SegmentedFrame,
    StageMaps,
    small_lab,
)
from watchmove.pipeline.masks.confidence import is_doubtful, most_confident
from watchmove.pipeline.masks.cpu.appearance import FIT_TO_MOTION, FIT_TO_OUTLINES
from watchmove.pipeline.masks.device.appearance import fit_appearance, pixel_features
from watchmove.pipeline.masks.device.common_fate import object_motion_likelihood, pixel_weights, with_common_fate
from watchmove.pipeline.masks.device.edges import align_to_edges, calibrate, level
from watchmove.pipeline.masks.device.independent_motion import IndependentMotion, independent_motion
from watchmove.pipeline.masks.device.memory import AdaptiveBatches
from watchmove.pipeline.masks.device.motion_network import mixed_evidence
from watchmove.pipeline.masks.device.windows import (
    Windows,
    mean_by_frame,
    shrink,
    smooth_along_flow,
    to_next,
    window_consistency,
    window_flow,
)
from watchmove.pipeline.masks.motion_network_layers import load_network
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings

_FRAMES_PER_BATCH = 64
"""Frames, or pairs of frames, that a GPU is given together at first; a bound on memory, halved where it is too much."""

_Masks = tuple[list[FloatArray], tuple[Tensor, Tensor, Tensor]]
"""M masks (H, W) in [0, 1] of frames, and (M, h, w) evidence of motion, similarity and consensus."""


class TorchSegmenter:
    """Segments shots on one device; it keeps the flow network and the size of batches that fits into memory."""

    def __init__(self, settings: ExtractionSettings) -> None:
        """Raises InvalidInput where the device is missing, or where weights are missing or do not fit."""
        # the other cores belong to the workers that decode videos
        cv2.setNumThreads(1)
        self._settings = settings
        self._device = chosen_device(settings)
        self._flow = None if chosen_method(settings) == "dis" else tensor_flow_method(settings)
        weights = settings.motion_network
        self._motion_network = load_network(Path(weights)).to(self._device) if weights else None
        self._batches = AdaptiveBatches(_FRAMES_PER_BATCH)

    def __call__(
        self,
        windows: Sequence[Sequence[Image]],
        wanted: Sequence[Sequence[int]] | None = None,
        stages: StageSeconds | None = None,
    ) -> tuple[tuple[SegmentedFrame, ...], ...]:
        """Segment one shot: see `cpu.segmentation.segment_shot`; `stages` has one more, "back", for copying results.

        Raises Unavailable where the device fails, or has too little memory for a single frame or for what is held of
        all frames.
        """
        try:
            return self._segment(windows, wanted, stages or StageSeconds())
        except torch.OutOfMemoryError as error:
            raise Unavailable(
                "extract.device: the GPU has too little memory for a shot; free it, or lower extract.windows_per_shot"
            ) from error
        except torch.AcceleratorError as error:
            raise Unavailable(
                f"extract.device: the GPU failed ({error}); run again, on another machine if it fails again"
            ) from error

    @torch.inference_mode()
    def _segment(
        self, windows: Sequence[Sequence[Image]], wanted: Sequence[Sequence[int]] | None, stages: StageSeconds
    ) -> tuple[tuple[SegmentedFrame, ...], ...]:
        generator = np.random.default_rng(self._settings.seed)
        images = [image for window in windows for image in window]
        layout = Windows.of([len(window) for window in windows], self._device)
        with stages("flow"):
            # axes: (N, H, W, 3) -> (N, 3, H, W), uint8
            pixels = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2)
            fields = window_flow(images, pixels, layout, self._flow, self._batches)
            consistency = window_consistency(fields, layout)
            best = consistency.amax(dim=0)
        with stages("camera"):
            motion = independent_motion(fields, layout, self._settings.motion_gaps, generator, self._batches)
            saliency = motion.saliency * (1 - DISAGREEMENT_PENALTY * (1 - best))
        with stages("smoothing"):
            motion_evidence = smooth_along_flow(saliency, fields, consistency, layout)
        cues = torch.stack([motion.above_noise, motion.saliency, best, motion_evidence], dim=1)
        with stages("appearance"):
            features = self._batches.run(lambda part: pixel_features(shrink(pixels[part])), len(pixels))
        chosen = self._chosen(layout, wanted)
        masks, maps = self._masks(pixels, features, motion_evidence, motion, chosen, generator, stages)
        if is_doubtful(masks):
            segment = partial(
                self._masks, pixels, features, motion=motion, chosen=chosen, generator=generator, stages=stages
            )
            candidates = [(masks, maps), *self._other_masks(segment, images, pixels, cues, chosen, stages)]
            masks, maps = candidates[most_confident([found for found, _ in candidates])]
        with stages("back"):
            # a GPU works asynchronously: the copies also wait for what earlier stages have queued
            facts = motion.pixels_per_frame[chosen].cpu().numpy(), best.mean(dim=(1, 2))[chosen].tolist()
            # axes: (N, 4, h, w) -> (N, h, w, 4)
            of_stages = (to_next(fields, layout)[chosen], *maps, cues.permute(0, 2, 3, 1)[chosen])
            stages_of = [StageMaps(*found) for found in zip(*map(_copied, of_stages), strict=True)]
            found = zip(masks, *facts, stages_of, strict=True)
            frames = iter([SegmentedFrame(*of_frame) for of_frame in found])
        counts = layout.lengths if wanted is None else [len(positions) for positions in wanted]
        return tuple(tuple(islice(frames, count)) for count in counts)

    def _other_masks(
        self,
        segment: Callable[[Tensor], _Masks],
        images: Sequence[Image],
        pixels: Tensor,
        cues: Tensor,
        chosen: Tensor,
        stages: StageSeconds,
    ) -> Iterator[_Masks]:
        """Masks from other evidence than motion alone: see `cpu.segmentation._other_masks`."""
        # on the CPU, whose counts are exact, and which takes less than a millisecond for a frame
        evidence = list(cues[:, -1].cpu().numpy())
        if shows_motion(evidence):
            with stages("appearance"):
                contrasted = np.stack(with_contrast(evidence, [small_lab(image) for image in images]))
            found = segment(torch.from_numpy(contrasted).to(self._device))
            if is_supported(found[0], [evidence[index] for index in chosen.tolist()]):
                yield found
        if network := self._motion_network:
            share = self._settings.motion_network_share
            with stages("motion-network"):
                mixed = self._batches.run(
                    lambda part: mixed_evidence(cues[part], shrink(pixels[part]), network, share), len(pixels)
                )
            yield segment(mixed)

    def _masks(
        self,
        pixels: Tensor,
        features: Tensor,
        motion_evidence: Tensor,
        motion: IndependentMotion,
        chosen: Tensor,
        generator: np.random.Generator,
        stages: StageSeconds,
    ) -> _Masks:
        """M masks (H, W) of the chosen frames; evidence of motion, similarity and consensus, (M, h, w) each."""
        with stages("appearance"):
            similarity, consensus = self._consensus(pixels, features, motion_evidence, motion, generator)
        with stages("edges"):
            masks = self._batches.run(
                lambda part: calibrate(align_to_edges(consensus[chosen[part]], pixels[chosen[part]].float())),
                len(chosen),
            )
        with stages("back"):
            # a GPU works asynchronously: the copy also waits for what earlier stages have queued
            found = list(masks.cpu().numpy())
        return found, (motion_evidence[chosen], similarity[chosen], consensus[chosen])

    def _chosen(self, layout: Windows, wanted: Sequence[Sequence[int]] | None) -> Tensor:
        """Indices, among all frames of the shot, of those at the wanted positions of their windows, in order."""
        starts = np.cumsum([0, *layout.lengths[:-1]])
        wanted = wanted if wanted is not None else [range(length) for length in layout.lengths]
        indices = [start + position for start, positions in zip(starts, wanted, strict=True) for position in positions]
        return torch.tensor(indices, dtype=torch.int64, device=self._device)

    def _consensus(
        self,
        pixels: Tensor,
        features: Tensor,
        motion_evidence: Tensor,
        motion: IndependentMotion,
        generator: np.random.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Similarity and consensus (N, h, w) each, by the rounds of `cpu.segmentation._consensus`."""
        unit_count, first_evidence = self._settings.appearance_units, motion_evidence
        appearance = fit_appearance(features, motion_evidence, FIT_TO_MOTION, unit_count, generator)
        similarity = appearance.predict(features)
        consensus = _geometric_mean(similarity, motion_evidence)
        refitted = slice(None, None, REFIT_FRAME_STEP)
        for round_number in range(1, CONSENSUS_ROUNDS + 1):
            outlined = self._outlined(pixels[refitted], consensus[refitted])
            appearance = fit_appearance(features[refitted], outlined, FIT_TO_OUTLINES, unit_count, generator)
            similarity = appearance.predict(features)
            likelihood = self._object_motion_likelihood(motion, _geometric_mean(similarity, motion_evidence))
            # the CPU updates the other frames in the last round only, so the same evidence has to be updated here
            seen = refitted if round_number < CONSENSUS_ROUNDS else slice(None)
            motion_evidence = motion_evidence.clone()
            motion_evidence[seen] = with_common_fate(first_evidence, likelihood)[seen]
            consensus = _geometric_mean(similarity, motion_evidence)
        return similarity, consensus

    def _outlined(self, pixels: Tensor, evidence: Tensor) -> Tensor:
        """Evidence (N, h, w) aligned to the edges of the images, in batches."""
        return self._batches.run(lambda part: _outlined(pixels[part], evidence[part]), len(pixels))

    def _object_motion_likelihood(self, motion: IndependentMotion, evidence: Tensor) -> Tensor:
        """Mean likelihood (N, h, w) in [0, 1] that pixels move like the object, over the fields of each frame."""
        weights = pixel_weights(level(evidence))
        likelihood = self._batches.run(
            lambda part: object_motion_likelihood(
                motion.residuals[part], motion.gaps[part], weights[motion.frames[part]]
            ),
            len(motion.frames),
        )
        return mean_by_frame(likelihood, motion.frames, len(evidence))


def _copied(maps: Tensor) -> NDArray[np.float16]:
    """Maps on the device as an array in half precision, as `StageMaps` has them."""
    return np.asarray(maps.half().cpu().numpy(), np.float16)


def _geometric_mean(similarity: Tensor, motion_evidence: Tensor) -> Tensor:
    """Geometric mean (N, h, w) of appearance similarity and motion evidence: high only where both are."""
    return (similarity * motion_evidence).sqrt()


def _outlined(pixels: Tensor, evidence: Tensor) -> Tensor:
    """Evidence (N, h, w) aligned to the edges of the images at a reduced size, and levelled."""
    aligned = level(align_to_edges(evidence, shrink(pixels, OUTLINE_SCALE)))
    return area_resize(aligned[:, None], *evidence.shape[-2:])[:, 0]
