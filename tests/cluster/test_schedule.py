"""The CronWorkflow over a bucket that grows: a night processes what is new, and trains only if enough is new."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from tests.cluster.installation import NAMESPACE, Bucket, Installation, pods_of, wait_for

pytestmark = pytest.mark.timeout(1800)

VIDEO = "videos/0000-moving.mp4"
"""A video of the drawn world from which frames are kept."""
NEW = "videos/new-in-the-night.mp4"


@pytest.mark.usefixtures("second_run")
def test_two_nights_over_a_growing_bucket(installation: Installation, bucket: Bucket) -> None:
    """The clock strikes twice: with nothing new a night trains nothing, and with a new video it extracts that one."""
    before, backbones = bucket.changes("store/extractions/"), len(bucket.records("store/backbones/"))
    with _settings(installation, gather={"min_new_frames": 1}):
        quiet = _night(installation)
        after_quiet = bucket.changes("store/extractions/")
        bucket.copy(VIDEO, NEW)
        busy = _night(installation)
    grown = bucket.changes("store/extractions/")
    shards = [key for key in grown.keys() - before.keys() if "/shards/" in key and key.endswith(".json")]

    assert [night["spec"]["workflowTemplateRef"] for night in (quiet, busy)] == [{"name": "watchmove"}] * 2
    assert [night["status"]["phase"] for night in (quiet, busy)] == ["Succeeded"] * 2
    assert _steps(quiet) == {"world", "plan", "gather", "report"}
    assert _steps(busy) == {"world", "plan", "extract", "gather", "pretrain", "evaluate", "report"}
    assert {key for key in after_quiet if "/shards/" in key} == {key for key in before if "/shards/" in key}
    assert [_videos(bucket, key) for key in shards] == [[NEW.removeprefix("videos/")]]
    # The lists of a plan that is made again are written again.
    assert {key: grown[key] for key in before if "/shards/" in key} == {
        key: value for key, value in before.items() if "/shards/" in key
    }
    assert len(bucket.records("store/backbones/")) == backbones + 1


def _videos(bucket: Bucket, key: str) -> list[str]:
    """The names of the videos in the record of a shard."""
    return [row["video"]["key"] for row in bucket.record(key)["videos"]]


def _steps(workflow: dict[str, Any]) -> set[str]:
    """The steps of a workflow that had a pod."""
    names = {"world", "plan", "extract", "gather", "pretrain", "evaluate", "report"}
    return {name for name in names if pods_of(workflow, name)}


def _night(installation: Installation) -> dict[str, Any]:
    """The workflow that the clock starts next, when it has ended; the clock strikes once."""
    known = {one["metadata"]["name"] for one in _of_the_clock(installation)}
    spec = installation.get("cronworkflows", "watchmove")["spec"]
    installation.change("cronworkflows", "watchmove", {"spec": {"suspend": False, "schedules": ["* * * * *"]}})
    try:
        started = wait_for(
            "the clock to strike",
            lambda: [one for one in _of_the_clock(installation) if one["metadata"]["name"] not in known],
            timeout_seconds=90,
        )
    finally:
        before = {"suspend": True, "schedules": spec["schedules"]}
        installation.change("cronworkflows", "watchmove", {"spec": before})
    return installation.ended(started[0]["metadata"]["name"])


def _of_the_clock(installation: Installation) -> list[dict[str, Any]]:
    label = "workflows.argoproj.io/cron-workflow"
    return [one for one in installation.all_of("workflows") if one["metadata"]["labels"].get(label) == "watchmove"]


@contextmanager
def _settings(installation: Installation, **changed: dict[str, Any]) -> Iterator[None]:
    """Pods that start meanwhile have these groups of settings too."""
    maps = installation.core.list_namespaced_config_map(NAMESPACE).items
    (found,) = [one for one in maps if one.metadata.name.startswith("watchmove-settings")]
    text = found.data["settings.yaml"]

    def write(content: str) -> None:
        installation.core.patch_namespaced_config_map(
            found.metadata.name, NAMESPACE, {"data": {"settings.yaml": content}}
        )

    write(yaml.safe_dump({**yaml.safe_load(text), **changed}))
    try:
        yield
    finally:
        write(text)
