"""The order of frames in an epoch and their division among ranks, functions of the seed and the position alone.

The position in the training decides the frame, so the batches do not depend on the number of ranks and reader threads,
nor on where the training was stopped and resumed. Within an epoch the order is random, but frames that are stored close
together are read close together, so that a bounded cache of pieces of shards is enough: the data is cut into runs of
bytes, the runs are shuffled, and each frame is delayed by a random part of a window (as in the shuffle `py1e` of
MosaicML Streaming). The frames read at any moment thus come from about one window, and new pieces are needed at an even
rate instead of many at once.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.dataset.frame_table import FrameTable

RUN_BYTES = 32 * 2**20
"""Bytes of a shard that form a run. Set by hand, so that a run is a few pieces of the shard cache; not tuned."""


class Share(NamedTuple):
    """The part of every batch that a rank reads: number `rank`, from 0, of `ranks` equal parts."""

    rank: int
    ranks: int


ALONE = Share(0, 1)
"""The share of a process that trains without others: all of every batch."""


def runs_of(frames: FrameTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of the run that each of `rows` (N,) of the table belongs to: (N,), from 0, non-decreasing.

    `rows` must be increasing.
    """
    pieces = frames.offset[rows] // RUN_BYTES
    # -1 is no shard and no piece, so that the first row begins a run
    begins = np.diff(frames.shard[rows], prepend=-1).astype(bool) | np.diff(pieces, prepend=-1).astype(bool)
    return np.cumsum(begins) - 1


def epoch_order(seed: int, epoch: int, runs: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Return the order (N,) of one epoch, a permutation of 0 to N - 1, of the frames that belong to `runs` (N,).

    `window` is the largest delay, in frames; with a window of N or more all permutations are equally likely.
    """
    # The 0 keeps this stream apart from those of examples, (seed, 1, position), and of validation, (0, 2, number).
    rng = np.random.default_rng((seed, 0, epoch))
    if window >= len(runs):
        return rng.permutation(len(runs))
    lengths = np.bincount(runs)
    shuffled = rng.permutation(len(lengths))
    begins = np.empty(len(lengths), np.int64)
    begins[shuffled] = np.cumsum(lengths[shuffled]) - lengths[shuffled]
    # `begins` is where each run starts in the shuffled sequence; a frame's sort key is that plus its random delay.
    return np.argsort(begins[runs] + rng.uniform(0, window, len(runs)), kind="stable")


def share_of(rows: NDArray[np.int64], share: Share) -> NDArray[np.int64]:
    """Return the positions in a batch that a rank reads, given the table's rows (B,) at the batch's positions.

    The batch is sorted by where frames are stored and cut into contiguous parts. So each rank reads from its own range
    of the shards, and two ranks fetch the same piece only where their ranges meet.
    """
    # stable, so that all ranks agree on the order of equal rows, which a batch that spans two epochs may have
    return np.array_split(np.argsort(rows, kind="stable"), share.ranks)[share.rank]
