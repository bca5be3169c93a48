"""Fingerprints of videos: hashes of what changes in them, which re-encoding, scaling and another frame rate keep.

OpenCV is loaded where a fingerprint is made only, because the slim image, which reads fingerprints, has none.
"""

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image

_MOST_PARTS = 16
"""Parts of one video that are hashed. With 32, as many copies are found (`tests/bench/near_duplicates.py`), in records
that are twice as long."""

HASHES_PER_PART = 2
"""The hash of the complete image and that of its inner area, which a copy that was cropped has as its complete one."""

MOST_HASHES = HASHES_PER_PART * _MOST_PARTS
"""Hashes of one video. A bound on the size of records: 512 characters for each video that has kept frames."""

_INTERVAL_SECONDS = 0.25
"""Length of the parts, which doubles each time that there are more than _MOST_PARTS. Of 0.125, 0.2, 0.25, 0.35 and 0.5
seconds, 0.25 finds the most copies of those that take no different videos for copies."""

_INNER_EDGE = 0.05
"""Share of a side that is cut off at each edge for the inner area, so that it is what remains when 10 % is cropped. Of
0.04, 0.05 and 0.07, the last finds fewer copies of which 5 % is cropped."""

_HASHED_SIDE = 32
"""Side in pixels of the image that is transformed, as in the common perceptual hash (pHash)."""

_LEAST_CHANGE = 2.0
"""Least standard deviation, in grey levels of 255, of the difference from the video's mean image: below, the signs are
those of noise. From 1 to 3 levels nearly the same copies are found."""

_BLACK = 24.0
"""Grey level up to which rows and columns at the edge belong to a black border: black is 16 in limited range, and
compression adds some levels. Set by hand; not tuned."""

_LEAST_SIDE_SHARE = 0.25
"""Least share of a side that is left between borders; what is smaller is taken for a dark video. Set by hand."""

_LEAST_COEFFICIENT = 1e-3 * _HASHED_SIDE
"""Coefficients below it count as negative: those that are zero but for rounding could differ between machines."""


def _lowest_frequencies() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the 64 coefficients of lowest frequency, the mean left out."""
    rows, columns = np.indices((16, 16)).reshape(2, -1)
    order = np.lexsort((rows, rows + columns))[1:65]
    return rows[order], columns[order]


_FREQUENCIES = _lowest_frequencies()
_BITS = np.left_shift(np.uint64(1), np.arange(64, dtype=np.uint64))


class Fingerprinter:
    """Collects the fingerprint of one video from the thumbnails of its frames.

    The video is divided into parts of equal length. Each part gives the hashes of its mean image minus the mean image
    of the complete video. Hashes of the images themselves would be those of the background: all videos of one fixed
    camera would be equal, and a logo would change them (`tests/bench/near_duplicates.py`). Means are hashed because a
    copy at another frame rate has other frames. Memory: _MOST_PARTS + 1 thumbnails.
    """

    def __init__(self) -> None:
        self._sums: dict[int, NDArray[np.float32]] = {}
        self._counts: dict[int, int] = {}
        self._interval_seconds = _INTERVAL_SECONDS

    def add(self, seconds: float, thumbnail: Image) -> None:
        """Take the next frame: when it is shown, and its thumbnail (H, W, 3) uint8 RGB, of one size for all frames."""
        import cv2

        grey = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY).astype(np.float32)
        self._put(int(seconds // self._interval_seconds), grey, 1)
        while len(self._sums) > _MOST_PARTS:
            sums, counts = self._sums, self._counts
            self._sums, self._counts = {}, {}
            for part, total in sums.items():
                self._put(part // 2, total, counts[part])
            self._interval_seconds *= 2

    def _put(self, part: int, total: NDArray[np.float32], count: int) -> None:
        """Add the sum of `count` grey images to a part."""
        if part in self._sums:
            self._sums[part] += total
            self._counts[part] += count
        else:
            self._sums[part], self._counts[part] = total, count

    def fingerprint(self) -> str:
        """The hashes in order of time, HASHES_PER_PART for each part, each as sixteen hex digits.

        Parts that differ little from the mean of the video have none.
        """
        if not self._sums:
            return ""
        images = _without_borders(np.stack([self._sums[part] / self._counts[part] for part in sorted(self._sums)]))
        edges = [round(_INNER_EDGE * side) for side in images.shape[1:]]
        hashes = []
        for change in images - images.mean(axis=0):
            if float(change.std()) >= _LEAST_CHANGE:
                inner = change[edges[0] : change.shape[0] - edges[0], edges[1] : change.shape[1] - edges[1]]
                hashes += [_hash_of_change(change), _hash_of_change(inner)]
        return "".join(f"{value:016x}" for value in hashes)


def _without_borders(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The images (N, H, W) without the rows and columns at the edges that are black in all of them."""
    brightest = images.max(axis=0)
    for axis, side in ((1, images.shape[1]), (2, images.shape[2])):
        light = np.flatnonzero(brightest.max(axis=2 - axis) > _BLACK)
        if len(light) and light[-1] + 1 - light[0] >= _LEAST_SIDE_SHARE * side:
            images = images.take(np.arange(light[0], light[-1] + 1), axis=axis)
    return images


def _hash_of_change(change: NDArray[np.float32]) -> int:
    """64 bits, the signs of the lowest frequencies of a difference of images (H, W)."""
    import cv2

    small = cv2.resize(change, (_HASHED_SIDE, _HASHED_SIDE), interpolation=cv2.INTER_AREA)
    return int(_BITS[cv2.dct(small)[_FREQUENCIES] > _LEAST_COEFFICIENT].sum())


def hashes_of(fingerprint: str) -> list[int]:
    """The hashes of a fingerprint. Raises ValueError where it is not one of `Fingerprinter`."""
    return [int(fingerprint[at : at + 16], 16) for at in range(0, len(fingerprint), 16)]
