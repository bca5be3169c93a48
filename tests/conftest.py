"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real videos, masks and boxes for measuring; tests that want it are skipped where it is absent."""
    folder = os.environ.get("WATCHMOVE_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"WATCHMOVE_TEST_DATA ({folder or 'unset'}) names no folder: real videos and boxes are not at hand")
    return Path(folder)
