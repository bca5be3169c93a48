"""The exporter reads each record once, counts as gather does, and shows the progress of runs."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import commit_part, end_shard, planned_videos, row, touch_videos
from watchmove.pipeline.errors import Unavailable
from watchmove.service.planning.retry import retry
from watchmove.service.records import layout
from watchmove.service.records.outcomes import DeviceUse, Outcome
from watchmove.service.records.record import commit, origin
from watchmove.service.records.training import BackboneRecord, ClassificationRecord, Evaluation, EvaluationRecord
from watchmove.service.runner import metrics
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import WorkSettings
from watchmove.service.steps.plan import plan
from watchmove.service.store.store import StoredObject
from watchmove.service.watching import exporter
from watchmove.service.watching.exporter import RecordCollector, serve_records
from watchmove.service.watching.exporting.reading import RunFigures

NAMES = tuple(f"{number:02d}.mp4" for number in range(6))


@pytest.fixture
def context(make_context: MakeContext) -> StepContext:
    """A planned run of six videos, four in a shard."""
    made = make_context("plan.max_shard_videos=4")
    touch_videos(made, *NAMES)
    return made


class Values:
    """The samples of an exporter of a store."""

    def __init__(self, context: StepContext) -> None:
        self.collector = RecordCollector(context.store)
        self._registry = CollectorRegistry()
        self._registry.register(self.collector)

    def of(self, metric: str, **labels: str) -> float | None:
        """The value of one sample, None if there is none."""
        return self._registry.get_sample_value(metric, labels)


def test_a_run_by_outcome_as_it_goes_on(context: StepContext) -> None:
    """Each commit reduces the waiting videos, and videos of a retry are counted once, by the attempt that counts."""
    planned = plan(context, "run")
    values = Values(context)
    values.collector.refresh()
    waiting = [values.of("watchmove_run_videos", run="run", outcome="waiting")]
    for shard in range(planned.shards):
        end_shard(context, planned, shard, {"01.mp4": ("missing", ""), "05.mp4": ("missing", "")}, at=1000.0)
        values.collector.refresh()
        waiting.append(values.of("watchmove_run_videos", run="run", outcome="waiting"))
    name, again = retry(context.settings, context.store, context.scratch, "run", "missing")
    end_shard(context, again, 0, {"05.mp4": ("missing", "")}, at=2000.0)
    values.collector.refresh()

    assert waiting == [6, 2, 0]
    assert values.of("watchmove_run_videos", run="run", outcome="missing") == 2
    assert values.of("watchmove_run_videos", run=name, outcome="kept") == 1
    assert values.of("watchmove_videos", recipe=planned.recipe, outcome="kept", reason="") == 5
    assert values.of("watchmove_videos", recipe=planned.recipe, outcome="missing", reason="") == 1
    assert values.of("watchmove_frames", recipe=planned.recipe, outcome="kept", reason="") == 15


def test_a_video_that_a_run_has_twice_ends_once(context: StepContext) -> None:
    """Videos without an outcome still wait, and the extraction is not done, if other videos have several outcomes."""
    planned = plan(context, "run")
    ended = row(planned_videos(context, planned, 0)[0], "kept")
    values = Values(context)
    for part in range(3):
        commit_part(context, planned, (0, part), (ended, ended), 1000.0, 60.0)
    values.collector.refresh()

    assert values.of("watchmove_run_videos", run="run", outcome="waiting") == 5
    assert values.of("watchmove_run_step_state", run="run", step="extract", state="begun") == 1


def test_what_a_retry_lowers_is_a_gauge(context: StepContext) -> None:
    """A retry moves a video and its frames to another outcome, so no metric of records is a counter."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {"01.mp4": ("missing", "")}, at=1000.0)
    values = Values(context)
    values.collector.refresh()
    missing = {"recipe": planned.recipe, "outcome": "missing", "reason": ""}
    before = values.of("watchmove_videos", **missing)
    _, again = retry(context.settings, context.store, context.scratch, "run", "missing")
    end_shard(context, again, 0, {}, at=2000.0)
    values.collector.refresh()
    families = list(values.collector.collect())

    assert (before, values.of("watchmove_videos", **missing)) == (1, None)
    assert {family.type for family in families} == {"gauge"}
    assert not [family.name for family in families if family.name.endswith("_total")]


def test_nothing_is_served_before_all_records_were_read(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first refresh fails half-way; the port opens after the second, and once."""
    calls: list[str] = []

    def refresh(collector: RecordCollector) -> None:  # noqa: ARG001 (a method's form)
        calls.append("refresh")
        if len(calls) == 1:
            raise Unavailable("the store is away")
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RecordCollector, "refresh", refresh)
    monkeypatch.setattr(exporter, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(metrics, "serve", lambda _, port: calls.append(f"serve {port}"))
    serve_records(context.settings)

    assert calls == ["refresh", "refresh", f"serve {context.settings.work.metrics_port}", "refresh"]


def test_a_record_is_read_once(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refreshes do not read a record again; a damaged one is read again and does not affect the others."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {}, at=1000.0)
    torn = layout.shard_part(planned.recipe, planned.plan, 1, 0) + ".json"
    context.store.write(torn, b"{")
    values, read = Values(context), Counter[str]()
    original = context.store.read

    def counted(key: str) -> bytes | None:
        read[key] += 1
        return original(key)

    monkeypatch.setattr(context.store, "read", counted)
    for _ in range(3):
        values.collector.refresh()

    assert read.pop(torn) == 3
    assert set(read.values()) == {1}
    assert values.of("watchmove_videos", recipe=planned.recipe, outcome="kept", reason="") == 4


def test_a_record_that_was_replaced_is_read_again(context: StepContext) -> None:
    """The metrics follow records that are written again under their keys, and records that are removed."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {}, at=1000.0)
    end_shard(context, planned, 1, {}, at=1000.0)
    values = Values(context)
    missing: list[float | None] = []
    for change in (None, {"00.mp4": ("missing", "")}, {}):
        if change is not None:
            context.store.remove(layout.shard_part(planned.recipe, planned.plan, 0, 0) + ".json")
            end_shard(context, planned, 0, change, at=2000.0)
        values.collector.refresh()
        missing.append(values.of("watchmove_videos", recipe=planned.recipe, outcome="missing", reason=""))
    context.store.remove(layout.shard_part(planned.recipe, planned.plan, 0, 0) + ".json")
    context.store.remove(layout.run_record("run", "plan"))
    values.collector.refresh()

    assert missing == [None, 1, None]
    assert values.of("watchmove_videos", recipe=planned.recipe, outcome="kept", reason="") == 2
    assert values.of("watchmove_run_videos", run="run", outcome="kept") is None


def test_a_reading_that_fails_changes_nothing(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the store fails after the shards were read, all metrics remain those of the reading before."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {}, at=1000.0)
    values, list_keys = Values(context), context.store.list
    kept = {"recipe": planned.recipe, "outcome": "kept", "reason": ""}
    values.collector.refresh()
    before = [str(family) for family in values.collector.collect()]

    def no_runs(prefix: str = "") -> Iterator[StoredObject]:
        if prefix == "runs/":
            raise Unavailable("the store is away")
        return list_keys(prefix)

    end_shard(context, planned, 1, {}, at=2000.0)
    with monkeypatch.context() as away:
        away.setattr(context.store, "list", no_runs)
        with pytest.raises(Unavailable):
            values.collector.refresh()
    after = [str(family) for family in values.collector.collect()]
    values.collector.refresh()

    assert after == before
    assert values.of("watchmove_videos", **kept) == 6


def test_what_was_committed_lately(context: StepContext) -> None:
    """Recent metrics have the commits of the last six hours alone."""
    planned = plan(context, "run")
    end_shard(context, planned, 0, {}, at=time.time() - 7 * 3600)
    end_shard(context, planned, 1, {"05.mp4": ("missing", "")}, at=time.time() - 5 * 3600)
    values = Values(context)
    values.collector.refresh()
    counts = {name: values.of("watchmove_recent_videos", recipe=planned.recipe, outcome=name) for name in Outcome}

    assert {name: count for name, count in counts.items() if count} == {"kept": 1, "missing": 1}
    assert values.of("watchmove_recent_frames", recipe=planned.recipe, outcome="kept") == 3
    assert values.of("watchmove_recent_frames", recipe=planned.recipe, outcome="rejected") == 5


def test_how_long_a_device_waits_for_its_decoders(context: StepContext) -> None:
    """Device seconds of all commits are summed by state; commits without a device add nothing."""
    planned = plan(context, "run")
    for shard, use in enumerate((DeviceUse(busy_seconds=30, waiting_seconds=10), DeviceUse(busy_seconds=2.5))):
        rows = tuple(row(video, "kept") for video in planned_videos(context, planned, shard))
        commit_part(context, planned, (shard, 0), rows, 1000.0, 60.0, use)
    values = Values(context)
    values.collector.refresh()

    assert values.of("watchmove_device_seconds", recipe=planned.recipe, state="busy") == 32.5
    assert values.of("watchmove_device_seconds", recipe=planned.recipe, state="waiting") == 10


def test_each_layer_has_the_figure_of_its_newest_classification(context: StepContext) -> None:
    """Of two records of a layer the newer one counts; a layer without a figure has no sample."""
    values = Values(context)
    for name, layer, figure, at in (("b", "conv5", 0.4, 2.0), ("a", "conv5", 0.3, 1.0), ("a", "fc6", None, 1.0)):
        made_by = origin(context.settings, {}).model_copy(update={"written_at_unix_seconds": at})
        record = ClassificationRecord(
            made_by=made_by,
            initialisation="random",
            seed=0,
            layer=layer,
            backbone="random",
            mean_ap_11_point=0.1,
            mean_ap_area=figure,
            per_class={},
            seconds=1.0,
        )
        commit(context.store, layout.classification(name, layer), record)
    values.collector.refresh()

    assert values.of("watchmove_classification_map", initialisation="random", seed="0", layer="conv5") == 0.4
    assert values.of("watchmove_classification_map", initialisation="random", seed="0", layer="fc6") is None


def test_each_seed_of_pretraining_has_a_sample_of_its_own(context: StepContext) -> None:
    """Evaluations that differ in the seed of pretraining alone do not replace each other; random trunks have none."""
    values = Values(context)
    for number, (trunk, seed) in enumerate((("random", 0), ("pretrained", 0), ("pretrained", 4))):
        record = EvaluationRecord(
            made_by=origin(context.settings, {}),
            evaluation=Evaluation(initialisation=trunk, freeze_through=1, seed=2, pretraining_seed=seed),
            backbone=str(number),
            mean_ap_11_point=number / 10,
            mean_ap_area=None,
            per_class={},
            loss=(),
            seconds=1.0,
        )
        commit(context.store, layout.evaluation(str(number), "record.json"), record)
    values.collector.refresh()

    for number, labels in enumerate((("random", ""), ("pretrained", "0"), ("pretrained", "4"))):
        named = dict(zip(("initialisation", "pretraining_seed"), labels, strict=True))
        others = {"freeze_through": "1", "seed": "2", "method": "11-point"}
        assert values.of("watchmove_detection_map", **named, **others) == number / 10


def test_a_record_of_the_future_does_not_count_as_progress(context: StepContext) -> None:
    """A machine with a wrong clock may write one; by its time, every alert for a standing run would be silent."""
    values, now = Values(context), time.time()
    for run, at in (("past", now - 86400.0), ("ahead", now + 600.0), ("future", now + 400 * 86400.0)):
        made_by = origin(context.settings, {}).model_copy(update={"written_at_unix_seconds": at})
        result = RunFigures(made_by=made_by, rows=())
        commit(context.store, layout.run_record(run, "result"), result)
    values.collector.refresh()

    for metric in ("watchmove_last_record_timestamp_seconds", "watchmove_last_run_ended_timestamp_seconds"):
        assert values.of(metric) == now + 600.0


def test_the_interval_of_a_weekly_schedule_is_served(context: StepContext) -> None:
    """The alert for a missing run takes it from there, in seconds."""
    collector = RecordCollector(context.store, WorkSettings(hours_between_runs=168))
    registry = CollectorRegistry()
    registry.register(collector)
    collector.refresh()

    assert registry.get_sample_value("watchmove_run_interval_seconds") == 7 * 86400


def test_a_pretraining_without_a_curve_has_no_loss(context: StepContext) -> None:
    """The metrics of everything else are served."""
    record = BackboneRecord(
        made_by=origin(context.settings, {}),
        backbone="b",
        dataset="d",
        weights_key="w",
        weights_sha256="",
        images_per_second=1.0,
        curve=(),
    )
    commit(context.store, layout.backbone("b", "record.json"), record)
    planned, values = plan(context, "run"), Values(context)
    values.collector.refresh()

    assert values.of("watchmove_training_loss") is None
    assert values.of("watchmove_run_videos", run="run", outcome="waiting") == planned.videos_new
