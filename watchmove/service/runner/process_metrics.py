"""The metrics of this process, which begin at zero with it."""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from watchmove.service.runner import metrics
from watchmove.service.store.traffic import TRAFFIC

STAGES = ("fetch", "decode", "flow", "masks", "encode", "commit")
"""Stages of an extraction: of each video, and the commit of a part of its shard with all finished videos."""
_STAGE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Upper bounds of the histogram's buckets, in seconds; video_timeout_seconds is 1800 by default."""


class _TrafficCollector(Collector):
    """What this process has fetched from its stores, and the requests that it has repeated."""

    def collect(self) -> Iterable[Metric]:
        """The counters at this moment; every cause has a sample."""
        yield CounterMetricFamily(
            metrics.PROCESS_FETCHED_BYTES.name, metrics.PROCESS_FETCHED_BYTES.help, TRAFFIC.fetched_bytes
        )
        retries = CounterMetricFamily(
            metrics.PROCESS_RETRIES.name, metrics.PROCESS_RETRIES.help, labels=metrics.PROCESS_RETRIES.labels
        )
        for cause, count in TRAFFIC.retries().items():
            retries.add_metric([cause], count)
        yield retries


class ProcessMetrics:
    """The metrics of this process, in a registry of their own."""

    def __init__(self) -> None:
        # the library's global registry would refuse the metrics of a second step in one process
        self.registry = CollectorRegistry()
        self._videos = _counter(metrics.PROCESS_VIDEOS, self.registry)
        self._frames = _counter(metrics.PROCESS_FRAMES, self.registry)
        self._rate = _gauge(metrics.PROCESS_RATE, self.registry)
        stage = metrics.PROCESS_STAGE_SECONDS
        self._stages = Histogram(stage.name, stage.help, stage.labels, buckets=_STAGE_BUCKETS, registry=self.registry)
        self.registry.register(_TrafficCollector())
        self._loss = _gauge(metrics.PROCESS_LOSS, self.registry)
        self._iteration = _gauge(metrics.PROCESS_ITERATION, self.registry)
        self._image_rate = _gauge(metrics.PROCESS_IMAGE_RATE, self.registry)
        self._waiting = _gauge(metrics.PROCESS_WAITING, self.registry)
        self._device_bytes = _gauge(metrics.PROCESS_DEVICE_BYTES, self.registry)
        self._mean_ap = _gauge(metrics.PROCESS_MEAN_AP, self.registry)

    def count_video(self, outcome: str, reason: str) -> None:
        """Count one finished video."""
        self._videos.labels(outcome, reason).inc()

    def count_frames(self, outcome: str, reason: str, count: int) -> None:
        """Count `count` frames that were kept or rejected."""
        self._frames.labels(outcome, reason).inc(count)

    def observe_stages(self, seconds: Mapping[str, float]) -> None:
        """Add to the histogram the seconds that stages took, by their names, which are some of STAGES."""
        for stage, value in seconds.items():
            self._stages.labels(stage).observe(value)

    def set_rate(self, frames_per_second: float) -> None:
        """Set the sampled frames per second since the step began."""
        self._rate.set(frames_per_second)

    def set_training(self, training: str, iteration: int, loss: float) -> None:
        """Set the last iteration and loss of a training."""
        self._iteration.labels(training).set(iteration)
        self._loss.labels(training).set(loss)

    def set_training_pace(self, training: str, images_per_second: float, waiting_fraction: float) -> None:
        """Set the speed of a training, and the share of its time that is waiting for data."""
        self._image_rate.labels(training).set(images_per_second)
        self._waiting.labels(training).set(waiting_fraction)

    def set_device_memory(self, training: str, most_bytes: int) -> None:
        """Set the largest memory that a training has taken on its GPUs."""
        self._device_bytes.labels(training).set(most_bytes)

    def set_mean_ap(self, labels: Sequence[str], value: float) -> None:
        """Set a measured mean average precision; `labels` are in the order of `metrics.MEAN_AP.labels`."""
        self._mean_ap.labels(*labels).set(value)


def _counter(declared: metrics.Declared, registry: CollectorRegistry) -> Counter:
    return Counter(declared.name, declared.help, declared.labels, registry=registry)


def _gauge(declared: metrics.Declared, registry: CollectorRegistry) -> Gauge:
    return Gauge(declared.name, declared.help, declared.labels, registry=registry)
