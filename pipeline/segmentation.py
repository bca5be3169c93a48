"""From frames of one shot to soft masks of what moves in them: flow, camera, smoothing, looks, edges.

Windows are consecutive frames; a shot gives one window or several, spread over it. Flow lives inside a window; what
the moving object looks like is learned from all windows of the shot together, and from nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.appearance import BY_MOTION, BY_OUTLINES, AppearanceModel, fit_appearance, pixel_features
from pipeline.camera_motion import motion_saliency, residual_motion
from pipeline.flow import (
    WindowFlow,
    flow_trust,
    longer_fields,
    shrink,
    smooth_along_flow,
    window_consistency,
    window_flow,
)
from pipeline.flow_methods import flow_method
from pipeline.refinement import align_to_edges, calibrate, level
from pipeline.second_watch import with_teacher
from pipeline.settings.extraction import ExtractionSettings
from pipeline.stage_seconds import StageSeconds

FloatArray = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class MovingFrame:
    """One segmented frame.

    soft_mask: (H, W) in [0, 1]; own_motion: (h, w), a quarter of the size, in full-size pixels per frame, without the
    camera's part; flow_trust: in [0, 1], how well the flow there and back agreed.
    """

    soft_mask: FloatArray
    own_motion: FloatArray
    flow_trust: float


@dataclass(frozen=True)
class _Evidence:
    """One frame, all but `image` at the working size: own motion, evidence of motion in [0, 1], features of looks."""

    image: Image
    own_motion: FloatArray
    moving: FloatArray
    features: FloatArray
    flow_trust: float


def segment_shot(
    windows: Sequence[Sequence[Image]],
    settings: ExtractionSettings,
    wanted: Sequence[Sequence[int]] | None = None,
    stages: StageSeconds | None = None,
) -> tuple[tuple[MovingFrame, ...], ...]:
    """Soft masks of what moves in one shot; per window, the frames at the `wanted` positions, or all.

    Images are (H, W, 3) uint8 RGB, of one size, at least two in each window. Nothing is learned beforehand: all
    evidence comes from these frames. The same frames and settings give the same bytes. Memory grows with the number of
    frames given: about half a megabyte each at 427x240 beside the frames themselves. `stages` is told the seconds of
    each stage: flow, camera, smoothing, appearance, edges.
    """
    stages = stages or StageSeconds()
    generator = np.random.default_rng(settings.seed)
    evidence = [_window_evidence(images, settings, generator, stages) for images in windows]
    chosen = wanted or [range(len(images)) for images in windows]
    with stages("appearance"):
        looks = _learn_looks([frame for window in evidence for frame in window], settings, generator)
    picked = [[window[position] for position in some] for window, some in zip(evidence, chosen, strict=True)]
    return tuple(tuple(_finish(frame, looks, stages) for frame in window) for window in picked)


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
    with stages("smoothing"):
        moving = smooth_along_flow([saliency for _, saliency in found], flow, agreement)
    if settings.teacher:
        with stages("teacher"):
            moving = with_teacher(images, moving, settings)
    with stages("appearance"):
        labs = [np.asarray(cv2.cvtColor(shrink(image), cv2.COLOR_RGB2LAB), np.uint8) for image in images]
        features = [pixel_features(lab) for lab in labs]
    return [
        _Evidence(image, own, salient, feature, flow_trust(agreement, index))
        for index, (image, (own, _), salient, feature) in enumerate(zip(images, found, moving, features, strict=True))
    ]


def _own_motion(
    flow: WindowFlow, index: int, gaps: Sequence[int], generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Means over a frame's fields, both (h, w): own motion in pixels per frame, and its saliency in [0, 1]."""
    residuals = [(abs(gap), residual_motion(field, generator)) for gap, field in longer_fields(flow, index, gaps)]
    if not residuals:  # the window ends before the shortest gap on both sides
        nothing = np.zeros(flow.fields[index, flow.steps(index)[0]].shape[:2], np.float32)
        return nothing, nothing
    motion = _mean([residual / np.float32(gap) for gap, residual in residuals])
    return motion, _mean([motion_saliency(residual) for _, residual in residuals])


def _mean(maps: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.mean(maps, axis=0, dtype=np.float32), np.float32)


def _learn_looks(
    frames: Sequence[_Evidence], settings: ExtractionSettings, generator: np.random.Generator
) -> AppearanceModel:
    """Learn what moves from motion, bring that to the picture's edges, and learn again from the outlines."""
    features, moving = [frame.features for frame in frames], [frame.moving for frame in frames]
    units = settings.appearance_units
    first = fit_appearance(features, moving, BY_MOTION, units, generator)
    outlined = [_outlined(frame, first) for frame in frames]
    return fit_appearance(features, outlined, BY_OUTLINES, units, generator)


def _both(looks: FloatArray, moving: FloatArray) -> FloatArray:
    """Geometric mean: what moves and looks like what moves."""
    both: FloatArray = np.sqrt(looks * moving)
    return both


def _outlined(frame: _Evidence, looks: AppearanceModel) -> FloatArray:
    """Evidence (h, w) that follows the edges of the picture at half its size, which is enough to learn from."""
    half = shrink(frame.image, 2)
    aligned = level(align_to_edges(_both(looks.predict(frame.features), frame.moving), half))
    return cv2.resize(aligned, frame.moving.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)


def _finish(frame: _Evidence, looks: AppearanceModel, stages: StageSeconds) -> MovingFrame:
    with stages("appearance"):
        alike = looks.predict(frame.features)
    with stages("edges"):
        soft_mask = calibrate(align_to_edges(_both(alike, frame.moving), frame.image))
    return MovingFrame(soft_mask, frame.own_motion, frame.flow_trust)
