"""The templates in argo/ say what the code says: its commands, its options, its exit codes."""

import re
from functools import cache
from types import CodeType
from typing import Any

import pytest
import typer
from torch.distributed.run import parse_args as torchrun_arguments

from tests.manifests.documents import ROOT, STEPS, pod_of, read, step_template, templates_with_pods
from watchmove.service.claims.measurement import STAGES
from watchmove.service.cli.main import app
from watchmove.service.runner.exit_codes import RETRIED_EXIT_CODES

POD_LOST = {-1, 137}
"""What Argo sees of a pod that vanished or was killed; no step can say this itself."""


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_retried_for_what_the_table_says_and_for_lost_pods(step: str) -> None:
    """The table's retried exit codes and those of a pod that was lost; and what Argo calls an error."""
    retried = {code for code in range(-1, 256) if _is_retried(step, exit_code=code)}

    assert retried == {*RETRIED_EXIT_CODES, *POD_LOST}
    assert _is_retried(step, status="Error", exit_code=64)


@pytest.mark.parametrize(
    ("exit_code", "status", "message"),
    [
        (143, "Failed", "main: Error (exit code 143): stopped: received a signal; run again to continue"),
        (137, "Failed", "main: Error (exit code 137)"),
        (-1, "Error", "pod deleted"),
        (-1, "Error", "init: Error (exit code 143)"),
        (-1, "Failed", "Pod was terminated in response to imminent node shutdown."),
        (-1, "Failed", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi."),
    ],
)
def test_a_pod_that_was_taken_away_never_ends_a_step(exit_code: int, status: str, message: str) -> None:
    """Preempted, drained, evicted or deleted: however often, as long as the workflow may take."""
    (workflow,) = read(ROOT / "argo" / "watchmove.yaml")
    strategy = step_template("extract")["retryStrategy"]
    wait = int(strategy["backoff"]["duration"].removesuffix("s"))
    often = strategy["limit"] - 1

    assert _is_retried("extract", exit_code=exit_code, status=status, message=message, retries=often)
    assert strategy["limit"] * wait >= 0.99 * workflow["spec"]["activeDeadlineSeconds"]


@pytest.mark.parametrize(
    ("exit_code", "status", "message"),
    [
        (75, "Failed", "main: Error (exit code 75): unavailable, retry later: s3://videos: could not be reached"),
        (137, "Failed", "main: OOMKilled (exit code 137)"),
        (137, "Failed", 'Usage of EmptyDir volume "scratch" exceeds the limit "20Gi".'),
        (143, "Failed", "Pod was active on the node longer than the specified deadline"),
        (-1, "Error", 'pods "extract" is forbidden: violates PodSecurity "restricted:latest"'),
    ],
)
def test_what_fails_by_itself_again_and_again_ends_a_step(exit_code: int, status: str, message: str) -> None:
    """Retried, as it may pass, but not for as long as the workflow may take."""
    counts = [count for count in range(1000) if _is_retried("extract", exit_code, status, message, count)]

    assert counts == list(range(120))


@pytest.mark.parametrize("step", STEPS)
def test_an_outage_of_hours_is_sat_out(step: str) -> None:
    """All waits of failed tries together are longer than an outage of an hour.

    Argo 3.7 waits only if there is a limit, and computes `duration * factor ** retries` in 64-bit nanoseconds, which
    overflow, before it applies a cap.
    """
    strategy = step_template(step)["retryStrategy"]
    wait = int(strategy["backoff"]["duration"].removesuffix("s"))
    tries = sum(_is_retried(step, exit_code=75, retries=count) for count in range(1000))

    assert strategy["retryPolicy"] == "Always"
    assert strategy["backoff"]["factor"] == 1
    assert 3600 <= tries * wait <= 5 * 3600


@pytest.mark.parametrize("template", templates_with_pods(), ids=lambda template: template["name"])
def test_every_container_is_restricted_whatever_argo_is_configured(template: dict[str, Any]) -> None:
    """What Pod Security's level `restricted` demands of each container, also of Argo's own; its image runs as root."""
    spec = pod_of(template)["spec"]
    for container in [*spec["initContainers"], *spec["containers"]]:
        own = {**spec["securityContext"], **container.get("securityContext", {})}
        assert own["allowPrivilegeEscalation"] is False, container["name"]
        assert own["capabilities"]["drop"] == ["ALL"], container["name"]
        assert own["runAsNonRoot"] is True, container["name"]
        # in the template itself, because workflows of other makers can refer to it
        assert container["securityContext"]["runAsUser"] > 0, container["name"]
        assert own["seccompProfile"] == {"type": "RuntimeDefault"}, container["name"]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_calls_a_command_that_the_cli_understands(step: str) -> None:
    """The arguments, with Argo's variables filled in, are parsed by the command itself."""
    container = step_template(step)["container"]
    known = {"{{inputs.parameters.run}}": "watchmove-abcde"}
    given = [known.get(word, re.sub(r"\{\{inputs\..*\}\}", "0", word)) for word in container["args"]]
    name, *words = given[given.index("--") + 1 :] if step == "pretrain" else given
    parsed = _parsed(name, words)

    assert container["command"] == (
        ["python", "-m", "watchmove.service.launch"] if step == "pretrain" else ["watchmove"]
    )
    assert name == step
    assert str(parsed["settings"]) == "/etc/watchmove/settings.yaml"
    assert parsed.get("run", "watchmove-abcde") == "watchmove-abcde"


@pytest.mark.parametrize(("template", "option"), [("list", "outputs"), ("cell", "cell")])
def test_the_claims_call_a_command_that_the_cli_understands(template: str, option: str) -> None:
    """On the drawn world the places are empty, and each pod does one cell or lists all."""
    (document,) = read(ROOT / "argo" / "claims.yaml")
    (container,) = (one["container"] for one in document["spec"]["templates"] if one["name"] == template)
    empty = re.compile(r"\{\{inputs\.parameters\.(videos|frames|voc)\}\}")
    given = [empty.sub("", word).replace("{{inputs.parameters.cell}}", "3") for word in container["args"]]
    parsed = _parsed(given[0], given[1:])

    assert given[0] == "claims"
    assert str(parsed["settings"]) == "/etc/watchmove/settings.yaml"
    assert (parsed["videos"], parsed["frames"], parsed["voc"]) == ("", "", "")
    assert parsed[option] is not None


def test_the_claims_workflow_does_the_stages_in_their_order() -> None:
    """Each stage waits for the one before it, and does the cells that the list names."""
    (document,) = read(ROOT / "argo" / "claims.yaml")
    (dag,) = (one["dag"] for one in document["spec"]["templates"] if one["name"] == "claims")
    first, *others = dag["tasks"]

    assert [task["name"] for task in others] == [*STAGES, "page"]
    for before, task in zip([None, *STAGES], others, strict=True):
        assert task["depends"] == " && ".join(["list", *([before] if before else [])])
        assert task["withParam"] == f"{{{{tasks.{first['name']}.outputs.parameters.{task['name']}}}}}"


def test_pretraining_in_one_pod_has_the_processes_that_were_asked_for() -> None:
    """What stands before the command are options that torchrun understands."""
    args = step_template("pretrain")["container"]["args"]
    options = ["3" if word == "{{inputs.parameters.processes}}" else word for word in args[: args.index("--")]]
    parsed = torchrun_arguments([*options, "-m", "watchmove"])  # type: ignore[no-untyped-call]

    assert parsed.standalone
    assert parsed.nproc_per_node == "3"


def test_the_check_above_finds_an_option_that_does_not_exist() -> None:
    """A typing mistake in a template would not pass."""
    with pytest.raises(typer.exceptions.TyperException, match="--shrad"):
        _parsed("extract", ["--run", "a", "--shrad", "0"])


@pytest.mark.parametrize("step", STEPS)
def test_no_program_text_is_in_a_template(step: str) -> None:
    """A container with arguments: no script, no source, no shell, no line break."""
    template = step_template(step)

    assert not {"script", "resource", "http", "plugin", "containerSet"} & set(template)
    assert not [word for word in template["container"]["args"] if re.search(r"[\n;|&$`]|\bsh\b|\bpython", word)]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_a_time_limit_and_bounded_scratch_space(step: str) -> None:
    """Nothing runs for ever, and nothing fills a node's disk."""
    template = step_template(step)
    scratch = [volume for volume in template["volumes"] if volume["name"] == "scratch"]

    assert template["activeDeadlineSeconds"] > 0
    assert scratch[0]["emptyDir"]["sizeLimit"].endswith("Gi")


def test_what_all_steps_share_is_the_same_in_all() -> None:
    """Where credentials and settings come from, the rights of the process, and the retries do not drift apart."""
    shared = [_shared(step_template(step)) for step in STEPS]

    assert all(one == shared[0] for one in shared[1:])


def test_the_main_workflow_runs_every_step_with_what_it_asks_for() -> None:
    """Each step once, in order, from its own file, with each of its inputs."""
    (document,) = read(ROOT / "argo" / "watchmove.yaml")
    all_tasks = document["spec"]["templates"][0]["dag"]["tasks"]
    tasks = [task for task in all_tasks if task["name"] != "pretrain-nodes"]
    before_each = [None, *("pretrain && pretrain-nodes" if step == "pretrain" else step for step in STEPS)]

    assert [task["name"] for task in tasks] == list(STEPS)
    for before, task in zip(before_each, tasks, strict=False):
        given = [row["name"] for row in task.get("arguments", {}).get("parameters", [])]
        wanted = [row["name"] for row in step_template(task["name"]).get("inputs", {}).get("parameters", [])]
        assert task["templateRef"] == {"name": f"watchmove-{task['name']}", "template": task["name"]}
        assert task.get("depends") == before
        assert given == wanted


def test_a_workflow_that_is_retried_looks_again_at_what_was_fanned_out() -> None:
    """Argo sets fanned-out tasks back to running and looks at targets only: one that is none would run for ever."""
    (document,) = read(ROOT / "argo" / "watchmove.yaml")
    dag = document["spec"]["templates"][0]["dag"]
    fanned_out = [task["name"] for task in dag["tasks"] if "withParam" in task]

    assert dag["target"].split() == [*fanned_out, "report"]


def test_every_step_works_on_the_run_that_was_named_or_on_one_of_the_workflows_own() -> None:
    """So a retry's plan is taken up by its name, and a workflow that is told nothing has a run to itself."""
    (document,) = read(ROOT / "argo" / "watchmove.yaml")
    spec = document["spec"]
    known = {row["name"]: row["value"] for row in spec["arguments"]["parameters"]}
    tasks = [task for task in spec["templates"][0]["dag"]["tasks"] if task["name"] != "world"]
    given = [{row["name"]: row["value"] for row in task["arguments"]["parameters"]} for task in tasks]

    assert known["run"] == ""
    assert {row["run"] for row in given} == {
        "{{=workflow.parameters.run == '' ? workflow.name : workflow.parameters.run}}"
    }
    for task in tasks:
        if task["name"] == "pretrain-nodes":  # its words are in the Job's manifest
            continue
        words = step_template(task["name"])["container"]["args"]
        assert words[words.index("--run") + 1] == "{{inputs.parameters.run}}"


def test_between_steps_travel_indexes_only() -> None:
    """Plan's outputs are the two lists of indexes, and the fan-outs count through them; gather's is a yes or no."""
    (document,) = read(ROOT / "argo" / "watchmove.yaml")
    tasks = {task["name"]: task for task in document["spec"]["templates"][0]["dag"]["tasks"]}
    outputs = step_template("plan")["outputs"]["parameters"]
    (train,) = step_template("gather")["outputs"]["parameters"]

    assert train == {"name": "train", "valueFrom": {"path": "/tmp/outputs/train"}}
    assert [row["name"] for row in outputs] == ["shards", "evaluations"]
    assert tasks["extract"]["withParam"] == "{{tasks.plan.outputs.parameters.shards}}"
    assert tasks["evaluate"]["withParam"] == "{{tasks.plan.outputs.parameters.evaluations}}"


def test_without_enough_new_frames_neither_pretraining_nor_evaluation_starts() -> None:
    """Each task between gather and report asks for gather's output, and the report is written in any case."""
    (document,) = read(ROOT / "argo" / "watchmove.yaml")
    tasks = {task["name"]: task for task in document["spec"]["templates"][0]["dag"]["tasks"]}
    asked = "{{tasks.gather.outputs.parameters.train}} == true"

    assert all(tasks[name]["when"].startswith(asked) for name in ("pretrain", "pretrain-nodes", "evaluate"))
    assert "when" not in tasks["report"]
    words = step_template("gather")["container"]["args"]
    assert words[words.index("--outputs") + 1] == "/tmp/outputs"


def test_the_nightly_run_is_the_main_workflow_one_at_a_time() -> None:
    """The CronWorkflow adds a clock and nothing else."""
    (document,) = read(ROOT / "argo" / "nightly.yaml")

    assert document["spec"]["workflowSpec"] == {"workflowTemplateRef": {"name": "watchmove"}}
    assert document["spec"]["concurrencyPolicy"] == "Forbid"


def _is_retried(step: str, exit_code: int, status: str = "Failed", message: str = "", retries: int = 0) -> bool:
    """What Argo's expression of a step gives after so many retries."""
    known = {"re": re, "exitCode": str(exit_code), "status": status, "message": message, "retries": str(retries)}
    return bool(eval(_expression(step), known))


@cache
def _expression(step: str) -> CodeType:
    """Argo's expression as Python's: operators have other names there, and `matches` is `re.search`."""
    text = step_template(step)["retryStrategy"]["expression"]
    text = re.sub(r'lastRetry\.message matches (".*?")', r"re.search(\1, message)", text)
    text = text.replace("||", " or ").replace("&&", " and ").replace("!(", " not (").replace("asInt", "int")
    return compile(f"({text.replace('lastRetry.', '')})", step, "eval")


def _parsed(name: str, words: list[str]) -> dict[str, Any]:
    command: Any = typer.main.get_command(app)
    parsed: dict[str, Any] = command.commands[name].make_context(name, words).params
    return parsed


def _shared(template: dict[str, Any]) -> dict[str, Any]:
    container = template["container"]
    parts = {key: container[key] for key in ("image", "env", "envFrom", "securityContext")}
    # memory that GPUs exchange in is nobody's but pretraining's
    mounts = [mount for mount in container["volumeMounts"] if mount["mountPath"] != "/dev/shm"]
    return {**parts, "volumeMounts": mounts, "retryStrategy": template["retryStrategy"]}
