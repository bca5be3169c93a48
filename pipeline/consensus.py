"""Non-local consensus voting (Faktor and Irani, BMVC 2014, sections 2 and 3), on superpixels of a window of frames.

Each superpixel asks those that look most like it, in every frame of the window, how salient their motion is, and moves
towards their answer; the graph of who asks whom is sparse, and a few rounds of voting are as many products with it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

FloatArray = NDArray[np.float32]


def neighbour_graph(descriptors: Sequence[FloatArray], neighbours_per_frame: int) -> sparse.csr_array:
    """Sparse voting weights (N, N) between the N superpixels of all frames, each row summing to one.

    `descriptors` are (count, D) per frame. A superpixel's neighbours are the nearest ones in each frame, itself left
    out, weighted exp(-d^2 / 2 s^2) with s the median distance to the nearest in each frame.
    """
    everything = np.concatenate(descriptors)
    total = len(everything)
    squares = np.einsum("nd,nd->n", everything, everything)
    columns, squared_distances = [], []
    start = 0
    for block in descriptors:
        stop = start + len(block)
        squared = squares[:, None] + squares[None, start:stop] - 2 * (everything @ block.T)
        np.fill_diagonal(squared[start:stop], np.inf)
        for _ in range(min(neighbours_per_frame, len(block) - 1)):
            nearest = squared.argmin(axis=1)
            columns.append(nearest + start)
            squared_distances.append(squared[np.arange(total), nearest])
            squared[np.arange(total), nearest] = np.inf
        start = stop
    asked, distance = np.stack(columns, axis=1), np.maximum(np.stack(squared_distances, axis=1), 0)
    weights = np.exp(-distance / max(2 * float(np.median(distance)), 1e-6))
    weights /= weights.sum(axis=1, keepdims=True)
    pointers = np.arange(total + 1) * asked.shape[1]
    return sparse.csr_array((weights.ravel(), asked.ravel(), pointers), shape=(total, total))


def vote(graph: sparse.csr_array, votes: FloatArray, rounds: int, own_weight: float) -> FloatArray:
    """Votes (N,) in [0, 1] after some rounds, in each of which a superpixel keeps `own_weight` of its first vote."""
    current = votes
    for _ in range(rounds):
        current = np.asarray(own_weight * votes + (1 - own_weight) * (graph @ current), np.float32)
    return current
