"""Proposals of many images as one .npz file, without pickles: `image_ids` and `counts` (I,), `boxes_xyxy` (N, 4)."""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import BoxArray
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.npz import DAMAGED, open_npz


def proposals_to_arrays(proposals: Mapping[str, BoxArray]) -> dict[str, NDArray[np.generic]]:
    """The file's arrays: ids of the images as text (I,), numbers of their boxes int64 (I,), all boxes float32 (N, 4).

    Boxes follow one another in the order of the images; N is the sum of the counts.
    """
    parts = [np.zeros((0, 4), np.float32), *proposals.values()]  # the first is there for no proposals at all
    return {
        "image_ids": np.array(list(proposals), np.str_),
        "counts": np.array([len(boxes) for boxes in proposals.values()], np.int64),
        "boxes_xyxy": np.concatenate(parts).astype(np.float32, copy=False),
    }


def proposals_to_bytes(proposals: Mapping[str, BoxArray]) -> bytes:
    """A compressed .npz file of `proposals_to_arrays`."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **proposals_to_arrays(proposals))
    return stream.getvalue()


def proposals_from_bytes(content: bytes, name: str = "proposals") -> dict[str, BoxArray]:
    """Boxes float32 (P, 4) by image id, read from an .npz file of `proposals_to_arrays`; `name` is for the error.

    Raises InvalidInput where `content` is something else. Pickled arrays are refused, not loaded.
    """
    try:
        with open_npz(content) as arrays:
            image_ids, counts, boxes = (arrays[key] for key in ("image_ids", "counts", "boxes_xyxy"))
    except DAMAGED as error:
        raise InvalidInput(f"{name}: not a proposals file ({error}); remove it, to have it computed again") from error
    if boxes.shape != (counts.sum(), 4) or len(image_ids) != len(counts):
        raise InvalidInput(
            f"{name}: {len(counts)} counts do not fit boxes {boxes.shape}; remove it, to have it computed"
        )
    # of no counts np.split would still return one part
    parts = np.split(boxes.astype(np.float32, copy=False), np.cumsum(counts)[:-1]) if len(counts) else []
    return dict(zip(image_ids.tolist(), parts, strict=True))
