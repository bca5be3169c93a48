"""From a window of frames to soft masks of what moves in it: flow, camera, superpixels, consensus, looks, edges."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.appearance import fit_appearance, pixel_features
from pipeline.camera_motion import motion_saliency, residual_motion
from pipeline.consensus import neighbour_graph, vote
from pipeline.flow import WindowFlow, flow_trust, shrink, smooth_along_flow, window_flow
from pipeline.refinement import align_to_edges, calibrate
from pipeline.settings.extraction import ExtractionSettings
from pipeline.superpixels import segment_superpixels

FloatArray = NDArray[np.float32]
Image = NDArray[np.uint8]

_GAPS = (1, 2)
_APPEARANCE_ROUNDS = 4


@dataclass(frozen=True)
class MovingFrame:
    """One segmented frame.

    soft_mask: (H, W) in [0, 1]; own_motion: (h, w), half size, in full-size pixels per frame, without the camera's
    part; flow_trust: in [0, 1], how well the flow there and back agreed.
    """

    soft_mask: FloatArray
    own_motion: FloatArray
    flow_trust: float


def segment_window(images: Sequence[Image], settings: ExtractionSettings) -> tuple[MovingFrame, ...]:
    """Soft masks of what moves in consecutive frames of one shot, each (H, W, 3) uint8 RGB; at least two frames.

    Nothing is learned beforehand: all evidence comes from the window. The same frames and settings give the same bytes.
    """
    generator = np.random.default_rng(settings.seed)
    flow = window_flow([np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in images], _GAPS)
    motion, saliency = _motion_evidence(flow, generator)
    moving = smooth_along_flow(saliency, flow)
    halves = [np.ascontiguousarray(shrink(image)) for image in images]
    labs = [np.asarray(cv2.cvtColor(half, cv2.COLOR_RGB2LAB), np.uint8) for half in halves]
    features = [pixel_features(lab) for lab in labs]
    looks = fit_appearance(features, moving, settings.appearance_units, _APPEARANCE_ROUNDS, generator)
    first = [_mean([by_motion, looks.predict(feature)]) for by_motion, feature in zip(moving, features, strict=True)]
    agreed = _consensus(labs, features, first, settings)
    evidence = [_mean([own, voted]) for own, voted in zip(first, agreed, strict=True)]
    return tuple(
        MovingFrame(calibrate(align_to_edges(one, image)), own, flow_trust(flow, index))
        for index, (one, image, own) in enumerate(zip(evidence, images, motion, strict=True))
    )


def _motion_evidence(flow: WindowFlow, generator: np.random.Generator) -> tuple[list[FloatArray], list[FloatArray]]:
    """Per frame, means over its fields: own motion in pixels per frame, and saliency in [0, 1]; both (h, w)."""
    motion, saliency = [], []
    for index in range(flow.frame_count):
        fields = flow.of_frame(index)
        residuals = [(gap, residual_motion(field, generator)) for gap, field in fields]
        motion.append(_mean([residual / np.float32(abs(gap)) for gap, residual in residuals]))
        saliency.append(_mean([motion_saliency(residual) for _, residual in residuals]))
    return motion, saliency


def _mean(maps: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.mean(maps, axis=0, dtype=np.float32), np.float32)


def _consensus(
    labs: Sequence[Image], features: Sequence[FloatArray], first: Sequence[FloatArray], settings: ExtractionSettings
) -> list[FloatArray]:
    """Evidence (h, w) per frame after superpixels that look alike, all over the window, have voted on it."""
    regions = [segment_superpixels(lab, settings.superpixel_pixels) for lab in labs]
    descriptors = [region.mean(feature) for region, feature in zip(regions, features, strict=True)]
    graph = neighbour_graph(descriptors, settings.neighbours_per_frame)
    before = np.concatenate([region.mean(one) for region, one in zip(regions, first, strict=True)])
    votes = vote(graph, before, settings.voting_rounds, settings.own_vote_weight)
    ends = np.cumsum([region.count for region in regions])
    return [region.paint(own) for region, own in zip(regions, np.split(votes, ends[:-1]), strict=True)]
