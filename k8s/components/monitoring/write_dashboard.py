"""Write the dashboard for Grafana to `dashboard.json` beside this file: run it without arguments.

Panels are in the order in which data flows: videos, frames, pretraining, evaluation, then the store, the runs, and
the age of the records.
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
MOST_IN_A_LINE = 2
"""Panels beside each other: more would be too narrow for names of runs."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_METRIC = re.compile(r"(watchmove[:_]\w+)(?:\{(.*?)\})?")
_OF_NAMESPACE = 'namespace=~"$namespace"'
"""Of several installations that one Prometheus scrapes, those that are chosen."""
_STATES = {
    "waiting": {"color": "text", "text": "not done"},
    "begun": {"color": "blue"},
    "done": {"color": "green"},
    "left-out": {"color": "text", "text": "left out"},
    "failed": {"color": "red"},
}
"""How states of steps are shown. A step that waits, as far as records tell, may be at work before its first record."""
_TRAINING = "{{training}} {{workflows_argoproj_io_workflow}}"
_OF_TRAINING = "max by (training, workflows_argoproj_io_workflow)"
"""The pods of a training one after the other are one curve; trainings of two workflows at once are two."""
_NO_TRAINING = "No pod trains"
_NO_EXTRACTION = "No pod extracts"


class Curves(NamedTuple):
    """A panel of curves: its queries by their legends, and the unit of its axis in Grafana's terms.

    Each query aggregates by the labels of its legend: without, a pod that replaces another would begin a second curve
    of the same name. `most` is the end of the axis, which begins at zero, and `alert_above` the value of a line;
    `listed` puts the names and last values of many curves into a table beside them.
    """

    title: str
    description: str
    queries: dict[str, str]
    unit: str = "short"
    empty: str = "No data"
    stacked: bool = False
    listed: bool = False
    most: float | None = None
    alert_above: float | None = None


class Table(NamedTuple):
    """A panel of what is so now, with a line for each run and a column for each value of a label of the query.

    The cells are the query's values, or those of its label `cells`. `order` is that of the columns. Grafana
    writes `empty` into each cell without a value too: only tables of one column, which have no such cell, have it.
    """

    title: str
    description: str
    query: str
    columns: str
    unit: str = "short"
    empty: str | None = None
    decimals: int | None = None
    cells: str = "Value"
    order: tuple[str, ...] = ()


def _named(column: str, query: str) -> str:
    """A query of a single column, with its name as a label."""
    return f'label_replace({query}, "column", "{column}", "", "")'


ROWS: dict[str, tuple[Curves | Table, ...]] = {
    "Videos": (
        Table(
            "Videos of the newest runs",
            "Videos of each run that have ended, and those that wait.",
            "max by (run, outcome) (watchmove_run_videos)",
            "outcome",
            order=("waiting", "kept", "rejected", "unreadable", "missing", "timed-out"),
        ),
        Curves(
            "Videos by outcome",
            "All attempts that count, of every recipe of the store.",
            {"{{outcome}}": "sum by (outcome) (watchmove_videos)"},
            stacked=True,
        ),
        Curves(
            "Videos without frames, by reason",
            "Why videos gave no frame; `watchmove videos RUN` lists their names.",
            {"{{outcome}}: {{reason}}": 'sum by (outcome, reason) (watchmove_videos{outcome!="kept"})'},
            empty="Every video gave frames",
            listed=True,
        ),
        Curves(
            "Failed videos of the last six hours",
            "Share of the attempts that ended as unreadable, missing or timed out; above a fifth there is an alert.",
            {
                "{{recipe}}": '(sum by (recipe) (watchmove_recent_videos{outcome=~"unreadable|missing|timed-out"})'
                " or 0 * sum by (recipe) (watchmove_recent_videos)) / sum by (recipe) (watchmove_recent_videos)"
            },
            "percentunit",
            "No video has ended in the last six hours",
            most=1.0,
            alert_above=0.2,
        ),
    ),
    "Frames": (
        Curves(
            "Share of frames that are kept",
            "Of all sampled frames, and of those of the last six hours.",
            {
                "{{recipe}}, all": "max by (recipe) (watchmove:kept_share)",
                "{{recipe}}, last six hours": "max by (recipe) (watchmove:recent_kept_share)",
            },
            "percentunit",
        ),
        Curves(
            "Rejected frames by reason",
            "Which rule of the pruning rejected how many frames.",
            {"{{reason}}": 'sum by (reason) (watchmove_frames{outcome="rejected"})'},
            stacked=True,
            listed=True,
        ),
        Curves(
            "Frames sampled per second",
            "By all pods that extract at the moment, and of the committed shards in each second of a pod.",
            {
                "all pods at the moment": "sum(watchmove_process_frames_per_second)",
                "{{recipe}}, a pod": "max by (recipe) (watchmove_frames_per_second)",
            },
        ),
        Curves(
            "Seconds of a video by stage",
            "Mean over the videos that the pods have extracted in the last ten minutes.",
            {
                "{{stage}}": "sum by (stage) (rate(watchmove_process_stage_seconds_sum[10m]))"
                " / (sum by (stage) (rate(watchmove_process_stage_seconds_count[10m])) > 0)"
            },
            "s",
            _NO_EXTRACTION,
            stacked=True,
        ),
        Curves(
            "Devices that compute masks",
            "Share of their time in which they compute; the rest is waiting for decoded shots.",
            {
                "{{recipe}}": 'sum by (recipe) (watchmove_device_seconds{state="busy"})'
                " / (sum by (recipe) (watchmove_device_seconds) > 0)"
            },
            "percentunit",
            "No device has computed masks",
            most=1.0,
        ),
    ),
    "Pretraining": (
        Curves("Frames to learn from", "Frames of the newest snapshot.", {"frames": "max(watchmove_dataset_frames)"}),
        Curves(
            "Loss",
            "Training loss of the pods that train at the moment, and the last one of the newest finished pretraining.",
            {
                _TRAINING: f"{_OF_TRAINING} (watchmove_process_training_loss)",
                "finished": "max(watchmove_training_loss)",
            },
            empty=_NO_TRAINING,
        ),
        Curves(
            "Iteration",
            "How far trainings are.",
            {_TRAINING: f"{_OF_TRAINING} (watchmove_process_training_iteration)"},
            empty=_NO_TRAINING,
        ),
        Curves(
            "Images per second",
            "Images per second of the pods that pretrain at the moment.",
            {_TRAINING: f"{_OF_TRAINING} (watchmove_process_training_images_per_second)"},
            empty=_NO_TRAINING,
        ),
        Curves(
            "Waiting for data",
            "Share of the time in which pretraining waits for frames: a fast store and more readers lower it.",
            {_TRAINING: f"{_OF_TRAINING} (watchmove_process_training_data_wait_fraction)"},
            "percentunit",
            _NO_TRAINING,
        ),
        Table(
            "IoU of masks on held-out videos",
            "Of each finished run, as a mean over its seeds.",
            _named("IoU", "max by (run) (watchmove_run_validation_iou)"),
            "column",
            "percentunit",
            "No run has a result",
            1,
        ),
    ),
    "Evaluation": (
        Table(
            "Mean average precision of runs",
            "11-point, without frozen layers, as a mean over seeds. The gain is that of the pretrained detectors over"
            " the random ones; zero is no gain.",
            'max by (run, initialisation) (watchmove_run_map{freeze_through="0"}) or label_replace('
            'max by (run) (watchmove_run_map{initialisation="pretrained", freeze_through="0"})'
            ' - max by (run) (watchmove_run_map{initialisation="random", freeze_through="0"}),'
            ' "initialisation", "gain", "", "")',
            "initialisation",
            "percentunit",
            decimals=1,
            order=("gain", "pretrained", "random"),
        ),
        Curves(
            "Champions",
            "Mean average precision of the champion of each protocol.",
            {"{{protocol}}": "max by (protocol) (watchmove_champion_map)"},
            "percentunit",
            "No champion",
        ),
        Curves(
            "Age of the champions",
            "Time since the promotion.",
            {"{{protocol}}": "time() - max by (protocol) (watchmove_champion_promoted_timestamp_seconds)"},
            "s",
            "No champion",
        ),
    ),
    "Store": (
        Curves(
            "Bytes fetched",
            "From S3 in each second, by all pods that run at the moment.",
            {"all pods": "sum(rate(watchmove_process_fetched_bytes_total[5m]))"},
            "Bps",
            "No pod runs",
        ),
        Curves(
            "Repeated requests",
            "Requests to S3 that pods have made again in each second, by cause.",
            {"{{cause}}": "sum by (cause) (rate(watchmove_process_store_retries_total[5m]))"},
            "reqps",
            "No request has been repeated",
        ),
    ),
    "Runs": (
        Table(
            "Steps of runs that are not done",
            "The state of each step of the newest runs, as the records tell it; failed steps have an alert."
            " Pretraining and evaluations that are not done may be at work: their first record is that of their end.",
            "max by (run, step, state) (watchmove_run_step_state)"
            ' and on (run) max by (run) (watchmove_run_state{state!="done"})',
            "step",
            empty="Every run is done",
            cells="state",
            order=("extract", "gather", "pretrain", "evaluate", "report"),
        ),
        Table(
            "Unfinished runs",
            "Time since the plan of runs that have not ended.",
            _named("since the plan", "time() - max by (run) (watchmove_unfinished_run_planned_timestamp_seconds)"),
            "column",
            "s",
            "Every run has ended",
        ),
        Table(
            "Core-hours and GPU-hours",
            "Of the newest runs, as far as their records have them.",
            f"{_named('core-hours', 'sum by (run) (max by (run, step) (watchmove_run_core_hours))')}"
            f" or {_named('GPU-hours', 'sum by (run) (max by (run, step) (watchmove_run_gpu_hours))')}",
            "column",
            decimals=1,
            order=("core-hours", "GPU-hours"),
        ),
        Table(
            "Estimated cost",
            "Of the newest runs, in the currency of the prices; empty until the exporter's settings have prices.",
            "max by (run, step) (watchmove_run_estimated_cost)",
            "step",
            decimals=2,
            order=("extract", "pretrain", "evaluate"),
        ),
    ),
    "Records": (
        Curves(
            "Since the last record, and the last end of a run",
            "While pods extract, records are at most minutes old.",
            {
                "last record": "time() - max(watchmove_last_record_timestamp_seconds)",
                "last end of a run": "time() - max(watchmove_last_run_ended_timestamp_seconds)",
            },
            "s",
        ),
        Curves(
            "Age of these figures",
            "Time since the exporter has read the store completely; above half an hour there is an alert.",
            {"age": "time() - max(watchmove_exporter_read_timestamp_seconds)"},
            "s",
            "The exporter is not scraped",
            alert_above=1800.0,
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
        for number, panel in enumerate(row):
            line, column = divmod(number, count)
            width = COLUMNS // min(count, len(row) - line * count)
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


def _model(panel: Curves | Table) -> dict[str, Any]:
    """A panel in Grafana's model, without its place."""
    of_kind = _table(panel) if isinstance(panel, Table) else _curves(panel)
    return {"title": panel.title, "description": panel.description, "datasource": _SOURCE, **of_kind}


def _curves(panel: Curves) -> dict[str, Any]:
    """What is special to a panel of curves."""
    letters = (chr(ord("A") + number) for number in range(len(panel.queries)))
    custom: dict[str, Any] = {"stacking": {"mode": "normal"}, "fillOpacity": 30} if panel.stacked else {}
    defaults: dict[str, Any] = {"unit": panel.unit, "noValue": panel.empty, "min": 0, "custom": custom}
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.alert_above is not None:
        custom["thresholdsStyle"] = {"mode": "dashed"}
        steps = [{"color": "transparent", "value": None}, {"color": "red", "value": panel.alert_above}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    legend = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
    if panel.listed:
        legend |= {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull"]}
        legend |= {"sortBy": "Last *", "sortDesc": True}
    return {
        "type": "timeseries",
        "targets": [
            {"refId": letter, "datasource": _SOURCE, "expr": _selected(query), "legendFormat": legend_format}
            for letter, (legend_format, query) in zip(letters, panel.queries.items(), strict=True)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def _table(panel: Table) -> dict[str, Any]:
    """What is special to a table: its query has the present values alone, not all that were so in the chosen time."""
    target = {"refId": "A", "datasource": _SOURCE, "expr": _selected(panel.query), "instant": True, "format": "table"}
    matrix = {"rowField": "run", "columnField": panel.columns, "valueField": panel.cells, "emptyValue": "empty"}
    runs = f"run\\{panel.columns}"
    columns = {name: number for number, name in enumerate((runs, *panel.order))}
    defaults: dict[str, Any] = {"unit": panel.unit, "custom": {"minWidth": 70}}
    if panel.empty is not None:
        defaults["noValue"] = panel.empty
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.cells == "state":
        defaults["mappings"] = [{"type": "value", "options": _STATES}]
        defaults["custom"]["cellOptions"] = {"type": "color-text"}
    of_names = [{"id": "custom.width", "value": 190}, {"id": "custom.cellOptions", "value": {"type": "auto"}}]
    return {
        "type": "table",
        "targets": [target],
        "transformations": [
            {"id": "groupingToMatrix", "options": matrix},
            {"id": "organize", "options": {"indexByName": columns, "renameByName": {runs: "run"}, "excludeByName": {}}},
        ],
        "fieldConfig": {
            "defaults": defaults,
            "overrides": [{"matcher": {"id": "byName", "options": "run"}, "properties": of_names}],
        },
        "options": {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": "run", "desc": True}]},
    }


def _selected(query: str) -> str:
    """A query of the chosen namespaces alone."""
    return _METRIC.sub(lambda found: f"{found[1]}{{{','.join(filter(None, (found[2], _OF_NAMESPACE)))}}}", query)


if __name__ == "__main__":
    DASHBOARD.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
