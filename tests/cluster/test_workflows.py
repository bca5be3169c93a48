"""The commands for a submitted workflow, as a user with the documented permissions and no others."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from typer.testing import CliRunner, Result

from tests.cluster.installation import NAMESPACE, Installation, plan_alone, wait_for
from watchmove.service.cli.main import app

pytestmark = pytest.mark.timeout(600)

_PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md"


def _documented_rules() -> list[dict[str, Any]]:
    """The permissions of all commands in the table of the page."""
    lines = _PAGE.read_text(encoding="utf-8").splitlines()
    first = next(row for row, line in enumerate(lines) if line.startswith("| command | `workflows`"))
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[first:])
    # by column: a kind, a rule, and the words in code of each command; `--wait` is no verb
    rows = ([re.findall(r"`([a-z/]+)`", cell) for cell in line.split("|")[2:-1]] for line in table)
    return [
        {
            "apiGroups": ["" if kind == "pods/log" else "argoproj.io"],
            "resources": [kind],
            "verbs": sorted(set(itertools.chain(*verbs))),
        }
        for (kind,), *verbs in zip(*rows, strict=True)
    ]


def _kubeconfig(installation: Installation, account: str, path: Path) -> Path:
    """A configuration with the token of a service account, which is made."""
    metadata = {"name": account, "namespace": NAMESPACE}
    installation.core.create_namespaced_service_account(NAMESPACE, {"metadata": metadata})
    token = installation.core.create_namespaced_service_account_token(account, NAMESPACE, {"spec": {"audiences": []}})
    here = client.Configuration.get_default_copy()
    cluster = {"server": here.host, "certificate-authority": str(here.ssl_ca_cert)}
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "me", "user": {"token": token.status.token}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def user(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a user who may do what the page says."""
    path = _kubeconfig(installation, "reader-of-the-page", tmp_path_factory.mktemp("user") / "kubeconfig")
    rights: Any = client.RbacAuthorizationV1Api()
    metadata = {"name": "reader-of-the-page"}
    rights.create_namespaced_role(NAMESPACE, {"metadata": metadata, "rules": _documented_rules()})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader-of-the-page"}
    subjects = [{"kind": "ServiceAccount", "name": "reader-of-the-page", "namespace": NAMESPACE}]
    binding = {"metadata": metadata, "roleRef": reference, "subjects": subjects}
    rights.create_namespaced_role_binding(NAMESPACE, binding)
    return path


def _done(kubeconfig: Path, *words: str) -> Result:
    """What a command does for the user of a configuration."""
    return CliRunner(env={"KUBECONFIG": str(kubeconfig)}).invoke(app, [*words, "-n", NAMESPACE])


def test_a_failed_workflow_is_seen_and_submitted_again(installation: Installation, user: Path) -> None:
    """Its message and its log say why it failed; its copy has the same run, and fails for the same reason."""
    name = installation.start(plan_alone(installation, args=["plan", "--settings", "/absent.yaml", "--run", "a"]))
    watched, logs = _done(user, "watch", name), _done(user, "logs", name, "--failed")
    again = _done(user, "resubmit", name)
    copy = again.stdout.partition(":")[0]

    assert watched.exit_code == 65, watched.output
    assert f"\n{name}: {name}: 1 failed\n" in watched.stdout
    assert "absent.yaml" in watched.stderr
    assert f"{name}(0): " in logs.stdout
    assert "absent.yaml" in logs.stdout
    assert again.exit_code == 0, again.output
    assert _done(user, "watch", copy).exit_code == 65
    assert installation.get("workflows", copy)["spec"]["arguments"]["parameters"] == [{"name": "run", "value": "a"}]


def test_a_workflow_is_followed_stopped_and_finished(installation: Installation, user: Path) -> None:
    """What a pod writes is seen while it runs; a stop ends it as one that may be continued."""
    script = "import time; print('has begun', flush=True); time.sleep(600)"
    name = installation.start(plan_alone(installation, command=["python", "-c"], args=[script]))
    wait_for("the pod to write", lambda: "has begun" in _done(user, "logs", name).stdout, 120)
    early = _done(user, "resubmit", name)
    first, second = _done(user, "stop", name), _done(user, "stop", name)
    followed, watched = _done(user, "logs", name, "--follow"), _done(user, "watch", name)

    assert early.exit_code == 65
    assert "has not ended (Running)" in early.stderr
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "is stopping" in first.stdout
    # whether the pod has ended by then, and has left an exit code, is a matter of time
    assert re.search(r"was asked to stop before|has ended \(Failed\); nothing to stop", second.stdout)
    assert f"{name}(0): has begun" in followed.stdout.splitlines()
    assert watched.exit_code in (65, 75), watched.output
    assert "has ended (Failed); nothing to stop" in _done(user, "stop", name).stdout


def test_a_user_without_permissions_is_told_where_they_are_listed(installation: Installation, tmp_path: Path) -> None:
    """The API server's own words, and the page."""
    stranger = _kubeconfig(installation, "stranger", tmp_path / "kubeconfig")
    for command in ("watch", "logs", "stop", "resubmit"):
        refused = _done(stranger, command, "some")
        assert refused.exit_code == 65, refused.output
        assert "403" in refused.stderr
        assert "docs/how-to/cluster.md" in refused.stderr
