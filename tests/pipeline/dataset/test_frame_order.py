"""The order of frames in an epoch: each once, near in bytes near in time, the same for any number of ranks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from watchmove.pipeline.dataset.frame_order import RUN_BYTES, Share, epoch_order, runs_of, share_of
from watchmove.pipeline.dataset.frame_table import Frame, frame_table

RUNS = np.repeat(np.arange(200), 50)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=20), window=st.integers(1, 400), epoch=st.integers(0, 3)
)
def test_every_epoch_has_each_frame_once(lengths: list[int], window: int, epoch: int) -> None:
    """Whatever the runs and the window."""
    runs = np.repeat(np.arange(len(lengths)), lengths)

    assert sorted(epoch_order(0, epoch, runs, window)) == list(range(sum(lengths)))


@pytest.mark.parametrize("window", [1000, 10**6])
def test_orders_differ_by_epoch_and_seed_and_by_nothing_else(window: int) -> None:
    """A resumed training finds the same order again."""
    first = epoch_order(0, 0, RUNS, window)

    assert np.array_equal(first, epoch_order(0, 0, RUNS, window))
    assert not np.array_equal(first, epoch_order(0, 1, RUNS, window))
    assert not np.array_equal(first, epoch_order(1, 0, RUNS, window))


def test_a_frame_is_read_within_a_window_of_its_run() -> None:
    """Of 10,000 frames in runs of 50, those of one run come within the window and a run, so a cache needs no more."""
    order = epoch_order(0, 0, RUNS, 1000)
    places = np.argsort(order)
    spans = [np.ptp(places[run == RUNS]) for run in range(200)]

    assert max(spans) <= 1100
    assert np.mean(spans) > 800  # they use the window that they have
    assert np.corrcoef(places, np.arange(len(places)))[0, 1] < 0.3  # and runs are shuffled


def test_new_runs_come_into_use_evenly() -> None:
    """About as many runs begin in any hundred steps, so that no step waits for many pieces to be fetched."""
    places = np.argsort(epoch_order(0, 0, RUNS, 1000))
    begins = np.array([places[run == RUNS].min() for run in range(200)])
    counts = np.histogram(begins, bins=10, range=(0, 10_000))[0]

    assert counts[:9].max() < 2.5 * counts[:9].min()


def table_of(places: list[tuple[str, int]]) -> NDArray[np.int64]:
    """Runs of frames at places (shard, offset)."""
    shards = sorted({shard for shard, _ in places})
    table = frame_table(
        (shard, [Frame(f"{at}", at, 512, "video") for name, at in places if name == shard]) for shard in shards
    )
    return runs_of(table, np.arange(len(table)))


def test_runs_end_with_their_shard_and_at_every_so_many_bytes() -> None:
    """Two shards; the first is longer than a run."""
    places = [("a", 0), ("a", RUN_BYTES - 512), ("a", RUN_BYTES), ("b", RUN_BYTES + 512)]

    assert table_of(places).tolist() == [0, 0, 1, 2]


@given(rows=st.lists(st.integers(0, 99), min_size=1, max_size=64), ranks=st.integers(1, 9))
def test_ranks_divide_a_batch(rows: list[int], ranks: int) -> None:
    """Each place to one rank, as many to each, and to each a stretch of the bytes of its own."""
    shares = [share_of(np.array(rows), Share(rank, ranks)) for rank in range(ranks)]
    read = [rows[place] for share in shares for place in share]

    assert sorted(np.concatenate(shares)) == list(range(len(rows)))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert read == sorted(rows)
