"""Retry: just what failed, never what is done, and gather takes it up."""

import json
import socket
from pathlib import Path

import pytest

from tests.service.cli.test_main import run
from tests.service.conftest import MakeContext, context_of
from tests.service.records.made_up_run import Ending, end_shard, planned_videos, touch_videos
from tests.service.steps.test_run import SMALL, SMALL_NETWORK
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.cli.status_table import print_retry
from watchmove.service.planning.retry import retry
from watchmove.service.records.datasets import gathered_of
from watchmove.service.records.plans import PlanRecord, RetryRecord
from watchmove.service.records.record import need
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.steps.extract import extract
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan
from watchmove.service.steps.run import run_all
from watchmove.service.watching.status import status

NAMES = tuple(f"{number:02d}.mp4" for number in range(6))
ENDINGS: dict[str, Ending] = {
    "01.mp4": ("missing", ""),
    "02.mp4": ("timed-out", ""),
    "03.mp4": ("unreadable", "not-a-video"),
    "04.mp4": ("unreadable", "out-of-memory"),
    "05.mp4": ("rejected", "no-motion"),
}


@pytest.fixture
def context(make_context: MakeContext) -> StepContext:
    """Six videos, four to a shard."""
    made = make_context("plan.max_shard_videos=4", "gather.max_failed_fraction=1.0")
    touch_videos(made, *NAMES)
    return made


@pytest.fixture
def planned(context: StepContext) -> PlanRecord:
    """A run in which every video has ended, each in another way."""
    made = plan(context, "run")
    for shard in range(made.shards):
        end_shard(context, made, shard, ENDINGS, at=1000.0)
    return made


def keys(context: StepContext, record: RetryRecord) -> list[str]:
    """The videos that a plan tries."""
    return [video.key for shard in range(record.shards) for video in planned_videos(context, record, shard)]


@pytest.mark.parametrize(
    ("outcomes", "reasons", "wanted"),
    [
        ("missing,timed-out", "", ["01.mp4", "02.mp4"]),
        ("missing", "", ["01.mp4"]),
        ("unreadable", "", ["03.mp4", "04.mp4"]),
        ("unreadable", "out-of-memory", ["04.mp4"]),
        (" unreadable , missing ", "", ["01.mp4", "03.mp4", "04.mp4"]),
    ],
)
def test_just_the_named_failures_are_planned(
    context: StepContext, planned: PlanRecord, outcomes: str, reasons: str, wanted: list[str]
) -> None:
    """As a run of its own, of the same recipe, that says what it retries."""
    name, record = retry(context.settings, context.store, context.scratch, "run", outcomes, reasons)

    assert name == "run-retry-1"
    assert keys(context, record) == wanted
    assert (record.recipe, record.videos_listed, record.videos_new) == (planned.recipe, 6, len(wanted))
    assert record.retries is not None
    assert record.retries.plan == planned.plan


@pytest.mark.usefixtures("planned")
def test_what_is_done_is_never_repeated(context: StepContext) -> None:
    """What a retry has mended is not in the next one, of the run or of the retry; what failed again is."""
    first, record = retry(context.settings, context.store, context.scratch, "run", "missing,timed-out")
    end_shard(context, record, 0, {"02.mp4": ("timed-out", "")}, at=2000.0)
    second, of_run = retry(context.settings, context.store, context.scratch, "run", "missing,timed-out")
    third, of_retry = retry(context.settings, context.store, context.scratch, first, "timed-out")
    end_shard(context, of_run, 0, {}, at=3000.0)
    _, nothing = retry(context.settings, context.store, context.scratch, first, "missing,timed-out")

    assert (first, second, third) == ("run-retry-1", "run-retry-2", "run-retry-3")
    assert keys(context, of_run) == keys(context, of_retry) == ["02.mp4"]
    assert of_run.plan != record.plan
    assert (nothing.shards, nothing.videos_new) == (0, 0)


@pytest.mark.usefixtures("planned")
def test_a_later_failure_takes_nothing_away(context: StepContext) -> None:
    """Two retries of one failure: the one mends it, the other, later, fails; the frames stay in the snapshot."""
    _, one = retry(context.settings, context.store, context.scratch, "run", "missing")
    _, other = retry(context.settings, context.store, context.scratch, "run", "missing,timed-out")
    end_shard(context, one, 0, {}, at=2000.0)
    end_shard(context, other, 0, ENDINGS, at=3000.0)
    dataset = gather(context, "run")

    assert dataset.kept_frames == 2 * 3
    assert gathered_of(context.store, "run").outcomes["kept"] == 2
    assert "missing" not in gathered_of(context.store, "run").outcomes


@pytest.mark.usefixtures("planned")
def test_a_retry_goes_through_gather(context: StepContext) -> None:
    """Its snapshot has all frames of the run and those it mended; the run before keeps the one it has."""
    before = gather(context, "run")
    name, record = retry(context.settings, context.store, context.scratch, "run", "missing,timed-out")
    end_shard(context, record, 0, {}, at=2000.0)
    after = gather(context, name)
    gathered = gathered_of(context.store, name)

    assert (before.kept_frames, after.kept_frames) == (3, 9)
    assert {shard.key for shard in before.shards} < {shard.key for shard in after.shards}
    assert gather(context, "run") == before
    assert gathered.videos_listed == sum(gathered.outcomes.values()) == 6


@pytest.mark.usefixtures("planned")
def test_asked_twice_it_is_the_same_plan(context: StepContext) -> None:
    """Whoever is killed may ask again; two who ask at a time share the shards."""
    _, one = retry(context.settings, context.store, context.scratch, "run", "missing", as_run="again")
    _, two = retry(context.settings, context.store, context.scratch, "run", "missing", as_run="again")
    _, other = retry(context.settings, context.store, context.scratch, "run", "missing")

    assert one == two
    assert other.plan == one.plan


@pytest.mark.usefixtures("planned")
def test_a_name_that_is_taken_is_refused(context: StepContext) -> None:
    """A run keeps its plan."""
    with pytest.raises(InvalidInput, match="run run: it has another plan already"):
        retry(context.settings, context.store, context.scratch, "run", "missing", as_run="run")


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize(
    ("outcomes", "reasons", "message"),
    [
        ("gone", "", "gone: no such outcome; a retry takes missing, timed-out, unreadable"),
        ("missing,kept", "", "kept: these videos are done"),
        (" , ", "", "names none"),
        ("unreadable", "bad-luck", "bad-luck: no failed video .* those there: not-a-video, out-of-memory"),
    ],
)
def test_names_that_are_unknown_get_one_line(context: StepContext, outcomes: str, reasons: str, message: str) -> None:
    """The line has the known ones."""
    with pytest.raises(InvalidInput, match=message):
        retry(context.settings, context.store, context.scratch, "run", outcomes, reasons)


@pytest.mark.usefixtures("planned")
def test_other_settings_are_refused(context: StepContext, make_context: MakeContext) -> None:
    """They would give other masks under the name of the run's recipe; the line has those that differ."""
    other = make_context("extract.seed=9")

    with pytest.raises(InvalidInput, match=r"\(extract.seed 9, recorded 0\); retry with the settings of the run"):
        retry(other.settings, other.store, other.scratch, "run", "missing")
    assert context.store.uri == other.store.uri


@pytest.mark.usefixtures("planned")
def test_a_retry_extracts_as_any_run(context: StepContext) -> None:
    """The real step takes the new run as it is: the empty files are unreadable now, and not missing."""
    name, record = retry(context.settings, context.store, context.scratch, "run", "missing")
    [ended] = extract(context, name, 0)

    assert record.shards == 1
    assert (ended.video.key, ended.outcome, ended.reason) == ("01.mp4", "unreadable", "empty-file")
    assert gathered_of_after(context, name)["unreadable: empty-file"] == 1


def gathered_of_after(context: StepContext, run: str) -> dict[str, int]:
    """How a run's videos ended, once gathered."""
    gather(context, run)
    return gathered_of(context.store, run).outcomes


def test_the_same_in_a_bucket(s3_environment: str, tmp_path: Path) -> None:
    """Status, retry and gather read and write a bucket as they do a folder."""
    assert s3_environment
    places = [f"videos=file://{tmp_path}/videos", f"voc=file://{tmp_path}/voc", "store=s3://frames/retries"]
    context = context_of(load_settings(LAPTOP, places), tmp_path / "scratch")
    touch_videos(context, *NAMES)
    end_shard(context, plan(context, "run"), 0, ENDINGS, at=1000.0)
    name, record = retry(context.settings, context.store, context.scratch, "run", "missing,timed-out")
    end_shard(context, record, 0, {}, at=2000.0)

    assert status(context.store, name).faults == ()
    assert status(context.store, name).videos_ended == 2
    assert gather(context, name).kept_frames == 9


def test_the_local_runner_takes_up_a_retry(make_context: MakeContext, tmp_path: Path) -> None:
    """A video that was away and has come back: the retry's run goes on to a report, with the video's frames."""
    made = make_context(*SMALL, *SMALL_NETWORK[1::2], "work.workers=1")
    videos, away = tmp_path / "videos", tmp_path / "away.mp4"
    videos.mkdir()
    for name, step in (("a.mp4", (3, 0)), ("b.mp4", (0, 3))):
        write_video(videos / name, moving_square(step, 30, height=320).frames, 24.0)
    plan(made, "run")
    (videos / "b.mp4").rename(away)
    before = extract(made, "run", 0)
    away.rename(videos / "b.mp4")
    name, _ = retry(made.settings, made.store, made.scratch, "run", "missing")
    result = run_all(made, name, draw_videos=False, draw_detection_set=True)

    assert [row.outcome for row in before] == ["kept", "missing"]
    assert result.gathered.outcomes == {"kept": 2}
    assert result.dataset.kept_videos == 2
    page = (made.store.read(f"runs/{name}/report/index.html") or b"").decode()
    assert '<th scope="row">unknown</th><td>2</td>' in page
    assert result.dataset.attribution_key in page


@pytest.mark.usefixtures("planned")
def test_on_the_command_line(context: StepContext) -> None:
    """What was planned and what to do next; an unknown outcome is one line and exit code 65."""
    words = [f"store={context.store.uri}", f"videos={context.settings.videos}", "plan.max_shard_videos=4"]
    places = [part for word in words for part in ("--set", word)]
    found = run("retry", "run", "--outcomes", "missing,timed-out", "--as", "again", *places)
    some = run("retry", "run", "--outcomes", "unreadable", "--reasons", "out-of-memory", "--as", "some", *places)
    end_shard(context, need(context.store, "runs/some/plan.json", RetryRecord, "plan"), 0, {}, at=2000.0)
    rest = run("retry", "run", "--outcomes", "unreadable", "--as", "rest", *places)
    unknown = run("retry", "run", "--outcomes", "gone", *places)
    with socket.create_server(("", 0)) as taken:
        told = run("status", "again", "--json", *places, "--set", f"work.metrics_port={taken.getsockname()[1]}")

    assert (found.returncode, some.returncode, rest.returncode) == (0, 0, 0), found.stderr
    assert "run again: 2 videos in 1 shards" in found.stdout
    assert "--parameter run=again" in found.stdout
    assert "run rest: 1 videos" in rest.stdout
    assert unknown.returncode == 65
    assert unknown.stderr.splitlines()[-1].endswith("a retry takes missing, timed-out, unreadable")
    assert json.loads(told.stdout)["videos_planned"] == 2


@pytest.mark.usefixtures("planned")
def test_nothing_to_retry_is_said(context: StepContext, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan has no shard, and the run goes through gather all the same."""
    _, one = retry(context.settings, context.store, context.scratch, "run", "timed-out")
    end_shard(context, one, 0, {}, at=2000.0)
    name, nothing = retry(context.settings, context.store, context.scratch, "run", "timed-out")
    print_retry(name, nothing)

    assert "nothing to retry, 0 shards" in capsys.readouterr().out
    assert gather(context, name).kept_frames == 6
