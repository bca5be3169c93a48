"""Which frame is at which place of an epoch, and which rank reads it: a function of seed and place alone.

A place in the training decides the frame, so that any number of ranks and reader threads, stopped and resumed anywhere,
meets the same batches. Within an epoch the order is random, but near in bytes stays near in time, so that a bounded
cache of pieces of shards is enough: the data is cut into runs of bytes, the runs are shuffled, and each frame is moved
back by a random part of a window (as the sliding windows of MosaicML Streaming's shuffle `py1e`). What is read at any
moment thus lies within about one window of frames, and new pieces come into use evenly instead of all at once.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.dataset.frame_table import FrameTable

RUN_BYTES = 32 * 2**20
"""Frames of so many bytes of a shard move together when runs are shuffled."""


class Share(NamedTuple):
    """Which of the equal parts of every batch this rank reads: number `rank` of `ranks`."""

    rank: int
    ranks: int


ALONE = Share(0, 1)


def runs_of(frames: FrameTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of the run in which each of `rows` of the table lies: (N,), from 0, never falling."""
    pieces = frames.offset[rows] // RUN_BYTES
    begins = np.diff(frames.shard[rows], prepend=-1).astype(bool) | np.diff(pieces, prepend=-1).astype(bool)
    return np.cumsum(begins) - 1


def epoch_order(seed: int, epoch: int, runs: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Order of the N frames that lie in `runs` (N,), in one epoch: (N,), each of 0 to N - 1 once.

    A window of N or more shuffles them evenly.
    """
    rng = np.random.default_rng((seed, 0, epoch))
    if window >= len(runs):
        return rng.permutation(len(runs))
    lengths = np.bincount(runs)
    shuffled = rng.permutation(len(lengths))
    begins = np.empty(len(lengths), np.int64)
    begins[shuffled] = np.cumsum(lengths[shuffled]) - lengths[shuffled]
    return np.argsort(begins[runs] + rng.uniform(0, window, len(runs)), kind="stable")


def share_of(rows: NDArray[np.int64], share: Share) -> NDArray[np.int64]:
    """Which places of a batch (B,) a rank reads, given the table's rows (B,) there.

    Ranks divide the batch in the order of the bytes: each keeps to its own part of what is in use, and no two fetch the
    same pieces but at the seams.
    """
    return np.array_split(np.argsort(rows, kind="stable"), share.ranks)[share.rank]
