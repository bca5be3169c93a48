"""One frame through all stages of its mask, as the page shows it: the pictures that extraction has kept of them."""

from typing import NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.dataset.trimap import trimap_levels, trimap_of
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.service.report.images import caption_of, frame_of, scaled_jpeg, soft_mask_of
from watchmove.service.report.run_page.page import PageImage
from watchmove.service.report.run_page.page_files import PageFiles

_SAYS = {
    "image": "the kept frame",
    "flow": "apparent motion to the next frame",
    "motion": "evidence of motion relative to the camera",
    "appearance": "similarity to what moves, in colour, texture and place",
    "votes": "where motion, appearance and common fate agree",
    "mask": "soft mask, aligned to the edges of the frame",
    "trimap": "what training reads: object, background, and ignored in grey",
}
"""What each picture shows, in the order of the stages."""


class StagesFigure(NamedTuple):
    """The pictures of all stages of one frame by name, captioned by what they show; and the caption of the frame."""

    pictures: dict[str, PageImage]
    caption: str


def stages_figure(files: PageFiles, sample: Sample | None, settings: PretrainingSettings) -> StagesFigure | None:
    """Return the figure of a frame whose picture is a strip of its stages; None without it, or if it is damaged."""
    if sample is None:
        return None
    strip, mask, names = frame_of(sample), soft_mask_of(sample), sample.metadata.get("stages")
    if strip is None or mask is None or not isinstance(names, list) or not 0 < len(names) <= len(strip):
        return None
    height, width = len(strip) // len(names), strip.shape[1]
    pictures = {str(name): strip[n * height : (n + 1) * height] for n, name in enumerate(names)}
    trimap = trimap_levels(trimap_of(mask, settings.foreground_threshold, settings.background_threshold))
    pictures["mask"] = _scaled(np.rint(mask * 255).astype(np.uint8), width, height, PIL.Image.Resampling.BOX)
    pictures["trimap"] = _scaled(trimap, width, height, PIL.Image.Resampling.NEAREST)
    shown = {
        name: PageImage(files.add(scaled_jpeg(pictures[name], width, height), ".jpg"), width, height, says)
        for name, says in _SAYS.items()
        if name in pictures
    }
    return StagesFigure(shown, caption_of(sample))


def _scaled(grey: NDArray[np.uint8], width: int, height: int, method: PIL.Image.Resampling) -> NDArray[np.uint8]:
    """A grey picture (H, W) as RGB of another size."""
    return np.asarray(PIL.Image.fromarray(grey).resize((width, height), method).convert("RGB"), np.uint8)
