"""The whole job on a very small drawn world: every step, its report, its metrics, twice."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import boto3
import pytest
from prometheus_client import CollectorRegistry

from tests.service.conftest import MakeContext, context_of
from tests.service.prometheus_server import exporter, free_port, prometheus
from tests.service.records.made_up_run import touch_videos
from tests.service.slim_packages import link_packages, run_slim
from tests.waiting import poll
from watchmove.service.records import layout
from watchmove.service.records.datasets import dataset_of, gathered_of
from watchmove.service.records.record import need
from watchmove.service.records.training import BackboneRecord, PretrainPointer
from watchmove.service.report.result import result_of
from watchmove.service.report.run_page.page_files import pictures_of
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.steps.plan import plan
from watchmove.service.steps.report import report
from watchmove.service.steps.run import interrupted_run
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


DASHBOARD = Path(__file__).parents[3] / "k8s" / "components" / "monitoring" / "dashboard.json"
NOT_IN_A_FINISHED_RUN = {
    *("Frames sampled per second", "Loss", "Iteration", "Unfinished runs"),
    *("Seconds of a video by stage", "Images per second", "Waiting for data", "Bytes fetched", "Repeated requests"),
    *("Devices that compute masks", "Videos without frames, by reason", "Champions", "Age of the champions"),
    *("Steps of runs that are not done", "Estimated cost"),
}
"""Panels that show what happens now, a GPU, failures, a champion or prices, which this run need not have."""

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
    assert re.findall(r"^next: watchmove (\w+) first --store /", printed, re.MULTILINE) == [
        "videos",
        "status",
        "export",
    ]


def test_the_report_shows_a_frame_through_all_stages_and_predictions(finished: tuple[StepContext, str]) -> None:
    """Of a run of an earlier version it says in a sentence each that they are not there."""
    context, _ = finished
    page = (context.store.read("runs/first/report/index.html") or b"").decode()
    gathered = gathered_of(context.store, "first")
    [backbone] = need(context.store, "runs/first/pretrain.json", PretrainPointer, "pretrain").backbones.values()
    key, record_key = layout.run_record("first", "gather"), layout.backbone(backbone, "record.json")
    record = need(context.store, record_key, BackboneRecord, "pretrain")
    [stages] = re.findall(r'<div class="images stages">(.*?)</figure>', page, re.DOTALL)
    try:
        for where, one in ((key, gathered), (record_key, record)):
            emptied = one.model_copy(update={"stages_keys": (), "predictions_key": ""})
            context.store.write(where, emptied.model_dump_json().encode())
        report(context, "first")
        earlier = (context.store.read("runs/first/report/index.html") or b"").decode()
    finally:
        for where, one in ((key, gathered), (record_key, record)):
            context.store.write(where, one.model_dump_json(indent=1).encode())
        report(context, "first")

    names = re.findall(r"<b>(\w+)</b>", stages)
    assert names == ["image", "flow", "motion", "appearance", "votes", "mask", "trimap"]
    assert len(set(re.findall(r'src="([^"]+)"', stages))) == len(names)
    assert 1 <= page.count('<tr class="crop">') <= 4
    assert 'alt="prediction at step 2"' in page
    assert "has stored no pictures of its stages" in earlier
    assert "has kept no predictions" in earlier
    assert 'class="crop"' not in earlier
    assert len(pictures_of(earlier)) < len(pictures_of(page))
    assert (context.store.read("runs/first/report/index.html") or b"").decode() == page


def test_the_report_stands_alone(finished: tuple[StepContext, str], tmp_path: Path) -> None:
    """A page without scripts, whose pictures lie beside it; and the same in one file and in a local folder."""
    context, _ = finished
    page = (context.store.read("runs/first/report/index.html") or b"").decode()
    pictures = pictures_of(page)
    single = report(context, "first", single_file=True, folder=tmp_path / "copy")
    one_file = (context.store.read("runs/first/report.html") or b"").decode()

    assert sorted({name.rpartition(".")[2] for name in pictures}) == ["jpg", "png", "svg"]
    assert {item.key.rpartition("/")[2] for item in context.store.list("runs/first/report/")} == {
        *pictures,
        "index.html",
    }
    assert re.findall(r'(?:src|href)="(?![0-9a-f]{16}\.(?:jpg|png|svg)")', page) == []
    assert "<script" not in page
    reasons = {name.removeprefix("rejected: ") for name in gathered_of(context.store, "first").frames} - {"kept"}
    assert reasons & set(re.findall("<h3>(.*?)</h3>", page))
    assert "11-point" in page
    assert "as a single seed has no spread" in page
    assert single == f"{context.store.uri}/runs/first/report.html"
    assert one_file.count('src="data:image/') == page.count("<img ")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {*pictures, "index.html"}
    assert (tmp_path / "copy" / "index.html").read_text() == page


def test_each_panel_of_the_dashboard_has_data(finished: tuple[StepContext, str], tmp_path: Path) -> None:
    """A real Prometheus answers every query; empty are those on pods, on devices and on what has not happened."""
    context, _ = finished
    port = free_port()
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    # as Grafana fills in the choice of all namespaces
    queries = {
        target["expr"].replace("$namespace", ".*"): panel["title"]
        for panel in panels
        for target in panel.get("targets", ())
    }
    with prometheus(tmp_path, [port]) as server, exporter(context.store.uri, port):
        server.wait_until(lambda: server.query("watchmove:recent_kept_share"), "no rule has recorded anything")
        server.wait_until(lambda: server.query("watchmove:kept_share"), "no rule has recorded anything")
        empty = {title for query, title in queries.items() if not server.query(query)}
        kept = server.value('sum(watchmove_frames{outcome="kept"})')
        share = server.value("watchmove:kept_share")
        states = {row["state"] for row, _ in server.query('{__name__=~"watchmove_run(_step)?_state", run="first"}')}
        hours = {row["step"] for row, _ in server.query('watchmove_run_core_hours{run="first"} > 0')}
        found = {row["initialisation"]: value for row, value in server.query('watchmove_run_map{run="first"}')}

    assert empty <= NOT_IN_A_FINISHED_RUN
    assert kept == dataset_of(context.store, "first").kept_frames
    assert share
    assert 0 < share < 1
    assert states == {"done"}
    assert hours == {"extract", "pretrain", "evaluate"}
    assert found == {
        row.initialisation: row.ap_11_point.mean for row in result_of(context.store, "first").rows if row.ap_11_point
    }


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
    """With s3:// places, the bucket is made, everything ends in it but the credentials, and the log says the same."""
    assert s3_environment
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIAWATCHMOVETEST001",
        "AWS_SECRET_ACCESS_KEY": "c3VjaC1hLXNlY3JldC1rZXktb2YtMzItbGV0dGVycyE",
        "AWS_SESSION_TOKEN": "dGhlLXRva2VuLW9mLWEtc2Vzc2lvbg",
    }
    environment = {**os.environ, **secrets, "TMPDIR": str(tmp_path), "WATCHMOVE_LOG": "json"}
    done = subprocess.run(
        command("run", "--run", "first", *settled("s3://whole-run"), *SMALL_NETWORK),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    client = boto3.client("s3")
    keys = {item["Key"] for item in client.list_objects_v2(Bucket="whole-run")["Contents"]}

    assert done.returncode == 0, done.stderr
    assert "store/runs/first/report/index.html" in keys
    written = {key: client.get_object(Bucket="whole-run", Key=key)["Body"].read() for key in keys}
    said = {"output": done.stdout.encode(), "errors": done.stderr.encode(), **written}
    plain = {name: gzip.decompress(data) if name.endswith(".gz") else data for name, data in said.items()}
    assert [name for name, data in plain.items() if any(secret.encode() in data for secret in secrets.values())] == []
    assert list(tmp_path.glob("watchmove-*")) == []
    events = defaultdict(list)
    for line in done.stderr.splitlines():
        row = json.loads(line)
        events[row.pop("event")].append(row)
    parts = [json.loads(written[f"store/{row['key']}"]) for row in events["part"]]
    videos = {row["id"]: row for part in parts for row in (one["video"] for one in part["videos"])}
    assert {row["video"]: row["key"] for row in events["video"]} == {name: row["key"] for name, row in videos.items()}
    assert sum(row["frames_kept"] for row in events["part"]) == events["run"][0]["frames"]
    assert [row["step"] for row in events["step"]] == [
        "plan",
        "extract",
        "gather",
        "pretrain",
        *["evaluate"] * 2,
        "report",
    ]
    assert {(row["ending"], row["run"]) for row in events["step"]} == {("done", "first")}
    for name, folder in (("backbone", "backbones"), ("evaluation", "evaluations")):
        made = {key.split("/")[2] for key in keys if re.fullmatch(f"store/{folder}/[^/]+/record.json", key)}
        assert {row[name] for row in events[name]} == made
    # two iterations of pretraining are fewer than those between two checkpoints
    assert {row["evaluation"] for row in events["checkpoint"]} == {row["evaluation"] for row in events["evaluation"]}


def test_killed_at_any_moment_it_continues_under_its_name(tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM and SIGKILL, each after another step: the same command goes on; after its end, it begins anew."""
    line = command("run", *settled(f"file://{tmp_path}"), *SMALL_NETWORK)
    codes = [
        _killed(line, tmp_path, number, after)
        for number, after in ((signal.SIGINT, "plan"), (signal.SIGTERM, "gather"), (signal.SIGKILL, "pretrain"))
    ]
    names = {path.name for path in (tmp_path / "store" / "runs").iterdir()}
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    reports = [path.parent.parent.name for path in (tmp_path / "store" / "runs").glob("*/report/index.html")]

    assert codes == [143, 143, -signal.SIGKILL]
    assert done.returncode == 0, done.stderr
    assert len(names) == 1
    assert set(reports) == names
    context = context_of(load_settings(LAPTOP, [*words(f"file://{tmp_path}"), *SMALL_NETWORK[1::2]]), tmp_path / "new")
    assert interrupted_run(context) is None


def _killed(line: list[str], folder: Path, number: signal.Signals, after: str) -> int:
    """The exit code of a run whose group of processes, as from a terminal, gets a signal after a step's record."""
    with subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        found = poll(lambda: list((folder / "store" / "runs").glob(f"*/{after}.json")) or process.poll(), 600)
        assert found, f"no {after} in time"
        os.killpg(process.pid, number)
        return process.wait(timeout=600)


def test_the_packages_of_the_slim_image_suffice_for_its_commands(
    finished: tuple[StepContext, str], tmp_path: Path
) -> None:
    """A report is made again byte for byte, a run is planned and gathered, and doctor finds that nothing has failed."""
    context, _ = finished
    packages, store = link_packages(tmp_path / "packages"), context.store.uri
    settings = [*settled(store.removesuffix("/store")), "--set", "work.metrics_port=0"]
    page = context.store.read("runs/first/report/index.html")
    words = {
        "plan": ("--run", "slim", *settings),
        "gather": ("--run", "slim", *settings),
        "report": ("--run", "first", *settings),
        "status": ("first", "--store", store),
        "runs": ("--store", store),
        "videos": ("first", "--store", store),
        "results": ("first", "--store", store),
        "compare": ("first", "slim", "--store", store),
        "retry": ("first", *settings),
        "settings": (),
        "doctor": settings,
    }
    ended = {name: run_slim(packages, name, *given) for name, given in words.items()}

    assert {name: done.stderr for name, done in ended.items() if done.returncode} == {}
    assert context.store.read("runs/first/report/index.html") == page
    assert dataset_of(context.store, "slim").dataset == dataset_of(context.store, "first").dataset
    assert "those of the slim image" in ended["doctor"].stdout.replace("│", "").replace("\n", "")


@pytest.fixture
def interrupted(make_context: MakeContext) -> StepContext:
    """Two unnamed runs of two videos that were planned and not finished, one of other settings, and a named one."""
    made = make_context()
    touch_videos(made, "a.mp4", "b.mp4")
    for name in ("20260101-000000", "20260102-000000", "named", "20260102-000000-retry-1"):
        plan(made, name)
    plan(make_context("pretrain.iterations=3"), "20260103-000000")
    return made


def test_the_last_unnamed_run_of_the_settings_is_continued(interrupted: StepContext, make_context: MakeContext) -> None:
    """Named runs, retries and those of other settings are not; another machine's number of workers is no difference."""
    assert interrupted_run(interrupted) == "20260102-000000"
    assert interrupted_run(make_context("work.workers=3")) == "20260102-000000"
    assert interrupted_run(make_context("pretrain.iterations=3")) == "20260103-000000"
    assert interrupted_run(make_context("pretrain.iterations=4")) is None


def test_a_finished_run_is_followed_by_another(interrupted: StepContext) -> None:
    """After the last run's report, earlier ones that were given up are not taken up."""
    interrupted.store.write(layout.report("20260102-000000"), b"")

    assert interrupted_run(interrupted) is None


def test_videos_that_have_come_begin_another_run(interrupted: StepContext) -> None:
    """The interrupted run keeps its plan, so that it would leave them out; so does one with other masks."""
    touch_videos(interrupted, "c.mp4")

    assert interrupted_run(interrupted) is None


def test_another_version_of_extraction_begins_another_run(
    interrupted: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recipe is another, so that the plan's shards are not those it would extract."""
    monkeypatch.setattr("watchmove.service.extraction.recipe.EXTRACTION_VERSION", 0)

    assert interrupted_run(interrupted) is None


@pytest.mark.parametrize("given", [(), ("--set", "pretrain.iterations=7")])
def test_a_finished_run_is_read_with_the_settings_that_it_recorded(
    finished: tuple[StepContext, str], tmp_path: Path, given: tuple[str, ...]
) -> None:
    """The store and the name are enough for each command; a setting that the record contradicts is named in a line."""
    context, _ = finished
    place = context.store.uri.removeprefix("file://")
    result, page = (
        context.store.read(key) or b"" for key in ("runs/first/result.json", "runs/first/report/index.html")
    )
    lines = {
        "status": ["status", "first", "--json"],
        "results": ["results", "first", "--json"],
        "videos": ["videos", "first"],
        "export": ["export", "first", "--out", str(tmp_path)],
        "report": ["report", "--run", "first"],
    }
    done = {
        name: subprocess.run(command(*line, "--store", place, *given), capture_output=True, text=True, check=False)
        for name, line in lines.items()
    }
    again = json.loads(context.store.read("runs/first/result.json") or b"")

    assert [one.returncode for one in done.values()] == [0] * 5, [one.stderr for one in done.values()]
    assert [one.stderr.count("pretrain.iterations 7, recorded 2") for one in done.values()] == [len(given) // 2] * 5
    assert json.loads(done["results"].stdout) == json.loads(result)
    assert len(done["videos"].stdout.splitlines()) == 3
    assert "| iterations | 2 |" in (tmp_path / "README.md").read_text()
    assert again["rows"] == json.loads(result)["rows"]
    assert again["made_by"]["settings_hash"] == json.loads(result)["made_by"]["settings_hash"]
    assert context.store.read("runs/first/report/index.html") == page
