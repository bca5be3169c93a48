"""The Helm chart: real Helm makes of it what kustomize makes of the tree, for every combination of components."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from release.archive import archive
from release.chart import NOT_IN_CHART, OFF, ON, chart
from release.helm_text import merged, text_of
from release.images import images_of
from release.tree import Tree
from tests.manifests.documents import COMBINATIONS, ROOT, Document, built, built_with, need_kustomize
from tests.release.trees import VERSION, committed
from watchmove.service.settings.loading import load_settings

Objects = dict[tuple[str, str], Document]
ROLE = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/watchmove"}
OF_THE_CHART = [one for one in COMBINATIONS if one[0] != "overlays/kind" and one != ("base", "object-store")]
SETTINGS_NAME = r"watchmove-settings-[a-z0-9]{10}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The files of the chart."""
    need_kustomize()
    return chart(Tree(committed(tmp_path_factory.mktemp("tree"))), {})


@pytest.fixture(scope="module")
def package(files: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the chart, for Helm."""
    path = tmp_path_factory.mktemp("chart") / "watchmove.tgz"
    path.write_bytes(archive(files, 0))
    return path


def _helm(*words: str, given: Mapping[str, Any] | None = None) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("helm")
    if program is None:
        pytest.skip("helm is not on PATH: the chart cannot be rendered here")
    command = [program, *words, *(["--values", "-"] if given else [])]
    return subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)


def _rendered(package: Path, given: Mapping[str, Any] | None = None, namespace: str = "watchmove") -> Objects:
    done = _helm("template", "a-release", str(package), "--namespace", namespace, given=given)
    assert done.returncode == 0, done.stderr
    return _by_name([one for one in yaml.safe_load_all(done.stdout) if one])


def _by_name(documents: Sequence[Document]) -> Objects:
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


def _comparable(objects: Objects) -> Objects:
    """Objects with the same names for generated settings and images, without what each tool adds of its own."""
    text = json.dumps([one for (kind, _), one in objects.items() if kind != "Namespace"])
    text = re.sub(SETTINGS_NAME, "watchmove-settings", text)
    text = text.replace(f"registry.example/watchmove:{VERSION}-slim", "watchmove-slim")
    found = _by_name(json.loads(text.replace(f"registry.example/watchmove:{VERSION}", "watchmove")))
    found.pop(("ConfigMap", "watchmove-settings"), None)
    return found


@pytest.mark.parametrize("combination", OF_THE_CHART, ids=" ".join)
def test_helm_makes_what_kustomize_makes(package: Path, combination: tuple[str, ...]) -> None:
    """Object by object; the settings are compared by themselves below."""
    start, *components = combination
    wanted = {*components, *(ON if start == "overlays/cloud" else ())}
    given = {
        "components": {name: name in wanted for name in (*ON, *OFF)},
        "serviceAccount": {"annotations": ROLE if "workload-identity" in wanted else {}},
    }

    assert _comparable(_rendered(package, given)) == _comparable(
        _by_name(built_with(*combination, cost_centre="watchmove"))
    )


def test_without_values_the_chart_is_the_overlay_for_a_cloud(package: Path) -> None:
    """Its settings too, which pods mount by the name that the chart gives them."""
    rendered, wanted = _rendered(package), _by_name(built("cloud"))
    ours, theirs = (next(one for one in both.values() if _is_settings(one)) for both in (rendered, wanted))
    mounted = set(
        re.findall(SETTINGS_NAME, json.dumps([one for one in rendered.values() if one["kind"] != "ConfigMap"]))
    )

    assert _comparable(rendered) == _comparable(wanted)
    assert yaml.safe_load(ours["data"]["settings.yaml"]) == yaml.safe_load(theirs["data"]["settings.yaml"])
    assert ours["metadata"]["labels"] == theirs["metadata"]["labels"]
    assert mounted == {ours["metadata"]["name"]}


def _is_settings(document: Document) -> bool:
    return re.fullmatch(SETTINGS_NAME, document["metadata"]["name"]) is not None


def test_every_value_arrives(package: Path, tmp_path: Path) -> None:
    """In the objects of another namespace; watchmove reads the settings, whose name changes with them."""
    digest = f"sha256:{'ab' * 32}"
    given: dict[str, Any] = {
        "image": {"repository": "host:5000/watchmove", "digest": digest},
        "slimImage": {"repository": "host/slim", "tag": "7"},
        "costCentre": "vision",
        "s3": {"secretName": "bucket", "environment": {"AWS_ENDPOINT_URL_S3": "https://s3.example:9000"}},
        "schedule": {"cron": "1 2 * * *", "timezone": "Europe/Berlin", "suspended": True},
        "components": {"slim": True, "kueue": True, "gpu": False, "otel": True},
        "otel": {"endpoint": "https://spans.example"},
        "kueue": {"queue": "night"},
        "steps": {"extract": {"cpu": "8", "memory": "30Gi", "scratch": "90Gi"}},
        "settings": {"store": "s3://other/store", "pretrain": {"iterations": 2000000, "learning_rate": 0.00001}},
    }
    objects = _rendered(package, given, "vision")
    settings = next(one for one in objects.values() if _is_settings(one))
    extract = objects["WorkflowTemplate", "watchmove-extract"]["spec"]["templates"][0]
    night = objects["CronWorkflow", "watchmove"]["spec"]
    text = json.dumps(list(objects.values()))
    (tmp_path / "settings.yaml").write_text(settings["data"]["settings.yaml"])
    read = load_settings(tmp_path / "settings.yaml")

    assert {one["metadata"]["namespace"] for one in objects.values()} == {"vision"}
    assert extract["container"]["image"] == f"host:5000/watchmove@{digest}"
    assert (
        objects["Deployment", "watchmove-exporter"]["spec"]["template"]["spec"]["containers"][0]["image"]
        == "host/slim:7"
    )
    assert extract["container"]["resources"] == {
        kind: {"cpu": "8", "memory": "30Gi"} for kind in ("requests", "limits")
    }
    assert extract["volumes"][1]["emptyDir"] == {"sizeLimit": "90Gi"}
    assert extract["container"]["envFrom"][0] == {"secretRef": {"name": "bucket", "optional": True}}
    assert objects["ConfigMap", "watchmove-otel"]["data"] == {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://spans.example"}
    assert objects["Secret", "bucket"]["stringData"] == {"AWS_ENDPOINT_URL_S3": "https://s3.example:9000"}
    assert (night["schedules"], night["timezone"], night["suspend"]) == (["1 2 * * *"], "Europe/Berlin", True)
    assert set(re.findall(r'"kueue.x-k8s.io/queue-name": "(\w+)"', text)) == {"night"}
    assert set(re.findall(r'"watchmove/cost-centre": "(\w+)"', text)) == {"vision"}
    assert "nvidia.com/gpu" not in text
    assert (read.store, read.pretrain.iterations, read.pretrain.learning_rate) == ("s3://other/store", 2000000, 1e-05)
    assert read.evaluate.classification
    assert settings["metadata"]["name"] not in json.dumps(list(_rendered(package).values()))


def test_the_values_of_the_docs_are_taken(package: Path) -> None:
    """And the settings that they leave out are the chart's own."""
    page = (ROOT / "docs" / "how-to" / "cluster.md").read_text()
    given = yaml.safe_load(page.split("### With Helm")[1].split("```yaml")[1].split("```")[0])
    objects = _rendered(package, given)
    settings = yaml.safe_load(next(one for one in objects.values() if _is_settings(one))["data"]["settings.yaml"])

    assert objects["ServiceAccount", "watchmove"]["metadata"]["annotations"] == given["serviceAccount"]["annotations"]
    assert ("NetworkPolicy", "default-deny") in objects
    assert (settings["store"], settings["work"]["metrics_port"]) == (given["settings"]["store"], 9090)


def test_texts_of_digits_stay_texts(package: Path) -> None:
    """A cost centre is often a number, and Kubernetes takes no numbers in labels and names."""
    given = {"costCentre": "4711", "s3": {"secretName": "47", "environment": {"AWS_MAX_ATTEMPTS": "5"}}}
    objects = _rendered(package, given, "11")
    labels = [one["metadata"]["labels"] for one in objects.values() if "labels" in one["metadata"]]

    assert {label["watchmove/cost-centre"] for label in labels if "watchmove/cost-centre" in label} == {"4711"}
    assert {one["metadata"]["namespace"] for one in objects.values()} == {"11"}
    assert objects["Secret", "47"]["stringData"] == {"AWS_MAX_ATTEMPTS": "5"}


def test_a_night_that_is_suspended_is_not_missed(package: Path) -> None:
    """All other alerts are there."""
    alerts = [
        {rule["alert"] for rule in group["rules"] if "alert" in rule}
        for given in (None, {"schedule": {"suspended": True}})
        for group in _rendered(package, given)["PrometheusRule", "watchmove"]["spec"]["groups"]
    ]

    assert alerts[0] - alerts[1] == {"WatchmoveNightMissing"}
    assert len(alerts[1]) > 5


@pytest.mark.parametrize(
    "given",
    [
        {"component": {"gpu": True}},
        {"components": {"gpus": True}},
        {"costCentre": 7},
        {"s3": {"environment": {"AWS_MAX_ATTEMPTS": 5}}},
        {"serviceAccount": {"annotations": {"example/number": 5}}},
    ],
)
def test_a_value_that_does_not_exist_is_refused(package: Path, given: dict[str, Any]) -> None:
    """And one of another type, by the chart's schema."""
    assert _helm("template", "a-release", str(package), given=given).returncode != 0


@pytest.mark.parametrize("path", ["settings", "schedule", "steps.extract", "image.repository", "components.spot"])
def test_a_default_that_is_removed_is_refused_by_name(package: Path, path: str) -> None:
    """Helm removes what is null: templates would fail with a nil pointer, or make an image without a name."""
    done = _helm("template", "a-release", str(package), "--set", f"{path}=null")
    where, _, key = path.rpartition(".")

    assert done.returncode != 0
    assert f"at '{'/' + where.replace('.', '/') if where else ''}': missing property '{key}'" in done.stderr


def test_helm_finds_no_fault(package: Path) -> None:
    """`helm lint`, with warnings as errors."""
    done = _helm("lint", "--strict", str(package))

    assert done.returncode == 0, done.stdout


def test_a_release_with_images_has_them_as_defaults(tmp_path: Path) -> None:
    """So that the chart of a release needs no value for them."""
    need_kustomize()
    digest = f"sha256:{'ab' * 32}"
    made = chart(Tree(committed(tmp_path)), images_of(f"watchmove=host.example/watchmove@{digest}", VERSION))
    values = yaml.safe_load(made["watchmove/values.yaml"])

    assert values["image"] == {"repository": "host.example/watchmove", "tag": VERSION, "digest": digest}
    assert values["slimImage"] == {"repository": "registry.example/watchmove", "tag": "", "digest": ""}


def test_every_component_is_a_value_or_has_its_reason() -> None:
    """A new folder has its place, or this fails; those that are on are the overlay's."""
    cloud = yaml.safe_load((ROOT / "k8s" / "overlays" / "cloud" / "kustomization.yaml").read_text())

    assert {*ON, *OFF, *NOT_IN_CHART} == {path.name for path in (ROOT / "k8s" / "components").iterdir()}
    assert {Path(path).name for path in cloud["components"]} == set(ON)


def test_no_mark_and_no_brace_of_another_language_is_left(files: Mapping[str, str]) -> None:
    """Whatever stands in double braces is Helm's, or is put out by it."""
    for name, text in files.items():
        if name.endswith(("-workflowtemplate.yaml", "-prometheusrule.yaml")):
            opened = re.findall(r"\{\{-? ?(.*?)\}\}", text.replace('{{ "{{" }}', ""))

            assert all(re.match(r"(if|else|end|include|index|toJson|\.)", word) for word in opened), name
        assert not re.search(r"\bmark[.-]", text), name


@pytest.mark.parametrize("overlay", ["cloud", "kind"])
def test_an_object_without_conditions_is_written_as_it_is(overlay: str) -> None:
    """YAML of the template, with the escaped braces as they were, gives the object back."""
    for document in built(overlay):
        assert yaml.safe_load(text_of(document, str).replace('{{ "{{" }}', "{{")) == document


@pytest.mark.parametrize(
    ("base", "one", "other"),
    [
        ({"a": 1}, {"a": 2}, {"a": 3}),
        ({}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": [1]}, {"a": []}, {"a": [1]}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": 1}),
    ],
    ids=["both replace", "both add", "one removes", "one shortens", "one makes a map"],
)
def test_what_no_condition_can_say_is_an_error(base: Document, one: Document, other: Document) -> None:
    """A component that is written so fails here, and not in a user's cluster."""
    with pytest.raises(ValueError, match=r"^place"):
        merged(base, {"one": one, "other": other}, "place")
