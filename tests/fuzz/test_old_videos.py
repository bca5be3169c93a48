"""Damaged videos in the containers of cameras, discs and old tools: the rules are those of recent ones."""

from pathlib import Path

import pytest

from tests.fuzz.test_recent_videos import RECENT
from tests.fuzz.video_formats import FORMATS
from tests.fuzz.video_runs import check_seeds


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in RECENT])
def test_a_damaged_old_video_has_a_known_outcome(name: str, tmp_path: Path) -> None:
    """Whatever is damaged, reading ends within its limits, with a reason of the closed list or with judged frames."""
    check_seeds(name, tmp_path)
