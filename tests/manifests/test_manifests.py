"""The manifests hold together: restricted, described, pinned, and built in every combination that is supported."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.documents import OVERLAYS, ROOT, STEPS, Document, built, built_with, containers, named, read
from watchmove.service.runner import metrics
from watchmove.service.runner.metrics import Declared
from watchmove.service.settings.loading import load_settings
from watchmove.service.settings.settings import Settings

FILES = sorted([*ROOT.glob("argo/*.yaml"), *ROOT.glob("k8s/**/*.yaml")])
OBJECTS = [path for path in FILES if "kind" in read(path)[0]]
MONITORING = ROOT / "k8s" / "components" / "monitoring"
SETTINGS = [ROOT / "k8s" / "overlays" / overlay / "settings.yaml" for overlay in OVERLAYS]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [path for path in OBJECTS if any(containers(one) for one in read(path))], ids=_name)
def test_every_container_is_restricted(path: Path) -> None:
    """Not root, no privileges, no capabilities, a root file system that cannot be written."""
    for container in [container for document in read(path) for container in containers(document)]:
        rights = container["securityContext"]

        assert rights["runAsNonRoot"] is True
        assert rights["runAsUser"] > 0
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("path", OBJECTS, ids=_name)
def test_a_file_begins_with_what_it_is_for(path: Path) -> None:
    """The first line is a sentence."""
    assert re.match(r"# \S+ ", path.read_text())


@pytest.mark.parametrize("path", sorted(ROOT.glob("argo/*.yaml")), ids=_name)
def test_a_file_in_argo_holds_one_object(path: Path) -> None:
    """One template in one file, named after it."""
    assert len(read(path)) == 1


def test_every_step_has_its_file() -> None:
    """The tree alone says what runs."""
    known = {f"{step}.yaml" for step in STEPS} | {"pretrain-nodes.yaml"}
    others = {"kustomization.yaml", "kustomize-fields.yaml", "nightly.yaml", "watchmove.yaml", "claims.yaml"}

    assert {path.name for path in ROOT.glob("argo/*.yaml")} == known | others


def test_the_namespace_refuses_what_is_not_restricted() -> None:
    """Pod Security enforces, it does not only warn."""
    (namespace,) = read(ROOT / "k8s" / "base" / "namespace.yaml")

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_steps_may_only_report_how_they_ended() -> None:
    """The one role holds the two verbs that Argo's executor needs, on the one kind it needs them for."""
    rules = [document["rules"] for document in read(ROOT / "k8s" / "base" / "rbac.yaml") if document["kind"] == "Role"]

    assert rules == [
        [{"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}]
    ]


@pytest.mark.parametrize("path", SETTINGS, ids=_name)
def test_the_settings_of_an_overlay_are_understood(path: Path) -> None:
    """No unknown key, no wrong range, everything in a bucket, and metrics on the port that the pods announce."""
    settings = load_settings(path)

    assert all(uri.startswith("s3://") for uri in (settings.store, settings.videos, settings.voc))
    assert settings.work.metrics_port == 9090


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_names_every_image_with_a_tag_and_every_object_in_the_namespace(overlay: str) -> None:
    """Nothing floats, and nothing lands elsewhere."""
    for document in built(overlay):
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == "watchmove"
        for container in containers(document):
            assert re.search(r"/\S+:(?!latest)\S+$", container["image"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_step_pod_is_told_which_image_it_runs(overlay: str) -> None:
    """What is written says what made it, so the variable and the image are the same."""
    for step in STEPS:
        template = named(built(overlay), "WorkflowTemplate", f"watchmove-{step}")
        (container,) = containers(template)

        assert {"name": "WATCHMOVE_IMAGE", "value": container["image"]} in container["env"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_step_pod_reads_the_settings_of_its_own_overlay(overlay: str) -> None:
    """The generated name, which changes with the content, is what templates mount; runs in progress keep theirs."""
    config_map = _generated(overlay, "ConfigMap", "watchmove-settings-")
    for step in STEPS:
        template = named(built(overlay), "WorkflowTemplate", f"watchmove-{step}")["spec"]["templates"][0]

        assert template["volumes"][0]["configMap"]["name"] == config_map


def test_the_test_store_and_its_users_share_one_secret() -> None:
    """In the kind overlay the credentials of the store are those of the steps and of the artifact repository."""
    secret = _generated("kind", "Secret", "watchmove-s3")
    repositories = named(built("kind"), "ConfigMap", "artifact-repositories")
    default = repositories["metadata"]["annotations"]["workflows.argoproj.io/default-artifact-repository"]
    artifacts = yaml.safe_load(repositories["data"][default])["s3"]
    (store,) = containers(named(built("kind"), "Deployment", "object-store"))
    (step,) = containers(named(built("kind"), "WorkflowTemplate", "watchmove-plan"))

    assert {row["valueFrom"]["secretKeyRef"]["name"] for row in store["env"] if "valueFrom" in row} == {secret}
    assert step["envFrom"][0]["secretRef"]["name"] == secret
    assert {artifacts[name]["name"] for name in ("accessKeySecret", "secretKeySecret")} == {secret}


def test_only_the_trainings_ask_for_a_gpu() -> None:
    """And they tolerate the taint that GPU nodes carry."""
    assert with_gpu(built("cloud")) == {"watchmove-pretrain", "watchmove-evaluate"}


def test_extraction_asks_for_a_gpu_with_the_component() -> None:
    """An overlay of one's own: the cloud's and one component more."""
    built_here = built_with("overlays/cloud", "gpu-extract")

    assert with_gpu(built_here) == {"watchmove-extract", "watchmove-pretrain", "watchmove-evaluate"}


def test_a_gpu_of_extraction_can_decode_videos() -> None:
    """Without the word `video`, NVIDIA's runtime leaves the library of NVDEC out of the container."""
    (step,) = containers(named(built_with("base", "gpu-extract"), "WorkflowTemplate", "watchmove-extract"))
    (without,) = containers(named(built_with("base"), "WorkflowTemplate", "watchmove-extract"))
    variables = {row["name"]: row.get("value") for row in step["env"]}

    assert variables["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility,video"
    assert step["env"][:-1] == without["env"]


def with_gpu(documents: tuple[Document, ...]) -> set[str]:
    """Names of the templates whose pods get a GPU and may run where its taint is."""
    return {
        one["metadata"]["name"]
        for one in documents
        if one["kind"] == "WorkflowTemplate"
        and any("nvidia.com/gpu" in box["resources"]["limits"] for box in containers(one))
        and one["spec"]["templates"][0]["tolerations"][0]["key"] == "nvidia.com/gpu"
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_videos_that_use_all_the_memory_they_may_do_not_cost_the_pod(overlay: str) -> None:
    """All workers at their limit, each with its decoder at its own, fit beside the parent into the pod's limit."""
    settings = load_settings(ROOT / "k8s" / "overlays" / overlay / "settings.yaml")
    (container,) = containers(named(built(overlay), "WorkflowTemplate", "watchmove-extract"))
    limits = container["resources"]["limits"]
    parent_mebibytes = 512
    wanted = _workers(settings, limits) * _worker_mebibytes(settings) + parent_mebibytes

    assert wanted <= int(limits["memory"].removesuffix("Gi")) * 1024


def test_alerts_and_panels_speak_of_metrics_that_exist() -> None:
    """Every watchmove metric in an expression is declared in the one module for them, or recorded by a rule."""
    declared = {one.name for one in vars(metrics).values() if isinstance(one, Declared)}
    declared |= {f"{metrics.PROCESS_STAGE_SECONDS.name}_{part}" for part in ("sum", "count", "bucket")}
    (rules,) = read(MONITORING / "alerts.yaml")
    all_rules = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    spoken_of = set(re.findall(r"\bwatchmove[_:]\w+", " ".join([*(rule["expr"] for rule in all_rules), *queries])))

    assert queries
    assert spoken_of <= declared | {rule["record"] for rule in all_rules if "record" in rule}


def test_the_dashboard_is_written_by_its_source() -> None:
    """`dashboard.json` is what `write_dashboard.py` makes, and the ConfigMap has it and Grafana's label."""
    written = json.loads((MONITORING / "dashboard.json").read_text())
    config = named(built("cloud"), "ConfigMap", "watchmove-dashboard")

    assert runpy.run_path(str(MONITORING / "write_dashboard.py"))["dashboard"]() == written
    assert json.loads(config["data"]["watchmove.json"]) == written
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_panels_have_valid_queries_and_places(tmp_path: Path) -> None:
    """Prometheus' own tool can parse each query, and no panel overlaps another."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert max(x for x, _ in cells) < 24
    assert len(cells) == len(set(cells))
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    command = [promtool, "check", "rules", str(tmp_path / "rules.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_has_its_instructions() -> None:
    """The docs have a section with the name of each alert."""
    (rules,) = read(MONITORING / "alerts.yaml")
    alerts = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule}
    pages = " ".join(path.read_text() for path in (ROOT / "docs" / "how-to").glob("*.md"))

    assert alerts == set(re.findall(r"^### (Watchmove\w+)$", pages, re.MULTILINE))


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """Prometheus' own tool fires the alerts of a run that has begun to fail, and not before."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    (rules,) = read(MONITORING / "alerts.yaml")
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(rules["spec"]))
    shutil.copy(ROOT / "tests" / "manifests" / "alerts_test.yaml", tmp_path)
    command = [promtool, "test", "rules", "alerts_test.yaml"]
    tested = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_what_is_scraped_is_there() -> None:
    """The monitors' labels and port names are those of the pods and the Service."""
    service, pod = read(MONITORING / "scrape.yaml")
    long_steps = pod["spec"]["selector"]["matchExpressions"][0]["values"]
    templates = {step: read(ROOT / "argo" / f"{step}.yaml")[0]["spec"]["templates"][0] for step in long_steps}
    exporter = next(one for one in read(ROOT / "k8s" / "base" / "exporter.yaml") if one["kind"] == "Service")

    for step, template in templates.items():
        assert template["metadata"]["labels"]["app.kubernetes.io/component"] == step
        assert template["container"]["ports"] == [{"name": "metrics", "containerPort": 9090}]
    assert service["spec"]["selector"]["matchLabels"].items() <= exporter["metadata"]["labels"].items()
    assert exporter["spec"]["ports"][0]["name"] == service["spec"]["endpoints"][0]["port"]


def _generated(overlay: str, kind: str, prefix: str) -> str:
    (name,) = [
        str(one["metadata"]["name"])
        for one in built(overlay)
        if one["kind"] == kind and one["metadata"]["name"].startswith(prefix)
    ]
    return name


def _workers(settings: Settings, limits: dict[str, Any]) -> int:
    return settings.work.workers or int(limits["cpu"])


def _worker_mebibytes(settings: Settings) -> int:
    return settings.work.video_memory_mebibytes + settings.extract.decoder_memory_mebibytes


def test_no_secret_of_a_real_store_is_in_the_tree() -> None:
    """The only credentials are those of the throw-away store, and they say so."""
    with_keys = [path for path in FILES if "AWS_SECRET_ACCESS_KEY=" in path.read_text()]
    (store,) = with_keys
    literals = yaml.safe_load(store.read_text())["secretGenerator"][0]["literals"]

    assert store == ROOT / "k8s" / "components" / "object-store" / "kustomization.yaml"
    assert "AWS_SECRET_ACCESS_KEY=only-for-tests" in literals
