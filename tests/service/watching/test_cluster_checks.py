"""The checks of the cluster, against an HTTP server with the answers of a Kubernetes API server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.manifests.documents import ROOT, pod_of, read, step_template
from tests.service.cluster.argo_cluster import Answer, ArgoCluster
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.cluster import cluster_probe
from watchmove.service.cluster.step_pod import step_pod
from watchmove.service.watching.checks import Check, State, raise_failures
from watchmove.service.watching.cluster_checks import cluster_checks

NAMES = ["version", "Argo", "permissions", "templates", "admission"]
KINDS = ("workflows", "workflowtemplates", "cronworkflows", "workflowtaskresults")
STEPS = ("plan", "extract", "gather", "pretrain", "evaluate", "report")
_ARGO = "/apis/argoproj.io/v1alpha1"
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_PODS = "/api/v1/namespaces/science/pods"


def template(name: str) -> dict[str, Any]:
    """A WorkflowTemplate of this repository."""
    (document,) = read(ROOT / "argo" / f"{name}.yaml")
    return document


class ReadyCluster(ArgoCluster):
    """A cluster on which everything is installed in the namespace `science`, unless a test changes its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = list(KINDS)
        self.forbidden: set[tuple[str, str]] = set()
        self.templates = {"watchmove": template("watchmove"), **{f"watchmove-{step}": template(step) for step in STEPS}}
        self.admission = (201, "")
        self.refused_steps = set(STEPS)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        """Status code and document for one request."""
        if self.refusals:
            return super().answer(method, path, body)
        path = path.rstrip("/")
        if path == "/version":
            words = ("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion", "major", "minor", "platform")
            return 200, {"gitVersion": "v1.34.2", **dict.fromkeys(words, "")}
        if path == "/apis":
            version = {"groupVersion": "argoproj.io/v1alpha1", "version": "v1alpha1"}
            groups = [{"name": "argoproj.io", "versions": [version]}] if self.kinds else []
            return 200, {"kind": "APIGroupList", "groups": groups}
        if path == _ARGO:
            rows = [
                {"name": kind, "singularName": "", "namespaced": True, "kind": "K", "verbs": []} for kind in self.kinds
            ]
            return 200, {"kind": "APIResourceList", "groupVersion": "argoproj.io/v1alpha1", "resources": rows}
        if path == _REVIEWS:
            wanted = body["spec"]["resourceAttributes"]
            allowed = (wanted["verb"], wanted["resource"]) not in self.forbidden and wanted["namespace"] == "science"
            return 201, {**body, "status": {"allowed": allowed}}
        if path == _PODS:
            self.posted.append(body)
            is_meant = body["metadata"]["labels"]["app.kubernetes.io/component"] in self.refused_steps
            code, message = self.admission if is_meant else (201, "")
            return code, body if code == 201 else {"kind": "Status", "message": message}
        name = path.rpartition("/")[2]
        if path == f"{_ARGO}/namespaces/science/workflowtemplates/{name}" and name in self.templates:
            return 200, self.templates[name]
        return 404, {"message": f"nothing at {path}"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ReadyCluster]:
    """A ready cluster that KUBECONFIG names."""
    cluster = ReadyCluster()
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(cluster.write_kubeconfig(tmp_path / "kubeconfig")))
    yield cluster
    cluster.close()


def checked(namespace: str = "science") -> dict[str, Check]:
    """The checks of the cluster by what they check."""
    return {check.name.removeprefix("cluster: "): check for check in cluster_checks(namespace)}


def posted_of(cluster: ReadyCluster, step: str) -> dict[str, Any]:
    """The pod of a step that was posted."""
    (pod,) = [pod for pod in cluster.posted if pod["metadata"]["labels"]["app.kubernetes.io/component"] == step]
    return pod


def test_a_ready_cluster_passes_and_nothing_is_made(cluster: ReadyCluster) -> None:
    """The pod is posted by dry run only; no other request makes anything, and the token is in no line."""
    checks = checked()
    posts = [path for path in cluster.requested if "/pods" in path]

    assert {name: check.state for name, check in checks.items()} == dict.fromkeys(NAMES, State.OK)
    assert "v1.34.2" in checks["version"].finding
    assert posts == ["/api/v1/namespaces/science/pods?dryRun=All"] * len(STEPS)
    assert cluster.tokens == {"Bearer secret"}
    assert "secret" not in repr(checks)


def test_the_pod_is_the_one_that_argo_makes(cluster: ReadyCluster) -> None:
    """What reaches the API server has the security contexts, the resources and the volumes of the step."""
    checked()
    posted = posted_of(cluster, "extract")
    spec, expected = posted["spec"], pod_of(step_template("extract"))["spec"]
    wanted = {row["name"]: row for row in (*expected["initContainers"], *expected["containers"])}
    found = {row["name"]: row for row in (*spec["initContainers"], *spec["containers"])}

    assert set(found) == {"init", "wait", "main"}
    for name, container in found.items():
        assert container["securityContext"] == wanted[name]["securityContext"]
    assert found["main"]["resources"] == wanted["main"]["resources"]
    assert spec["securityContext"] == expected["securityContext"]
    assert spec["serviceAccountName"] == "watchmove"
    assert spec["terminationGracePeriodSeconds"] == 120
    assert [row["name"] for row in spec["volumes"]] == ["settings", "scratch"]
    assert posted["metadata"]["labels"]["app.kubernetes.io/component"] == "extract"


def test_the_pod_has_the_labels_that_the_workflow_gives_to_all(cluster: ReadyCluster) -> None:
    """An admission policy may ask for the cost centre; the run's label has no value outside a run."""
    workflow = template("watchmove")
    workflow["spec"]["podMetadata"]["labels"]["watchmove/cost-centre"] = "vision"
    cluster.templates["watchmove"] = workflow
    checked()
    posted = posted_of(cluster, "extract")

    assert posted["metadata"]["labels"] == {
        "app.kubernetes.io/part-of": "watchmove",
        "app.kubernetes.io/component": "extract",
        "watchmove/cost-centre": "vision",
    }


def test_a_cluster_without_argo_fails(cluster: ReadyCluster) -> None:
    """Kinds that are missing are named, whether all are or one."""
    cluster.kinds.remove("workflowtaskresults")
    old = checked()["Argo"]
    cluster.kinds.clear()
    none = checked()["Argo"]

    assert (old.state, none.state) == (State.FAILED, State.FAILED)
    assert old.finding == "not served: workflowtaskresults.argoproj.io"
    assert all(f"{kind}.argoproj.io" in none.finding for kind in KINDS)


def test_missing_permissions_are_named(cluster: ReadyCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """They fail on a laptop; in a pod they are a warning, because steps need none of them."""
    cluster.forbidden = {("create", "workflows"), ("create", "pods")}
    checks = checked()
    monkeypatch.setattr("watchmove.service.watching.cluster_checks.uses_service_account", lambda: True)
    in_pod = checked()["permissions"]

    assert (checks["permissions"].state, in_pod.state) == (State.FAILED, State.WARNING)
    assert checks["permissions"].finding.endswith("may not create workflows")
    assert checks["admission"].state is State.NOT_CHECKED


def test_templates_that_are_not_installed_fail(cluster: ReadyCluster) -> None:
    """The remedy is to apply an overlay; without them no pod can be checked."""
    del cluster.templates["watchmove-extract"]
    checks = checked()

    assert checks["templates"].state is State.FAILED
    assert "kubectl apply -k" in checks["templates"].remedy
    assert checks["admission"].state is State.NOT_CHECKED


def test_a_namespace_without_permission_to_read_is_not_checked(cluster: ReadyCluster) -> None:
    """What may not be read is not said to be absent."""
    cluster.forbidden = {("get", "workflowtemplates")}
    checks = checked()

    assert checks["permissions"].state is State.FAILED
    assert checks["templates"].state is checks["admission"].state is State.NOT_CHECKED


@pytest.mark.parametrize(
    "message",
    [
        'pods "watchmove-doctor-x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation',
        "pods is forbidden: exceeded quota: small, requested: memory=12Gi, limited: memory=8Gi",
        'pods is forbidden: error looking up service account science/watchmove: serviceaccount "watchmove" not found',
    ],
)
def test_a_pod_that_is_refused_fails_with_the_reason(cluster: ReadyCluster, message: str) -> None:
    """The API server's own sentence is the finding."""
    cluster.admission = (403, message)
    check = checked()["admission"]

    assert check.state is State.FAILED
    assert message in check.finding
    with pytest.raises(InvalidInput, match="cluster: admission"):
        raise_failures([check])


@pytest.mark.parametrize("refused", [("pretrain",), ("evaluate", "report")], ids="+".join)
def test_a_pod_of_a_late_step_that_is_refused_fails_before_the_run(
    cluster: ReadyCluster, refused: tuple[str, ...]
) -> None:
    """Training asks for more than extraction: a limit below it would be met when days of extraction are done."""
    cluster.admission, cluster.refused_steps = (403, "maximum memory usage per Container is 12Gi"), set(refused)
    check = checked()["admission"]

    assert check.state is State.FAILED
    assert "maximum memory usage" in check.finding
    assert f"watchmove-{refused[0]} would not start" in check.remedy
    assert all(f"watchmove-{step}" in check.finding for step in refused[1:])


@pytest.mark.parametrize("step", STEPS)
def test_a_step_without_its_template_fails(cluster: ReadyCluster, step: str) -> None:
    """Argo would refuse the workflow."""
    del cluster.templates[f"watchmove-{step}"]

    assert f"watchmove-{step}" in checked()["templates"].finding


def test_a_cluster_that_cannot_be_reached_may_come_back(cluster: ReadyCluster) -> None:
    """Nothing else is checked, and the command ends with 75."""
    cluster.close()
    checks = checked()

    assert list(checks) == NAMES
    assert checks["version"].may_pass
    assert {checks[name].state for name in NAMES[1:]} == {State.NOT_CHECKED}
    with pytest.raises(Unavailable):
        raise_failures(checks.values())


def test_an_outage_in_between_is_one(cluster: ReadyCluster) -> None:
    """An API server that is restarted fails what it was asked, and the checks go on."""
    answer = cluster.answer

    def away(method: str, path: str, body: dict[str, Any]) -> Answer:
        return (503, {"message": "starting"}) if path.rstrip("/") == "/apis" else answer(method, path, body)

    cluster.answer = away  # type: ignore[method-assign]
    checks = checked()

    assert (checks["Argo"].state, checks["Argo"].may_pass) == (State.FAILED, True)
    assert checks["admission"].state is State.OK


@pytest.mark.parametrize("content", [b"null", b"{}", b""])
@pytest.mark.parametrize("asked", ["/version", "/apis", _REVIEWS, _PODS])
def test_an_empty_answer_is_no_cluster(
    cluster: ReadyCluster, monkeypatch: pytest.MonkeyPatch, asked: str, content: bytes
) -> None:
    """A proxy may answer so: the check that asks does not pass, and says what to look at."""
    of_cluster = cluster.answer

    def answer(method: str, path: str, body: dict[str, Any]) -> Answer:
        return (200, [content]) if path.rstrip("/") == asked else of_cluster(method, path, body)

    monkeypatch.setattr(cluster, "answer", answer)
    failed = [check.finding for check in checked().values() if check.state is State.FAILED]

    assert failed
    assert "no document of Kubernetes, but perhaps the page of a proxy" in failed[0]


def test_without_a_kubeconfig_nothing_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither is it in a pod without a token; a KUBECONFIG that names nothing, or no YAML, is a mistake."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cluster_probe, "_KUBECONFIG", tmp_path / "config")
    (laptop,) = cluster_checks("science")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    (pod,) = cluster_checks("science")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    absent = checked()["version"]
    (tmp_path / "damaged").write_text("a: [")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "damaged"))
    damaged = checked()["version"]

    assert [(check.state, check.finding) for check in (laptop, pod)] == [(State.NOT_CHECKED, "no kubeconfig")] * 2
    assert [check.state for check in (absent, damaged)] == [State.FAILED] * 2
    assert "KUBECONFIG" in damaged.remedy


def test_templates_that_make_no_pod_are_named() -> None:
    """A template without a container, and a patch with an expression of Argo's that is no YAML."""
    workflow, step = template("watchmove"), template("extract")
    patched = {"spec": {"templates": [{**step["spec"]["templates"][0], "podSpecPatch": "{{=x"}]}}

    wrong_steps: list[dict[str, Any]] = [{}, {"spec": {"templates": [{"dag": {}}]}}, patched]
    for wrong in wrong_steps:
        with pytest.raises(InvalidInput, match="make no pod"):
            step_pod(workflow, wrong)
