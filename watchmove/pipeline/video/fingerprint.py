"""Fingerprints of videos: hashes of a few pictures, which re-encoding, scaling and another frame rate hardly change."""

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image

MOST_HASHES = 16
"""Hashes of one video. A bound on the size of records, 256 characters for each video that has kept frames."""

_INTERVAL_SECONDS = 0.5
"""Time between hashed pictures, which doubles each time that a video has more than MOST_HASHES. Set by hand, so that
clips of a few seconds have several."""

_DCT_SIDE = 32
"""Side in pixels of the grey picture that is transformed, as in the common perceptual hash (pHash)."""

_LEAST_CONTRAST = 8.0
"""Least standard deviation, in grey levels of 255, of a picture that is hashed: the signs of a flat one are noise. Set
by hand; not tuned."""


def _lowest_frequencies() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the 64 coefficients of lowest frequency, the mean left out."""
    rows, columns = np.indices((16, 16)).reshape(2, -1)
    order = np.lexsort((rows, rows + columns))[1:65]
    return rows[order], columns[order]


_FREQUENCIES = _lowest_frequencies()
_BITS = np.left_shift(np.uint64(1), np.arange(64, dtype=np.uint64))


def picture_hash(thumbnail: Image) -> int | None:
    """64 bits, the signs of the lowest frequencies of a picture (H, W, 3) uint8 RGB; None where it has no contrast."""
    grey = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY)
    if float(grey.std()) < _LEAST_CONTRAST:
        return None
    small = cv2.resize(grey, (_DCT_SIDE, _DCT_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    # in float32, signs of coefficients that are zero but for rounding could differ between machines: those are not set
    positive = cv2.dct(small)[_FREQUENCIES] > 1e-3 * _DCT_SIDE
    return int(_BITS[positive].sum())


class Fingerprinter:
    """Collects the hashes of one video from the thumbnails of its frames, in order."""

    def __init__(self) -> None:
        self._hashes: dict[int, int] = {}
        self._interval_seconds = _INTERVAL_SECONDS
        self._last = -1

    def add(self, seconds: float, thumbnail: Image) -> None:
        """Take the next frame: when it is shown, and its thumbnail (H, W, 3) uint8 RGB."""
        place = int(seconds / self._interval_seconds)
        if place <= self._last:
            return
        self._last = place
        if (found := picture_hash(thumbnail)) is None:
            return
        self._hashes[place] = found
        if len(self._hashes) > MOST_HASHES:
            self._hashes = {place // 2: value for place, value in self._hashes.items() if place % 2 == 0}
            self._interval_seconds *= 2
            self._last //= 2

    def fingerprint(self) -> str:
        """The hashes in order of time, each as sixteen hex digits."""
        return "".join(f"{value:016x}" for value in self._hashes.values())


def hashes_of(fingerprint: str) -> list[int]:
    """The hashes of a fingerprint. Raises ValueError where it is not one of `Fingerprinter`."""
    return [int(fingerprint[at : at + 16], 16) for at in range(0, len(fingerprint), 16)]
