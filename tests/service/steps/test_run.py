"""The whole job on a very small drawn world: every step, its report, its metrics, twice."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
from prometheus_client import CollectorRegistry

from tests.service.conftest import context_of
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.store.opening import open_store
from watchmove.service.watching.exporter import RecordCollector

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

SMALL = (
    "world.videos=3",
    "world.frames_per_video=28",
    "world.train_images=6",
    "world.test_images=4",
    "pretrain.iterations=2",
    "pretrain.batch_size=2",
    "evaluate.detector.iterations=2",
    "evaluate.detector.shorter_side_pixels=96",
    "evaluate.detector.longer_side_pixels=160",
    "evaluate.detector.rois_per_image=8",
    "evaluate.detector.proposals.mode=single",
    "evaluate.detector.proposals.longer_side_pixels=128",
)


SMALL_NETWORK = ("--set", "pretrain.trunk=alexnet-small", "--set", "evaluate.classification=false")
"""For runs of which only the course matters; the other run has the published size."""


def words(base: str) -> list[str]:
    """Overrides that put everything below a URI."""
    return [*SMALL, *(f"{name}={base}/{name}" for name in ("store", "videos", "voc"))]


def command(*arguments: str) -> list[str]:
    """A `watchmove` command line."""
    return [sys.executable, "-m", "watchmove", *arguments]


def settled(base: str) -> list[str]:
    """The same overrides as command-line words."""
    return [part for word in words(base) for part in ("--set", word)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[StepContext, str]:
    """A whole run through the command line, in a folder of its own, and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    done = subprocess.run(
        command("run", "--run", "first", *settled(f"file://{folder}")), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return context_of(load_settings(LAPTOP, words(f"file://{folder}")), folder / "scratch"), done.stdout


def test_the_summary_has_counts_figures_and_the_report(finished: tuple[StepContext, str]) -> None:
    """What a person reads at the end."""
    _, printed = finished

    assert re.search(r"frames: \d+ kept of \d+ sampled", printed)
    assert "random" in printed
    assert "pretrained" in printed
    assert "report: file://" in printed


def test_the_report_stands_alone(finished: tuple[StepContext, str]) -> None:
    """One page with pictures of kept and rejected frames, the curve and the table, and nothing fetched."""
    context, _ = finished
    page = (context.store.read("runs/first/report.html") or b"").decode()

    assert page.count("data:image/jpeg") > 2
    assert page.count("data:image/svg+xml") == 2
    assert re.search(r'(src|href)="(?!data:)', page) is None
    assert "no-motion" in page or "rejected" in page
    assert "11-point" in page


def test_a_second_run_computes_nothing(finished: tuple[StepContext, str]) -> None:
    """Nothing of the first run's data is written again; new are only the second run's own records and listing."""
    context, _ = finished
    before = {item.key: item.etag for item in context.store.list()}
    base = context.store.uri.removesuffix("/store")
    began = time.monotonic()
    done = subprocess.run(
        command("run", "--run", "second", *settled(base)), capture_output=True, text=True, check=False
    )
    after = {item.key: item.etag for item in context.store.list()}

    assert done.returncode == 0, done.stderr
    assert {key: after[key] for key in before} == before
    assert all(key.startswith("runs/second/") or "/plans/" in key for key in after.keys() - before.keys())
    assert time.monotonic() - began < 180


def test_the_exporter_reads_it_all_from_records(finished: tuple[StepContext, str]) -> None:
    """A fresh exporter, as after a restart, knows yield, loss and mAP."""
    context, _ = finished
    collector = RecordCollector(context.store)
    registry = CollectorRegistry()
    registry.register(collector)
    collector.refresh()
    [recipe] = {item.key.split("/")[1] for item in context.store.list("extractions/")}
    kept = registry.get_sample_value("watchmove_frames", {"recipe": recipe, "outcome": "kept", "reason": ""})
    labels = {"initialisation": "random", "freeze_through": "0", "seed": "0", "method": "11-point"}
    labels["pretraining_seed"] = ""

    assert kept == registry.get_sample_value("watchmove_dataset_frames")
    assert kept
    assert registry.get_sample_value("watchmove_training_loss")
    assert registry.get_sample_value("watchmove_detection_map", labels) is not None


def test_everything_says_what_made_it(finished: tuple[StepContext, str]) -> None:
    """Every record has settings, their hash, a version and a time."""
    context, _ = finished
    keys = [item.key for item in context.store.list("runs/first/") if item.key.endswith(".json")]
    keys += [item.key for item in context.store.list("backbones/") if item.key.endswith("record.json")]
    origins = [json.loads(context.store.read(key) or b"")["made_by"] for key in keys]

    assert len(origins) >= 5
    assert all(o["settings"] and o["settings_hash"] and o["version"] and o["written_at_unix_seconds"] for o in origins)


def test_the_devkit_files_score_the_same(finished: tuple[StepContext, str], tmp_path: Path) -> None:
    """`watchmove score` on the stored detection files gives the recorded figures."""
    context, _ = finished
    for item in list(context.store.list("evaluations/")):
        record = json.loads(context.store.read(item.key) or b"") if item.key.endswith("record.json") else None
        if record is None:
            continue
        folder = tmp_path / item.key.split("/")[1]
        folder.mkdir()
        for other in context.store.list(item.key.removesuffix("record.json")):
            if "comp4_det_" in other.key:
                (folder / other.key.split("/")[-1]).write_bytes(context.store.read(other.key) or b"")
        voc = context.settings.voc.removeprefix("file://")
        done = subprocess.run(
            command("score", "--voc", voc, "--detections", str(folder), "--json"),
            capture_output=True,
            text=True,
            check=False,
        )
        scores = json.loads(done.stdout)

        assert scores["mean_ap_11_point"] == pytest.approx(record["mean_ap_11_point"], abs=1e-6)


def test_the_same_run_on_s3(s3_environment: str, tmp_path: Path) -> None:
    """The same command with s3:// places; the bucket is made, and everything ends in it."""
    assert s3_environment
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command("run", "--run", "first", *settled("s3://whole-run"), *SMALL_NETWORK),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    keys = {item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket="whole-run")["Contents"]}

    assert done.returncode == 0, done.stderr
    assert "store/runs/first/report.html" in keys
    assert list(tmp_path.glob("watchmove-*")) == []


def test_killed_at_any_moment_it_continues(tmp_path: Path) -> None:
    """SIGTERM early, SIGKILL later: each leaves a store that the next run completes; SIGTERM exits with 143."""
    line = command("run", *settled(f"file://{tmp_path}"), *SMALL_NETWORK)
    codes = []
    for number, seconds in ((signal.SIGTERM, 6.0), (signal.SIGKILL, 12.0)):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            process.communicate(timeout=60)
        codes.append(process.returncode)
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    store = open_store(f"file://{tmp_path}/store")

    assert codes[0] in (0, 143)
    assert codes[1] in (0, -signal.SIGKILL)
    assert done.returncode == 0, done.stderr
    assert [item.key for item in store.list("runs/") if item.key.endswith("report.html")]
