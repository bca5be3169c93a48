"""Damaged videos in the containers that phones and sites write: a known outcome, and frames that are judged."""

from pathlib import Path

import pytest

from tests.fuzz.video_formats import FORMATS
from tests.fuzz.video_runs import check_seeds

RECENT = [name for name in FORMATS if name.startswith(("mp4", "mov", "mkv", "webm"))]


@pytest.mark.parametrize("name", RECENT)
def test_a_damaged_recent_video_has_a_known_outcome(name: str, tmp_path: Path) -> None:
    """Whatever is damaged, reading ends within its limits, with a reason of the closed list or with judged frames."""
    check_seeds(name, tmp_path)
