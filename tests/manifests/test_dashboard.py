"""Grafana's dashboard: each curve and line has one name, and each panel can be read without its query."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.documents import ROOT
from watchmove.service.runner import metrics
from watchmove.service.runner.metrics import Declared

PANELS = [
    panel
    for panel in json.loads((ROOT / "k8s" / "components" / "monitoring" / "dashboard.json").read_text())["panels"]
    if panel["type"] != "row"
]
VALUES = {
    "outcome": ("kept", "rejected", "missing"),
    "state": ("busy",),
    "initialisation": ("random", "pretrained"),
    "freeze_through": ("0",),
}
"""Values of labels that queries choose by; every other label has two values, which stand for any."""
RECORDED = [Declared(f"watchmove:{name}", "", ("recipe",)) for name in ("kept_share", "recent_kept_share")]


def test_every_curve_and_cell_has_a_name_of_its_own(tmp_path: Path) -> None:
    """Also where a pod has replaced another, and both have samples; and no name has a label that the query drops."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    checks = [check for panel in PANELS for target in panel["targets"] for check in _without_result(panel, target)]
    series = [{"series": name, "values": "1+60x60"} for name in _two_pods()]
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": checks}]
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"rule_files": [], "tests": tests}))
    command = [promtool, "test", "rules", str(tmp_path / "tests.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checks
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_is_so_now_is_asked_for_now() -> None:
    """Tables ask for the present values: over the chosen time, a state that has passed would stay until its end."""
    tables = [panel for panel in PANELS if panel["type"] != "timeseries"]

    assert tables
    assert all(target["instant"] for panel in tables for target in panel["targets"])


def test_panels_can_be_read_without_their_queries() -> None:
    """Each has a title of its own, a description and a unit; curves begin at zero and say why there is none."""
    titles = [panel["title"] for panel in PANELS]
    curves = [panel["fieldConfig"]["defaults"] for panel in PANELS if panel["type"] == "timeseries"]

    assert len(titles) == len(set(titles))
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)
    assert all(defaults["min"] == 0 and defaults["noValue"] for defaults in curves)


def _without_result(panel: dict[str, Any], target: dict[str, Any]) -> list[dict[str, Any]]:
    """Queries without a result, if a target's series have several values of each label shown, and differ in them.

    The label `column` is the name of a table's only column, or of both.
    """
    query = target["expr"].replace("$namespace", ".*")
    if panel["type"] == "table":
        matrix = panel["transformations"][0]["options"]
        shown = [matrix["rowField"], matrix["columnField"]]
    else:
        shown = re.findall(r"{{(\w+)}}", target["legendFormat"])
    repeated = f"count by ({', '.join(shown)}) ({query}) > 1"
    unnamed = [f"count(count by ({label}) ({query})) < 2" for label in shown if label != "column"]
    queries = (repeated, f"absent({query})", *unnamed)
    return [{"expr": expr, "eval_time": "1h", "exp_samples": []} for expr in queries]


def _two_pods() -> list[str]:
    """The series of every metric, as two pods of two workflows serve them."""
    declared = [metric for metric in vars(metrics).values() if isinstance(metric, Declared)]
    names = [f"{metrics.PROCESS_STAGE_SECONDS.name}_{part}" for part in ("sum", "count")]
    declared += [Declared(name, "", metrics.PROCESS_STAGE_SECONDS.labels) for name in names]
    series = []
    for metric in (*declared, *RECORDED):
        labels = (*metric.labels, "pod", "workflows_argoproj_io_workflow")
        for values in itertools.product(*(VALUES.get(label, ("one", "two")) for label in labels)):
            words = ",".join(f'{label}="{value}"' for label, value in zip(labels, values, strict=True))
            series.append(f"{metric.name}{{{words}}}")
    return series
