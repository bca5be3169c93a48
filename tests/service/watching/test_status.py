"""Status: every video is accounted for at any moment, and contradictions are reported."""

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rich.console import Console

from tests.service.conftest import MakeContext, context_of
from tests.service.records.made_up_run import commit_part, end_shard, planned_videos, row, touch_videos
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cli.status_table import print_status
from watchmove.service.planning.retry import retry
from watchmove.service.planning.sharding import expected_seconds
from watchmove.service.records import layout
from watchmove.service.records.outcomes import Outcome
from watchmove.service.records.plans import PlanRecord
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan
from watchmove.service.watching.status import RunStatus, status

NAMES = tuple(f"{number:02d}.mp4" for number in range(10))
NAMES_OF_TWELVE = (*NAMES, "10.mp4", "11.mp4")


@pytest.fixture
def context(make_context: MakeContext) -> StepContext:
    """A planned run of ten videos, three in a shard."""
    made = make_context("plan.max_shard_videos=3")
    touch_videos(made, *NAMES)
    return made


def asked(context: StepContext, run: str = "run", at: float = 10_000.0) -> RunStatus:
    """The status of a run at a time, after checking that all sums add up."""
    found = status(context.store, run, lambda: at)
    assert found.faults == ()
    return found


def test_before_anything_is_committed_all_waits(context: StepContext) -> None:
    """Before the first commit, speed and expected end are None."""
    plan(context, "run")
    found = asked(context)

    assert (found.videos_listed, found.videos_planned, found.videos_waiting) == (10, 10, 10)
    assert (found.shards, found.shards_done, found.shards_open) == (4, 0, 4)
    assert (found.overall, found.recent, found.finish, found.last_commit_unix_seconds) == (None, None, None, None)


def test_counts_by_outcome_and_reason(context: StepContext) -> None:
    """Two of four shards are done, and all counts say so."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {"01.mp4": ("missing", ""), "02.mp4": ("unreadable", "no-video-stream")}, at=9000.0)
    end_shard(context, planned, 1, {"03.mp4": ("rejected", "no-motion")}, at=9600.0)
    found = asked(context)
    outcomes = {(one.outcome, one.reason): (one.videos, one.attempts) for one in found.outcomes}
    frames = {(one.outcome, one.reason): one.frames for one in found.frames}

    assert outcomes == {
        ("kept", ""): (3, 3),
        ("missing", ""): (1, 1),
        ("rejected", "no-motion"): (1, 1),
        ("unreadable", "no-video-stream"): (1, 1),
    }
    assert frames == {("kept", ""): 9, ("rejected", "no-motion"): 23}
    assert (found.videos_ended, found.videos_waiting, found.videos_without_outcome) == (6, 4, 4)
    assert (found.shards_done, found.shards_open) == (2, 2)
    assert (found.frames_seen, found.seconds_spent) == (4 * 48, 12.0)
    assert found.attempts_per_video == {0: 4, 1: 6}
    assert found.last_commit_unix_seconds == 9600.0


def test_a_shard_with_a_part_missing_is_open(context: StepContext) -> None:
    """A shard with one of three videos committed is open."""
    planned = plan(context, "run")
    first, *_ = planned_videos(context, planned, 0)
    commit_part(context, planned, (0, 0), (row(first, "kept"),), 9000.0, 60.0)
    found = asked(context)

    assert (found.videos_ended, found.videos_waiting, found.shards_done, found.shards_open) == (1, 9, 0, 4)


def test_speed_and_end_by_hand(context: StepContext) -> None:
    """At three videos in the last 100 s, four more of equal size are expected to take 4 / 0.03 s."""
    planned = plan(context, "run")
    for shard, at in ((0, 1100.0), (1, 1200.0)):
        rows = tuple(row(video, "kept") for video in planned_videos(context, planned, shard))
        commit_part(context, planned, (shard, 0), rows, at, 100.0)
    found = asked(context, at=1260.0)

    assert found.overall is not None
    assert found.overall.videos_per_second == pytest.approx(6 / 200)
    assert found.overall.frames_per_second == pytest.approx(6 * 48 / 200)
    assert found.finish is not None
    assert found.finish.seconds_left == pytest.approx(4 / 0.03, abs=0.1)
    assert found.finish.at_unix_seconds == pytest.approx(1260.0 + 4 / 0.03, abs=0.1)
    assert "in 4 waiting videos" in found.finish.rests_on


def test_a_long_video_that_waits_takes_longer(context: StepContext) -> None:
    """The expected end weighs waiting videos by the plan's expected work, here one of ten times the length."""
    for name, size in zip(NAMES, [2**20] * 9 + [10 * 2**20], strict=True):
        os.truncate(Path(context.settings.videos.removeprefix("file://")) / name, size)
    planned = plan(context, "run")
    end_shard(context, planned, 0, {}, at=3600.0)
    ended = planned_videos(context, planned, 0)
    waiting = [video for shard in range(1, planned.shards) for video in planned_videos(context, planned, shard)]
    done, left = (sum(expected_seconds(v, context.settings.plan) for v in videos) for videos in (ended, waiting))
    found = asked(context, at=3600.0)

    assert left > 3 * done
    assert found.finish is not None
    assert found.finish.seconds_left == pytest.approx(60.0 * left / done, abs=0.1)
    assert "in 7 waiting videos" in found.finish.rests_on


def test_recent_speed_is_of_the_last_hour(context: StepContext) -> None:
    """A commit whose work began before the last hour counts in part: half of three videos, and three more."""
    planned = plan(context, "run")
    for shard, at, took in ((0, 7200.0, 7200.0), (1, 9000.0, 1800.0)):
        rows = tuple(row(video, "kept") for video in planned_videos(context, planned, shard))
        commit_part(context, planned, (shard, 0), rows, at, took)
    found = asked(context)

    assert found.overall is not None
    assert found.recent is not None
    assert found.overall.videos_per_second == pytest.approx(6 / 9000)
    assert found.recent.videos_per_second == pytest.approx((3 * 1800 / 7200 + 3) / 3600)
    assert found.recent.parts == 2


def test_a_later_run_counts_what_earlier_ones_did(context: StepContext) -> None:
    """A later plan counts videos that ended before, and those that are no longer listed."""
    planned = plan(context, "one")
    for shard in range(planned.shards):
        end_shard(context, planned, shard, {}, at=9000.0)
    touch_videos(context, "99.mp4")
    (Path(context.settings.videos.removeprefix("file://")) / NAMES[0]).unlink()
    plan(context, "two")
    found = asked(context, "two")

    assert (found.videos_listed, found.videos_ended_before, found.videos_planned) == (10, 9, 1)
    assert (found.videos_waiting, found.videos_removed) == (1, 1)


def test_attempts_are_counted(context: StepContext) -> None:
    """After a retry the status counts two videos with two attempts, and the better outcome of one of them."""
    planned = plan(context, "run")
    for shard in range(planned.shards):
        end_shard(context, planned, shard, {"00.mp4": ("missing", ""), "04.mp4": ("timed-out", "")}, at=9000.0)
    name, again = retry(context.settings, context.store, context.scratch, "run", "missing,timed-out")
    end_shard(context, again, 0, {"04.mp4": ("timed-out", "")}, at=9500.0)
    before, after = asked(context), asked(context, name)

    assert before.attempts_per_video == after.attempts_per_video == {1: 8, 2: 2}
    assert {one.outcome: one.videos for one in before.outcomes} == {"kept": 9, "timed-out": 1, "missing": 0}
    assert {one.outcome: one.attempts for one in after.outcomes} == {"kept": 1, "timed-out": 1}
    assert (after.videos_planned, after.videos_ended, after.videos_ended_before) == (2, 2, 8)


def test_what_another_run_still_has_to_do_is_told_apart(context: StepContext) -> None:
    """A retry of a run in progress counts the other's videos as waiting elsewhere."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {"00.mp4": ("missing", "")}, at=9000.0)
    name, _ = retry(context.settings, context.store, context.scratch, "run", "missing")
    found = asked(context, name)

    assert (found.videos_planned, found.videos_ended_before, found.videos_waiting_elsewhere) == (1, 2, 7)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(shards=st.lists(st.lists(st.sampled_from(Outcome), min_size=3, max_size=3), max_size=4))
def test_the_sums_come_out_whatever_happened(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[Outcome]]
) -> None:
    """Sums add up for a run and for a half-finished retry of it."""
    folder = tmp_path_factory.mktemp("sums")
    places = [f"{name}=file://{folder}/{name}" for name in ("store", "videos", "voc")]
    context = context_of(load_settings(LAPTOP, [*places, "plan.max_shard_videos=3"]), folder / "scratch")
    touch_videos(context, *NAMES_OF_TWELVE)
    planned = plan(context, "run")
    for shard, endings in enumerate(shards):
        names = NAMES_OF_TWELVE[3 * shard : 3 * shard + 3]
        told = {name: (ending.value, "") for name, ending in zip(names, endings, strict=True)}
        end_shard(context, planned, shard, told, at=9000.0 + shard)
    name, again = retry(context.settings, context.store, context.scratch, "run", "missing,timed-out,unreadable")
    if again.shards:
        end_shard(context, again, 0, {}, at=9500.0)
    for run in ("run", name):
        found = asked(context, run)

        assert found.videos_listed == found.videos_ended_before + found.videos_planned + found.videos_waiting_elsewhere
        assert found.videos_planned == found.videos_ended + found.videos_waiting
        assert found.videos_listed == sum(one.videos for one in found.outcomes) + found.videos_without_outcome


def test_a_sum_that_does_not_come_out_is_said(context: StepContext, capsys: pytest.CaptureFixture[str]) -> None:
    """If a video ended that was not planned, the status is printed and the error names the sum that does not add up."""
    planned = plan(context, "run")
    stranger = planned_videos(context, planned, 0)[0].model_copy(update={"id": "f" * 16})
    commit_part(context, planned, (0, 0), (row(stranger, "kept"),), 9000.0, 60.0)
    found = status(context.store, "run")
    capsys.readouterr()  # what the steps before have printed

    assert "ended + waiting (11) is not planned (10)" in found.faults
    with pytest.raises(InvalidInput, match="not all videos are accounted for"):
        print_status(found, Console(), as_json=True)
    assert json.loads(capsys.readouterr().out)["videos_listed"] == 10


def test_a_damaged_record_is_named_and_the_others_count(context: StepContext) -> None:
    """Videos of a damaged record are counted as waiting, as in extract."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {}, at=9000.0)
    key = layout.shard_part(planned.recipe, planned.plan, 1, 0) + ".json"
    context.store.write(key, b"{torn")
    found = status(context.store, "run")

    assert found.videos_ended == 3
    assert len(found.faults) == 1
    assert key in found.faults[0]


def test_a_run_without_a_plan_is_named(context: StepContext) -> None:
    """The error line names the command to run first."""
    with pytest.raises(InvalidInput, match="run `watchmove plan` first"):
        status(context.store, "absent")


def test_the_table_has_what_the_json_has(context: StepContext) -> None:
    """The tables show the same counts."""
    planned: PlanRecord = plan(context, "run")
    end_shard(context, planned, 0, {"00.mp4": ("unreadable", "not-a-video")}, at=9000.0)
    console = Console(width=120, record=True, file=(context.scratch / "table").open("w"))
    print_status(asked(context), console, as_json=False)
    text = console.export_text()

    for word in ("videos listed", "not-a-video", "expected end", "videos/s", "1 shards done", "3 shards open"):
        assert word in text


def test_an_end_after_the_last_date_is_printed(context: StepContext, capsys: pytest.CaptureFixture[str]) -> None:
    """The expected end of very long videos, as of a list in another unit, may be after the last date of Python."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {}, at=9000.0)
    found = asked(context)
    assert found.finish is not None
    late = found.finish.model_copy(update={"seconds_left": 1e18, "at_unix_seconds": 1e18})
    print_status(found.model_copy(update={"finish": late}), Console(width=120), as_json=False)

    assert "9999-12-31" in capsys.readouterr().out


def test_words_of_a_record_are_only_shown(context: StepContext) -> None:
    """Markup and control codes in a stored reason do not reach the terminal."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {"00.mp4": ("unreadable", "\x1b[2J[red]boo[/red]")}, at=9000.0)
    path = context.scratch / "table"
    with path.open("w") as file:
        print_status(asked(context), Console(width=120, file=file), as_json=False)
    text = path.read_text()

    assert "?[2J[red]boo[/red]" in text
    assert "\x1b" not in text


def test_every_step_has_a_state(context: StepContext, capsys: pytest.CaptureFixture[str]) -> None:
    """A part of the shards, and a gather that has failed; then all shards, and a gather that succeeds."""
    said = []
    planned = plan(context, "run")
    for shards, limit in (([0], 0.0), (range(1, planned.shards), 0.0), ([], 1.0)):
        for shard in shards:
            end_shard(context, planned, shard, {"00.mp4": ("unreadable", "not-a-video")}, at=9000.0)
        gathering = context.settings.gather.model_copy(update={"max_failed_fraction": limit})
        with suppress(InvalidInput):
            gather(replace(context, settings=context.settings.model_copy(update={"gather": gathering})), "run")
        capsys.readouterr()
        print_status(asked(context), Console(width=120), as_json=False)
        said += [line for line in capsys.readouterr().out.splitlines() if line.startswith("steps: ")]

    assert said == [
        "steps: extract begun; gather failed; pretrain, evaluate, report not done yet",
        "steps: extract done; gather failed; pretrain, evaluate, report not done yet",
        "steps: extract, gather done; pretrain, evaluate, report not done yet",
    ]
