"""The exporter: metrics read from the store's records, and so right after any restart."""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pipeline.errors import InvalidInput, Unavailable
from service import metrics
from service.outcomes import ShardRecord, VideoOutcome, count_frames, count_outcomes
from service.records import AnyRecord, find
from service.runner import stop_on_signals
from service.settings import Settings
from service.steps.gather import DatasetRecord
from service.store import Store, open_store
from service.training_records import BackboneRecord, EvaluationRecord

REFRESH_SECONDS = 15.0


class RecordCollector(Collector):
    """Samples made from the records that the store held at the last refresh.

    Records never change once written, so each is read once; a refresh lists keys and reads only what is new.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shards: dict[str, tuple[str, ShardRecord]] = {}
        self._datasets: dict[str, DatasetRecord] = {}
        self._backbones: dict[str, BackboneRecord] = {}
        self._evaluations: dict[str, EvaluationRecord] = {}
        self._read_at = 0.0
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Read what is new in the store.

        Raises:
            Unavailable, InvalidInput: what was read before stays.
        """
        shards = self._new("extractions/", "/shards/", ShardRecord, self._shards)
        datasets = self._new("datasets/", "", DatasetRecord, self._datasets)
        backbones = self._new("backbones/", "/record.json", BackboneRecord, self._backbones)
        evaluations = self._new("evaluations/", "/record.json", EvaluationRecord, self._evaluations)
        with self._lock:
            self._shards.update({key: (key.split("/")[1], record) for key, record in shards.items()})
            self._datasets.update(datasets)
            self._backbones.update(backbones)
            self._evaluations.update(evaluations)
            self._read_at = time.time()

    def collect(self) -> Iterable[Metric]:
        """Every declared metric of the records."""
        with self._lock:
            yield from self._extraction()
            yield from self._training()
            yield from self._detection()
            read_at = metrics.READ_AT.family()
            read_at.add_metric([], self._read_at)
            yield read_at

    def _new(self, prefix: str, part: str, kind: type[AnyRecord], known: dict[str, Any]) -> dict[str, AnyRecord]:
        keys = [item.key for item in self._store.list(prefix) if item.key.endswith(".json") and part in item.key]
        found = {key: self._read(key, kind) for key in keys if key not in known}
        return {key: record for key, record in found.items() if record is not None}

    def _read(self, key: str, kind: type[AnyRecord]) -> AnyRecord | None:
        """One record; one that is damaged is named in the log, and the others still count."""
        try:
            return find(self._store, key, kind)
        except InvalidInput as error:
            structlog.get_logger().warning("record left out", reason=str(error))
            return None

    def _extraction(self) -> Iterator[Metric]:
        videos, frames = metrics.VIDEOS.family(), metrics.FRAMES.family()
        seen, seconds, rate = (
            d.family() for d in (metrics.FRAMES_SEEN, metrics.EXTRACTION_SECONDS, metrics.EXTRACTION_RATE)
        )
        for recipe, rows in self._by_recipe().items():
            for (outcome, reason), count in count_outcomes(rows).items():
                videos.add_metric([recipe, outcome, reason], count)
            sampled = count_frames(rows)
            for (outcome, reason), count in sampled.items():
                frames.add_metric([recipe, outcome, reason], count)
            wall = sum(record.seconds for name, record in self._shards.values() if name == recipe)
            seen.add_metric([recipe], sum(row.frames_seen for row in rows))
            seconds.add_metric([recipe], wall)
            rate.add_metric([recipe], sampled.total() / wall if wall else 0.0)
        yield from (videos, frames, seen, seconds, rate)

    def _by_recipe(self) -> dict[str, list[VideoOutcome]]:
        rows: dict[str, dict[str, VideoOutcome]] = {}
        for recipe, record in self._shards.values():
            rows.setdefault(recipe, {}).update({row.video.id: row for row in record.videos})
        return {recipe: list(ended.values()) for recipe, ended in rows.items()}

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
        cells: dict[tuple[str, str, str], list[EvaluationRecord]] = {}
        for record in self._evaluations.values():
            cell = record.evaluation
            cells.setdefault((cell.initialisation, str(cell.freeze_through), str(cell.seed)), []).append(record)
        for labels, records in sorted(cells.items()):
            newest = _newest(records)
            for method, value in (("11-point", newest.mean_ap_11_point), ("area", newest.mean_ap_area)):
                if value is not None:
                    family.add_metric([*labels, method], value)
        yield family


def serve_records(settings: Settings) -> None:
    """Serve the metrics of a store's records until told to stop; what cannot be read now is tried again."""
    collector = RecordCollector(open_store(settings.store))
    registry = CollectorRegistry()
    registry.register(collector)
    log = structlog.get_logger()
    with stop_on_signals() as stop:
        metrics.serve(registry, settings.work.metrics_port)
        while not stop.is_set():
            try:
                collector.refresh()
            except (Unavailable, InvalidInput) as error:
                log.warning("records not read", reason=str(error))
            stop.wait(REFRESH_SECONDS)


def _newest(records: Iterable[AnyRecord]) -> AnyRecord:
    return max(records, key=lambda record: record.made_by.written_at_unix_seconds)
