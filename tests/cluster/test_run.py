"""From videos in a bucket to a mean average precision in it, on a real cluster, and again."""

import re
from typing import Any

import pytest

from tests.cluster.installation import Bucket, FirstRun, Installation, pods_of, wait_for
from watchmove.service.report.run_page.page_files import pictures_of

pytestmark = pytest.mark.timeout(1800)


def test_a_run_from_nothing_succeeds(first_run: FirstRun) -> None:
    """`kubectl apply -k`, `argo submit --from workflowtemplate/watchmove`, green."""
    extractions = [node["displayName"] for node in pods_of(first_run.workflow, "extract")]

    assert first_run.workflow["status"]["phase"] == "Succeeded"
    assert {"extract(0:0)(0)", "extract(1:1)(0)"} <= set(extractions)


def test_a_lost_pod_is_run_again(installation: Installation, first_run: FirstRun) -> None:
    """Another pod than the one that was deleted ended the pretraining."""
    pods = installation.pods(first_run.workflow["metadata"]["name"], "pretrain")

    assert [pod.status.phase for pod in pods] == ["Succeeded"]
    assert pods[0].metadata.uid != first_run.lost_pod_uid


def test_the_mean_average_precision_is_in_the_bucket(bucket: Bucket) -> None:
    """One record for the random and one for the pretrained trunk, each with a figure and the image that made it."""
    records = {record["evaluation"]["initialisation"]: record for record in bucket.records("store/evaluations/")}

    assert set(records) == {"random", "pretrained"}
    assert all(0 <= record["mean_ap_11_point"] <= 1 for record in records.values())
    assert all(record["made_by"]["image"] for record in records.values())


def test_the_report_is_in_the_bucket(bucket: Bucket, first_run: FirstRun) -> None:
    """One page, under the run's name, and the same page with its pictures as an artifact of the workflow."""
    page = bucket.read(f"store/runs/{first_run.workflow['metadata']['name']}/report/index.html")
    (pod,) = pods_of(first_run.workflow, "report")
    (artifact,) = (one for one in pod["outputs"]["artifacts"] if one["name"] == "report")
    folder = artifact["s3"]["key"]

    assert page.lstrip().lower().startswith(b"<!doctype html>")
    assert bucket.read(f"{folder}/index.html") == page
    names = {key.removeprefix(f"{folder}/") for key in bucket.changes(f"{folder}/")}
    assert names == {"index.html", *pictures_of(page.decode())}


def test_a_second_run_redoes_no_extraction(
    second_run: dict[str, Any], bucket: Bucket, extractions: dict[str, tuple[str, object]]
) -> None:
    """Plan finds nothing to do, no extraction pod starts, and what lies there has its old ETag and time."""
    (plan,) = pods_of(second_run, "plan")
    again = {key: value for key, value in bucket.changes("store/extractions/").items() if "/shards/" in key}

    assert second_run["status"]["phase"] == "Succeeded"
    assert {row["name"]: row["value"] for row in plan["outputs"]["parameters"]}["shards"] == "[]"
    assert pods_of(second_run, "extract") == []
    assert again == {key: value for key, value in extractions.items() if "/shards/" in key}


def test_a_second_run_trains_nothing(second_run: dict[str, Any], bucket: Bucket) -> None:
    """One backbone and two evaluations, as after the first run."""
    assert second_run["status"]["phase"] == "Succeeded"
    assert len(bucket.records("store/backbones/")) == 1
    assert len(bucket.records("store/evaluations/")) == 2


@pytest.mark.usefixtures("bucket")
def test_the_exporter_shows_frame_yield_and_mean_average_precision(installation: Installation) -> None:
    """Soon after the run its figures are there to scrape."""
    pattern = r'^watchmove_detection_map\{.*initialisation="pretrained".*\} [01]'
    text = wait_for(
        "the exporter to show the evaluation",
        lambda: re.search(pattern, found := installation.exported(), re.MULTILINE) and found,
        timeout_seconds=180,
    )
    kept = re.findall(r'^watchmove_frames\{outcome="kept".*\} ([\d.]+)$', text, re.MULTILINE)

    assert [float(count) > 0 for count in kept] == [True]
    assert re.search(r'^watchmove_frames\{outcome="rejected",reason="[a-z-]+"', text, re.MULTILINE)
