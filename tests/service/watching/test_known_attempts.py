"""A restarted exporter begins with the snapshot in the store, and shows the same as one that reads all records."""

import json
from collections import Counter
from io import BytesIO
from pathlib import Path

import boto3
import numpy as np
import pytest

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import end_shard, touch_videos
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.forgetting.forget import forget
from watchmove.service.forgetting.selection import Selector
from watchmove.service.planning.retry import retry
from watchmove.service.records import layout
from watchmove.service.records.plans import PlanRecord
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.extract import extract
from watchmove.service.steps.plan import plan
from watchmove.service.watching.exporter import RecordCollector
from watchmove.service.watching.exporting import shard_records
from watchmove.service.watching.exporting.known_attempts import read_snapshot

VIDEOS = 12
NOW = ("watchmove_exporter_read_timestamp_seconds",)
"""What differs between two readings of the same records."""


@pytest.fixture(autouse=True)
def _snapshots_of_few_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is written as soon as it lacks three records, and a quarter of all."""
    monkeypatch.setattr(shard_records, "SNAPSHOT_RECORDS", 3)
    monkeypatch.setattr(shard_records, "SNAPSHOT_SHARE", 0.25)


@pytest.fixture
def context(make_context: MakeContext) -> StepContext:
    """A run of twelve videos, two in a shard, of which four shards are committed; two of the videos are missing."""
    made = make_context("plan.max_shard_videos=2")
    touch_videos(made, *(f"{number:02d}.mp4" for number in range(VIDEOS)))
    planned = plan(made, "run")
    for shard in range(4):
        end_shard(made, planned, shard, {"01.mp4": ("missing", ""), "02.mp4": ("missing", "not-in-store")}, at=1000.0)
    return made


def planned_of(context: StepContext) -> PlanRecord:
    """The plan of the run, which is planned already."""
    return plan(context, "run")


def shown(context: StepContext) -> list[str]:
    """All samples of an exporter that starts now, without the time of its reading."""
    collector = RecordCollector(context.store)
    collector.refresh()
    return [
        f"{sample.name} {sorted(sample.labels.items())} {sample.value}"
        for family in collector.collect()
        for sample in family.samples
        if sample.name not in NOW
    ]


def counting_reads(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """A count of the reads of each shard record, from now on."""
    read, original = Counter[str](), context.store.read

    def counted(key: str) -> bytes | None:
        read[key] += "/shards/" in key
        return original(key)

    monkeypatch.setattr(context.store, "read", counted)
    return read


def snapshot_key(context: StepContext) -> str:
    """The key of the snapshot of the run's recipe."""
    return layout.attempts(planned_of(context).recipe)


def test_a_restart_reads_only_what_is_newer(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second exporter reads the one record that was written since, and shows what one without a snapshot shows."""
    shown(context)
    planned, key = planned_of(context), snapshot_key(context)
    snapshot = context.store.read(key)
    end_shard(context, planned, 4, {"09.mp4": ("unreadable", "crashed")}, at=2000.0)
    read = counting_reads(context, monkeypatch)
    restarted = shown(context)
    newer = {name for name, count in read.items() if count}
    context.store.remove(key)
    monkeypatch.setattr(shard_records, "SNAPSHOT_RECORDS", 1000)

    assert snapshot is not None
    assert newer == {layout.shard_part(planned.recipe, planned.plan, 4, 0) + ".json"}
    assert restarted == shown(context)
    assert any("'crashed'" in line for line in restarted)


def test_a_retry_after_a_restart_replaces_a_failure(context: StepContext) -> None:
    """The attempt that counts is found among those of the snapshot and of newer records."""
    shown(context)
    _, again = retry(context.settings, context.store, context.scratch, "run", "missing")
    for shard in range(again.shards):
        end_shard(context, again, shard, {}, at=3000.0)
    restarted = shown(context)
    context.store.remove(snapshot_key(context))

    assert restarted == shown(context)
    assert not any("'missing'" in line and "watchmove_videos" in line for line in restarted)


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_a_snapshot_of_other_records_is_not_used(context: StepContext, change: str) -> None:
    """If a record was replaced or removed, all are read again, and the snapshot is written anew."""
    shown(context)
    planned, key = planned_of(context), snapshot_key(context)
    before = context.store.read(key)
    context.store.remove(layout.shard_part(planned.recipe, planned.plan, 0, 0) + ".json")
    if change == "replaced":
        end_shard(context, planned, 0, {"00.mp4": ("timed-out", "time-limit")}, at=5000.0)
    restarted = shown(context)
    after = context.store.read(key)
    context.store.remove(key)

    assert restarted == shown(context)
    assert after is not None
    assert after != before


BYTES = ("cut", "no zip", "empty", "encrypted")
ARRAYS = ("version", "codes", "lengths", "type", "pickle", "no numbers", "times of parts", "infinite size", "deep")


@pytest.mark.parametrize("damage", [*BYTES, *ARRAYS])
def test_a_damaged_snapshot_is_left_out(context: StepContext, damage: str) -> None:
    """Whatever the object has, the exporter shows the records, and writes a good one."""
    expected = shown(context)
    key = snapshot_key(context)
    good = context.store.read(key)
    assert good is not None
    bad = damaged(good, damage)
    context.store.write(key, bad)

    with pytest.raises(InvalidInput, match=r"attempts\.npz: no snapshot"):
        read_snapshot(bad, key)
    assert shown(context) == expected
    assert context.store.read(key) == good


def damaged(good: bytes, damage: str) -> bytes:
    """A snapshot that cannot be used."""
    if damage in BYTES:
        # bit 0 of the flags in the headers of the files
        encrypted = good.replace(b"PK\3\4\x2d\0\0", b"PK\3\4\x2d\0\1").replace(
            b"PK\1\2\x2d\3\x2d\0\0", b"PK\1\2\x2d\3\x2d\0\1"
        )
        return {"cut": good[: len(good) // 2], "no zip": b"{}", "empty": b"", "encrypted": encrypted}[damage]
    arrays = dict(np.load(BytesIO(good)))
    head = json.loads(arrays["head"].tobytes())
    if damage == "version":
        head["version"] += 1
        arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    elif damage == "times of parts":
        head["parts"][0][-1] = float("nan")
        arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    elif damage == "infinite size":
        head["records"][0][1] = float("inf")
        arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    elif damage == "deep":
        arrays["head"] = np.frombuffer(b"[" * 100_000, np.uint8)
    elif damage == "no numbers":
        arrays["seconds"] = np.full_like(arrays["seconds"], np.nan)
    elif damage == "codes":
        arrays["part"] = arrays["part"] + np.uint32(len(head["parts"]))
    elif damage == "lengths":
        arrays["seconds"] = arrays["seconds"][1:]
    elif damage == "type":
        arrays["frames_kept"] = arrays["frames_kept"].astype(np.float64)
    else:
        arrays["seconds"] = np.array([{}] * len(arrays["seconds"]))
    stream = BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def test_a_store_that_takes_no_snapshot_is_shown_all_the_same(
    context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter with rights to read alone logs it once, and goes on."""
    tries = []

    def refuse(key: str, data: bytes) -> None:  # noqa: ARG001 (a store's form)
        tries.append(key)
        raise InvalidInput("the store answered AccessDenied")

    monkeypatch.setattr(context.store, "write", refuse)
    collector = RecordCollector(context.store)
    collector.refresh()
    collector.refresh()

    assert tries == [snapshot_key(context)]
    assert any(sample.value == 6 for family in collector.collect() for sample in family.samples)


def test_a_store_that_fails_half_way_is_not_read_from_the_start(
    context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records that were read before the failure are kept, and counted once."""
    expected = shown(context)
    context.store.remove(snapshot_key(context))
    collector, original, calls = RecordCollector(context.store), context.store.read, Counter[str]()

    def failing(key: str) -> bytes | None:
        calls[key] += 1
        if key.endswith("00003-0.json") and calls[key] == 1:
            raise Unavailable("the store is away")
        return original(key)

    monkeypatch.setattr(context.store, "read", failing)
    with pytest.raises(Unavailable):
        collector.refresh()
    collector.refresh()

    assert {calls[key] for key in calls if "/shards/" in key} == {1, 2}
    assert shown(context) == expected


def test_a_snapshot_is_forgotten_with_its_videos(make_context: MakeContext) -> None:
    """It has the ids of the videos, so `forget` removes it; the next exporter reads the records that are left."""
    context = make_context("plan.max_shard_videos=1")
    folder = Path(context.settings.videos.removeprefix("file://"))
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.mp4").write_text("no video\n")
    for shard in range(planned_of(context).shards):
        extract(context, "run", shard)
    before = shown(context)
    written = context.store.head(snapshot_key(context))
    forget(context, Selector("video", ("2.mp4",)))
    left = context.store.head(snapshot_key(context))
    after = shown(context)

    assert written is not None
    assert left is None
    assert any("watchmove_videos" in line and line.endswith(" 4") for line in before)
    assert any("watchmove_videos" in line and line.endswith(" 3") for line in after)


def test_snapshots_are_found_in_s3(make_context: MakeContext, s3_environment: str) -> None:
    """A store of S3 names versions by its own ETags."""
    assert s3_environment
    context = make_context("store=s3://frames/known", "plan.max_shard_videos=2")
    touch_videos(context, *(f"{number:02d}.mp4" for number in range(8)))
    planned = plan(context, "run")
    for shard in range(4):
        end_shard(context, planned, shard, {}, at=1000.0)
    first, second = shown(context), shown(context)
    keys = [item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket="frames")["Contents"]]

    assert f"known/{layout.attempts(planned.recipe)}" in keys
    assert first == second
