"""Draw the README's pictures from the drawn world: `python docs/draw_video.py`.

`video.webp` is an animation and `video.png` three frames of it: each frame of a drawn video, the soft mask that
extraction computes from motion, and the true mask.
"""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.extraction.every_frame import mask_frames
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.video.frames import NamedFrame
from watchmove.pipeline.world.drawing import draw_video

FOLDER = Path(__file__).parent / "pictures"
WORLD = WorldSettings(frames_per_video=36)
SEED = 4
STRIP_FRAMES = (6, 18, 30)
ANIMATION_WIDTH_PIXELS = 660
FRAME_MILLISECONDS = 80
GAP_PIXELS = 4
TINT = np.array([255, 60, 60], np.float32)
TINT_STRENGTH = 0.55


def main() -> None:
    """Write both pictures."""
    FOLDER.mkdir(exist_ok=True)
    video = draw_video(SEED, WORLD, "moving")
    named = [NamedFrame(str(index), image, image.shape[:2]) for index, image in enumerate(video.frames)]
    soft_masks = [masked.found.soft_mask for masked in mask_frames(named, ExtractionSettings())]
    rows = [
        side_by_side(frame, soft_mask, truth)
        for frame, soft_mask, truth in zip(video.frames, soft_masks, video.masks, strict=True)
    ]
    write_animation(rows, FOLDER / "video.webp")
    gap = np.full((GAP_PIXELS, rows[0].shape[1], 3), 255, np.uint8)
    strip = np.concatenate([part for index in STRIP_FRAMES for part in (rows[index], gap)][:-1])
    PIL.Image.fromarray(strip).save(FOLDER / "video.png", optimize=True)


def side_by_side(frame: Image, soft_mask: FloatArray, truth: NDArray[np.bool_]) -> Image:
    """The frame, the frame tinted by its soft mask, the soft mask and the true mask, (H, 4 W + gaps, 3) uint8 RGB."""
    weight = TINT_STRENGTH * soft_mask[..., None]
    tinted = (frame * (1 - weight) + TINT * weight).astype(np.uint8)
    grey = [np.repeat(np.rint(255 * mask)[..., None], 3, axis=2).astype(np.uint8) for mask in (soft_mask, truth)]
    gap = np.full((frame.shape[0], GAP_PIXELS, 3), 255, np.uint8)
    return np.concatenate([frame, gap, tinted, gap, grey[0], gap, grey[1]], axis=1)


def write_animation(rows: list[Image], path: Path) -> None:
    """Write rows (H, W, 3) as an endless animated WebP of `ANIMATION_WIDTH_PIXELS`."""
    height = round(rows[0].shape[0] * ANIMATION_WIDTH_PIXELS / rows[0].shape[1])
    size = (ANIMATION_WIDTH_PIXELS, height)
    frames = [PIL.Image.fromarray(cv2.resize(row, size, interpolation=cv2.INTER_AREA)) for row in rows]
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=FRAME_MILLISECONDS,
        loop=0,
        quality=50,
        method=6,
    )


if __name__ == "__main__":
    main()
