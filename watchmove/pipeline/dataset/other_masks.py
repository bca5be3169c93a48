"""A dataset's frames with other masks: those of other frames, or true ones, to show what the masks are worth."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample, SamplePlace, read_sample
from watchmove.pipeline.dataset.true_masks import VideoTruth
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.images import decoded_image


def shuffled_masks(places: Sequence[SamplePlace]) -> Iterator[Sample]:
    """Yield each frame with the mask of the frame half of the dataset away: another video's, if there are several.

    Masks are scaled to the frame. Each mask is used once, so that their sizes and positions are the same as before.
    """
    for number, place in enumerate(places):
        sample = read_sample(place)
        other = read_sample(places[(number + max(1, len(places) // 2)) % len(places)])
        yield replace(sample, mask_png=_fitted(other.mask_png, sample))


def true_masks(samples: Iterator[Sample], truth: Mapping[str, VideoTruth]) -> Iterator[Sample]:
    """Yield each frame whose video's truth is known with its true mask; frames without a true object are left out."""
    for sample in samples:
        mask = true_mask_of(sample, truth)
        if mask is not None and mask.any():
            _, png = cv2.imencode(".png", mask.astype(np.uint8) * 255)
            yield replace(sample, mask_png=_fitted(png.tobytes(), sample))


def true_mask_of(sample: Sample, truth: Mapping[str, VideoTruth]) -> NDArray[np.bool_] | None:
    """Return the true mask (H, W) of a frame by its metadata's `video` and `frame`; None if it is not known."""
    known, frame = truth.get(str(sample.metadata.get("video"))), sample.metadata.get("frame")
    if known is None or not isinstance(frame, int) or not 0 <= frame < len(known.masks):
        return None
    return np.asarray(known.masks[frame], bool)


def label_of(sample: Sample, truth: Mapping[str, VideoTruth]) -> str | None:
    """Return the class of the object with the largest visible box in a frame; None if it is not known."""
    known, frame = truth.get(str(sample.metadata.get("video"))), sample.metadata.get("frame")
    if known is None or not isinstance(frame, int) or not 0 <= frame < len(known.boxes_xyxy):
        return None
    boxes = known.boxes_xyxy[frame]
    areas = np.nan_to_num((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return known.class_names[int(areas.argmax())] if areas.size and areas.max() > 0 else None


def _fitted(mask_png: bytes, sample: Sample) -> bytes:
    """A mask scaled to the size of the sample's own, as PNG."""
    wanted, given = (decoded_image(png) for png in (sample.mask_png, mask_png))
    if wanted is None or given is None:
        raise InvalidInput(f"{sample.key}: a mask cannot be decoded; extract its shard again")
    height, width = wanted.shape[:2]
    mask = given[..., 0]  # decoded as three equal channels
    if given.shape != wanted.shape:
        mask = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    _, png = cv2.imencode(".png", mask)
    return png.tobytes()
