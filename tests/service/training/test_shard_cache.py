"""The shard cache: bounded, each piece fetched once and checked, with errors that name the shard."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.service.faults.faulty_proxy import faulty_proxy
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.store import ranged_download
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store
from watchmove.service.training.shard_cache import PIECE_BYTES, ShardCache, shard_bytes

SIZE = 2 * PIECE_BYTES + 12_345
CONTENT = np.random.default_rng(0).bytes(SIZE)
SIZES = {"one.tar": SIZE, "two.tar": SIZE}


@pytest.fixture
def stored(store: Store) -> Store:
    """A store of each kind with two shards of three pieces each."""
    for key in SIZES:
        store.write(key, CONTENT)
    return store


@pytest.fixture
def on_s3(s3_environment: str) -> Store:
    """An S3 store with two shards of three pieces each."""
    assert s3_environment
    store = open_store("s3://frames/cache")
    for key in SIZES:
        store.write(key, CONTENT)
    return store


def cache_of(store: Store, folder: Path, pieces: int) -> ShardCache:
    """A cache with room for a number of pieces."""
    return ShardCache(store, SIZES, folder, pieces * PIECE_BYTES)


def folder_bytes(folder: Path) -> int:
    """Total size of the files in a folder."""
    return sum(path.stat().st_size for path in folder.glob("*"))


@pytest.mark.parametrize("place", [(0, 10), (PIECE_BYTES - 5, 10), (5, SIZE - 5), (SIZE - 7, 7)])
def test_ranges_are_those_of_the_object(stored: Store, tmp_path: Path, place: tuple[int, int]) -> None:
    """Ranges at the start, across two pieces, of the complete shard and at the end, from files and from S3."""
    offset, size = place
    source = shard_bytes(stored, SIZES, tmp_path / "pieces", 4 * PIECE_BYTES)

    assert source.read_range("two.tar", offset, size) == CONTENT[offset : offset + size]


def test_a_piece_is_fetched_once_by_many_threads(on_s3: Store, tmp_path: Path) -> None:
    """Thirty-two readers of one piece cause one request."""
    cache = cache_of(on_s3, tmp_path / "pieces", 4)
    with ThreadPoolExecutor(16) as pool:
        parts = list(pool.map(lambda n: cache.read_range("one.tar", n * 100, 100), range(32)))

    assert b"".join(parts) == CONTENT[:3200]
    assert cache.fetched_bytes == PIECE_BYTES


def test_the_cache_stays_below_its_limit(on_s3: Store, tmp_path: Path) -> None:
    """With room for two of six pieces, four threads read correct bytes, and the most recent piece stays."""
    cache, largest = cache_of(on_s3, tmp_path / "pieces", 2), [0]
    offsets = np.random.default_rng(1).integers(0, SIZE - 1000, 40).tolist()

    def read(number: int) -> bool:
        shard = ("one.tar", "two.tar")[number % 2]
        right = cache.read_range(shard, offsets[number], 1000) == CONTENT[offsets[number] : offsets[number] + 1000]
        with cache._lock:  # else a piece that goes and one that comes are both counted
            largest[0] = max(largest[0], folder_bytes(tmp_path / "pieces"))
        return right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(40)))
    read(39)  # the most recent piece from here on: which thread was last before is chance
    before = cache.fetched_bytes
    read(39)

    assert largest[0] <= 2 * PIECE_BYTES
    assert cache.fetched_bytes == before


def test_a_shard_that_is_gone_changed_or_short_is_named(stored: Store, tmp_path: Path) -> None:
    """The error names the missing shard, for both kinds of store."""
    source = shard_bytes(stored, {**SIZES, "gone.tar": 10}, tmp_path / "pieces", 4 * PIECE_BYTES)

    with pytest.raises(
        InvalidInput, match=r"gone\.tar: missing, although the snapshot names it; remove its shard.s record"
    ):
        source.read_range("gone.tar", 0, 10)
    with pytest.raises(InvalidInput, match=r"one\.tar: ends before byte"):
        source.read_range("one.tar", SIZE - 5, 10)


def test_a_shard_that_is_replaced_meanwhile_is_named(on_s3: Store, tmp_path: Path) -> None:
    """A replaced object is refused, so pieces of two objects never mix; another size is noticed at once."""
    cache = cache_of(on_s3, tmp_path / "pieces", 4)
    cache.read_range("one.tar", 0, 10)
    on_s3.write("one.tar", CONTENT[::-1])
    on_s3.write("two.tar", b"short")

    with pytest.raises(InvalidInput, match=r"one\.tar: differs from the snapshot's record"):
        cache.read_range("one.tar", PIECE_BYTES, 10)
    with pytest.raises(InvalidInput, match=r"two\.tar: differs from the snapshot's record"):
        cache.read_range("two.tar", 0, 10)


def test_a_store_that_breaks_half_of_the_answers(
    on_s3: Store, s3_environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Despite resets, truncated bodies and busy answers, all bytes are correct."""
    assert on_s3
    with faulty_proxy(s3_environment, 0.5, 1, ("503", "reset-before", "reset-after", "half-body")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        cache = cache_of(open_store("s3://frames/cache"), tmp_path / "pieces", 6)
        content = cache.read_range("one.tar", 0, SIZE) + cache.read_range("two.tar", 0, SIZE)

    assert content == CONTENT + CONTENT
    assert sum(count for fault, count in proxy.counts.items() if fault) >= 3


def test_a_store_that_stays_away_may_come_back(
    on_s3: Store, s3_environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unavailable names the shard; when the store serves again the same cache continues, and no reader hangs."""
    assert on_s3
    monkeypatch.setattr(ranged_download, "_LONGEST_DELAY_SECONDS", 0.01)
    with faulty_proxy(s3_environment, 0.0, 1, ("reset-before",)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        cache = cache_of(open_store("s3://frames/cache"), tmp_path / "pieces", 6)
        cache.read_range("one.tar", 0, 10)
        proxy._share = 1.0
        errors = []

        def read() -> None:
            try:
                cache.read_range("one.tar", PIECE_BYTES, 10)
            except Unavailable as error:
                errors.append(str(error))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        proxy._share = 0.0
        content = cache.read_range("one.tar", PIECE_BYTES, 10)

    assert len(errors) == 4
    assert all("one.tar" in error for error in errors)
    assert content == CONTENT[PIECE_BYTES : PIECE_BYTES + 10]
