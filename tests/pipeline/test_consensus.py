"""Who asks whom, and what a vote does."""

import numpy as np
import pytest
from scipy import sparse

from pipeline.consensus import neighbour_graph, vote


def two_looks() -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Three frames, each with five regions of one look and five of another."""
    generator = np.random.default_rng(0)
    centres = np.repeat(np.array([[0, 0], [10, 10]], np.float32), 5, axis=0)
    return [(centres + generator.normal(0, 0.1, centres.shape)).astype(np.float32) for _ in range(3)]


def test_rows_sum_to_one_and_nobody_asks_itself() -> None:
    """Each of 30 regions asks 2 in each of 3 frames, never itself."""
    graph = neighbour_graph(two_looks(), 2)

    assert graph.shape == (30, 30)
    assert graph.sum(axis=1) == pytest.approx(1)
    assert graph.diagonal().max() == 0
    assert np.diff(graph.indptr).tolist() == [6] * 30


def test_neighbours_look_alike() -> None:
    """All that is asked is of the asker's own look."""
    graph = neighbour_graph(two_looks(), 2).tocoo()

    assert (graph.row % 10 // 5 == graph.col % 10 // 5).all()


def test_voting_carries_motion_to_all_that_looks_alike() -> None:
    """Motion seen in one frame only reaches the same look in the others, and nothing else."""
    first = np.zeros(30, np.float32)
    first[:5] = 1
    agreed = vote(neighbour_graph(two_looks(), 2), first, rounds=20, own_weight=0.1).reshape(3, 2, 5)

    assert agreed[:, 0].min() > 0.2
    assert agreed[:, 1].max() < 0.01


def test_a_lone_error_is_outvoted() -> None:
    """A region that moves by mistake among many of its look that do not loses most of its vote."""
    first = np.zeros(30, np.float32)
    first[7] = 1
    agreed = vote(neighbour_graph(two_looks(), 2), first, rounds=10, own_weight=0.3)

    assert agreed[7] < 0.5


def test_one_round_by_hand() -> None:
    """Two regions that ask each other, a quarter of the vote their own."""
    graph = sparse.csr_array(np.array([[0, 1], [1, 0]], np.float32))

    assert vote(graph, np.array([1, 0], np.float32), 1, 0.25).tolist() == [0.25, 0.75]
    assert vote(graph, np.array([1, 0], np.float32), 5, 1.0).tolist() == [1, 0]
