"""A store of small real runs of drawn videos, one of which has two shots, and whose names and owners are hostile."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.service.conftest import context_of
from tests.service.steps.test_extract import extracted
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan

HOSTILE = "in/<b>\u202e&gpj.mp4"
"""A name that would be markup, and would turn the text after it."""
OWNER = "<script>alert(1)</script>\u202e\x1b"
CUT = 24
"""The first frame of the second shot of `two.mp4`, which has as many frames again."""

With = Callable[..., StepContext]


def two_shots() -> np.ndarray:
    """(48, 160, 320, 3) uint8 RGB: a square that moves to the right, then another that moves down."""
    first = moving_square((3, 0), CUT, height=160).frames
    second = 255 - moving_square((0, 2), CUT, height=160, seed=5).frames
    return np.concatenate([first, second])


def draw_videos(folder: Path) -> None:
    """Write `two.mp4`, a video with a hostile name, and a file that is no video."""
    (folder / "in").mkdir(parents=True)
    write_video(folder / "two.mp4", two_shots(), 24.0)
    write_video(folder / HOSTILE, moving_square((0, 3), 12, height=160).frames, 24.0)
    (folder / "text.mp4").write_text("no video\n")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> With:
    """A context of the store, with overrides; its runs, from the first to the last that was planned:

    `strict` keeps no frame; `base` is gathered; `planned` has other settings and is only planned.
    """
    folder = tmp_path_factory.mktemp("shown")
    draw_videos(folder / "videos")
    with (folder / "list.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["uri", "owner", "licence", "title", "duration_seconds"])
        rows.writerow([HOSTILE, OWNER, "Attribution License", "A walk", "0.5"])
        rows.writerows([["two.mp4", "", "", "", ""], ["text.mp4", "", "", "", ""]])
    places = [f"{name}=file://{folder}/{name}" for name in ("store", "videos", "voc")]
    places += [f"plan.manifest=file://{folder}/list.csv", "extract.shorter_side_pixels=96", "work.workers=1"]

    def with_settings(*words: str) -> StepContext:
        return context_of(load_settings(LAPTOP, [*places, *words]), folder / "scratch")

    extracted(with_settings("extract.min_confidence=0.9999"), "strict")
    extracted(with_settings(), "base")
    gather(with_settings(), "base")
    plan(with_settings("extract.seed=7"), "planned")
    return with_settings


@pytest.fixture
def store(runs: With) -> Path:
    """The folder of the store."""
    return Path(runs().store.uri.removeprefix("file://"))
