"""Every Prometheus metric, declared once.

`watchmove_process_…` metrics belong to one process and start at zero with it; they show what a pod is doing. All others
are read from the store's records by `watchmove exporter`; they show what has been done, and no restart resets them.
They are gauges: a retry moves videos from one outcome to another, and a record can be removed or replaced. Prometheus
takes a counter that falls for a restart, and `increase` would then count what it has left once more.
"""

import socket
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily

from watchmove.pipeline.errors import InvalidInput

_EVERY_IPV4 = "0.0.0.0"  # noqa: S104 (pods are scraped from outside)


@dataclass(frozen=True)
class Declared:
    """A metric's name, help and labels; the name of a counter, and no other, ends in `_total`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def family(self) -> GaugeMetricFamily:
        """An empty family of gauges, for a collector to fill from records."""
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)


VIDEOS = Declared("watchmove_videos", "Number of videos by outcome and reason.", ("recipe", "outcome", "reason"))
FRAMES = Declared(
    "watchmove_frames",
    "Number of sampled frames by outcome (kept or rejected) and reason.",
    ("recipe", "outcome", "reason"),
)
RECENT_VIDEOS = Declared(
    "watchmove_recent_videos", "Number of attempts at videos in the last six hours, by outcome.", ("recipe", "outcome")
)
RECENT_FRAMES = Declared(
    "watchmove_recent_frames",
    "Number of frames sampled in the last six hours, by outcome (kept or rejected).",
    ("recipe", "outcome"),
)
RUN_VIDEOS = Declared(
    "watchmove_run_videos", "Number of videos of a run by outcome; those without one are `waiting`.", ("run", "outcome")
)
UNFINISHED_RUN = Declared(
    "watchmove_unfinished_run_planned_timestamp_seconds",
    "Unix time of the plan of a run that has not ended and that no later run has made up for.",
    ("run",),
)
RUN_STATE = Declared(
    "watchmove_run_state", "1 for the present state of a run: waiting, begun, done or failed.", ("run", "state")
)
RUN_STEP_STATE = Declared(
    "watchmove_run_step_state",
    "1 for the present state of a run's step: waiting, begun, done, left-out or failed.",
    ("run", "step", "state"),
)
RUN_FAILURE_AT = Declared(
    "watchmove_run_failure_timestamp_seconds",
    "Unix time at which a run's step last failed by a cause that no retry can help; absent after it has succeeded.",
    ("run", "step", "cause"),
)
RUN_CORE_HOURS = Declared(
    "watchmove_run_core_hours", "Core-hours that a run's step has used, as far as records have them.", ("run", "step")
)
RUN_GPU_HOURS = Declared(
    "watchmove_run_gpu_hours", "GPU-hours that a run's step has used, as far as records have them.", ("run", "step")
)
RUN_COST = Declared(
    "watchmove_run_estimated_cost",
    "Core-hours and GPU-hours of a run's step by their prices; absent if a price is unknown.",
    ("run", "step"),
)
RUN_ENDED_AT = Declared(
    "watchmove_last_run_ended_timestamp_seconds",
    "Unix time at which a run last ended, with a result or without training.",
)
RUN_INTERVAL = Declared(
    "watchmove_run_interval_seconds", "Time from one scheduled run to the next (`work.hours_between_runs`), in seconds."
)
RUN_MAP = Declared(
    "watchmove_run_map",
    "11-point mean average precision of a finished run, averaged over seeds.",
    ("run", "protocol", "initialisation", "freeze_through"),
)
RUN_MAP_MARGIN = Declared(
    "watchmove_run_map_margin",
    "Half of the 95 % confidence interval of watchmove_run_map; absent with one seed.",
    RUN_MAP.labels,
)
RUN_RESULT_AT = Declared(
    "watchmove_run_result_timestamp_seconds", "Unix time at which the result of a run was written.", ("run",)
)
RUN_TRAINING_IOU = Declared(
    "watchmove_run_validation_iou", "Mask IoU on held-out videos of a finished run, averaged over seeds.", ("run",)
)
LAST_RECORD_AT = Declared(
    "watchmove_last_record_timestamp_seconds", "Unix time at which the newest record of the store was written."
)
FRAMES_SEEN = Declared(
    "watchmove_frames_decoded", "Number of frames of the videos that were read, decoded or passed over.", ("recipe",)
)
EXTRACTION_SECONDS = Declared(
    "watchmove_extraction_seconds", "Wall-clock seconds spent on committed shards.", ("recipe",)
)
DEVICE_SECONDS = Declared(
    "watchmove_device_seconds",
    "Wall-clock seconds of the processes that compute masks on a device, by state (busy or waiting for shots).",
    ("recipe", "state"),
)
EXTRACTION_RATE = Declared(
    "watchmove_frames_per_second", "Sampled frames per wall-clock second of committed shards.", ("recipe",)
)
DATASET_FRAMES = Declared("watchmove_dataset_frames", "Number of frames in the newest dataset snapshot.")
TRAINING_LOSS = Declared("watchmove_training_loss", "Last training loss of the newest finished pretraining.")
TRAINING_IOU = Declared(
    "watchmove_training_validation_iou", "Mask IoU on held-out videos, of the newest finished pretraining."
)
MEAN_AP = Declared(
    "watchmove_detection_map",
    "Mean average precision of the newest evaluation with these labels.",
    ("initialisation", "freeze_through", "pretraining_seed", "seed", "method"),
)
CLASSIFICATION_MAP = Declared(
    "watchmove_classification_map",
    "Mean average precision (area) of the newest image classification on a layer of a trunk.",
    ("initialisation", "seed", "layer"),
)
CHAMPION_MAP = Declared(
    "watchmove_champion_map",
    "11-point mean average precision of a protocol's champion, averaged over seeds.",
    ("protocol",),
)
CHAMPION_AT = Declared(
    "watchmove_champion_promoted_timestamp_seconds",
    "Unix time at which a protocol's champion was promoted.",
    ("protocol",),
)
READ_AT = Declared(
    "watchmove_exporter_read_timestamp_seconds", "Unix time of the last complete reading of the store's records."
)

PROCESS_VIDEOS = Declared(
    "watchmove_process_videos_total", "Number of videos that this process has finished.", ("outcome", "reason")
)
PROCESS_FRAMES = Declared(
    "watchmove_process_frames_total", "Number of frames that this process has sampled.", ("outcome", "reason")
)
PROCESS_RATE = Declared("watchmove_process_frames_per_second", "Frames sampled per second since the step began.")
PROCESS_STAGE_SECONDS = Declared(
    "watchmove_process_stage_seconds",
    "Histogram of the wall-clock seconds of a video's extraction by stage, and of the commits of its shard.",
    ("stage",),
)
PROCESS_FETCHED_BYTES = Declared(
    "watchmove_process_fetched_bytes_total", "Number of bytes of objects that this process has fetched from S3."
)
PROCESS_RETRIES = Declared(
    "watchmove_process_store_retries_total",
    "Number of requests to S3 that this process has made again, by cause.",
    ("cause",),
)
PROCESS_LOSS = Declared("watchmove_process_training_loss", "Training loss in this process.", ("training",))
PROCESS_ITERATION = Declared(
    "watchmove_process_training_iteration",
    "Number of training iterations that this process has reached.",
    ("training",),
)
PROCESS_IMAGE_RATE = Declared(
    "watchmove_process_training_images_per_second",
    "Images per second of all ranks of a training, since this process began or resumed it.",
    ("training",),
)
PROCESS_WAITING = Declared(
    "watchmove_process_training_data_wait_fraction",
    "Share of the time since then in which the training waited for its data, in [0, 1].",
    ("training",),
)
PROCESS_DEVICE_BYTES = Declared(
    "watchmove_process_device_memory_bytes",
    "Largest memory that the tensors of this process have taken on its GPUs; absent without a GPU.",
    ("training",),
)
PROCESS_MEAN_AP = Declared(
    "watchmove_process_detection_map", "Mean average precision that this process has measured.", MEAN_AP.labels
)


def serve(registry: CollectorRegistry, port: int) -> None:
    """Serve a registry on `port` of all addresses of this host, of IPv4 and of IPv6, from daemon threads.

    Raises:
        InvalidInput: the port is in use or not allowed.
    """
    try:
        for address in _every_address():
            start_http_server(port, address, registry)
    except OSError as error:
        raise InvalidInput(f"metrics port {port}: {error.strerror}; set work.metrics_port to a free one") from error


def _every_address() -> tuple[str, ...]:
    """The addresses to listen on that together stand for all of this host.

    That of IPv6 includes those of IPv4, unless the host is set to keep them apart (`net.ipv6.bindv6only`).
    """
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as trial:
            trial.bind(("::", 0))
            apart = trial.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:
        return (_EVERY_IPV4,)
    return ("::", _EVERY_IPV4) if apart else ("::",)
