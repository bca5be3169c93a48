"""Checks of the cluster on which `watchmove submit` would start a workflow; they change nothing there."""

from collections.abc import Iterator, Mapping
from typing import Any

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.cluster.cluster_probe import ClusterProbe, is_configured
from watchmove.service.cluster.kubernetes_api import KubernetesApi, uses_service_account
from watchmove.service.cluster.step_pod import step_pod
from watchmove.service.watching.checks import Check, failed, failed_by, not_checked, ok, warning

Document = Mapping[str, Any]
_KINDS = ("workflows", "workflowtemplates", "cronworkflows", "workflowtaskresults")
"""Kinds of Argo's that the manifests and Argo's own containers use."""
_NEEDED = (("get", "workflowtemplates"), ("create", "workflows"), ("get", "workflows"))
"""Permissions that `submit` needs."""
_WORKFLOW = "watchmove"
_STEPS = tuple(f"{_WORKFLOW}-{step}" for step in ("plan", "extract", "gather", "pretrain", "evaluate", "report"))
"""The templates of a run, and of its steps in their order. Drawn videos and several nodes are for some runs only."""


def cluster_checks(namespace: str) -> Iterator[Check]:
    """Yield the checks of the cluster that the environment configures, if it does."""
    if not is_configured():
        yield not_checked("cluster", "no kubeconfig")
        return
    version = "cluster: version"
    try:
        probe = ClusterProbe(namespace)
        yield ok(version, f"{probe.version()} at {probe.host}")
    except (InvalidInput, Unavailable) as error:
        yield failed_by(version, error)
        for name in ("Argo", "permissions", "templates", "admission"):
            yield not_checked(f"cluster: {name}", "the cluster cannot be used")
        return
    for name, check in (("Argo", argo_check), ("permissions", _permissions)):
        try:
            yield check(f"cluster: {name}", probe)
        except (InvalidInput, Unavailable) as error:
            yield failed_by(f"cluster: {name}", error)
    yield from _pod_checks(probe, namespace)


def argo_check(name: str, probe: ClusterProbe) -> Check:
    """The check that the API server serves Argo's kinds."""
    served = probe.served_kinds()
    missing = [kind for kind in _KINDS if kind not in served]
    if missing:
        finding = f"not served: {', '.join(f'{kind}.argoproj.io' for kind in missing)}"
        return failed(name, finding, "Install Argo Workflows 3.7 or later with its custom resource definitions.")
    return ok(name, f"{', '.join(_KINDS)} are served")


def _permissions(name: str, probe: ClusterProbe) -> Check:
    missing = [f"{verb} {kind}" for verb, kind in _NEEDED if not probe.may(verb, kind)]
    if not missing:
        return ok(name, "`watchmove submit` has what it needs")
    finding = f"`watchmove submit` may not {', '.join(missing)}"
    if uses_service_account():
        return warning(name, finding, "Submit from elsewhere; the pods of steps need none of these permissions.")
    return failed(name, finding, "Ask for a role in the namespace that permits it.")


def _pod_checks(probe: ClusterProbe, namespace: str) -> Iterator[Check]:
    """The check that the templates are installed, and that the pods which Argo makes of them are admitted."""
    templates, admission = "cluster: templates", "cluster: admission"
    try:
        if not probe.may("get", "workflowtemplates"):
            yield not_checked(templates, "the credentials may not get workflowtemplates")
            yield not_checked(admission, "the templates cannot be read")
            return
        api = KubernetesApi(namespace)
        workflow, steps = api.template(_WORKFLOW), {name: api.template(name) for name in _STEPS}
    except (InvalidInput, Unavailable) as error:
        yield failed_by(templates, error)
        yield not_checked(admission, "the templates cannot be read")
        return
    yield ok(templates, f"{_WORKFLOW} and those of its {len(steps)} steps are in the namespace {namespace}")
    try:
        if not probe.may("create", "pods", group=""):
            yield not_checked(admission, "the credentials may not create pods, which `watchmove submit` does not need")
            return
        yield _admission(admission, probe, workflow, steps)
    except Unavailable as error:
        yield failed_by(admission, error)


def _admission(name: str, probe: ClusterProbe, workflow: Document, steps: Mapping[str, Document]) -> Check:
    """The check that the pods of all steps are admitted: one of a late step would be refused days after the start."""
    refused: dict[str, str] = {}
    for template, step in steps.items():
        try:
            probe.admit(step_pod(workflow, step))
        except InvalidInput as error:
            refused[template] = str(error).rpartition("; ")[0]
    if not refused:
        return ok(name, f"the pods of {len(steps)} steps are admitted, by a dry run")
    first, *others = refused
    also = f" (also refused: {', '.join(others)})" if others else ""
    remedy = f"Change what refuses the pod, or the component of k8s/ that the pod lacks: {first} would not start."
    return failed(name, f"{refused[first]}{also}", remedy)
