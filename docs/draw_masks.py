"""Draw the figures of explanation/masks.md with the code itself: `python docs/draw_masks.py`.

The scenes are drawn, so their true masks are known: one that succeeds, stage by stage, and three that fail.
"""

from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.extraction.pruning import measure_mask, reject_reason
from watchmove.pipeline.masks.cpu import segmentation
from watchmove.pipeline.masks.cpu.appearance import FIT_TO_MOTION, fit_appearance
from watchmove.pipeline.masks.cpu.common_fate import object_motion_likelihood, pixel_weights
from watchmove.pipeline.masks.cpu.edges import align_to_edges, level
from watchmove.pipeline.masks.cpu.windows import compose_fields, window_flow
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.world.drawing import draw_video

mpl.use("agg")
from matplotlib import pyplot as plt

FOLDER = Path(__file__).parent / "explanation" / "masks"
SETTINGS = ExtractionSettings()
FRAMES, SHOWN, SEED = 36, 18, 4


def main() -> None:
    """Write both pictures."""
    FOLDER.mkdir(exist_ok=True)
    draw_stages()
    draw_failures()


def draw_stages() -> None:
    """One frame of a panned scene with an object that moves by itself, as each stage sees it."""
    world = WorldSettings(frames_per_video=FRAMES)
    video = draw_video(SEED, world, "moving")
    frames, truth = list(video.frames), video.masks[SHOWN]
    flow = window_flow([np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames])
    generator = np.random.default_rng(SETTINGS.seed)
    evidence = segmentation._window_evidence(frames, SETTINGS, generator, StageSeconds())
    shown, motion_evidence = evidence[SHOWN], [frame.motion_evidence for frame in evidence]
    appearance = fit_appearance(
        [frame.features for frame in evidence], motion_evidence, FIT_TO_MOTION, SETTINGS.appearance_units, generator
    )
    similarity = appearance.predict(shown.features)
    weights = pixel_weights(level(segmentation._geometric_mean(similarity, shown.motion_evidence)))
    consensus = segmentation._consensus(evidence, {SHOWN}, SETTINGS, generator)[SHOWN][1]
    soft_mask = segmentation.segment_shot([frames], SETTINGS)[0][SHOWN].soft_mask
    panels: list[tuple[str, NDArray[np.generic]]] = [
        ("1  flow to the next frame", flow_colours(compose_fields(flow, SHOWN, (1,))[0][1])),
        ("2  motion relative to the camera", shown.motion.saliency),
        ("3  smoothed along the flow", shown.motion_evidence),
        ("4  appearance similarity", similarity),
        ("5  common fate", object_motion_likelihood(shown.motion.residuals, weights)),
        ("   consensus of all three", consensus),
        ("6  aligned to edges", align_to_edges(consensus, frames[SHOWN])),
        (f"soft mask, J = {jaccard(soft_mask, truth):.2f}", soft_mask),
    ]
    draw_panels(panels, FOLDER / "stages.png")


def draw_failures() -> None:
    """Scenes that break an assumption: what comes out, and whether pruning sees it."""
    scenes: list[tuple[str, NDArray[np.generic]]] = []
    masks: list[tuple[str, NDArray[np.generic]]] = []
    for name, (frames, truth) in {
        "water that moves": with_waves(),
        "parallax, no moving object": with_parallax(),
        "the object barely moves": barely_moving(),
    }.items():
        moving = segmentation.segment_shot([frames], SETTINGS)[0][len(frames) // 2]
        facts = measure_mask(moving, SETTINGS.min_area_fraction)
        verdict = reject_reason(facts, SETTINGS) or "kept"
        right = f"J = {jaccard(moving.soft_mask, truth):.2f}, " if truth.any() else ""
        scenes.append((name, frames[len(frames) // 2]))
        masks.append((right + verdict, moving.soft_mask))
    draw_panels([*scenes, *masks], FOLDER / "failures.png")


def with_waves() -> tuple[list[Image], NDArray[np.bool_]]:
    """The lower half of the picture ripples by itself, as water does, faster than the object swims."""
    video = draw_video(SEED, WorldSettings(frames_per_video=FRAMES), "moving")
    height, width = video.masks.shape[1:]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    below = np.clip((y - height / 2) / 8, 0, 1)
    frames = []
    for t, frame in enumerate(video.frames):
        shift = 6 * below * np.sin(x / 17 + 0.9 * t + y / 9)
        waved = cv2.remap(frame, x + shift, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        frames.append(np.where(video.masks[t][..., None], frame, waved).astype(np.uint8))
    return frames, video.masks[FRAMES // 2]


def with_parallax() -> tuple[list[Image], NDArray[np.bool_]]:
    """A camera that passes near stripes before a far scene: nothing moves by itself."""
    video = draw_video(SEED, WorldSettings(frames_per_video=FRAMES), "camera")
    near = draw_video(SEED + 1, WorldSettings(frames_per_video=4), "still").frames[0]
    frames = []
    for t, frame in enumerate(video.frames):
        shifted = np.roll(near, -5 * t, axis=1)
        stripes = np.zeros(frame.shape[:2], bool)
        stripes[:, 40:90] = stripes[:, 190:240] = True
        frames.append(np.where(np.roll(stripes, -5 * t, axis=1)[..., None], shifted, frame))
    return frames, np.zeros(frames[0].shape[:2], bool)


def barely_moving() -> tuple[list[Image], NDArray[np.bool_]]:
    """The drawn object moves a tenth of a pixel a frame."""
    video = draw_video(SEED, WorldSettings(frames_per_video=FRAMES), "moving")
    frame, mask = video.frames[0], video.masks[0]
    frames = []
    for t in range(FRAMES):
        step = np.array([[1, 0, 0.1 * t], [0, 1, 0]], np.float32)
        moved = cv2.warpAffine(frame, step, frame.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
        where = cv2.warpAffine(mask.astype(np.uint8), step, frame.shape[1::-1]) > 0
        frames.append(np.where(where[..., None], moved, frame).astype(np.uint8))
    return frames, mask


def jaccard(soft_mask: FloatArray, truth: NDArray[np.bool_]) -> float:
    """Intersection over union of a soft mask (H, W), cut at one half, with the true one."""
    mask = soft_mask >= 0.5
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


def flow_colours(field: FloatArray) -> Image:
    """Direction as hue and length as strength, (h, w, 3) uint8 RGB."""
    length, angle = cv2.cartToPolar(field[..., 0], field[..., 1], angleInDegrees=True)
    strength = np.clip(255 * length / max(1e-6, float(np.percentile(length, 99))), 0, 255)
    hsv = np.dstack([angle / 2, np.full_like(angle, 255), strength]).astype(np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def draw_panels(panels: list[tuple[str, NDArray[np.generic]]], path: Path) -> None:
    """Pictures in two rows, each with its name."""
    rows, columns = 2, len(panels) // 2
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, 2.25 * rows), layout="constrained")
    for axis, (name, picture) in zip(axes.ravel(), panels, strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1 if picture.ndim == 2 else None)
        axis.set_title(name, fontsize=8)
        axis.axis("off")
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
