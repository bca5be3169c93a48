"""Fixtures that every room's tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

hypothesis.settings.register_profile("watchmove", deadline=None, print_blob=True)
hypothesis.settings.load_profile("watchmove")
"""The settings of every property test, on a laptop and in CI.

No example has a deadline: on a busy machine a correct example can take a second. Examples are drawn at random in CI
too: a counterexample is a defect whenever it is found, and a fixed set of examples would never find another one. The
`@reproduce_failure(...)` that a failure prints, put above the test, replays it.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a test that is marked `long` come first, each in its own order."""
    long_files = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long_files)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real videos, masks and boxes for measuring; tests that want it are skipped where it is absent."""
    folder = os.environ.get("WATCHMOVE_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"WATCHMOVE_TEST_DATA ({folder or 'unset'}) names no folder: real videos and boxes are not at hand")
    return Path(folder)


@pytest.fixture(autouse=True)
def _logs_of_its_own() -> Iterator[None]:
    """A command that a test runs sends its logs to a stream of that test, which later tests find closed."""
    yield
    structlog.reset_defaults()
