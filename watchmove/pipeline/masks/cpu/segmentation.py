"""From frames of one shot to soft masks of its moving objects, on the CPU, frame by frame.

A shot gives one window of consecutive frames, or several spread over it. Flow is computed inside a window; the
appearance model is fitted to all windows of the shot together, and to nothing else. Three cues find the objects: motion
relative to the camera, similarity to the appearance of what moves, and common fate, which is motion like the object's.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import accumulate

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.flow.choice import flow_method
from watchmove.pipeline.masks.border_contrast import is_supported, shows_motion, with_contrast
from watchmove.pipeline.masks.chain import (
    CONSENSUS_ROUNDS,
    DISAGREEMENT_PENALTY,
    OUTLINE_SCALE,
    REFIT_FRAME_STEP,
    SegmentedFrame,
    StageMaps,
    shrink,
    small_lab,
)
from watchmove.pipeline.masks.confidence import is_doubtful, most_confident
from watchmove.pipeline.masks.cpu.appearance import FIT_TO_MOTION, FIT_TO_OUTLINES, fit_appearance, pixel_features
from watchmove.pipeline.masks.cpu.common_fate import object_motion_likelihood, pixel_weights, with_common_fate
from watchmove.pipeline.masks.cpu.edges import align_to_edges, calibrate, level
from watchmove.pipeline.masks.cpu.independent_motion import IndependentMotion, independent_motion
from watchmove.pipeline.masks.cpu.windows import (
    WindowFlow,
    best_consistency,
    smooth_along_flow,
    window_consistency,
    window_flow,
)
from watchmove.pipeline.masks.motion_network import mixed_evidence
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings


@dataclass(frozen=True)
class _Evidence:
    """What is known of one frame before appearance is fitted; all but `image` is at the working size.

    flow: (h, w, 2), to the next frame; motion_evidence: (h, w) in [0, 1]; cues: (h, w, 4), the maps of
    `motion_cues.CUES`; features: (h, w, F), those of appearance; flow_consistency: its mean, in [0, 1].
    """

    image: Image
    flow: NDArray[np.float16]
    motion: IndependentMotion
    motion_evidence: FloatArray
    cues: FloatArray
    features: FloatArray
    flow_consistency: float


def segment_shot(
    windows: Sequence[Sequence[Image]],
    settings: ExtractionSettings,
    wanted: Sequence[Sequence[int]] | None = None,
    stages: StageSeconds | None = None,
) -> tuple[tuple[SegmentedFrame, ...], ...]:
    """Segment one shot: for each window, the frames at its `wanted` positions, or all.

    windows: consecutive frames (H, W, 3) uint8 RGB, of one size, at least two in each window. The seconds of each stage
    are added to `stages`: flow, camera, smoothing, appearance, edges, and motion-network where one is asked.

    If the mean confidence of the masks is low, and anything moves, the shot is segmented once more with the contrast to
    the border in the evidence, and, if the settings name a motion network, again with the network's share in it; the
    masks of a clearly larger mean confidence are the result. But for that network, nothing has been learnt beforehand;
    the same frames and settings give the same bytes.
    Memory grows with the number of frames: about one megabyte per frame of 427x240, in addition to the frames.

    Raises InvalidInput where weights or a device that the settings name are missing or do not fit.
    """
    stages = stages or StageSeconds()
    # one generator for each shot, so that a shot gives the same masks whatever was segmented before it
    generator = np.random.default_rng(settings.seed)
    evidence = [_window_evidence(images, settings, generator, stages) for images in windows]
    chosen = wanted or [range(len(images)) for images in windows]
    # all windows are fitted as one list
    frames = [frame for window in evidence for frame in window]
    starts = accumulate((len(images) for images in windows), initial=0)
    indices = [[start + position for position in positions] for start, positions in zip(starts, chosen, strict=False)]
    wanted_indices = [index for of_window in indices for index in of_window]
    found = _segmented_frames(frames, wanted_indices, settings, generator, stages)
    if is_doubtful([frame.soft_mask for frame in found.values()]):
        candidates = [found, *_other_masks(frames, wanted_indices, settings, generator, stages)]
        masks = [[frame.soft_mask for frame in candidate.values()] for candidate in candidates]
        found = candidates[most_confident(masks)]
    return tuple(tuple(found[index] for index in of_window) for of_window in indices)


def _other_masks(
    frames: Sequence[_Evidence],
    wanted: Sequence[int],
    settings: ExtractionSettings,
    generator: np.random.Generator,
    stages: StageSeconds,
) -> Iterator[dict[int, SegmentedFrame]]:
    """The wanted frames with the contrast to the border in the evidence, if motion supports these masks.

    Then with the motion network, if there is one.
    """
    evidence, labs = [frame.motion_evidence for frame in frames], [small_lab(frame.image) for frame in frames]

    def segmented(others: Sequence[FloatArray]) -> dict[int, SegmentedFrame]:
        replaced = [replace(frame, motion_evidence=other) for frame, other in zip(frames, others, strict=True)]
        return _segmented_frames(replaced, wanted, settings, generator, stages)

    if shows_motion(evidence):
        with stages("appearance"):
            contrasted = with_contrast(evidence, labs)
        found = segmented(contrasted)
        if is_supported([frame.soft_mask for frame in found.values()], [evidence[index] for index in found]):
            yield found
    if settings.motion_network:
        with stages("motion-network"):
            mixed = mixed_evidence(evidence, labs, [frame.cues for frame in frames], settings)
        yield segmented(mixed)


def _segmented_frames(
    frames: Sequence[_Evidence],
    wanted: Sequence[int],
    settings: ExtractionSettings,
    generator: np.random.Generator,
    stages: StageSeconds,
) -> dict[int, SegmentedFrame]:
    """The wanted frames of a shot, by their index."""
    with stages("appearance"):
        consensus = _consensus(frames, set(wanted), settings, generator)
    with stages("edges"):
        return {index: _segmented(frames[index], *consensus[index]) for index in wanted}


def _window_evidence(
    images: Sequence[Image], settings: ExtractionSettings, generator: np.random.Generator, stages: StageSeconds
) -> list[_Evidence]:
    """Motion evidence and appearance features of each frame of one window."""
    with stages("flow"):
        greys = [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in images]
        flow = window_flow(greys, flow_method(settings))
        consistency = window_consistency(flow)
    with stages("camera"):
        motions = [independent_motion(flow, index, settings.motion_gaps, generator) for index in range(len(images))]
        best = [best_consistency(consistency, index) for index in range(len(images))]
        # penalised before smoothing, so that unreliable evidence is not carried in full to other frames
        saliency = [_penalised(motion.saliency, agreement) for motion, agreement in zip(motions, best, strict=True)]
    with stages("smoothing"):
        motion_evidence = smooth_along_flow(saliency, flow, consistency)
    cues = [
        np.dstack([motion.above_noise, motion.saliency, agreement, evidence])
        for motion, agreement, evidence in zip(motions, best, motion_evidence, strict=True)
    ]
    with stages("appearance"):
        features = [pixel_features(small_lab(image)) for image in images]
    return [
        _Evidence(image, _to_next(flow, index), motion, evidence, cue, feature, float(agreement.mean()))
        for index, (image, motion, evidence, cue, feature, agreement) in enumerate(
            zip(images, motions, motion_evidence, cues, features, best, strict=True)
        )
    ]


def _to_next(flow: WindowFlow, index: int) -> NDArray[np.float16]:
    """Flow (h, w, 2) from a frame to the next one; for the last frame, the opposite of that to the frame before."""
    step = flow.steps(index)[-1]
    return np.asarray(flow.fields[index, step] * np.float32(step), np.float16)


def _penalised(saliency: FloatArray, consistency: FloatArray) -> FloatArray:
    """Motion saliency (h, w), reduced where forward and backward flow disagree."""
    penalised: FloatArray = saliency * (1 - DISAGREEMENT_PENALTY * (1 - consistency))
    return penalised


def _consensus(
    frames: Sequence[_Evidence], wanted: AbstractSet[int], settings: ExtractionSettings, generator: np.random.Generator
) -> dict[int, tuple[FloatArray, FloatArray]]:
    """For each wanted frame, appearance similarity (h, w), and the evidence in which it, motion and common fate agree.

    The appearance model is fitted to motion evidence first. Each round then aligns what has been found so far to the
    edges of the images, fits the appearance model again to that, and updates the motion evidence: appearance and motion
    together locate the object, and its independent motion shows what else moves with it. Rounds look at every second
    frame; the last model and one update of the motion evidence are applied to the wanted frames.
    """
    unit_count = settings.appearance_units
    features = [frame.features for frame in frames]
    motion_evidence = {index: frame.motion_evidence for index, frame in enumerate(frames)}
    refitted = range(0, len(frames), REFIT_FRAME_STEP)
    appearance = fit_appearance(features, [*motion_evidence.values()], FIT_TO_MOTION, unit_count, generator)
    similarity = {index: appearance.predict(features[index]) for index in refitted}
    for round_number in range(1, CONSENSUS_ROUNDS + 1):
        outlined = [_outlined(frames[i].image, _geometric_mean(similarity[i], motion_evidence[i])) for i in refitted]
        appearance = fit_appearance([features[i] for i in refitted], outlined, FIT_TO_OUTLINES, unit_count, generator)
        for index in refitted if round_number < CONSENSUS_ROUNDS else wanted:
            similarity[index] = appearance.predict(features[index])
            motion_evidence[index] = _updated_evidence(frames[index], similarity[index], motion_evidence[index])
    # not aligned to edges yet: that is done at full size
    return {index: (similarity[index], _geometric_mean(similarity[index], motion_evidence[index])) for index in wanted}


def _geometric_mean(similarity: FloatArray, motion_evidence: FloatArray) -> FloatArray:
    """Geometric mean (h, w) of appearance similarity and motion evidence: high only where both are."""
    mean: FloatArray = np.sqrt(similarity * motion_evidence)
    return mean


def _updated_evidence(frame: _Evidence, similarity: FloatArray, motion_evidence: FloatArray) -> FloatArray:
    """Motion evidence (h, w) of a frame with common fate, the object being where similarity and evidence agree."""
    weights = pixel_weights(level(_geometric_mean(similarity, motion_evidence)))
    # from the first evidence, not the last, so that rounds do not accumulate what common fate adds
    return with_common_fate(frame.motion_evidence, object_motion_likelihood(frame.motion.residuals, weights))


def _outlined(image: Image, evidence: FloatArray) -> FloatArray:
    """Evidence (h, w) aligned to the edges of the image at a reduced size, and levelled."""
    aligned = level(align_to_edges(evidence, shrink(image, OUTLINE_SCALE)))
    return cv2.resize(aligned, evidence.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)


def _segmented(frame: _Evidence, similarity: FloatArray, evidence: FloatArray) -> SegmentedFrame:
    soft_mask = calibrate(align_to_edges(evidence, frame.image))
    found = (frame.motion_evidence, similarity, evidence, frame.cues)
    maps = (of_stage.astype(np.float16) for of_stage in found)
    stages = StageMaps(frame.flow, *maps)
    return SegmentedFrame(soft_mask, frame.motion.pixels_per_frame, frame.flow_consistency, stages)
