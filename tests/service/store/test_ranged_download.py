"""Ranges are put together whole, whatever breaks, and whoever gives up leaves nothing behind."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from watchmove.pipeline.errors import Stopped, Unavailable
from watchmove.service.store import ranged_download
from watchmove.service.store.ranged_download import CONNECTIONS, RANGE_BYTES, RangeBroken, download

CONTENT = random.Random(1).randbytes(2 * RANGE_BYTES + 77)


class Ranges:
    """Serves CONTENT in small chunks, and breaks after as many bytes as dice say."""

    def __init__(self, seed: int, longest: int) -> None:
        self.asked: list[tuple[int, int]] = []
        self._dice = random.Random(seed)
        self._longest = longest

    def open_range(self, first: int, last: int) -> Iterator[bytes]:
        """Chunks until it breaks."""
        self.asked.append((first, last))
        end = min(last + 1, first + self._dice.randrange(1, self._longest))
        for at in range(first, end, 2**20):
            yield CONTENT[at : min(at + 2**20, end)]
        if end <= last:
            raise RangeBroken("broke")


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged_download, "_FIRST_DELAY_SECONDS", 1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_broken_ranges_become_a_whole_file(tmp_path: Path, seed: int) -> None:
    """Each byte is asked for once as long as what came was whole chunks."""
    ranges = Ranges(seed, RANGE_BYTES)
    download(ranges.open_range, len(CONTENT), tmp_path / "file", threading.Event())
    firsts = [first for first, _ in ranges.asked]

    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(ranges.asked) > 3
    assert len(set(firsts)) == len(firsts)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_body_that_is_too_long_is_cut(tmp_path: Path) -> None:
    """What a server sends beyond the range belongs to another one."""

    def open_range(first: int, last: int) -> Iterator[bytes]:
        yield CONTENT[first : last + 1] + b"more"

    download(open_range, len(CONTENT), tmp_path / "file", threading.Event())

    assert (tmp_path / "file").read_bytes() == CONTENT


def test_ranges_that_bring_nothing_are_given_up(tmp_path: Path) -> None:
    """An empty body is as good as none; the line says where it stood."""

    def open_range(_first: int, _last: int) -> Iterator[bytes]:
        return iter(())

    with pytest.raises(Unavailable, match=r"the body ended at byte \d+ of \d+, 8 times in a row"):
        download(open_range, len(CONTENT), tmp_path / "file", threading.Event())
    assert list(tmp_path.iterdir()) == []


def test_stopping_ends_a_long_wait(tmp_path: Path) -> None:
    """A store that asks for a minute of patience does not hold up a step that is told to stop."""
    stop = threading.Event()

    def open_range(_first: int, _last: int) -> Iterator[bytes]:
        stop.set()
        raise RangeBroken("busy", retry_after_seconds=60)

    with pytest.raises(Stopped):
        download(open_range, len(CONTENT), tmp_path / "file", stop)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_all_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have begun end at their next chunk, and the others do not begin."""
    opened: list[int] = []
    waits = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            waits.set()
            super().shutdown(wait, cancel_futures=cancel_futures)

    def open_range(first: int, last: int) -> Iterator[bytes]:
        opened.append(first)
        waits.wait(60)
        yield bytes(last + 1 - first)

    def interrupted(_: object) -> Iterator[Future[None]]:
        raise KeyboardInterrupt

    monkeypatch.setattr(ranged_download, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(ranged_download, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download(open_range, 40 * RANGE_BYTES, tmp_path / "file", threading.Event())
    assert len(opened) <= CONNECTIONS
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_pass_ends_all_ranges(tmp_path: Path) -> None:
    """The first range's error is the download's, and those that wait are not begun."""
    asked: list[int] = []

    def open_range(first: int, _last: int) -> Iterator[bytes]:
        asked.append(first)
        raise PermissionError("never")

    with pytest.raises(PermissionError):
        download(open_range, 1000 * RANGE_BYTES, tmp_path / "file", threading.Event())
    assert len(asked) < 100
