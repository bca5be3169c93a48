"""The exporter: Prometheus metrics computed from the store's records, so that a restart loses nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.records.record import AnyRecord
from watchmove.service.records.training import ClassificationRecord, EvaluationRecord
from watchmove.service.runner import metrics
from watchmove.service.runner.runner import stop_on_signals
from watchmove.service.settings.settings import Settings, WorkSettings
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store
from watchmove.service.watching.exporting.reading import Reader, Reading
from watchmove.service.watching.exporting.run_costs import cost_metrics
from watchmove.service.watching.exporting.run_metrics import run_metrics

REFRESH_SECONDS = 15.0
"""Time between two listings of the store, half the interval at which k8s/components/monitoring scrapes."""
LATELY_SECONDS = 6 * 3600.0
"""Age up to which a commit is recent: with the default `work.commit_every_seconds` (600), 36 commits of each pod."""


class RecordCollector(Collector):
    """Metrics of the records that the store contained at the last complete reading."""

    def __init__(self, store: Store, work: WorkSettings = WorkSettings()) -> None:  # noqa: B008 (immutable)
        """`work` has the prices of hours, which costs are estimated by, and the hours between runs."""
        self._reader = Reader(store)
        self._work = work
        self._families: tuple[Metric, ...] = ()

    def refresh(self) -> None:
        """Read the new and the replaced records of the store.

        Raises:
            Unavailable, InvalidInput: the store cannot be read; the metrics remain those of the reading before.
        """
        # computed once and not at each scrape, which would take longer than Prometheus' requests should
        self._families = tuple(_families(self._reader.read(), self._work))

    def collect(self) -> Iterable[Metric]:
        """All metrics that are declared for records, of one reading. Prometheus calls this from a thread of its own."""
        return self._families


def serve_records(settings: Settings) -> None:
    """Serve the metrics of a store's records until stopped by a signal; failed refreshes are logged and repeated.

    Nothing is served before the first complete refresh: counters of half of the records would look like a restart at a
    lower value, and all other records like new ones.
    """
    store = open_store(settings.store)
    collector = RecordCollector(store, settings.work)
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
                # a connection that is kept may lead to what was at the address when it was made
                store.reconnect()
            else:
                if not serving:
                    metrics.serve(registry, settings.work.metrics_port)
                    serving = True
            stop.wait(REFRESH_SECONDS)


def _families(reading: Reading, work: WorkSettings) -> Iterator[Metric]:
    """All metrics of a reading."""
    yield from _extraction(reading)
    yield from _recent(reading)
    yield from run_metrics(reading)
    yield from cost_metrics(reading, work)
    yield from _training(reading)
    yield from _detection(reading)
    yield _classification(reading)
    read_at, interval = metrics.READ_AT.family(), metrics.RUN_INTERVAL.family()
    read_at.add_metric([], reading.at)
    interval.add_metric([], work.hours_between_runs * 3600)
    yield from (read_at, interval)


def _extraction(reading: Reading) -> Iterator[Metric]:
    videos, frames = metrics.VIDEOS.family(), metrics.FRAMES.family()
    seen, seconds, rate = (
        d.family() for d in (metrics.FRAMES_SEEN, metrics.EXTRACTION_SECONDS, metrics.EXTRACTION_RATE)
    )
    device = metrics.DEVICE_SECONDS.family()
    for recipe, table in reading.tables.items():
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


def _recent(reading: Reading) -> Iterator[Metric]:
    """The attempts and frames that were committed lately, measured from the time of the reading."""
    videos, frames = metrics.RECENT_VIDEOS.family(), metrics.RECENT_FRAMES.family()
    for recipe, table in reading.tables.items():
        written = np.array([part.written_at_unix_seconds for part in table.parts], np.float64)
        rows = (written > reading.at - LATELY_SECONDS)[table.part]
        for family, counts in ((videos, table.outcomes(rows)), (frames, table.frames(rows))):
            ended: Counter[str] = Counter()
            for (outcome, _), count in counts.items():
                ended[outcome] += count
            for outcome, count in ended.items():
                family.add_metric([recipe, outcome], count)
    yield from (videos, frames)


def _training(reading: Reading) -> Iterator[Metric]:
    dataset, loss, iou = (d.family() for d in (metrics.DATASET_FRAMES, metrics.TRAINING_LOSS, metrics.TRAINING_IOU))
    if reading.datasets:
        dataset.add_metric([], _newest(reading.datasets.values()).kept_frames)
    if reading.backbones:
        curve = _newest(reading.backbones.values()).curve
        measured = [point.validation_iou for point in curve if point.validation_iou is not None]
        for point in curve[-1:]:  # nothing says that there is one
            loss.add_metric([], point.loss)
        if measured:
            iou.add_metric([], measured[-1])
    yield from (dataset, loss, iou)


def _detection(reading: Reading) -> Iterator[Metric]:
    family = metrics.MEAN_AP.family()
    cells: dict[tuple[str, str, str, str], list[EvaluationRecord]] = {}
    for record in reading.evaluations.values():
        cells.setdefault(record.evaluation.metric_labels(), []).append(record)
    for labels, records in sorted(cells.items()):
        newest = _newest(records)
        for method, value in (("11-point", newest.mean_ap_11_point), ("area", newest.mean_ap_area)):
            if value is not None:
                family.add_metric([*labels, method], value)
    yield family
    best, promoted = (d.family() for d in (metrics.CHAMPION_MAP, metrics.CHAMPION_AT))
    by_number = sorted(reading.champions.values(), key=lambda champion: champion.number)
    latest = {champion.protocol: champion for champion in by_number}
    for protocol, champion in latest.items():
        best.add_metric([protocol], champion.spread.mean)
        promoted.add_metric([protocol], champion.made_by.written_at_unix_seconds)
    yield from (best, promoted)


def _classification(reading: Reading) -> Metric:
    family = metrics.CLASSIFICATION_MAP.family()
    layers: dict[tuple[str, str, str], list[ClassificationRecord]] = {}
    for record in reading.classifications.values():
        layers.setdefault((record.initialisation, str(record.seed), record.layer), []).append(record)
    for labels, records in sorted(layers.items()):
        value = _newest(records).mean_ap_area
        if value is not None:
            family.add_metric([*labels], value)
    return family


def _newest(records: Iterable[AnyRecord]) -> AnyRecord:
    return max(records, key=lambda record: record.made_by.written_at_unix_seconds)
