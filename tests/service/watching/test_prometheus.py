"""What a real Prometheus shows of a store equals its records, through restarts, a retry and a killed pod."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.service.conftest import MakeContext
from tests.service.prometheus_server import LONGEST_WAIT_SECONDS, Prometheus, exporter, free_port, prometheus, watchmove
from tests.service.records.made_up_run import FRAMES_KEPT, end_shard, touch_videos
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.video import moving_square
from watchmove.service.planning.retry import retry
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.plan import plan

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

NAMES = tuple(f"{number:02d}.mp4" for number in range(6))
KEPT = 'sum(watchmove_frames{outcome="kept"})'


def test_restarts_and_retries_show_nothing_that_never_was(make_context: MakeContext, tmp_path: Path) -> None:
    """The exporter is killed before and after each record; every sample is a state of the records, in their order."""
    context = make_context("plan.max_shard_videos=4")
    touch_videos(context, *NAMES)
    port = free_port()
    planned = plan(context, "run")
    with prometheus(tmp_path, [port]) as server:
        end_shard(context, planned, 0, {"01.mp4": ("missing", "")})
        _see(server, context, port, kept_videos=3, missing=1)
        end_shard(context, planned, 1, {})
        _see(server, context, port, kept_videos=5, missing=1)
        _, again = retry(context.settings, context.store, context.scratch, "run", "missing")
        end_shard(context, again, 0, {})
        _see(server, context, port, kept_videos=6, missing=None)
        samples = _samples(server, 'watchmove_frames{outcome="kept"}[30m]')
        missing = _samples(server, 'watchmove_videos{outcome="missing"}[30m]')

        assert _without_repeats(samples) == [3 * FRAMES_KEPT, 5 * FRAMES_KEPT, 6 * FRAMES_KEPT]
        assert set(missing) == {1.0}
        assert server.value('sum(delta(watchmove_frames{outcome="kept"}[30m])) >= bool 0') == 1


def test_a_killed_pod_is_a_restart_of_its_counters_and_of_no_record(make_context: MakeContext, tmp_path: Path) -> None:
    """A step is killed while it extracts and starts again: its counters only grow between restarts."""
    context = make_context()
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(4):
        shot = moving_square((3.0, 0.0), 40, seed=number)
        write_video(folder / f"{number}.mp4", list(shot.frames), 25.0)
    pod, port = free_port(), free_port()
    planned = plan(context, "run")
    places = [f"{name}=file://{tmp_path}/{name}" for name in ("store", "videos", "voc")]
    settings = [*places, f"work.metrics_port={pod}", "work.commit_every_seconds=1", "work.workers=1"]
    step = ["extract", "--run", "run", "--shard", "0", *(word for setting in settings for word in ("--set", setting))]
    with prometheus(tmp_path, [pod, port]) as server:
        with watchmove(*step):
            server.wait_until(
                lambda: server.query("max_over_time(watchmove_process_videos_total[10m]) > 0"), "no video has ended"
            )
        with watchmove(*step) as process:
            assert process.wait(LONGEST_WAIT_SECONDS) == 0
        with exporter(context.store.uri, port):
            server.wait_for('sum(watchmove_run_videos{outcome="waiting"})', 0)
            frames = server.value("sum(watchmove_frames)")
            videos = server.value('sum(watchmove_run_videos{outcome!="waiting"})')

        counted = server.query("watchmove_process_videos_total[10m]")
        assert counted
        for _, values in counted:
            _check_counter([float(value) for _, value in values])
        assert planned.videos_new == videos == 4
        assert frames
        assert frames > 0


def _see(server: Prometheus, context: StepContext, port: int, *, kept_videos: int, missing: float | None) -> None:
    """Start an exporter, wait for what the records say, and kill it."""
    with exporter(context.store.uri, port):
        server.wait_for(KEPT, kept_videos * FRAMES_KEPT)
        server.wait_for('sum(watchmove_videos{outcome="kept"})', kept_videos)
        server.wait_until(
            lambda: server.value('sum(watchmove_videos{outcome="missing"})') == missing, "missing is something else"
        )


def _samples(server: Prometheus, expression: str) -> list[float]:
    """All values of the one series of an expression with a range."""
    ((_, values),) = server.query(expression)
    return [float(value) for _, value in values]


def _without_repeats(values: list[float]) -> list[float]:
    """The values without those that equal the one before."""
    return [value for number, value in enumerate(values) if not number or value != values[number - 1]]


def _check_counter(values: list[float]) -> None:
    """A counter falls only to the beginning of another process, which counts from zero: at most once here."""
    falls = [(before, after) for before, after in pairwise(values) if after < before]

    assert len(falls) <= 1, values
