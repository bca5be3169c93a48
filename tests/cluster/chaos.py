"""Faults in each phase of a run, by a seed: frames, weights and mean average precision are those of a run without them.

    make chaos SEED=7

It takes about an hour, so no other command runs it: its name is not one that pytest looks for. Each case is a run on
its own prefix in the store, with another fault in each of its phases, at a moment that the seed decides. Over all
cases, each phase has each fault. `-k round-3` runs one case. The faults `api-server-away` and `kubelet-away` need
commands; see docs/how-to/cluster.md.
"""

import hashlib
import json
import os
import random
import re
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.cluster.faults import COMMANDS, FAULTS, prepare
from tests.cluster.installation import NAMESPACE, Bucket, Installation, wait_for
from watchmove.pipeline.dataset.shard import read_shard
from watchmove.service.cluster.submit import submit
from watchmove.service.cluster.workflow_api import connect
from watchmove.service.records.outcomes import ShardRecord

pytestmark = pytest.mark.timeout(1800)

PHASES = {
    "plan": (0.0, 2.0),
    "extract": (1.0, 8.0),
    "gather": (0.0, 2.0),
    "pretrain": (2.0, 9.0),
    "evaluate": (2.0, 10.0),
    "report": (0.0, 2.0),
}
"""Steps in their order, and the seconds after the start of the container between which a fault comes. Set by hand."""
SMALL: dict[str, dict[str, Any]] = {
    "pretrain": {"trunk": "alexnet-small", "iterations": 96, "checkpoint_every_iterations": 16},
    "evaluate": {"detector": {"iterations": 72, "checkpoint_every_iterations": 12}},
}
"""Settings in addition to those of the overlay: a small network, so that checkpoints are small and steps are many."""
LONG = {"extract", "pretrain", "evaluate"}
"""Steps that take longer than the last of those moments, so that a fault always meets them."""
FATAL = {"pod-deleted", "pod-lost", "processes-killed", "out-of-memory"}
"""Faults that a pod cannot survive."""


class Results(NamedTuple):
    """What a run leaves in the store, in a form in which two runs can be compared."""

    frames: dict[str, str]
    """SHA-256 of image, mask and metadata of each frame by its key."""
    outcomes: dict[str, tuple[str, str]]
    weights: list[str]
    precision: dict[str, float]
    shapes: set[str]
    """Keys without what differs between two runs."""


class Met(NamedTuple):
    """A fault that met a pod at work."""

    step: str
    fault: str
    after_seconds: float
    pod_uid: str
    """Not its name, which a pod in its place may have too."""


@pytest.fixture(scope="module")
def chaos(installation: Installation, image: str) -> Installation:
    """An installation whose pods, store and cluster may be disturbed."""
    prepare(installation, image)
    return installation


@pytest.fixture(scope="module")
def undisturbed(chaos: Installation) -> Results:
    """The results of a run without a fault, which draws the world of all runs."""
    _set_store(chaos, "undisturbed")
    began = time.monotonic()
    ended = chaos.ended(submit(connect(NAMESPACE), "watchmove", {}).name, 900)
    print(f"undisturbed: {time.monotonic() - began:.0f} s")

    assert ended["status"]["phase"] == "Succeeded"
    return _results(chaos, "undisturbed", ended["metadata"]["name"])


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda number: f"round-{number}")
def test_a_fault_in_each_phase(
    chaos: Installation, undisturbed: Results, number: int, pytestconfig: pytest.Config
) -> None:
    """The workflow succeeds, its results are those of the run without a fault, and nothing is left of the faults."""
    names = [*FAULTS]
    faults = {step: names[(number + place) % len(names)] for place, step in enumerate(PHASES)}
    faults = {step: name for step, name in faults.items() if COMMANDS.get(name, "PATH") in os.environ}
    prefix = f"round-{number}-{pytestconfig.getoption('seed')}"
    _set_store(chaos, prefix)
    began = time.monotonic()
    workflow = _start()
    met = list(_disturbed(chaos, workflow, faults, random.Random(prefix)))
    ended = chaos.ended(workflow, 900)
    left = {pod.metadata.uid: pod.status.phase for pod in chaos.core.list_namespaced_pod(NAMESPACE).items}
    ends = {one: left.get(one.pod_uid, "gone") for one in met}
    words = [f"{one.step}: {one.fault} after {one.after_seconds:.1f} s, {end}" for one, end in ends.items()]
    print(f"{prefix}: {time.monotonic() - began:.0f} s; {'; '.join(words)}")

    assert ended["status"]["phase"] == "Succeeded"
    assert {one.step for one in met} >= faults.keys() & LONG
    fatal = [end for one, end in ends.items() if one.step in LONG and one.fault in FATAL]
    assert "Succeeded" not in fatal
    _assert_same(undisturbed, chaos, prefix, workflow)


@pytest.mark.parametrize("run", ["", "one"], ids=["two-runs", "one-run-twice"])
def test_two_workflows_on_one_prefix(chaos: Installation, undisturbed: Results, run: str) -> None:
    """Both succeed, with the results of one."""
    prefix = f"two-{run or 'runs'}"
    _set_store(chaos, prefix)
    workflows = [_start(run), _start(run)]
    phases = [chaos.ended(workflow, 1200)["status"]["phase"] for workflow in workflows]

    assert phases == ["Succeeded", "Succeeded"]
    for workflow in workflows:
        _assert_same(undisturbed, chaos, prefix, workflow, run)


def _start(run: str = "") -> str:
    """Start a run over the world that is drawn already, and give the workflow's name."""
    return submit(connect(NAMESPACE), "watchmove", {"draw-world": "false", "run": run}).name


def _disturbed(chaos: Installation, workflow: str, faults: dict[str, str], moments: random.Random) -> Iterator[Met]:
    """Cause a fault in each phase; gives those that met a pod at work."""
    for step, name in faults.items():
        wait_seconds = moments.uniform(*PHASES[step])
        pod = wait_for(f"{step} to run", partial(_running, chaos, workflow, step), 900, 0.2)
        if pod is True:
            continue
        time.sleep(wait_seconds)
        now = chaos.core.list_namespaced_pod(NAMESPACE, field_selector=f"metadata.name={pod.metadata.name}").items
        if now and now[0].status.phase == "Running":
            FAULTS[name](chaos, pod)
            yield Met(step, name, wait_seconds, pod.metadata.uid)


def _running(chaos: Installation, workflow: str, step: str) -> Any:
    """A pod of the step whose main container runs; True if the workflow has ended, which leaves none to wait for."""
    for pod in chaos.pods(workflow, step):
        states = {one.name: one.state for one in pod.status.container_statuses or []}
        if pod.metadata.deletion_timestamp is None and "main" in states and states["main"].running:
            return pod
    return chaos.get("workflows", workflow).get("status", {}).get("phase") in ("Succeeded", "Failed", "Error")


def _set_store(chaos: Installation, prefix: str) -> None:
    """Pods that start from here on have a store of their own."""
    maps = chaos.core.list_namespaced_config_map(NAMESPACE).items
    (found,) = [one for one in maps if one.metadata.name.startswith("watchmove-settings")]
    settings = {**yaml.safe_load(found.data["settings.yaml"]), "store": f"s3://watchmove/{prefix}"}
    settings["pretrain"].update(SMALL["pretrain"])
    settings["evaluate"]["detector"].update(SMALL["evaluate"]["detector"])
    changed = {"data": {"settings.yaml": yaml.safe_dump(settings)}}
    chaos.core.patch_namespaced_config_map(found.metadata.name, NAMESPACE, changed)


def _assert_same(undisturbed: Results, chaos: Installation, prefix: str, workflow: str, run: str = "") -> None:
    """The run of a workflow left what the undisturbed one left, and no pod of it remains at work."""
    found = _results(chaos, prefix, run or workflow)
    label = f"workflows.argoproj.io/workflow={workflow}"
    pods = chaos.core.list_namespaced_pod(NAMESPACE, label_selector=label).items

    assert found.frames == undisturbed.frames
    assert found.outcomes == undisturbed.outcomes
    assert found.weights == undisturbed.weights
    assert found.precision == undisturbed.precision
    assert found.shapes - undisturbed.shapes == set()
    assert [pod.metadata.name for pod in pods if pod.status.phase in ("Pending", "Running")] == []


def _results(chaos: Installation, prefix: str, run: str) -> Results:
    with chaos.bucket() as bucket:
        keys = {key.removeprefix(f"{prefix}/") for key in bucket.changes(f"{prefix}/")}
        shards = [key for key in keys if re.fullmatch("extractions/[^/]+/shards/.*-[0-9]+[.]json", key)]
        records = [ShardRecord.model_validate_json(bucket.read(f"{prefix}/{key}")) for key in shards]
        named = set(shards).union(*map(_keys_of, records))
        backbones = bucket.records(f"{prefix}/backbones/")
        evaluations = bucket.records(f"{prefix}/evaluations/")
        frames = {key: digest for record in records for key, digest in _frames(bucket, prefix, record)}
        uploads = bucket.unfinished_uploads(f"{prefix}/")
    outcomes = [row for record in records for row in record.videos]

    assert {key for key in keys if "/shards/" in key} == named, "data that no record names"
    assert len({row.video.id for row in outcomes}) == len(outcomes), "a video is committed twice"
    assert uploads == []
    return Results(
        frames,
        {row.video.key: (row.outcome.value, row.reason) for row in outcomes},
        sorted(record["weights_sha256"] for record in backbones),
        {record["evaluation"]["initialisation"]: record["mean_ap_11_point"] for record in evaluations},
        {_shape(key, run) for key in keys if not key.startswith(("worlds/", "runs/"))}
        | {_shape(key, run) for key in keys if key.startswith(f"runs/{run}/")},
    )


def _keys_of(record: ShardRecord) -> set[str]:
    stages = {record.stages.key} if record.stages else set()
    return {record.data_key, record.index_key, record.audit_key, record.verdicts_key} - {""} | stages


def _frames(bucket: Bucket, prefix: str, record: ShardRecord) -> Iterator[tuple[str, str]]:
    """The key of each frame of a part, and the digest of what it holds."""
    data = bucket.read(f"{prefix}/{record.data_key}")
    assert hashlib.sha256(data).hexdigest() == record.data_sha256
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "part.tar")
        path.write_bytes(data)
        for sample in read_shard(path):
            text = json.dumps(sample.metadata, sort_keys=True).encode()
            yield sample.key, hashlib.sha256(b"\n".join((sample.jpeg, sample.mask_png, text))).hexdigest()


def _shape(key: str, run: str) -> str:
    """A key without hashes, numbers and the run's name."""
    return re.sub("[0-9]+", "N", re.sub("[0-9a-f]{8,}", "HASH", key.replace(f"/{run}/", "/RUN/")))
