"""The exporter: Prometheus metrics computed from the store's records, so that a restart loses nothing."""

import threading
import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.records.attempts import Attempts
from watchmove.service.records.datasets import DatasetRecord
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import AnyRecord
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import BackboneRecord, ClassificationRecord, EvaluationRecord
from watchmove.service.report.champion import Champion
from watchmove.service.runner import metrics
from watchmove.service.runner.runner import stop_on_signals
from watchmove.service.settings.settings import Settings
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store

REFRESH_SECONDS = 15.0
"""Time between two listings of the store, half the interval at which k8s/components/monitoring scrapes."""
RUNS_SHOWN = 20
"""Number of newest runs with metrics of their own, which bounds the number of time series."""


class RecordCollector(Collector):
    """Metrics of the records that the store contained at the last refresh.

    Records never change once written, so each is read once: a refresh lists the keys and reads only new ones.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._attempts: dict[str, Attempts] = {}
        self._plans: dict[str, PlanRecord] = {}
        self._datasets: dict[str, DatasetRecord] = {}
        self._backbones: dict[str, BackboneRecord] = {}
        self._evaluations: dict[str, EvaluationRecord] = {}
        self._classifications: dict[str, ClassificationRecord] = {}
        self._champions: dict[str, Champion] = {}
        self._read_at = 0.0
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Read the new records of the store.

        Raises:
            Unavailable, InvalidInput: the store cannot be read; records that were read before are kept.
        """
        known = {key for attempts in self._attempts.values() for key in attempts.keys}
        # Requests are made without the lock, which is held only while memory changes: no scrape waits for the store.
        for key, record in self._new("extractions/", "/shards/", ShardRecord, known):
            self._add_shard(key, record)
        plans = dict(self._new("runs/", "/plan.json", PlanRecord, self._plans))
        datasets = dict(self._new("datasets/", "", DatasetRecord, self._datasets))
        # Checkpoints have JSON files too, so the complete name is required.
        backbones = dict(self._new("backbones/", "/record.json", BackboneRecord, self._backbones))
        evaluations = dict(self._new("evaluations/", "/record.json", EvaluationRecord, self._evaluations))
        classifications = dict(self._new("classifications/", "", ClassificationRecord, self._classifications))
        # Numbered promotions only: the pointer champion.json changes, and repeats one of them.
        champions = dict(self._new("champions/", "/0", Champion, self._champions))
        with self._lock:
            self._plans.update(plans)
            self._datasets.update(datasets)
            self._backbones.update(backbones)
            self._evaluations.update(evaluations)
            self._classifications.update(classifications)
            self._champions.update(champions)
            self._read_at = time.time()

    def collect(self) -> Iterable[Metric]:
        """All metrics that are declared for records. Prometheus calls this from its own thread, hence the lock."""
        with self._lock:
            yield from self._extraction()
            yield self._runs()
            yield from self._training()
            yield from self._detection()
            yield self._classification()
            read_at = metrics.READ_AT.family()
            read_at.add_metric([], self._read_at)
            yield read_at

    def _add_shard(self, key: str, record: ShardRecord) -> None:
        with self._lock:
            try:
                # The recipe is in the key alone; the record names its plan.
                self._attempts.setdefault(key.split("/")[1], Attempts()).add(key, record)
            except InvalidInput as error:
                _left_out(error)

    def _new(
        self, prefix: str, part: str, kind: type[AnyRecord], known: Container[str]
    ) -> Iterator[tuple[str, AnyRecord]]:
        """Records with keys under `prefix` that contain `part` and are not in `known`; damaged ones are only logged."""
        listed = (item.key for item in self._store.list(prefix))
        keys = (key for key in listed if key.endswith(".json") and part in key and key not in known)
        return read_ahead(self._store, keys, kind, _left_out)

    def _extraction(self) -> Iterator[Metric]:
        videos, frames = metrics.VIDEOS.family(), metrics.FRAMES.family()
        seen, seconds, rate = (
            d.family() for d in (metrics.FRAMES_SEEN, metrics.EXTRACTION_SECONDS, metrics.EXTRACTION_RATE)
        )
        device = metrics.DEVICE_SECONDS.family()
        for recipe, attempts in self._attempts.items():
            table = attempts.table()
            device.add_metric([recipe, "busy"], sum(part.device.busy_seconds for part in table.parts))
            device.add_metric([recipe, "waiting"], sum(part.device.waiting_seconds for part in table.parts))
            for (outcome, reason), count in table.outcomes(table.counting).items():
                videos.add_metric([recipe, outcome, reason], count)
            sampled = table.frames(table.counting)
            for (outcome, reason), count in sampled.items():
                frames.add_metric([recipe, outcome, reason], count)
            wall = sum(part.seconds for part in table.parts)
            seen.add_metric([recipe], int(table.frames_seen[table.counting].sum()))
            seconds.add_metric([recipe], wall)
            rate.add_metric([recipe], sampled.total() / wall if wall else 0.0)
        yield from (videos, frames, seen, seconds, rate, device)

    def _runs(self) -> Metric:
        """The videos of the newest runs by outcome; those without one are `waiting`."""
        family = metrics.RUN_VIDEOS.family()
        newest = sorted(self._plans.items(), key=lambda row: row[1].made_by.written_at_unix_seconds)[-RUNS_SHOWN:]
        for key, plan in newest:
            table = self._attempts.get(plan.recipe, Attempts()).table()
            ended: Counter[str] = Counter()
            for (outcome, _), count in table.outcomes(table.of_plan(plan.plan)).items():
                ended[outcome] += count
            for outcome, count in (*ended.items(), ("waiting", plan.videos_new - ended.total())):
                family.add_metric([key.split("/")[1], outcome], count)
        return family

    def _training(self) -> Iterator[Metric]:
        dataset, loss, iou = (d.family() for d in (metrics.DATASET_FRAMES, metrics.TRAINING_LOSS, metrics.TRAINING_IOU))
        if self._datasets:
            dataset.add_metric([], _newest(self._datasets.values()).kept_frames)
        if self._backbones:
            curve = _newest(self._backbones.values()).curve
            measured = [point.validation_iou for point in curve if point.validation_iou is not None]
            loss.add_metric([], curve[-1].loss)
            if measured:
                iou.add_metric([], measured[-1])
        yield from (dataset, loss, iou)

    def _detection(self) -> Iterator[Metric]:
        family = metrics.MEAN_AP.family()
        cells: dict[tuple[str, str, str, str], list[EvaluationRecord]] = {}
        for record in self._evaluations.values():
            cells.setdefault(record.evaluation.metric_labels(), []).append(record)
        for labels, records in sorted(cells.items()):
            newest = _newest(records)
            for method, value in (("11-point", newest.mean_ap_11_point), ("area", newest.mean_ap_area)):
                if value is not None:
                    family.add_metric([*labels, method], value)
        yield family
        best = metrics.CHAMPION_MAP.family()
        by_number = sorted(self._champions.values(), key=lambda champion: champion.number)
        latest = {champion.protocol: champion for champion in by_number}
        for protocol, champion in latest.items():
            best.add_metric([protocol], champion.spread.mean)
        yield best

    def _classification(self) -> Metric:
        family = metrics.CLASSIFICATION_MAP.family()
        layers: dict[tuple[str, str, str], list[ClassificationRecord]] = {}
        for record in self._classifications.values():
            layers.setdefault((record.initialisation, str(record.seed), record.layer), []).append(record)
        for labels, records in sorted(layers.items()):
            value = _newest(records).mean_ap_area
            if value is not None:
                family.add_metric([*labels], value)
        return family


def serve_records(settings: Settings) -> None:
    """Serve the metrics of a store's records until stopped by a signal; failed refreshes are logged and repeated.

    Nothing is served before the first complete refresh: counters of half of the records would look like a restart at a
    lower value, and all other records like new ones.
    """
    collector = RecordCollector(open_store(settings.store))
    registry = CollectorRegistry()
    registry.register(collector)
    log = structlog.get_logger()
    serving = False
    with stop_on_signals() as stop:
        while not stop.is_set():
            try:
                collector.refresh()
            except (Unavailable, InvalidInput) as error:
                log.warning("records could not be read", reason=str(error))
            else:
                if not serving:
                    metrics.serve(registry, settings.work.metrics_port)
                    serving = True
            stop.wait(REFRESH_SECONDS)


def _left_out(error: InvalidInput) -> None:
    structlog.get_logger().warning("record left out", reason=str(error))


def _newest(records: Iterable[AnyRecord]) -> AnyRecord:
    return max(records, key=lambda record: record.made_by.written_at_unix_seconds)
