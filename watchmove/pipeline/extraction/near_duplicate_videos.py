"""Near-duplicates in a set of videos: copies that were encoded, scaled or uploaded again."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.video.fingerprint import HASHES_PER_PART, MOST_HASHES

_LEAST_HASHES = 6 * HASHES_PER_PART
"""Hashes that a video must have to be a copy of another: 1.5 seconds in which something changes. With 4 parts, two more
of 24 copies without their first second are found (`tests/bench/near_duplicates.py`), on less evidence."""

_LARGEST_DISTANCE = 8
"""Bits of 64 in which the hashes of equal parts may differ. Of 6, 8, 9 and 10, 6 finds fewer copies that are cropped or
have another frame rate; 9 and 10 take clips of different persons before one fixed camera for copies."""

_LEAST_SHARE = 0.6
"""Share of the parts of each of two videos that must have an equal one in the other. Of 0.6, 0.7 and 0.75, 0.6 finds
the most copies, and takes no different clips for copies."""

_RANGES = 8
"""Ranges of the values of half hashes that are searched one after another, to take that fraction of the memory. Set by
hand."""

_NEIGHBOURS = 4
"""Videos with an equal half hash that each is compared with, in addition to the best of them: a bound on the time that
a set of many equal hashes takes. Set by hand; not tuned."""

_VIDEOS_AT_ONCE = 16384
"""Videos whose hashes are read at once, 4 MiB of them. Set by hand; not tuned."""

_PAIRS_AT_ONCE = 2048
"""Pairs that are compared at once, in 16 MiB. Set by hand; not tuned."""

_HALF, _LOW_HALF = np.uint64(32), np.uint64(2**32 - 1)
"""Two videos are compared only where one of the two halves of one of their hashes is equal. Of the hashes of a copy,
one nearly always has such a half, and unrelated hashes hardly ever."""


def near_duplicate_videos(
    hashes: NDArray[np.uint64], counts: NDArray[np.integer], order: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of N videos repeat another one that comes before them in `order`, as a mask (N,).

    `hashes` (M,) has the hashes of all videos one after the other, of which `counts` (N,) belong to each, at most
    MOST_HASHES; `order` (K,) has the numbers of the videos to compare, the best first. A video that repeats only videos
    that are left out is kept, so that each video that is left out repeats one that is kept. Time grows in proportion to
    M log M; memory in addition to the arguments is about 8 bytes for each hash.
    """
    # Videos are numbered by their place in `order` from here on, so that the better one of a pair has the lower number.
    sizes = counts.astype(np.int64)
    begins = (np.cumsum(sizes) - sizes)[order]
    sizes = sizes[order]
    found = np.empty(0, np.uint64)
    for shift in (np.uint64(0), _HALF):
        for number in range(_RANGES):
            keys = [np.empty(0, np.uint64)]
            for values, places in _half_hashes(hashes, begins, sizes, shift):
                here = values * np.uint64(_RANGES) >> _HALF == number
                keys.append(values[here] << _HALF | places[here])
            pairs = _pairs(np.concatenate(keys), hashes, begins, np.cumsum(sizes))
            found = np.union1d(found, pairs[_are_copies(hashes, begins, sizes, pairs)])
    left_out = np.zeros(len(counts), np.bool_)
    # sorted by the better one of a pair, so that whether it is left out is known before it leaves out others
    for pair in found.tolist():
        if not left_out[order[pair >> 32]]:
            left_out[order[pair & 0xFFFFFFFF]] = True
    return left_out


def _half_hashes(
    hashes: NDArray[np.uint64], begins: NDArray[np.int64], sizes: NDArray[np.int64], shift: np.uint64
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """The 32 bits of each hash from `shift` on, and its place among those of all videos, some videos at a time."""
    ends = np.cumsum(sizes)
    for at in range(0, len(begins), _VIDEOS_AT_ONCE):
        videos = at + np.flatnonzero(sizes[at : at + _VIDEOS_AT_ONCE] >= _LEAST_HASHES)
        size = sizes[videos]
        numbers = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        values = hashes[np.repeat(begins[videos], size) + numbers] >> shift & _LOW_HALF
        yield values, (np.repeat(ends[videos] - size, size) + numbers).astype(np.uint64)


def _pairs(
    keys: NDArray[np.uint64], hashes: NDArray[np.uint64], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Pairs (P,) of videos with equal hashes, each once: the lower number in the upper 32 bits. `keys` are changed.

    `keys` (K,) have a half hash in the upper 32 bits and the place of the hash in the lower ones; the places of the
    hashes of each video end at `ends`. Only hashes with an equal half are compared.
    """
    keys.sort()
    # half hashes that occur once, nearly all of them, make no pair
    new = _are_new(keys >> _HALF)
    keys = keys[~(new & np.append(new[1:], np.True_)[: len(new)])]
    videos = np.searchsorted(ends, (keys & _LOW_HALF).astype(np.int64), side="right")
    # once for each video, because one with many equal hashes must not fill the places of its neighbours
    once = _are_new(keys & ~_LOW_HALF | videos.astype(np.uint64))
    keys, videos = keys[once], videos[once]
    full = hashes[begins[videos] + (keys & _LOW_HALF).astype(np.int64) - np.r_[0, ends][videos]]
    new = _are_new(keys >> _HALF)
    best = np.flatnonzero(new)[np.cumsum(new) - 1]
    found = [np.empty(0, np.uint64)]
    for step in range(_NEIGHBOURS + 1):
        # the best video with this half hash, and then those just before
        first = best if step == 0 else np.maximum(np.arange(len(keys)) - step, best)
        # without this, hashes of different videos that have one half in common would take most of the time
        equal = np.flatnonzero(np.bitwise_count(full[first] ^ full) <= _LARGEST_DISTANCE)
        pairs = videos[first[equal]] << 32 | videos[equal]
        found.append(pairs[videos[first[equal]] != videos[equal]].astype(np.uint64))
    return np.unique(np.concatenate(found))


def _are_new(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of the sorted values (K,) differ from the one before, as (K,)."""
    new = np.ones(len(values), np.bool_)
    new[1:] = values[1:] != values[:-1]
    return new


def _are_copies(
    hashes: NDArray[np.uint64], begins: NDArray[np.int64], sizes: NDArray[np.int64], pairs: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Whether one of two videos repeats the other, or its inner area, for pairs (P,), as (P,)."""
    result = np.zeros(len(pairs), np.bool_)
    places = np.arange(MOST_HASHES)
    for at in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[at : at + _PAIRS_AT_ONCE]
        videos = np.stack([some >> _HALF, some & _LOW_HALF]).astype(np.int64)
        # (2, P, MOST_HASHES): the hashes of both videos; places past their end are not valid
        valid = places < sizes[videos][..., None]
        values = hashes[np.where(valid, begins[videos][..., None] + places, 0)]
        # even places have the hashes of complete images, odd ones those of inner areas
        complete, inner, valid = values[..., 0::2], values[..., 1::2], valid[..., 0::2]
        for first, second in ((complete[0], complete[1]), (inner[0], complete[1]), (complete[0], inner[1])):
            result[at : at + _PAIRS_AT_ONCE] |= _are_equal(first, second, valid)
    return result


def _are_equal(first: NDArray[np.uint64], second: NDArray[np.uint64], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether enough hashes of each of two videos (P, H) have an equal one in the other, as (P,); `valid` (2, P, H)."""
    equal = np.bitwise_count(first[:, :, None] ^ second[:, None, :]) <= _LARGEST_DISTANCE
    equal &= valid[0][:, :, None] & valid[1][:, None, :]
    matched = np.stack([equal.any(axis=2).sum(axis=1), equal.any(axis=1).sum(axis=1)])
    enough: NDArray[np.bool_] = (matched >= _LEAST_SHARE * valid.sum(axis=2)).all(axis=0)
    return enough
