"""Pretraining on several nodes: one Job, made by one template, whose pods are those of pretraining on one."""

from typing import Any

import pytest
from torch.distributed.run import parse_args as torchrun_arguments

from tests.manifests.documents import OVERLAYS, ROOT, built, named, ranks_job, ranks_template, read, step_template
from watchmove.service.runner.exit_codes import RETRIED_EXIT_CODES

FILES = [read(path)[0] for path in sorted(ROOT.glob("argo/*.yaml"))]
TEMPLATES = [template for one in FILES for template in one.get("spec", {}).get("templates", [])]
RUN = 'odd "name": {x}'


def _job() -> dict[str, Any]:
    return ranks_job(ranks_template(), run=RUN, nodes="3", processes="8")


def _pod() -> dict[str, Any]:
    return dict(_job()["spec"]["template"]["spec"])


def test_two_templates_alone_touch_a_resource_and_it_is_this_job() -> None:
    """One makes it, one suspends it; no other step may reach into the cluster."""
    with_resource = [template for template in TEMPLATES if "resource" in template]
    suspended = ranks_job(with_resource[1])

    assert [template["name"] for template in with_resource] == ["pretrain-nodes", "suspend"]
    assert (_job()["apiVersion"], _job()["kind"]) == ("batch/v1", "Job")
    assert suspended == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": _job()["metadata"]["name"]},
        "spec": {"suspend": True},
    }


def test_a_workflow_without_success_leaves_no_job_that_runs() -> None:
    """At its end, whatever that was, and only where there may be a Job."""
    (workflow,) = read(ROOT / "argo" / "watchmove.yaml")
    (leave,) = [one for one in workflow["spec"]["templates"] if one["name"] == workflow["spec"]["onExit"]]
    ((step,),) = leave["steps"]

    assert step["templateRef"] == {"name": "watchmove-pretrain-nodes", "template": "suspend"}
    assert step["when"] == "{{workflow.parameters.nodes}} > 1 && {{workflow.status}} != Succeeded"
    assert step["continueOn"] == {"failed": True, "error": True}


def test_a_pods_name_fits_into_a_hosts() -> None:
    """Whatever the workflow is called: 63 letters at most, a pod's index included."""
    assert len(f"{_job()['metadata']['name']}-99999") <= 63


def test_every_node_has_a_pod_with_an_index() -> None:
    """All at once, for they wait for each other."""
    spec = _job()["spec"]

    assert spec["completionMode"] == "Indexed"
    assert (spec["completions"], spec["parallelism"]) == (3, 3)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_pods_are_those_of_pretraining_on_one_node() -> None:
    """Image, credentials, rights, resources, space and time: what differs is how torchrun is called."""
    one = step_template("pretrain")
    (pod,) = _pod()["containers"]
    same = set(pod) - {"name", "args"}

    assert {key: pod[key] for key in same} == {key: one["container"][key] for key in same}
    assert same == set(one["container"]) - {"args"}
    assert _pod()["volumes"] == one["volumes"]
    assert _job()["spec"]["activeDeadlineSeconds"] == one["activeDeadlineSeconds"]


def test_the_pods_have_what_the_workflow_gives_to_the_others() -> None:
    """Time to save, an account that says who they are to the store, and no word in the cluster."""
    (workflow,) = read(ROOT / "argo" / "watchmove.yaml")
    pod = _pod()

    assert workflow["spec"]["podSpecPatch"] == f"terminationGracePeriodSeconds: {pod['terminationGracePeriodSeconds']}"
    assert pod["securityContext"] == workflow["spec"]["securityContext"]
    assert pod["serviceAccountName"] == workflow["spec"]["serviceAccountName"]
    assert pod["automountServiceAccountToken"] is False


def test_torchrun_understands_its_options_and_finds_the_first_pod() -> None:
    """The name of index 0 in the headless Service, which knows pods before they are ready."""
    args = _pod()["containers"][0]["args"]
    options = ["2" if word == "$(JOB_COMPLETION_INDEX)" else word for word in args[: args.index("--")]]
    parsed = torchrun_arguments([*options, "-m", "watchmove"])  # type: ignore[no-untyped-call]
    service = next(one for one in read(ROOT / "k8s" / "base" / "ranks.yaml") if one["kind"] == "Service")

    assert (parsed.nnodes, parsed.node_rank, parsed.nproc_per_node) == ("3", 2, "8")
    assert parsed.master_addr == f"{_job()['metadata']['name']}-0.{service['metadata']['name']}"
    assert _pod()["subdomain"] == service["metadata"]["name"]
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    assert service["spec"]["selector"].items() <= _job()["spec"]["template"]["metadata"]["labels"].items()


def test_the_command_is_that_of_one_node_whatever_the_run_is_called() -> None:
    """A name with quotes and colons stays one word: it adds nothing to the Job."""
    one = step_template("pretrain")["container"]["args"]
    args = _pod()["containers"][0]["args"]
    known = {"{{inputs.parameters.run}}": RUN}

    assert args[args.index("--") :] == [known.get(word, word) for word in one[one.index("--") :]]


def test_a_lost_node_is_told_from_a_bug() -> None:
    """A disruption costs no try, the table's retried codes and a kill cost one, anything else ends the Job."""
    disrupted, hopeless = _job()["spec"]["podFailurePolicy"]["rules"]
    codes = hopeless["onExitCodes"]

    assert disrupted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    assert (hopeless["action"], codes["operator"]) == ("FailJob", "NotIn")
    assert set(codes["values"]) == {*RETRIED_EXIT_CODES, 137}
    assert codes["containerName"] == _pod()["containers"][0]["name"]


def test_tries_are_counted_for_each_pod_and_last_as_long_as_the_job_may_take() -> None:
    """Whichever is lost costs each of the others one, as 75 does; Kubernetes waits up to six minutes before each."""
    spec = _job()["spec"]

    assert spec["backoffLimitPerIndex"] * 360 >= spec["activeDeadlineSeconds"]
    assert spec["maxFailedIndexes"] == 0


def test_gpus_of_a_pod_have_memory_to_exchange_in() -> None:
    """More than the 64 MiB of a container's own /dev/shm."""
    pod = _pod()
    (name,) = [one["name"] for one in pod["containers"][0]["volumeMounts"] if one["mountPath"] == "/dev/shm"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == name]

    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}


def test_the_workflow_waits_for_the_job_and_owns_it() -> None:
    """Whoever waits may be lost and take it up again; a failed Job is not waited for."""
    template = ranks_template()

    assert template["resource"]["action"] == "apply"
    assert template["resource"]["setOwnerReference"] is True
    assert template["retryStrategy"] == step_template("pretrain")["retryStrategy"]
    assert template["activeDeadlineSeconds"] == _job()["spec"]["activeDeadlineSeconds"]


def test_only_the_pods_that_touch_the_job_may() -> None:
    """Their account has three verbs on Jobs and Argo's two; they run no code of ours and see no video."""
    documents = read(ROOT / "k8s" / "base" / "ranks.yaml")
    (role,) = [one for one in documents if one["kind"] == "Role"]
    (binding,) = [one for one in documents if one["kind"] == "RoleBinding"]
    users = [template["name"] for template in TEMPLATES if template.get("serviceAccountName") == "watchmove-jobs"]

    assert role["rules"] == [
        {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "patch"]},
    ]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "watchmove-jobs"}]
    assert users == ["pretrain-nodes", "suspend"]


def test_the_main_workflow_takes_one_of_the_two_ways() -> None:
    """By its parameter `nodes`; both train the same run, and one of them waits for what the other would."""
    (document,) = read(ROOT / "argo" / "watchmove.yaml")
    tasks = {task["name"]: task for task in document["spec"]["templates"][0]["dag"]["tasks"]}
    one, many = tasks["pretrain"], tasks["pretrain-nodes"]
    wanted = [row["name"] for row in ranks_template()["inputs"]["parameters"] if "value" not in row]
    known = {row["name"]: row["value"] for row in document["spec"]["arguments"]["parameters"]}

    enough = "{{tasks.gather.outputs.parameters.train}} == true && "
    assert one["when"] == enough + "{{workflow.parameters.nodes}} <= 1"
    assert many["when"] == enough + "{{workflow.parameters.nodes}} > 1"
    assert many["templateRef"] == {"name": "watchmove-pretrain-nodes", "template": "pretrain-nodes"}
    assert many["depends"] == one["depends"]
    assert [row["name"] for row in many["arguments"]["parameters"]] == wanted
    assert all(row in many["arguments"]["parameters"] for row in one["arguments"]["parameters"])
    assert (known["nodes"], known["processes"]) == ("1", "1")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_changes_the_pods_of_both_ways_alike(overlay: str) -> None:
    """What kustomize writes into the template's inputs arrives in the Job: image, names, sizes, GPUs."""
    (one,) = named(built(overlay), "WorkflowTemplate", "watchmove-pretrain")["spec"]["templates"]
    many, _ = named(built(overlay), "WorkflowTemplate", "watchmove-pretrain-nodes")["spec"]["templates"]
    pod = ranks_job(many, run=RUN, nodes="3", processes="1")["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert {key: container[key] for key in ("image", "env", "envFrom", "resources")} == {
        key: one["container"][key] for key in ("image", "env", "envFrom", "resources")
    }
    assert pod["volumes"] == one["volumes"]
    assert pod["tolerations"] == one.get("tolerations", [])


def test_a_name_is_written_into_the_job_as_data() -> None:
    """Words that come from whoever submits stand in the manifest as JSON only."""
    manifest = ranks_template()["resource"]["manifest"]

    assert "{{inputs.parameters.run}}" not in manifest
    assert manifest.count("{{=toJson(inputs.parameters.run)}}") == 1
