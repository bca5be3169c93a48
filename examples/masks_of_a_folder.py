"""Write a mask of the moving objects for every frame of a folder: `python examples/masks_of_a_folder.py FRAMES OUT`.

FRAMES holds the frames of one video as images, in the order of their names. OUT gets a grey PNG for each, 255 where a
pixel certainly belongs to a moving object. `watchmove segment` does the same and more, for video files too.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.extraction.every_frame import mask_frames
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.frames import frames_of_folder


def masks_of(folder: Path, settings: ExtractionSettings) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Name and soft mask float32 (H, W) in [0, 1] of each readable frame; the shorter side is the setting's."""
    for masked in mask_frames(frames_of_folder(folder, settings), settings):
        if masked.frame.image is not None:
            yield masked.frame.name, masked.found.soft_mask


def main(folder: Path, out: Path) -> None:
    """Write the masks, one PNG for each frame, and print how much of each frame moves."""
    out.mkdir(parents=True, exist_ok=True)
    for name, soft_mask in masks_of(folder, ExtractionSettings()):
        cv2.imwrite(str(out / f"{name}.png"), np.rint(soft_mask * 255).astype(np.uint8))
        print(f"{name}: {(soft_mask >= 0.5).mean():.1%} of the frame moves")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
