"""Write the dashboard for Grafana to `dashboard.json` beside this file: run it without arguments.

Panels are in the order in which data flows: videos, frames, pretraining, evaluation, then the store and the progress of
it all.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

DASHBOARD = Path(__file__).with_name("dashboard.json")
COLUMNS = 24
"""Width of Grafana's grid."""
HEIGHT = 8
MOST_IN_A_LINE = 4
"""Panels beside each other: more would be too narrow for their legends."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_METRIC = re.compile(r"(watchmove[:_]\w+)(?:\{(.*?)\})?")
_OF_NAMESPACE = 'namespace=~"$namespace"'
"""Of several installations that one Prometheus scrapes, those that are chosen."""


class Panel(NamedTuple):
    """A panel: what it shows, its queries by their legends, and the unit of its axis in Grafana's terms."""

    title: str
    description: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    stacked: bool = False


ROWS: dict[str, tuple[Panel, ...]] = {
    "Videos": (
        Panel(
            "Videos of the newest runs",
            "Videos of each run that have ended, and those that wait.",
            {"{{run}}: {{outcome}}": "watchmove_run_videos"},
            kind="bargauge",
        ),
        Panel(
            "Videos by outcome",
            "All attempts that count, of every recipe of the store.",
            {"{{outcome}}": "sum by (outcome) (watchmove_videos)"},
            stacked=True,
        ),
        Panel(
            "Videos without frames, by reason",
            "Why videos gave no frame; `watchmove videos RUN` lists their names.",
            {"{{outcome}}: {{reason}}": 'sum by (outcome, reason) (watchmove_videos{outcome!="kept"})'},
        ),
        Panel(
            "Failed videos of the last six hours",
            "Share of the attempts that ended as unreadable, missing or timed out; above a fifth there is an alert.",
            {
                "{{recipe}}": '(sum by (recipe) (watchmove_recent_videos{outcome=~"unreadable|missing|timed-out"})'
                " or 0 * sum by (recipe) (watchmove_recent_videos)) / sum by (recipe) (watchmove_recent_videos)"
            },
            "percentunit",
        ),
    ),
    "Frames": (
        Panel(
            "Share of frames that are kept",
            "Of all sampled frames, and of those of the last six hours.",
            {"{{recipe}}, all": "watchmove:kept_share", "{{recipe}}, last six hours": "watchmove:recent_kept_share"},
            "percentunit",
        ),
        Panel(
            "Rejected frames by reason",
            "Which rule of the pruning rejected how many frames.",
            {"{{reason}}": 'sum by (reason) (watchmove_frames{outcome="rejected"})'},
            stacked=True,
        ),
        Panel(
            "Frames sampled per second",
            "By all pods that extract at the moment, and of the committed shards in each second of a pod.",
            {
                "all pods at the moment": "sum(watchmove_process_frames_per_second)",
                "{{recipe}}, a pod": "watchmove_frames_per_second",
            },
        ),
        Panel(
            "Seconds of a video by stage",
            "Mean over the videos that the pods have extracted in the last ten minutes.",
            {
                "{{stage}}": "sum by (stage) (rate(watchmove_process_stage_seconds_sum[10m]))"
                " / sum by (stage) (rate(watchmove_process_stage_seconds_count[10m]))"
            },
            "s",
            stacked=True,
        ),
        Panel(
            "Devices that compute masks",
            "Share of their time in which they compute; the rest is waiting for decoded shots.",
            {
                "{{recipe}}": 'sum by (recipe) (watchmove_device_seconds{state="busy"})'
                " / (sum by (recipe) (watchmove_device_seconds) > 0)"
            },
            "percentunit",
        ),
    ),
    "Pretraining": (
        Panel("Frames to learn from", "Frames of the newest snapshot.", {"frames": "watchmove_dataset_frames"}),
        Panel(
            "Loss",
            "Training loss of the pods that train at the moment, and the last one of the newest finished pretraining.",
            {"{{training}}": "watchmove_process_training_loss", "finished": "watchmove_training_loss"},
        ),
        Panel("Iteration", "How far trainings are.", {"{{training}}": "watchmove_process_training_iteration"}),
        Panel(
            "Images per second",
            "Images per second of the pods that pretrain at the moment.",
            {"{{training}}": "watchmove_process_training_images_per_second"},
        ),
        Panel(
            "Waiting for data",
            "Share of the time in which pretraining waits for frames: a fast store and more readers lower it.",
            {"{{training}}": "watchmove_process_training_data_wait_fraction"},
            "percentunit",
        ),
        Panel(
            "IoU of masks on held-out videos",
            "Of each finished run, as a mean over its seeds.",
            {"{{run}}": "watchmove_run_validation_iou"},
            "percentunit",
        ),
    ),
    "Evaluation": (
        Panel(
            "Mean average precision of runs",
            "11-point, without frozen layers, as a mean over seeds.",
            {"{{run}}: {{initialisation}}": 'watchmove_run_map{freeze_through="0"}'},
            "percentunit",
        ),
        Panel(
            "Gain over random initial weights",
            "Mean average precision of each run's pretrained detectors less that of its random ones; zero is no gain.",
            {
                "{{run}}": 'sum by (run) (watchmove_run_map{initialisation="pretrained", freeze_through="0"})'
                ' - sum by (run) (watchmove_run_map{initialisation="random", freeze_through="0"})'
            },
            "percentunit",
        ),
        Panel(
            "Champions",
            "Mean average precision of the champion of each protocol.",
            {"{{protocol}}": "watchmove_champion_map"},
            "percentunit",
        ),
        Panel(
            "Age of the champions",
            "Time since the promotion.",
            {"{{protocol}}": "time() - watchmove_champion_promoted_timestamp_seconds"},
            "s",
        ),
    ),
    "Store": (
        Panel(
            "Bytes fetched",
            "From S3 in each second, by all pods that run at the moment.",
            {"all pods": "sum(rate(watchmove_process_fetched_bytes_total[5m]))"},
            "Bps",
        ),
        Panel(
            "Repeated requests",
            "Requests to S3 that pods have made again in each second, by cause.",
            {"{{cause}}": "sum by (cause) (rate(watchmove_process_store_retries_total[5m]))"},
        ),
    ),
    "Progress": (
        Panel(
            "Steps of the newest runs",
            "Steps that have begun or failed, as the records tell it; failed steps have an alert.",
            {"{{run}}: {{step}} {{state}}": 'watchmove_run_step_state{state=~"begun|failed"}'},
            kind="bargauge",
        ),
        Panel(
            "Unfinished runs",
            "Time since the plan of runs that have not ended.",
            {"{{run}}": "time() - watchmove_unfinished_run_planned_timestamp_seconds"},
            "s",
            kind="bargauge",
        ),
        Panel(
            "Core-hours and GPU-hours",
            "Of the newest runs, as far as their records have them.",
            {
                "{{run}}, cores": "sum by (run) (watchmove_run_core_hours)",
                "{{run}}, GPUs": "sum by (run) (watchmove_run_gpu_hours)",
            },
            "h",
            kind="bargauge",
        ),
        Panel(
            "Estimated cost",
            "Of the newest runs; empty until the exporter's settings have prices.",
            {"{{run}}: {{step}}": "watchmove_run_estimated_cost"},
            kind="bargauge",
        ),
        Panel(
            "Since the last record, and the last end of a run",
            "While pods extract, records are at most minutes old.",
            {
                "last record": "time() - max(watchmove_last_record_timestamp_seconds)",
                "last end of a run": "time() - max(watchmove_last_run_ended_timestamp_seconds)",
            },
            "s",
        ),
        Panel(
            "Age of these figures",
            "Time since the exporter has read the store completely.",
            {"age": "time() - max(watchmove_exporter_read_timestamp_seconds)"},
            "s",
        ),
    ),
}
"""The rows of the dashboard by their headings."""


def dashboard() -> dict[str, Any]:
    """The dashboard in Grafana's model."""
    panels: list[dict[str, Any]] = []
    top = 0
    for heading, row in ROWS.items():
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": heading, "gridPos": place, "panels": []})
        lines = math.ceil(len(row) / MOST_IN_A_LINE)
        count = math.ceil(len(row) / lines)
        width = COLUMNS // count
        for number, panel in enumerate(row):
            line, column = divmod(number, count)
            place = {"h": HEIGHT, "w": width, "x": column * width, "y": top + 1 + line * HEIGHT}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_model(panel)})
        top += 1 + lines * HEIGHT
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    # `.*` is also the namespace of what is scraped without this label
    every = {"includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    namespace = {
        "name": "namespace",
        "type": "query",
        "datasource": _SOURCE,
        "query": "label_values(watchmove_exporter_read_timestamp_seconds, namespace)",
        "label": "Namespace",
        "refresh": 2,
        **every,
    }
    return {
        "uid": "watchmove",
        "title": "watchmove",
        "tags": ["watchmove"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [source, namespace]},
        "panels": panels,
    }


def _model(panel: Panel) -> dict[str, Any]:
    """A panel in Grafana's model, without its place."""
    letters = (chr(ord("A") + number) for number in range(len(panel.queries)))
    custom = {"stacking": {"mode": "normal"}, "fillOpacity": 30} if panel.stacked else {}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "targets": [
            {"refId": letter, "datasource": _SOURCE, "expr": _selected(query), "legendFormat": legend}
            for letter, (legend, query) in zip(letters, panel.queries.items(), strict=True)
        ],
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": custom}, "overrides": []},
        "options": {"orientation": "horizontal", "displayMode": "basic"} if panel.kind == "bargauge" else {},
    }


def _selected(query: str) -> str:
    """A query of the chosen namespaces alone."""
    return _METRIC.sub(lambda found: f"{found[1]}{{{','.join(filter(None, (found[2], _OF_NAMESPACE)))}}}", query)


if __name__ == "__main__":
    DASHBOARD.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
