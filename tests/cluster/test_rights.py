"""What the namespace and the step pods' account refuse, asked of the real API server."""

from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.cluster.installation import NAMESPACE, Installation
from tests.manifests.documents import pod_of, templates_with_pods

pytestmark = pytest.mark.timeout(600)

RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _try_pod(installation: Installation, rights: dict[str, object]) -> None:
    container = {"name": "main", "image": "watchmove", "securityContext": rights}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trial"}, "spec": {"containers": [container]}}
    installation.core.create_namespaced_pod(NAMESPACE, pod, dry_run="All")


def test_a_restricted_pod_is_let_in(installation: Installation) -> None:
    """What the next test changes is what is refused there, and nothing else."""
    _try_pod(installation, RESTRICTED)


@pytest.mark.parametrize("template", templates_with_pods(), ids=lambda template: template["name"])
def test_pods_are_let_in_whatever_argo_is_configured(installation: Installation, template: dict[str, Any]) -> None:
    """The pods that Argo makes where its configuration gives its own containers no security context."""
    installation.core.create_namespaced_pod(NAMESPACE, pod_of(template), dry_run="All")


@pytest.mark.parametrize(
    "change",
    [
        {"allowPrivilegeEscalation": True},
        {"runAsNonRoot": False, "runAsUser": 0},
        {"capabilities": {"add": ["SYS_ADMIN"]}},
    ],
    ids=["escalation", "root", "capability"],
)
def test_a_pod_that_is_not_restricted_is_refused(installation: Installation, change: dict[str, object]) -> None:
    """Pod Security says no before anything runs."""
    with pytest.raises(ApiException) as refused:
        _try_pod(installation, {**RESTRICTED, **change})

    assert refused.value.status == 403
    assert "violates PodSecurity" in str(refused.value.body)


def test_a_privileged_pod_is_refused(installation: Installation) -> None:
    """By Pod Security, or by an API server that has no privileged pods at all (422)."""
    with pytest.raises(ApiException) as refused:
        _try_pod(installation, {**RESTRICTED, "privileged": True, "allowPrivilegeEscalation": True})

    assert refused.value.status in (403, 422)


@pytest.mark.parametrize(
    ("verb", "group", "resource", "allowed"),
    [
        ("create", "argoproj.io", "workflowtaskresults", True),
        ("patch", "argoproj.io", "workflowtaskresults", True),
        ("delete", "argoproj.io", "workflowtaskresults", False),
        ("create", "argoproj.io", "workflows", False),
        ("get", "", "secrets", False),
        ("list", "", "pods", False),
        ("create", "", "pods", False),
    ],
)
def test_step_pods_may_report_how_they_ended_and_nothing_else(
    installation: Installation, verb: str, group: str, resource: str, allowed: bool
) -> None:
    """The API server's own answer for the steps' service account."""
    assert _may(installation, "watchmove", verb, group, resource) is allowed


@pytest.mark.parametrize(
    ("verb", "group", "resource", "allowed"),
    [
        ("create", "batch", "jobs", True),
        ("patch", "batch", "jobs", True),
        ("get", "batch", "jobs", True),
        ("delete", "batch", "jobs", False),
        ("create", "argoproj.io", "workflowtaskresults", True),
        ("create", "argoproj.io", "workflows", False),
        ("get", "", "secrets", False),
        ("create", "", "pods", False),
        ("create", "", "pods/exec", False),
    ],
)
def test_what_makes_jobs_may_do_nothing_else(
    installation: Installation, verb: str, group: str, resource: str, allowed: bool
) -> None:
    """The same for the account of the one pod that makes the Job of pretraining on several nodes."""
    assert _may(installation, "watchmove-jobs", verb, group, resource) is allowed


def _may(installation: Installation, account: str, verb: str, group: str, resource: str) -> bool:
    resource, _, part = resource.partition("/")
    what = client.V1ResourceAttributes(
        namespace=NAMESPACE, verb=verb, group=group, resource=resource, subresource=part or None
    )
    user = f"system:serviceaccount:{NAMESPACE}:{account}"
    spec = client.V1SubjectAccessReviewSpec(user=user, resource_attributes=what)
    answer = installation.rights.create_subject_access_review(client.V1SubjectAccessReview(spec=spec))
    return bool(answer.status.allowed)
