"""Near-duplicates in a set of videos: copies that were encoded, scaled or uploaded again."""

import numpy as np
from numpy.typing import NDArray

_LEAST_HASHES = 3
"""Hashes that a video must have to be a copy of another: fewer pictures are too little evidence. Set by hand."""

_LARGEST_DISTANCE = 4
"""Bits of 64 in which the hashes of equal pictures may differ. Of 2 to 10 bits, more find more copies that are cropped
or have a logo, and take more videos of one camera for copies (`tests/bench/near_duplicates.py`)."""

_LEAST_SHARE = 0.7
"""Share of the hashes of each of two videos that must have an equal one in the other. Measured likewise, of 0.5, 0.7
and 0.9."""

_LARGEST_BUCKET = 64
"""Videos with a half hash in common that are compared all with all; of more, which mostly share a title or a test card,
each is compared with the first and with its neighbours. A bound on time, not a tuned value."""

_NEIGHBOURS = 4
"""Neighbours in a larger bucket, in order of the records, that a video is compared with. A bound on time likewise."""

_HALF_BITS = 32
"""Two hashes are compared only where one of their halves is equal. Of 16 pictures of a copy, one nearly always has such
a half, and unrelated pictures hardly ever: a few ten thousand pairs of the 12.8 million hashes of 800,000 videos."""


def near_duplicate_videos(
    hashes: NDArray[np.uint64], counts: NDArray[np.int64], order: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of N videos repeat another one that comes before them in `order`, as a mask (N,).

    `hashes` (M,) has the hashes of all videos one after the other, of which `counts` (N,) belong to each; `order` (N,)
    has the numbers of the videos, the best first. A video that repeats only such as are left out is kept, so that each
    video that is left out repeats one that is kept. Time and memory grow in proportion to M log M.
    """
    rank = np.empty(len(counts), np.int64)
    rank[order] = np.arange(len(counts))
    ends = np.cumsum(counts)
    of_video = np.repeat(np.arange(len(counts)), counts)
    enough = counts[of_video] >= _LEAST_HASHES
    pairs = np.sort(rank[_pairs(hashes[enough], of_video[enough])], axis=1)
    left_out = np.zeros(len(counts), np.bool_)
    # in the order of the better one of a pair, so that whether it is left out is known before it leaves out others
    for better, worse in pairs[np.lexsort(pairs.T[::-1])].tolist():
        one, other = order[better], order[worse]
        if not left_out[one] and not left_out[other]:
            first, second = (hashes[ends[number] - counts[number] : ends[number]] for number in (one, other))
            left_out[other] = _are_equal(first, second)
    return left_out


def _pairs(hashes: NDArray[np.uint64], of_video: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers (P, 2) of videos with a half hash in common, each pair once."""
    low = np.uint64(2**_HALF_BITS - 1)
    found = [np.empty((0, 2), np.int64)]
    for half in (hashes & low, hashes >> np.uint64(_HALF_BITS)):
        order = np.lexsort((of_video, half))
        values, videos = half[order], of_video[order]
        # a scene that stands still has one hash many times, of which one is enough
        new = np.flatnonzero(np.r_[True, (values[1:] != values[:-1]) | (videos[1:] != videos[:-1])][: len(values)])
        values, videos = values[new], videos[new]
        begins = np.flatnonzero(np.r_[True, values[1:] != values[:-1]][: len(values)])
        sizes = np.diff(np.r_[begins, len(values)])
        first, size = np.repeat(begins, sizes), np.repeat(sizes, sizes)
        place = np.arange(len(values)) - first
        found.append(np.sort(np.stack([videos[first], videos], axis=1)[place > 0], axis=1))
        for step in range(1, _LARGEST_BUCKET):
            ahead = np.flatnonzero((place + step < size) & ((size <= _LARGEST_BUCKET) | (step <= _NEIGHBOURS)))
            if not len(ahead):
                break
            found.append(np.sort(np.stack([videos[ahead], videos[ahead + step]], axis=1), axis=1))
    pairs = np.concatenate(found)
    return np.unique(pairs, axis=0)


def _are_equal(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> bool:
    """Whether enough hashes of each of two videos have an equal one in the other."""
    equal = np.bitwise_count(first[:, None] ^ second) <= _LARGEST_DISTANCE
    return bool(min(equal.any(axis=1).mean(), equal.any(axis=0).mean()) >= _LEAST_SHARE)
