"""Extract: every video ends as an outcome, parts are committed whole, twice changes nothing."""

import json
import threading
from pathlib import Path

import boto3
import pytest

from tests.service.conftest import MakeContext
from tests.service.records.snapshot_samples import snapshot_samples
from watchmove.pipeline.dataset.shard import read_shard
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.planning.planned import planned_videos
from watchmove.service.records import layout
from watchmove.service.records.datasets import gathered_of
from watchmove.service.records.outcomes import Outcome, ShardRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import find
from watchmove.service.records.stream import shard_records
from watchmove.service.runner.process_metrics import STAGES
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.extract import extract, extract_shards
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


def everything(context: StepContext) -> dict[str, str]:
    """Every object of the store with its ETag."""
    return {item.key: item.etag for item in context.store.list()}


def test_every_video_ends_as_an_outcome(make_context: MakeContext, videos: Path) -> None:
    """Good videos give frames, the text file is unreadable, and the snapshot counts both."""
    assert videos.is_dir()
    context = make_context()
    planned = extracted(context)
    dataset = gather(context, "run")
    rows = {row.video.key: row for _, record in shard_records(context.store, planned.recipe) for row in record.videos}

    assert {key: row.outcome for key, row in rows.items()} == {
        "a.mp4": Outcome.KEPT,
        "b.mp4": Outcome.KEPT,
        "text.mp4": Outcome.UNREADABLE,
    }
    assert dataset.kept_frames == rows["a.mp4"].frames_kept + rows["b.mp4"].frames_kept
    assert gathered_of(context.store, "run").outcomes["kept"] == 2


def test_seconds_by_stage_are_published_and_not_recorded(make_context: MakeContext, videos: Path) -> None:
    """Each video has one observation of every stage, the one part of the shard one, and records have no such field."""
    assert videos.is_dir()
    context = make_context("work.workers=1")
    planned = extracted(context)

    def of(kind: str, stage: str) -> float:
        value = context.metrics.registry.get_sample_value(f"watchmove_process_stage_seconds_{kind}", {"stage": stage})
        assert value is not None
        return value

    [(key, record)] = shard_records(context.store, planned.recipe)

    assert {stage: of("count", stage) for stage in STAGES} == dict.fromkeys(STAGES, 3) | {"commit": 1}
    assert min(of("sum", stage) for stage in ("decode", "flow", "masks", "encode", "commit")) > 0
    # the seconds of a video are those of its process, without the fetch
    in_process = sum(of("sum", stage) for stage in ("decode", "flow", "masks", "encode"))
    assert in_process <= sum(row.seconds for row in record.videos) + 0.001 * len(record.videos)
    assert all("stages" not in row for row in json.loads(context.store.read(key) or b"")["videos"])


def test_the_stages_of_the_most_confident_frame_are_kept(make_context: MakeContext, videos: Path) -> None:
    """Its soft mask is that of the snapshot; without a kept frame there are none."""
    assert videos.is_dir()
    context = make_context("plan.max_shard_videos=2")
    planned = extracted(context)
    kept = {sample.key: sample for sample in snapshot_samples(context, gather(context, "run"))}
    with_frames, without = (record for _, record in shard_records(context.store, planned.recipe))
    assert with_frames.stages is not None
    path = context.store.local(with_frames.stages.key, context.scratch / "copy.tar")
    assert path is not None
    [shown] = read_shard(path)
    highest = max(kept.values(), key=lambda sample: float(str(sample.metadata["confidence"])))

    assert shown.metadata["confidence"] == highest.metadata["confidence"] == with_frames.stages.confidence
    assert shown.mask_png == kept[shown.key].mask_png
    assert shown.metadata == kept[shown.key].metadata | {"stages": ["image", "flow", "motion", "appearance", "votes"]}
    assert with_frames.stages.video == shown.metadata["video_id"]
    assert path.stat().st_size < 80_000
    assert {row.video.key for row in without.videos} == {"text.mp4"}
    assert without.stages is None
    assert gathered_of(context.store, "run").stages_keys == (with_frames.stages.key,)


def test_twice_changes_nothing(make_context: MakeContext, videos: Path) -> None:
    """Each step run again, in the same run, leaves every object as it was."""
    assert videos.is_dir()
    context = make_context("plan.max_shard_videos=2")
    extracted(context)
    gather(context, "run")
    before = everything(context)
    extracted(context)
    gather(context, "run")

    assert everything(context) == before


def test_stopped_in_the_middle_it_continues(make_context: MakeContext, videos: Path) -> None:
    """Told to stop after the first video, it commits that one; the next call does only the rest."""
    assert videos.is_dir()
    context = make_context("work.workers=1")
    planned = plan(context, "run")
    count = context.metrics.count_video

    def count_and_stop(outcome: str, reason: str) -> None:
        count(outcome, reason)
        context.stop.set()

    context.metrics.count_video = count_and_stop  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        extract(context, "run", 0)
    [(_, part)] = shard_records(context.store, planned.recipe)
    context.stop.clear()
    context.metrics.count_video = count  # type: ignore[method-assign]
    rows = extract(context, "run", 0)
    parts = [part for _, part in shard_records(context.store, planned.recipe)]

    assert len(part.videos) == 1
    assert len(rows) == 3
    assert len(parts) == 2
    assert {row.video.id for row in parts[0].videos}.isdisjoint(row.video.id for row in parts[1].videos)


def test_two_pods_on_one_shard_leave_one(make_context: MakeContext, videos: Path) -> None:
    """Both extract the shard from the start; every video counts once and the snapshot is valid."""
    assert videos.is_dir()
    one, two = make_context("work.workers=1"), make_context("work.workers=1")
    planned = plan(one, "run")
    threads = [threading.Thread(target=extract, args=(context, "run", 0)) for context in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = [record for _, record in shard_records(one.store, planned.recipe)]
    dataset = gather(one, "run")
    samples = snapshot_samples(one, dataset)

    assert sum(len(record.videos) for record in records) == 3
    assert len({sample.key for sample in samples}) == len(samples) == dataset.kept_frames


def test_data_without_a_record_is_not_there(make_context: MakeContext, videos: Path) -> None:
    """A pod killed between its data and its record leaves nothing that a snapshot could pick up."""
    assert videos.is_dir()
    context = make_context()
    planned = extracted(context)
    [key] = [k for k in everything(context) if "/shards/" in k and k.endswith(".json")]
    record = find(context.store, key, ShardRecord)
    assert record is not None
    before = {name: context.store.read(name) for name in everything(context) if "-0-" in name}
    (context.scratch.parent / "store" / key).unlink()

    with pytest.raises(InvalidInput, match="have no outcome yet"):
        gather(context, "run")
    assert extract(context, "run", 0)
    assert {name: context.store.read(name) for name in everything(context) if "-0-" in name} == before
    assert gather(context, "run").shards[0].sha256 == record.data_sha256
    assert planned.shards == 1


def test_a_shard_that_does_not_exist_is_named(make_context: MakeContext, videos: Path) -> None:
    """Shards are counted from 0."""
    assert videos.is_dir()
    context = make_context()
    plan(context, "run")

    with pytest.raises(InvalidInput, match="shard 7: run run has 1 shards"):
        extract(context, "run", 7)


def test_steps_need_the_ones_before(make_context: MakeContext) -> None:
    """The line names the step to run."""
    with pytest.raises(InvalidInput, match="run `watchmove plan` first"):
        extract(make_context(), "run", 0)


def test_little_scratch_space_is_enough(
    make_context: MakeContext, videos: Path, tmp_path: Path, s3_environment: str
) -> None:
    """Videos of which only one fits at a time come one after the other; one that never fits is an outcome."""
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=s3_environment)
    sizes = {"one.mp4": 700, "two.mp4": 800, "too-large.mp4": 1500}
    for name, kibibytes in sizes.items():
        padded = (videos / "a.mp4").read_bytes().ljust(kibibytes * 2**10, b"\0")
        client.put_object(Bucket="frames", Key=f"videos/{name}", Body=padded)
    context = make_context("videos=s3://frames/videos", "work.workers=2", "work.scratch_mebibytes=1")
    plan(context, "run")
    rows = {row.video.key: row for row in extract(context, "run", 0)}

    assert {key: (row.outcome, row.reason) for key, row in rows.items()} == {
        "one.mp4": (Outcome.KEPT, ""),
        "two.mp4": (Outcome.KEPT, ""),
        "too-large.mp4": (Outcome.UNREADABLE, "over-scratch-limit"),
    }
    assert list((tmp_path / "scratch").glob("shard-*")) == []


def test_a_video_that_changed_since_the_plan_is_missing(make_context: MakeContext, videos: Path) -> None:
    """Its row keeps the ETag it was planned with; the next plan sees it as another video."""
    context = make_context()
    plan(context, "run")
    (videos / "a.mp4").write_bytes((videos / "b.mp4").read_bytes())
    rows = {row.video.key: row for row in extract(context, "run", 0)}

    assert (rows["a.mp4"].outcome, rows["a.mp4"].reason) == (Outcome.MISSING, "changed")
    assert rows["b.mp4"].outcome is Outcome.KEPT
    assert plan(context, "next").videos_new == 1


def test_a_tampered_list_goes_no_further(make_context: MakeContext, videos: Path) -> None:
    """Ids become names in the scratch folder, so one that climbs out of it is refused."""
    assert videos.is_dir()
    context = make_context()
    planned = plan(context, "run")
    key = layout.shard_list(planned.recipe, planned.plan, 0)
    rows = (context.store.read(key) or b"").splitlines()
    row = json.loads(rows[0])
    context.store.write(key, json.dumps({**row, "id": "../../../etc"}).encode())

    with pytest.raises(InvalidInput, match="is not a video's id"):
        extract(context, "run", 0)


def test_a_missing_list_is_not_an_empty_shard(make_context: MakeContext, videos: Path) -> None:
    """A shard whose list was lost does not end as done, in extraction and in a retry's reading of the plan."""
    assert videos.is_dir()
    context = make_context()
    planned = plan(context, "run")
    key = layout.shard_list(planned.recipe, planned.plan, 0)
    Path(context.store.uri.removeprefix("file://"), key).unlink()

    with pytest.raises(InvalidInput, match=f"{key}: not there; plan again"):
        extract(context, "run", 0)
    with pytest.raises(InvalidInput, match=f"{key}: not there; plan again"):
        planned_videos(context.store, planned, context.settings.plan)


def test_on_a_device_the_same_frames_are_kept(make_context: MakeContext, videos: Path) -> None:
    """By the torch path, here on a CPU: the very frames of the other path, and the record says what it cost."""
    assert videos.is_dir()
    kept, used, shown = [], [], []
    for device in ("cpu", "torch-cpu"):
        context = make_context("extract.flow=dis", f"extract.device={device}")
        planned = extracted(context, device)
        parts = [record for _, record in shard_records(context.store, planned.recipe)]
        used.append(sum(part.device.busy_seconds for part in parts))
        shown.append([part.stages for part in parts])
        rows = (row for part in parts for row in part.videos)
        kept.append({row.video.key: (row.outcome, row.frames_kept) for row in rows})

    assert kept[0] == kept[1]
    assert used[0] == 0 < used[1]
    for [stages] in shown:
        assert stages is not None
        assert context.store.head(stages.key) is not None


def test_several_shards_are_extracted_one_after_another(
    make_context: MakeContext, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One progress counts all of their videos, and a shard with an altered list keeps only itself from being done."""
    assert videos.is_dir()
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(tmp_path / "progress"))
    context = make_context("plan.max_shard_videos=1")
    planned = plan(context, "run")
    key = layout.shard_list(planned.recipe, planned.plan, 1)
    whole = context.store.read(key) or b""
    context.store.write(key, b"{}")
    with pytest.raises(InvalidInput, match=key):
        extract_shards(context, "run", range(3))
    failed, progress = context.store.head(layout.failure("run", "extract-1")), (tmp_path / "progress").read_text()
    done = {name for name in everything(context) if name.endswith("-0.json")}
    context.store.write(key, whole)
    extract_shards(context, "run", range(3))

    assert planned.shards == 3
    assert {name[-12:] for name in done} == {"00000-0.json", "00002-0.json"}
    assert failed is not None
    assert progress.strip() == "2/2"
    assert len(list(shard_records(context.store, planned.recipe))) == 3


def test_shards_beyond_the_last_are_named_before_any_is_extracted(make_context: MakeContext, videos: Path) -> None:
    """Shards are counted from 0, and the last of a range is the one that is not there."""
    assert videos.is_dir()
    context = make_context("plan.max_shard_videos=1")
    plan(context, "run")
    before = everything(context)

    with pytest.raises(InvalidInput, match="shard 3: run run has 3 shards"):
        extract_shards(context, "run", range(4))
    assert everything(context) == before
