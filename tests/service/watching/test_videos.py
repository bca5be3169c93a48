"""The names of a run's videos by how they ended."""

import json

import pytest

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import end_shard, touch_videos
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cli.status_table import print_video
from watchmove.service.planning.retry import retry
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.plan import plan
from watchmove.service.watching.videos import ended_videos

NAMES = tuple(f"{number:02d}.mp4" for number in range(6))


@pytest.fixture
def context(make_context: MakeContext) -> StepContext:
    """A run of six videos in two shards, in which one is missing, one cannot be read, and two are rejected."""
    made = make_context("plan.max_shard_videos=3")
    touch_videos(made, *NAMES)
    planned = plan(made, "run")
    end_shard(made, planned, 0, {"01.mp4": ("missing", "not-in-store"), "02.mp4": ("rejected", "no-motion")}, at=9000.0)
    end_shard(made, planned, 1, {"04.mp4": ("unreadable", "crashed"), "05.mp4": ("rejected", "fade")}, at=9100.0)
    return made


def names(context: StepContext, run: str = "run", **chosen: str) -> list[str]:
    """The names of the videos that are chosen by `outcomes` or `reasons`."""
    words = {key: frozenset(value.split(",")) for key, value in chosen.items()}
    return [video.video.key for video in ended_videos(context.store, run, **words)]


def test_a_run_without_any_outcome_has_no_videos(make_context: MakeContext) -> None:
    """A run that has only been planned is no error."""
    made = make_context()
    touch_videos(made, *NAMES)
    plan(made, "run")

    assert names(made) == []


def test_all_videos_by_default(context: StepContext) -> None:
    """Without a choice, every video with an outcome is listed, in the order of the records."""
    assert names(context) == list(NAMES)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"outcomes": "rejected"}, ["02.mp4", "05.mp4"]),
        ({"outcomes": "missing,unreadable"}, ["01.mp4", "04.mp4"]),
        ({"reasons": "fade"}, ["05.mp4"]),
        ({"outcomes": "rejected", "reasons": "crashed,fade"}, ["05.mp4"]),
        ({"outcomes": "timed-out"}, []),
    ],
)
def test_outcome_and_reason_choose(context: StepContext, chosen: dict[str, str], expected: list[str]) -> None:
    """Of two choices both must hold, and an outcome that no video has gives none."""
    assert names(context, **chosen) == expected


@pytest.mark.parametrize(
    ("chosen", "expected"), [({"outcomes": "lost"}, "there are kept, rejected"), ({"reasons": "fads"}, "fade")]
)
def test_a_misspelt_word_is_refused(context: StepContext, chosen: dict[str, str], expected: str) -> None:
    """An outcome that does not exist and a reason that no video has are errors that name what there is."""
    with pytest.raises(InvalidInput, match=expected):
        names(context, **chosen)


def test_after_a_retry_the_later_outcome_counts(context: StepContext) -> None:
    """A video that was missing and then kept is listed once, as kept, for both runs."""
    name, planned = retry(context.settings, context.store, context.scratch, "run", "missing")
    end_shard(context, planned, 0, {}, at=9999.0)

    assert names(context, outcomes="missing") == []
    assert names(context, name, outcomes="kept").count("01.mp4") == 1


def test_a_video_is_one_line(context: StepContext, capsys: pytest.CaptureFixture[str]) -> None:
    """A line has five fields, without control characters, or is JSON."""
    (video,) = ended_videos(context.store, "run", reasons=frozenset({"crashed"}))
    print_video(video.model_copy(update={"detail": "bad\n\x1b[31m"}), as_json=False)
    print_video(video, as_json=True)
    line, record = capsys.readouterr().out.splitlines()

    assert line == "unreadable\tcrashed\t0\t04.mp4\tbad??[31m"
    assert json.loads(record)["reason"] == "crashed"
