"""The Helm chart, made of the kustomize tree: k8s/base and the components, with values for what users change.

kustomize builds every object without components and with each of them, with marks in the places of values. The chart's
templates are these objects, with the marks replaced, and with a condition wherever a component makes a difference.
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from release.helm_text import Expression, When, condition, merged, text_of
from release.images import Image
from release.kustomize import Document, built_on
from release.tree import Tree

Key = tuple[str, str]
"""Kind and name of an object."""
FILES = Path(__file__).with_name("chart_files")
ON = ("gpu", "monitoring")
"""The components that are on by default: those of the overlay `cloud`."""
OFF = (
    "gpu-extract",
    "disruption-budget",
    "karpenter",
    "kueue",
    "networkpolicy",
    "otel",
    "report-artifact",
    "slim",
    "spot",
)
NOT_IN_CHART = {
    "object-store": "a store for tests, which the overlay `kind` has",
    "workload-identity": "the value serviceAccount.annotations does the same",
}
STEPS = ("world", "plan", "extract", "gather", "pretrain", "evaluate", "report")
_IMAGES = {"watchmove": "mark.example/full", "watchmove-slim": "mark.example/slim"}
_MARKS = {
    "mark-namespace": "{{ .Release.Namespace }}",
    "mark.example/full:mark": '{{ include "watchmove.image" . }}',
    "mark.example/slim:mark": '{{ include "watchmove.slim-image" . }}',
    "mark-cost-centre": "{{ .Values.costCentre }}",
    "mark-queue": "{{ .Values.kueue.queue }}",
    "http://opentelemetry-collector.observability:4318": "{{ .Values.otel.endpoint }}",
}
_NIGHT_ALERT = "WatchmoveNightMissing"
_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_OPEN: dict[str, Any] = {"settings": {"type": "object"}, "annotations": _TEXTS, "environment": _TEXTS}
"""Values whose keys are the user's, by their schemas: Kubernetes takes texts alone in annotations and Secrets."""


def chart(tree: Tree, images: Mapping[str, Image]) -> dict[str, str]:
    """The files of the chart by their paths in its archive.

    Raises:
        Refused: kustomize is not there, or refuses the tree.
        ValueError: components whose changes no template can hold.
    """
    base, variants = _objects(tree), {name: _objects(tree, name) for name in (*ON, *OFF)}
    settings_name = next(name for kind, name in base if kind == "ConfigMap")
    marks = {**_MARKS, settings_name: '{{ include "watchmove.settings" . }}'}
    # A namespace of Helm is made by its user, and the settings have a template of their own.
    left_out = {("Namespace", "mark-namespace"), ("ConfigMap", settings_name)}
    keys = {key for objects in (base, *variants.values()) for key in objects} - left_out
    templates = {
        f"templates/{name}-{kind.lower()}.yaml": _template((kind, name), base, variants, partial(_replaced, marks))
        for kind, name in keys
    }
    own = {f"templates/{path.name}": path.read_text() for path in FILES.iterdir() if path.name != "values.yaml"}
    values = _values(tree, base, images)
    about = {
        "Chart.yaml": _about(tree),
        "values.yaml": values,
        "values.schema.json": json.dumps(_schema(yaml.safe_load(values), top=True), indent=2) + "\n",
    }
    return {f"watchmove/{name}": text for name, text in {**about, **own, **templates}.items()}


def _objects(tree: Tree, *components: str) -> dict[Key, Document]:
    """What kustomize makes of the base and components, with marks where a value belongs."""
    folder = tree.root / "k8s"
    text = built_on(
        [folder / "base"],
        [folder / "components" / name for name in components],
        namespace="mark-namespace",
        labels=[{"pairs": {"watchmove/cost-centre": "mark-cost-centre"}, "includeTemplates": True}],
        images=[{"name": name, "newName": mark, "newTag": "mark"} for name, mark in _IMAGES.items()],
        configMapGenerator=[{"name": "watchmove-settings", "literals": ["settings.yaml=mark"]}],
    )
    return {(one["kind"], one["metadata"]["name"]): _queue_marked(one) for one in yaml.safe_load_all(text)}


def _queue_marked(node: Any) -> Any:
    """The queue's name is a label, and the value of a parameter that is empty without the component."""
    if isinstance(node, list):
        return [_queue_marked(item) for item in node]
    if not isinstance(node, dict):
        return node
    is_parameter = node.get("name") == "queue" and node.get("value")
    named = {_QUEUE_LABEL} | ({"value"} if is_parameter else set())
    return {key: "mark-queue" if key in named else _queue_marked(value) for key, value in node.items()}


def _template(
    key: Key,
    base: Mapping[Key, Document],
    variants: Mapping[str, Mapping[Key, Document]],
    replaced: Callable[[str], str],
) -> str:
    """An object's template: with conditions where components differ, or all of it if a component brings it."""
    if key in base:
        tree = merged(deepcopy(base[key]), {name: objects[key] for name, objects in variants.items()}, " ".join(key))
        return text_of(_with_values(key, tree), replaced)
    (component,) = [name for name, objects in variants.items() if key in objects]
    body = text_of(_with_values(key, variants[component][key]), replaced)
    return f"{{{{- if {condition(component)} }}}}\n{body}{{{{- end }}}}\n"


def _with_values(key: Key, tree: dict[str, Any]) -> dict[str, Any]:
    """An object with the values of users that are no marks."""
    match key:
        case ("ServiceAccount", "watchmove" | "watchmove-exporter"):
            annotations = ".Values.serviceAccount.annotations"
            tree["metadata"]["annotations"] = When(annotations, Expression(f"{{{{ toJson {annotations} }}}}"))
        case ("CronWorkflow", _):
            tree["spec"]["schedules"] = [_json_of("schedule.cron")]
            tree["spec"]["timezone"] = _json_of("schedule.timezone")
            tree["spec"]["suspend"] = When(".Values.schedule.suspended", True)
        case ("PrometheusRule", _):
            (group,) = tree["spec"]["groups"]
            # a night that is not meant to be is not missed
            group["rules"] = [
                When("not .Values.schedule.suspended", rule) if rule.get("alert") == _NIGHT_ALERT else rule
                for rule in group["rules"]
            ]
        case ("WorkflowTemplate", name) if name.removeprefix("watchmove-") in STEPS:
            step = name.removeprefix("watchmove-")
            (template,) = tree["spec"]["templates"]
            for resources in template["container"]["resources"].values():
                resources |= {"cpu": _json_of(f"steps.{step}.cpu"), "memory": _json_of(f"steps.{step}.memory")}
            _scratch(template)["sizeLimit"] = _json_of(f"steps.{step}.scratch")
    return tree


def _json_of(value: str) -> Expression:
    return Expression(f"{{{{ toJson .Values.{value} }}}}")


def _scratch(template: Document) -> dict[str, Any]:
    (volume,) = [one for one in template["volumes"] if one["name"] == "scratch"]
    return volume["emptyDir"]  # type: ignore[no-any-return]


def _replaced(marks: Mapping[str, str], text: str) -> str:
    text = text.replace('"watchmove-s3"', '"{{ .Values.s3.secretName }}"')
    for mark, expression in marks.items():
        text = text.replace(mark, expression)
    return text


def _values(tree: Tree, base: Mapping[Key, Document], images: Mapping[str, Image]) -> str:
    """values.yaml: the settings of the overlay `cloud`, and the sizes and the schedule of the base."""
    overlay = tree.root / "k8s" / "overlays" / "cloud"
    (own,) = yaml.safe_load((overlay / "kustomization.yaml").read_text())["images"]
    night = base["CronWorkflow", "watchmove"]["spec"]
    filled = {
        "cron": json.dumps(night["schedules"][0]),
        "timezone": night["timezone"],
        "components": "\n".join(f"  {name}: {json.dumps(name in ON)}" for name in (*ON, *OFF)),
        "steps": "\n".join(f"  {step}: {json.dumps(_sizes(base, step))}" for step in STEPS),
        "settings": indent((overlay / "settings.yaml").read_text().rstrip(), "  "),
    }
    for name, prefix in (("watchmove", ""), ("watchmove-slim", "slim-")):
        image = images.get(name, Image(own["newName"], ""))
        filled |= {f"{prefix}{field}": value for field, value in image._asdict().items()}
    return re.sub(r"@([a-z-]+)@", lambda found: filled[found[1]], (FILES / "values.yaml").read_text())


def _sizes(base: Mapping[Key, Document], step: str) -> dict[str, str]:
    (template,) = base["WorkflowTemplate", f"watchmove-{step}"]["spec"]["templates"]
    requests, limits = (template["container"]["resources"][which] for which in ("requests", "limits"))
    if requests != limits:
        raise ValueError(f"{step}: the chart has one value for requests and limits")
    return {**requests, "scratch": _scratch(template)["sizeLimit"]}


def _about(tree: Tree) -> str:
    project = tomllib.loads((tree.root / "pyproject.toml").read_text())["project"]
    about = {
        "apiVersion": "v2",
        "name": project["name"],
        "description": project["description"],
        "type": "application",
        "version": tree.version,
        "appVersion": tree.version,
    }
    return yaml.safe_dump(about, sort_keys=False, width=1000)


def _schema(value: Any, top: bool = False) -> dict[str, Any]:
    """JSON Schema of values: their own keys and types, and any keys where they are the user's.

    All keys are required: only null, which removes a default, can let one be missing, and the templates use them all.
    """
    if isinstance(value, dict):
        rows = {key: _OPEN.get(key) or _schema(own) for key, own in value.items()}
        if top:
            # Helm gives this one to every chart that is part of another.
            rows["global"] = {"type": "object"}
        return {"type": "object", "properties": rows, "required": [*value], "additionalProperties": False}
    return {"type": "boolean" if isinstance(value, bool) else "string"}
