"""The share of a training's time that is waiting for data."""

from collections.abc import Iterator

import pytest

from watchmove.pipeline.training.data_wait import DataWait


def test_the_time_until_an_item_is_there_is_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten seconds, six pass until the items are there, of which two before the end is known."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    def items() -> Iterator[str]:
        nonlocal now
        for name in ("first", "second"):
            now += 2.0
            yield name
        now += 2.0

    wait = DataWait()
    seen = []
    for item in wait.timed(items()):
        seen.append(item)
        now += 2.0

    assert seen == ["first", "second"]
    assert (wait.elapsed_seconds, wait.fraction) == (10.0, 0.6)


def test_nothing_is_waited_for_at_first() -> None:
    """The share is defined before any time has passed."""
    assert DataWait().fraction == 0.0


def test_an_error_of_the_data_is_passed_on() -> None:
    """A read that fails ends the training with its own error."""

    def items() -> Iterator[str]:
        yield "first"
        raise OSError("the store is away")

    with pytest.raises(OSError, match="away"):
        list(DataWait().timed(items()))
