"""From frames of one shot to soft masks of what moves in them: flow, camera, smoothing, consensus, edges.

Windows are consecutive frames; a shot gives one window or several, spread over it. Flow lives inside a window; what
the moving object looks like is learned from all windows of the shot together, and from nothing else. The consensus is
of three witnesses: what stands out by its motion, what looks like it, and what moves as it moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.flow.choice import flow_method
from watchmove.pipeline.masks.chain import (
    CONSENSUS_ROUNDS,
    DISAGREEMENT_PENALTY,
    OUTLINE_SCALE,
    REFIT_FRAME_STEP,
    SegmentedFrame,
    shrink,
)
from watchmove.pipeline.masks.cpu.appearance import BY_MOTION, BY_OUTLINES, fit_appearance, pixel_features
from watchmove.pipeline.masks.cpu.camera import motion_length, motion_saliency, residual_motion
from watchmove.pipeline.masks.cpu.common_fate import like_the_object, pixel_weights, with_common_fate
from watchmove.pipeline.masks.cpu.edges import align_to_edges, calibrate, level
from watchmove.pipeline.masks.cpu.windows import (
    WindowFlow,
    best_agreement,
    longer_fields,
    smooth_along_flow,
    window_consistency,
    window_flow,
)
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.masks.teacher import average_with_teacher
from watchmove.pipeline.settings.extraction import ExtractionSettings


@dataclass(frozen=True)
class _OwnMotion:
    """What the fields of one frame say: gaps and residuals (h, w, 2), their motion and saliency, both (h, w)."""

    residuals: tuple[tuple[int, FloatArray], ...]
    pixels_per_frame: FloatArray
    saliency: FloatArray


@dataclass(frozen=True)
class _Evidence:
    """One frame, all but `image` at the working size: own motion, evidence of motion in [0, 1], features of looks."""

    image: Image
    own: _OwnMotion
    moving: FloatArray
    features: FloatArray
    flow_trust: float


def segment_shot(
    windows: Sequence[Sequence[Image]],
    settings: ExtractionSettings,
    wanted: Sequence[Sequence[int]] | None = None,
    stages: StageSeconds | None = None,
) -> tuple[tuple[SegmentedFrame, ...], ...]:
    """Soft masks of what moves in one shot; per window, the frames at the `wanted` positions, or all.

    Images are (H, W, 3) uint8 RGB, of one size, at least two in each window. Nothing is learned beforehand: all
    evidence comes from these frames. The same frames and settings give the same bytes. Memory grows with the number of
    frames given: about three quarters of a megabyte each at 427x240 beside the frames themselves. `stages` is told the
    seconds of each stage: flow, camera, smoothing, appearance, edges.
    """
    stages = stages or StageSeconds()
    generator = np.random.default_rng(settings.seed)
    evidence = [_window_evidence(images, settings, generator, stages) for images in windows]
    with stages("appearance"):
        agreed = iter(_consensus([frame for window in evidence for frame in window], settings, generator))
    found = [list(zip(window, islice(agreed, len(window)), strict=True)) for window in evidence]
    chosen = wanted or [range(len(images)) for images in windows]
    with stages("edges"):
        return tuple(
            tuple(_finish(*window[position]) for position in some) for window, some in zip(found, chosen, strict=True)
        )


def _window_evidence(
    images: Sequence[Image], settings: ExtractionSettings, generator: np.random.Generator, stages: StageSeconds
) -> list[_Evidence]:
    """What each frame of one window says by itself and by its neighbours."""
    with stages("flow"):
        greys = [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in images]
        flow = window_flow(greys, flow_method(settings))
        agreement = window_consistency(flow)
    with stages("camera"):
        found = [_own_motion(flow, index, settings.motion_gaps, generator) for index in range(len(images))]
        believed = [best_agreement(agreement, index) for index in range(len(images))]
        stands_out = [
            own.saliency * (1 - DISAGREEMENT_PENALTY * (1 - agreed))
            for own, agreed in zip(found, believed, strict=True)
        ]
    with stages("smoothing"):
        moving = smooth_along_flow(stands_out, flow, agreement)
    if settings.teacher:
        with stages("teacher"):
            moving = average_with_teacher(images, moving, settings)
    with stages("appearance"):
        labs = [np.asarray(cv2.cvtColor(shrink(image), cv2.COLOR_RGB2LAB), np.uint8) for image in images]
        features = [pixel_features(lab) for lab in labs]
    return [
        _Evidence(image, own, salient, feature, float(agreed.mean()))
        for image, own, salient, feature, agreed in zip(images, found, moving, features, believed, strict=True)
    ]


def _own_motion(flow: WindowFlow, index: int, gaps: Sequence[int], generator: np.random.Generator) -> _OwnMotion:
    """What is left of a frame's fields without the camera, and its means over them."""
    residuals = tuple((abs(gap), residual_motion(field, generator)) for gap, field in longer_fields(flow, index, gaps))
    if not residuals:  # the window ends before the shortest gap on both sides
        nothing = np.zeros(flow.fields[index, flow.steps(index)[0]].shape[:2], np.float32)
        return _OwnMotion((), nothing, nothing)
    lengths = [(gap, motion_length(residual)) for gap, residual in residuals]
    motion = _mean([length / np.float32(gap) for gap, length in lengths])
    return _OwnMotion(residuals, motion, _mean([motion_saliency(length) for _, length in lengths]))


def _mean(maps: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.mean(maps, axis=0, dtype=np.float32), np.float32)


def _consensus(
    frames: Sequence[_Evidence], settings: ExtractionSettings, generator: np.random.Generator
) -> list[FloatArray]:
    """Evidence (h, w) of each frame in which motion, looks and common fate agree.

    Looks are learnt from motion first. Then, by turns: what has been found so far is brought to the picture's edges
    and teaches looks again; both say where the object is; and its motion there says what else moves with it.
    """
    units, moving = settings.appearance_units, [frame.moving for frame in frames]
    features = [frame.features for frame in frames]
    looks = fit_appearance(features, moving, BY_MOTION, units, generator)
    alike = [looks.predict(feature) for feature in features]
    taught = range(0, len(frames), REFIT_FRAME_STEP)
    for _ in range(CONSENSUS_ROUNDS):
        outlined = [_outlined(frames[i].image, _both(alike[i], moving[i])) for i in taught]
        looks = fit_appearance([features[i] for i in taught], outlined, BY_OUTLINES, units, generator)
        alike = [looks.predict(feature) for feature in features]
        moving = [_moved_together(*of_frame) for of_frame in zip(frames, alike, moving, strict=True)]
    return [_both(*of_frame) for of_frame in zip(alike, moving, strict=True)]


def _both(alike: FloatArray, moving: FloatArray) -> FloatArray:
    """Geometric mean: what moves and looks like what moves."""
    both: FloatArray = np.sqrt(alike * moving)
    return both


def _moved_together(frame: _Evidence, alike: FloatArray, moving: FloatArray) -> FloatArray:
    """A frame's evidence of motion (h, w), joined by what moves as that does which has been found so far."""
    weights = pixel_weights(level(_both(alike, moving)))
    return with_common_fate(frame.moving, like_the_object(frame.own.residuals, weights))


def _outlined(image: Image, evidence: FloatArray) -> FloatArray:
    """Evidence (h, w) that follows the edges of the picture at half its size, which is enough to learn from."""
    aligned = level(align_to_edges(evidence, shrink(image, OUTLINE_SCALE)))
    return cv2.resize(aligned, evidence.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)


def _finish(frame: _Evidence, evidence: FloatArray) -> SegmentedFrame:
    soft_mask = calibrate(align_to_edges(evidence, frame.image))
    return SegmentedFrame(soft_mask, frame.own.pixels_per_frame, frame.flow_trust)
