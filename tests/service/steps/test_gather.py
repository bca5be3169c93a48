"""Gather: what counts of all attempts, the gate, and the snapshot."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import commit_part, end_shard, row, touch_videos
from tests.service.records.made_up_run import planned_videos as made_up_videos
from tests.service.records.snapshot_samples import snapshot_samples
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.planning.retry import retry
from watchmove.service.records.datasets import FailedVideo, gathered_of
from watchmove.service.records.outcomes import ShownStages
from watchmove.service.records.plans import PlanRecord
from watchmove.service.report.run_page.failed_videos import failed_names
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.extract import extract
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two videos of a moving square, one of another, and a file that is no video."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, step in (("a.mp4", (3, 0)), ("b.mp4", (0, 3))):
        write_video(folder / name, moving_square(step, 30, height=320).frames, 24.0)
    (folder / "text.mp4").write_text("no video\n")
    return folder


def extracted(context: StepContext, run: str = "run") -> PlanRecord:
    """Plan and extract every shard."""
    planned = plan(context, run)
    for shard in range(planned.shards):
        extract(context, run, shard)
    return planned


def test_another_run_extracts_nothing_again(make_context: MakeContext, videos: Path) -> None:
    """The second run has no shard, and trains on the very same snapshot."""
    assert videos.is_dir()
    context = make_context()
    extracted(context, "one")
    planned = extracted(context, "two")

    assert (planned.shards, planned.videos_listed) == (0, 3)
    assert gather(context, "two").dataset == gather(context, "one").dataset


def test_a_run_says_when_it_extracted_and_where_its_failures_are(make_context: MakeContext, videos: Path) -> None:
    """A run that extracts nothing has no time of extraction, and the same failures."""
    assert videos.is_dir()
    context = make_context()
    extracted(context, "one")
    extracted(context, "two")
    gather(context, "one")
    gather(context, "two")
    one, two = (gathered_of(context.store, run) for run in ("one", "two"))
    (failure,) = one.outcomes.keys() - {"kept"}

    assert one.extraction is not None
    assert one.extraction.seconds == pytest.approx(one.seconds_of_extraction)
    assert one.extraction.ended_unix_seconds >= one.extraction.began_unix_seconds
    assert one.extraction.core_seconds > 0
    assert two.extraction is None
    assert (one.attempts, two.attempts) == (3, 3)
    assert [(failed.key, failed.detail != "") for failed in failed_names(context.store, two.failed)[failure]] == [
        ("text.mp4", True)
    ]


def test_a_place_whose_record_has_changed_names_no_video(make_context: MakeContext) -> None:
    """As after the video has been forgotten: neither another video, nor one that is not there, nor one of no record."""
    context = make_context()
    touch_videos(context, "0.mp4", "1.mp4", "2.mp4")
    planned = plan(context, "run")
    end_shard(context, planned, 0, {"1.mp4": ("unreadable", "not-a-video")})
    gather(context, "run")
    (places,) = gathered_of(context.store, "run").failed.values()
    name, place = "unreadable: not-a-video", places[0]
    others = [
        FailedVideo(part=place.part, video=made_up_videos(context, planned, 0)[0].id),
        FailedVideo(part=place.part, video="f" * 16),
        FailedVideo(part=place.part.replace("00000", "00009"), video=place.video),
    ]

    assert [video.key for video in failed_names(context.store, {name: [place, *others]})[name]] == ["1.mp4"]


def test_new_and_removed_videos(make_context: MakeContext, videos: Path) -> None:
    """As data grows only what is new is extracted; what is gone leaves the snapshot and is counted."""
    context = make_context()
    extracted(context, "one")
    first = gather(context, "one")
    (videos / "c.mp4").write_bytes((videos / "a.mp4").read_bytes())
    (videos / "a.mp4").unlink()
    planned = extracted(context, "two")
    second = gather(context, "two")
    keys = [sample.metadata["video"] for sample in snapshot_samples(context, second)]

    assert (planned.videos_new, gathered_of(context.store, "two").videos_removed) == (1, 1)
    assert set(keys) == {"b.mp4", "c.mp4"}
    assert len(keys) == second.kept_frames == first.kept_frames


def test_of_near_duplicates_one_is_used(
    make_context: MakeContext, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy in another encoding is counted, said and left out if the settings want it, and used by default."""
    (tmp_path / "videos").mkdir()
    frames = moving_square((3, 0), 60, height=320).frames
    write_video(tmp_path / "videos" / "a.mp4", frames, 24.0)
    copy = ["-i", str(tmp_path / "videos" / "a.mp4"), "-crf", "32", str(tmp_path / "videos" / "b.mp4")]
    subprocess.run([ffmpeg_executable(), "-v", "error", *copy], check=True)
    write_video(tmp_path / "videos" / "c.mp4", moving_square((0, 3), 60, height=320).frames[:, :, ::-1], 24.0)
    context = make_context()
    extracted(context)
    every = gather(context, "run")
    without = make_context("gather.leave_out_near_duplicates=true")
    plan(without, "without")
    dataset = gather(without, "without")
    keys = {sample.metadata["video"] for sample in snapshot_samples(without, dataset)}
    counts = gathered_of(without.store, "without")

    assert (every.kept_videos, dataset.kept_videos, counts.near_duplicate_videos) == (3, 2, 1)
    assert len(keys & {"a.mp4", "b.mp4"}) == 1
    assert keys > {"c.mp4"}
    assert counts.frames["rejected: near-duplicate-video"] == every.kept_frames - dataset.kept_frames > 0
    assert gathered_of(context.store, "run").near_duplicate_videos == 0
    assert "near-duplicate videos left out" in "".join(capsys.readouterr())


def test_too_many_failures_close_the_gate(make_context: MakeContext, videos: Path) -> None:
    """The line has the counts, the rule and the setting, and commands that list these videos and try them again."""
    assert videos.is_dir()
    context = make_context("gather.max_failed_fraction=0.1")
    extracted(context)

    with pytest.raises(
        InvalidInput, match=r"1 of 3 videos failed \(1 unreadable.*max_failed_fraction \(0\.1\)"
    ) as caught:
        gather(context, "run")
    listing, retrying = re.findall("`watchmove (.*?)`", str(caught.value))
    name, _, outcomes = retrying.removeprefix("retry ").partition(" --outcomes ")

    assert listing == "videos run --outcome unreadable"
    assert retry(context.settings, context.store, context.scratch, name, outcomes)[1].videos_new == 1


def test_too_few_frames_close_the_gate(make_context: MakeContext, videos: Path) -> None:
    """So it does when nothing moved."""
    assert videos.is_dir()
    context = make_context("gather.min_kept_frames=1000")
    extracted(context)

    with pytest.raises(InvalidInput, match=r"below gather\.min_kept_frames \(1000\)"):
        gather(context, "run")


def test_shards_are_named_with_their_index_and_their_frames(make_context: MakeContext) -> None:
    """The snapshot's counts are those of its shards; what another attempt has replaced is left out."""
    context = make_context("plan.max_shard_videos=2")
    touch_videos(context, "0.mp4", "1.mp4", "2.mp4")
    planned = plan(context, "one")
    end_shard(context, planned, 0, {}, at=1000.0)
    end_shard(context, planned, 1, {}, at=1000.0)
    dull, _ = made_up_videos(context, planned, 0)
    later = planned.model_copy(update={"plan": "f" * 16})
    commit_part(context, later, (0, 0), (row(dull, "kept"),), 2000.0, 1.0)
    dataset = gather(context, "one")

    assert [(shard.frames, shard.left_out) for shard in dataset.shards] == [(3, (dull.id,)), (3, ()), (3, ())]
    assert (dataset.kept_frames, dataset.kept_videos) == (9, 3)
    assert all(shard.index_key == shard.key.removesuffix(".tar") + ".index.json.gz" for shard in dataset.shards)


def test_the_stages_of_most_confident_frames_are_named(make_context: MakeContext) -> None:
    """At most four, by confidence and then by key; without a video that the run does not list, or a superseded part."""
    context = make_context("plan.max_shard_videos=1")
    touch_videos(context, *(f"{number}.mp4" for number in range(7)))
    planned = plan(context, "one")
    confidences = (0.7, 0.9, 0.8, 0.9, 0.75, 0.99, 0.95)
    for shard, confidence in enumerate(confidences):
        [video] = made_up_videos(context, planned, shard)
        shown = ShownStages(key=f"stages-{video.key}", video=video.id, confidence=confidence)
        commit_part(context, planned, (shard, 0), (row(video, "kept"),), 1000.0, 1.0, stages=shown)
        if video.key == "6.mp4":  # extracted again later, by an earlier version
            commit_part(context, planned, (shard, 1), (row(video, "kept"),), 2000.0, 1.0)
    (Path(context.settings.videos.removeprefix("file://")) / "5.mp4").unlink()
    plan(context, "two")
    gather(context, "two")

    assert gathered_of(context.store, "two").stages_keys == tuple(f"stages-{n}.mp4" for n in (1, 3, 2, 4))


def test_a_run_without_stages_names_none(make_context: MakeContext) -> None:
    """As records of earlier versions have none; its own record is then as theirs."""
    context = make_context()
    touch_videos(context, "0.mp4")
    end_shard(context, plan(context, "one"), 0, {})
    gather(context, "one")

    assert gathered_of(context.store, "one").stages_keys == ()
    assert b"stages_keys" not in (context.store.read("runs/one/gather.json") or b"")


def test_the_same_frames_are_one_snapshot_and_each_run_keeps_its_counts(make_context: MakeContext) -> None:
    """A video that came since and gave nothing changes what the run says, and not what is trained on."""
    context = make_context()
    touch_videos(context, "0.mp4")
    end_shard(context, plan(context, "one"), 0, {})
    first = gather(context, "one")
    before = {item.key: item.etag for item in context.store.list("datasets/")}
    touch_videos(context, "1.mp4")
    end_shard(context, plan(context, "two"), 0, {"1.mp4": ("unreadable", "not-a-video")})
    second = gather(context, "two")

    assert second == first
    assert {item.key: item.etag for item in context.store.list("datasets/")} == before
    assert gathered_of(context.store, "one").outcomes == {"kept": 1}
    assert gathered_of(context.store, "two").outcomes == {"kept": 1, "unreadable: not-a-video": 1}


def test_a_video_without_an_outcome_closes_the_gate(make_context: MakeContext) -> None:
    """The line counts them."""
    context = make_context("plan.max_shard_videos=2")
    touch_videos(context, "0.mp4", "1.mp4", "2.mp4")
    end_shard(context, plan(context, "one"), 0, {})

    with pytest.raises(InvalidInput, match="1 of 3 videos have no outcome yet"):
        gather(context, "one")
