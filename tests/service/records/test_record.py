"""What could not have been counted or measured makes a record invalid, wherever its number is."""

import json
import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import end_shard, touch_videos
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import code_version, find
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.plan import plan
from watchmove.service.watching.exporter import RecordCollector
from watchmove.service.watching.runs import runs_of
from watchmove.service.watching.status import status


@pytest.fixture
def context(make_context: MakeContext) -> StepContext:
    """A run of two videos that are extracted."""
    made = make_context()
    touch_videos(made, "a.mp4", "b.mp4")
    end_shard(made, plan(made, "run"), 0, {}, at=1000.0)
    return made


def keys_of_records(context: StepContext) -> dict[type[PlanRecord] | type[ShardRecord], str]:
    """The keys of the run's records by their kinds."""
    planned = find(context.store, layout.run_record("run", "plan"), PlanRecord)
    assert planned is not None
    part = layout.shard_part(planned.recipe, planned.plan, 0, 0)
    return {PlanRecord: layout.run_record("run", "plan"), ShardRecord: f"{part}.json"}


def forge(context: StepContext, key: str, field: str, number: str) -> None:
    """Write another number, as JSON, at a field of a record, named by its path."""
    record = json.loads(context.store.read(key) or b"")
    *path, last = field.split(".")
    place = record
    for name in path:
        place = place[int(name) if name.isdigit() else name]
    place[last] = "FORGED"
    context.store.write(key, json.dumps(record).replace('"FORGED"', number).encode())


FORGERIES = [
    *((PlanRecord, "videos_new", number) for number in ("-1", "1" + "0" * 400, str(2**63))),
    *((PlanRecord, "expected_seconds", number) for number in ("NaN", "1e999", "-1")),
    *((ShardRecord, "seconds", number) for number in ("NaN", "-Infinity", "-0.5", "1e300")),
    *((ShardRecord, "videos.0.seconds", number) for number in ("NaN", "1e999", "-1", "1e300")),
    (ShardRecord, "videos.0.video.size_bytes", "-1"),
    *(
        (kind, "made_by.written_at_unix_seconds", number)
        for kind in (PlanRecord, ShardRecord)
        for number in ("NaN", "1e999", "-1", "253402300800")
    ),
]


@pytest.mark.parametrize(("kind", "field", "number"), FORGERIES)
def test_a_number_that_cannot_be(
    context: StepContext, kind: type[PlanRecord] | type[ShardRecord], field: str, number: str
) -> None:
    """It is named in one line, and status and the list of runs report it in their ways."""
    key = keys_of_records(context)[kind]
    forge(context, key, field, number)

    with pytest.raises(InvalidInput, match=field):
        find(context.store, key, kind)
    if kind is ShardRecord:
        [*_, first] = reversed(status(context.store, "run").faults)
        assert field in first
    else:
        with pytest.raises(InvalidInput, match=field):
            list(runs_of(context.store))


@pytest.mark.parametrize(("kind", "field", "number"), FORGERIES)
def test_no_such_number_is_served(
    context: StepContext, kind: type[PlanRecord] | type[ShardRecord], field: str, number: str
) -> None:
    """The exporter leaves the record out; each sample of its page is a finite number that is not negative."""
    forge(context, keys_of_records(context)[kind], field, number)
    registry, collector = CollectorRegistry(), RecordCollector(context.store)
    collector.refresh()
    registry.register(collector)

    page = generate_latest(registry).decode()

    values = [sample.value for family in text_string_to_metric_families(page) for sample in family.samples]
    assert values
    assert all(math.isfinite(value) and value >= 0 for value in values)


@pytest.mark.parametrize(
    ("made_by", "remedy"),
    [
        ({"version": "9.0.0"}, "version 9.0.0 wrote it, and this is .*: use that version"),
        ({"version": code_version()}, "remove it and run its step again"),
        ({}, "remove it and run its step again"),
        ([], "remove it and run its step again"),
    ],
    ids=["another version", "this version", "without a version", "of another form"],
)
def test_a_record_of_another_version_is_not_to_be_removed(context: StepContext, made_by: object, remedy: str) -> None:
    """It need not be damaged, and an older program may be the one that has to go."""
    key = layout.run_record("run", "plan")
    context.store.write(key, json.dumps({"made_by": made_by, "recipe": {"of": "another form"}}).encode())

    with pytest.raises(InvalidInput, match=f"no valid record .*; {remedy}$"):
        find(context.store, key, PlanRecord)


def test_bytes_that_are_no_record_are_to_be_removed(context: StepContext) -> None:
    """Whatever their nesting, nothing says that another version wrote them."""
    key = layout.run_record("run", "plan")
    for data in (b"", b"[" * 100_000, b"\xff"):
        context.store.write(key, data)

        with pytest.raises(InvalidInput, match=r"remove it and run its step again$"):
            find(context.store, key, PlanRecord)
