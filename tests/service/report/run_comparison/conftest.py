"""A store of small real runs: of the same drawn videos, with other settings, other masks, and as far as a step."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.conftest import context_of
from tests.service.steps.test_extract import extracted
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.steps.control import control
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan

HOSTILE = "<b>\u202e&gpj.mp4"
"""A name that would be markup, and would turn the text after it."""

With = Callable[..., StepContext]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> With:
    """A context of the store, with overrides; its runs:

    `base` and `again` have the same settings; `strict` keeps no frame; `larger` has other masks of larger frames and is
    not gathered; `shuffled` has the frames of `base` with each other's masks; `planned` is only planned.
    """
    folder = tmp_path_factory.mktemp("compared")
    (folder / "videos").mkdir()
    for name, step in (("a.mp4", (3, 0)), (HOSTILE, (0, 3))):
        write_video(folder / "videos" / name, moving_square(step, 12, height=160).frames, 24.0)
    (folder / "videos" / "text.mp4").write_text("no video\n")
    places = [f"{name}=file://{folder}/{name}" for name in ("store", "videos", "voc")]

    def with_settings(*words: str) -> StepContext:
        settings = load_settings(LAPTOP, [*places, "extract.shorter_side_pixels=96", "work.workers=1", *words])
        return context_of(settings, folder / "scratch")

    for run in ("base", "again"):
        extracted(with_settings(), run)
        gather(with_settings(), run)
    extracted(with_settings("extract.min_confidence=0.9999", "work.workers=2"), "strict")
    larger = ("extract.shorter_side_pixels=128", "extract.motion_gaps=[1]", "extract.min_change=0.001")
    extracted(with_settings(*larger), "larger")
    control(with_settings(), "shuffled", "base", "shuffled-masks")
    plan(with_settings("extract.seed=7"), "planned")
    return with_settings


@pytest.fixture
def store(runs: With) -> Path:
    """The folder of the store."""
    return Path(runs().store.uri.removeprefix("file://"))
