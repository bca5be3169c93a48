"""Forget, on a whole small run: nothing that names or shows a work is left, and nothing else is lost."""

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.service.conftest import MakeContext, context_of
from tests.service.forgetting.store_content import (
    content,
    copied,
    frames,
    mentions,
    records_of_shards,
    timeless,
    verdicts,
)
from tests.service.records.made_up_run import end_shard, planned_videos, touch_videos
from tests.service.records.snapshot_samples import snapshot_samples
from tests.service.steps.test_import_coco import instances, written
from tests.service.steps.test_run import SMALL
from watchmove.pipeline.dataset.shard import read_shard, write_shard
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.claims.mask_iou import Crop, HeldOutVideo
from watchmove.service.claims.page import held_out_pictures, page_of
from watchmove.service.cli.main import app
from watchmove.service.forgetting.forget import forget, to_forget
from watchmove.service.forgetting.selection import Selector, selector_of
from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, dataset_of, gathered_of
from watchmove.service.records.forgotten import ForgetRecord, LearntRecord, receipts_of
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.record import StepFailure, find, need, origin
from watchmove.service.records.training import BackboneRecord, PretrainPointer, backbone_id_of
from watchmove.service.report.run_page.failed_videos import failed_names
from watchmove.service.report.run_page.page_files import pictures_of
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.steps.control import control
from watchmove.service.steps.extract import extract
from watchmove.service.steps.gather import gather
from watchmove.service.steps.import_coco import import_coco
from watchmove.service.steps.plan import plan
from watchmove.service.steps.pretrain import pretrain
from watchmove.service.steps.report import report
from watchmove.service.steps.run import run_all
from watchmove.service.steps.world import world
from watchmove.service.store.store import Store
from watchmove.service.watching.status import status

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

VICTIM = "0000-moving.mp4"
NAMES = (b"0000-moving", b"Ada Lovelace", b"A walk in the park", b"example.org/ada")
CHOICE = Selector("video", (VICTIM,))
WORDS = (
    *SMALL,
    "world.videos=4",
    "plan.max_shard_videos=2",
    "pretrain.trunk=alexnet-small",
    "evaluate.classification=false",
)


def context_in(folder: Path, *overrides: str) -> StepContext:
    """A context on the stores in a folder; the videos are those of a list with owners."""
    places = [f"{name}=file://{folder}/{name}" for name in ("store", "videos", "voc")]
    words = [*places, *WORDS, f"plan.manifest=file://{folder}/list.csv", *overrides]
    return context_of(load_settings(LAPTOP, words), folder / "scratch")


def write_list(folder: Path) -> None:
    """Every video with an owner, a licence and a title, and a row of the first video that cannot be read."""
    rows = ["uri,owner,licence,title,page_url,duration_seconds"]
    for path in sorted((folder / "videos").iterdir()):
        if path.name == VICTIM:
            rows.append(f"{path.name},Ada Lovelace,Attribution License,A walk in the park,https://example.org/ada,")
            rows.append(f"{path.name},Ada Lovelace,Attribution License,A walk in the park,,long")
        else:
            rows.append(f"{path.name},Grace Hopper,Attribution-NonCommercial License,At sea,,")
    rows.append("other.mp4,Grace Hopper,,,,long")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, its controls, and a gathered run whose training was interrupted."""
    folder = tmp_path_factory.mktemp("forget")
    (folder / "list.csv").write_text("uri\n")
    context = context_in(folder)
    world(context)
    write_list(folder)
    run_all(context, "first", draw_videos=False, draw_detection_set=False)
    for kind in ("same", "shuffled-masks"):
        control(context, kind, "first", kind)
    waiting = context_in(folder, "pretrain.seed=5")
    plan(waiting, "waiting")
    dataset = gather(waiting, "waiting").dataset
    key = layout.backbone(backbone_id_of(waiting.settings, dataset), "checkpoints/checkpoint-0.json")
    waiting.store.write(key, b"{}")
    # what a process leaves that is killed before its record, or that another one was ahead of
    [tar, *_] = [item.key for item in context.store.list("extractions/") if re.search(r"-[0-9a-f]{12}\.tar$", item.key)]
    context.store.write(f"{tar.removesuffix('.tar')[:-12]}0123456789ab.tar", context.store.read(tar) or b"")
    return folder


@pytest.fixture
def context(finished: Path, tmp_path: Path) -> StepContext:
    """A copy of the finished run's store; videos and detection set are shared, as they are only read."""
    copied(finished / "store", tmp_path / "store")
    made = context_in(finished)
    return replace(made, store=context_in(tmp_path).store)


def test_the_run_names_and_shows_the_work_everywhere(context: StepContext) -> None:
    """Without that the tests below would show nothing."""
    keys = {key for key, _ in mentions(context.store, *NAMES)}
    kinds = (
        "listing.json.gz",
        "malformed.json.gz",
        "/00000.json",
        "-0.json",
        ".ATTRIBUTION.tsv.gz",
        "report/index.html",
    )

    assert [kind for kind in kinds if not any(key.endswith(kind) for key in keys)] == []
    assert any(key.startswith("controls/") for key in keys)
    assert any(key.endswith(".audit.tar") for key in keys)


def test_the_message_of_a_failed_step_does_not_name_it(context: StepContext) -> None:
    """The failure itself stays, and so does the message of a step that failed for another reason."""
    for number, message in enumerate((f"{VICTIM}: cannot be read", "no room is left")):
        failure = StepFailure(
            made_by=origin(context.settings, {}), step="extract", number=number, cause="bug", message=message
        )
        context.store.write(layout.failure("first", f"extract-{number}"), failure.model_dump_json().encode())
    _, record = forget(context, CHOICE)
    left = [find(context.store, layout.failure("first", f"extract-{number}"), StepFailure) for number in (0, 1)]

    assert [(one.name, one.message) for one in left if one is not None] == [
        ("extract 0", ""),
        ("extract 1", "no room is left"),
    ]
    assert [one.what for one in record.removals if "failure-" in one.key] == ["rewritten"]


def test_nothing_names_or_shows_it_and_nothing_else_is_lost(context: StepContext) -> None:
    """Neither records nor lists, credits, tars, controls and reports; other frames keep every byte."""
    before, pages = frames(context), context.store.read("runs/first/report/index.html") or b""
    extracted, same = frames(context, "extractions/"), snapshot_samples(context, dataset_of(context.store, "same"))
    shown = {sample.jpeg for (video, _), found in before.items() if video == VICTIM for sample in found}
    # in the control with shuffled masks it has those of others, and masks without an object are all the same
    own = {(video, one.mask_png) for (video, _), found in extracted.items() for one in found}
    masks = {mask for video, mask in own if video == VICTIM} - {mask for video, mask in own if video != VICTIM}
    ids = {key.rpartition("-")[0].encode() for video, key in before if video == VICTIM}
    key, record = forget(context, CHOICE)
    after, page = frames(context, "extractions/"), context.store.read("runs/first/report/index.html") or b""
    receipts = {name for name, _ in mentions(context.store, *ids)}

    assert shown
    assert masks
    assert mentions(context.store, *NAMES, *shown, *masks) == []
    assert receipts == {key}
    kept = {name: found[0] for name, found in extracted.items() if name[0] != VICTIM}
    assert {name: found[0] for name, found in after.items()} == kept
    remaining = snapshot_samples(context, dataset_of(context.store, "same"))
    assert remaining == [sample for sample in same if sample.metadata["video"] != VICTIM] != same
    before_and_after = ((text.count(b"<figure>"), text.count(b'<tr class="crop">')) for text in (pages, page))
    (figures, crops), (figures_left, crops_left) = before_and_after
    assert figures - figures_left + crops - crops_left == pages.count(VICTIM.encode()) > 0
    beside = {item.key.rpartition("/")[2] for item in context.store.list("runs/first/report/")}
    assert beside == {*pictures_of(page.decode()), "index.html"} < {*pictures_of(pages.decode()), "index.html"}
    assert record.finished_at_unix_seconds is not None


def shown_video(context: StepContext) -> str:
    """The key of the video whose frame the report shows through all stages, which is held out from training too."""
    key = gathered_of(context.store, "first").stages_keys[0]
    path = context.store.local(key, context.scratch / "stages.tar")
    assert path is not None
    [shown] = read_shard(path)
    return str(shown.metadata["video"])


def test_pictures_of_its_stages_are_removed_and_others_are_shown(context: StepContext) -> None:
    """The part's record and the run's name them no more; the report that is made again shows another video's."""
    store, video = context.store, shown_video(context)
    named = gathered_of(store, "first").stages_keys
    before = (store.read("runs/first/report/index.html") or b"").decode()
    forget(context, Selector("video", (video,)))
    after = (store.read("runs/first/report/index.html") or b"").decode()
    left = {item.key for item in store.list("extractions/") if item.key.endswith(".stages.tar")}
    report(context, "first")
    again = (store.read("runs/first/report/index.html") or b"").decode()

    assert before.count('class="images stages"') == 1
    assert 'class="images stages"' not in after
    assert mentions(store, video.encode()) == []
    assert gathered_of(store, "first").stages_keys == named[1:]
    assert left == {record.stages.key for record in records_of_shards(store) if record.stages} == set(named[1:])
    assert again.count('class="images stages"') == 1
    assert "Works have been forgotten since this run" in again
    assert "Works have been forgotten" not in before


def test_predictions_for_its_crops_are_removed(context: StepContext) -> None:
    """From the training's file, its record and the report; the rows of other videos stay."""
    store = context.store
    [name] = need(store, "runs/first/pretrain.json", PretrainPointer, "pretrain").backbones.values()
    record_key = layout.backbone(name, "record.json")
    key = need(store, record_key, BackboneRecord, "pretrain").predictions_key
    path = store.local(key, context.scratch / "predictions.tar")
    assert path is not None
    samples = list(read_shard(path))
    [video] = {str(sample.metadata["video"]) for sample in samples}
    # as if another video were held out too, as in larger runs
    other = replace(samples[0], key="0" * 16 + "-000001", metadata=samples[0].metadata | {"video": "other.mp4"})
    write_shard(context.scratch / "both.tar", [*samples, other])
    store.upload(key, context.scratch / "both.tar")
    report(context, "first")
    shown = (store.read("runs/first/report/index.html") or b"").decode()
    removed = {one.key: one for one in forget(context, Selector("video", (video,)))[1].removals}
    page = (store.read("runs/first/report/index.html") or b"").decode()
    now = need(store, record_key, BackboneRecord, "pretrain").predictions_key
    left = store.local(now, context.scratch / "left.tar")
    assert left is not None

    assert (shown.count('<tr class="crop">'), page.count('<tr class="crop">')) == (len(samples) + 1, 1)
    assert mentions(store, video.encode(), *(sample.jpeg for sample in samples if sample.jpeg != other.jpeg)) == []
    assert [sample.metadata["video"] for sample in read_shard(left)] == ["other.mp4"]
    assert [item.key for item in store.list("backbones/") if "predictions" in item.key] == [now] != [key]
    assert removed[key].what == "removed"
    assert removed[record_key].what == "rewritten"
    beside = {item.key.rpartition("/")[2] for item in store.list("runs/first/report/")}
    assert beside == {*pictures_of(page), "index.html"}


def test_checkpoints_that_a_finished_training_has_left_are_removed(context: StepContext) -> None:
    """Where it was not allowed to remove them: they have predictions for crops."""
    [name] = need(context.store, "runs/first/pretrain.json", PretrainPointer, "pretrain").backbones.values()
    key = layout.backbone(name, "checkpoints/predictions-00000002.png")
    context.store.write(key, b"picture")
    forget(context, CHOICE)

    assert context.store.head(key) is None


def test_a_report_loses_the_names_of_failed_videos(context: StepContext) -> None:
    """In the folder and in one file; other names stay."""
    row = '<li><span class="video">{}</span> <span class="soft">moov atom not found</span></li>\n'
    keys = (layout.report("first"), layout.single_file_report("first"))
    for key in keys:
        context.store.write(key, (row.format(VICTIM) + row.format("other.mp4")).encode())
    forget(context, CHOICE)

    assert [context.store.read(key) for key in keys] == [row.format("other.mp4").encode()] * 2


def test_failed_videos_that_are_left_are_still_named(make_context: MakeContext) -> None:
    """Those after a forgotten one too, which move up in the record of their shard; the forgotten one is not named."""
    context = make_context("gather.max_failed_fraction=1")
    names = ("0.mp4", "1.mp4", "2.mp4", "3.mp4")
    touch_videos(context, *names)
    planned = plan(context, "run")
    end_shard(context, planned, 0, dict.fromkeys(names[1:], ("unreadable", "truncated")))
    gather(context, "run")
    forget(context, Selector("video", ("1.mp4",)))
    gathered = gathered_of(context.store, "run")

    named = failed_names(context.store, gathered.failed)["unreadable: truncated"]
    assert [video.key for video in named] == ["2.mp4", "3.mp4"]
    assert len(gathered.failed["unreadable: truncated"]) == 2


def test_a_page_of_claims_loses_its_pictures(context: StepContext) -> None:
    """The picture of the work goes, and that of another video stays."""
    crop = Crop(np.zeros((115, 115, 3), np.uint8), *[np.zeros((56, 56), bool)] * 3)
    videos = {name: HeldOutVideo(0.5, 0.6, 0.4, crop) for name in (VICTIM, "0001-moving.mp4")}
    facts = {
        **dict.fromkeys(("world", "voc", "trunk", "version", "forecast"), "x"),
        "videos": 4,
        "iterations": 2,
        "seeds": (0,),
        "sizes": {"masks": 3},
        "pictures": held_out_pictures(videos),
    }
    key, page = layout.claims_page("series"), page_of([], {"random": [0.1]}, [(3, 0.1)], {}, facts)
    context.store.write(key, page.encode())
    removed = forget(context, CHOICE)[1].removals
    left = (context.store.read(key) or b"").decode()

    assert VICTIM in page
    assert VICTIM not in left
    assert (page.count("<figure>"), left.count("<figure>")) == (2, 1)
    assert "0001-moving.mp4: IoU" in left
    assert [(one.what, one.entries) for one in removed if one.key == key] == [("rewritten", 1)]


def test_what_was_measured_of_its_frames_is_removed_and_of_others_stays(context: StepContext) -> None:
    """Verdicts on other videos' frames are as before, and no file has any that records do not name."""
    before = verdicts(context.store)
    forget(context, CHOICE)
    files = {item.key for item in context.store.list("extractions/") if item.key.endswith(".verdicts.json.gz")}

    assert before[VICTIM]
    assert verdicts(context.store) == {name: found for name, found in before.items() if name != VICTIM}
    assert files == {record.verdicts_key for record in records_of_shards(context.store)} - {""}
    assert [line for line in before[VICTIM] if any(line in data for data in content(context.store).values())] == []


def test_snapshots_and_backbones_keep_their_names_and_are_marked(context: StepContext) -> None:
    """The record of a snapshot states its remaining frames; the checkpoint of an unfinished training is removed.

    The control with shuffled masks loses all frames, because nothing says whose masks they have.
    """
    [before, shuffled] = [dataset_of(context.store, run) for run in ("first", "shuffled-masks")]
    receipt = forget(context, CHOICE)[0].split("/")[-1].removesuffix(".json")
    after = dataset_of(context.store, "first")
    samples = snapshot_samples(context, after)
    [backbone] = need(context.store, "runs/first/pretrain.json", PretrainPointer, "pretrain").backbones.values()
    marks = [layout.learnt_backbone(backbone), *map(layout.learnt_dataset, (after.dataset, shuffled.dataset))]

    assert after.dataset == before.dataset
    assert len(samples) == after.kept_frames < before.kept_frames
    assert after.kept_videos == before.kept_videos - 1
    assert sum(count.frames for count in after.licences.values()) == after.kept_frames
    assert "Attribution License" not in after.licences
    assert dataset_of(context.store, "shuffled-masks").shards == ()
    assert list(context.store.list(layout.control(shuffled.dataset, ""))) == []
    assert [need(context.store, key, LearntRecord, "forget").receipts for key in marks] == [(receipt,)] * 3
    assert [item.key for item in context.store.list("backbones/") if "/checkpoints/" in item.key] == []


def test_later_runs_leave_it_out_and_go_on(context: StepContext) -> None:
    """Another run lists, extracts and gathers the others alone; training, status and report of both runs work."""
    forget(context, CHOICE)
    stored = {item.key: item.etag for item in context.store.list("extractions/") if "/shards/" in item.key}
    planned = plan(context, "second")
    dataset = gather(context, "second")
    [backbone] = pretrain(context, "second")
    report(context, "first")
    waiting = replace(context, settings=context.settings.model_copy(update={"pretrain": _seeded(context, 5)}))

    assert (planned.videos_new, planned.filtered["forgotten"]) == (0, 1)
    assert {item.key: item.etag for item in context.store.list("extractions/") if "/shards/" in item.key} == stored
    assert {sample.metadata["video"] for sample in snapshot_samples(context, dataset)}.isdisjoint({VICTIM})
    assert dataset.dataset != dataset_of(context.store, "first").dataset
    assert backbone.dataset == dataset.dataset
    assert pretrain(waiting, "waiting")[0].dataset == gathered_of(context.store, "waiting").dataset
    assert status(context.store, "first").faults == status(context.store, "second").faults == ()
    # the list of videos that is planned from is the user's, so the rows that it cannot read are read again
    assert {key.rpartition("/")[2] for key, _ in mentions(context.store, *NAMES)} <= {"malformed.json.gz"}


def _seeded(context: StepContext, seed: int) -> Any:
    return context.settings.pretrain.model_copy(update={"seed": seed})


@pytest.mark.parametrize("network", ["teacher_sha256", "motion_network_dataset"])
def test_what_learnt_from_a_network_that_learnt_is_marked_too(context: StepContext, network: str) -> None:
    """A snapshot without a frame of the work is marked where a network that learnt from it took part in its masks."""
    store, dataset = context.store, dataset_of(context.store, "first")
    [name] = need(store, "runs/first/pretrain.json", PretrainPointer, "pretrain").backbones.values()
    backbone = need(store, layout.backbone(name, "record.json"), BackboneRecord, "pretrain")
    shard = next(one for one in dataset.shards if one.key.endswith(".tar") and "/00001-" in one.key)
    record = need(store, f"{shard.key.rpartition('-')[0]}.json", ShardRecord, "extract")
    sources = {"teacher_sha256": backbone.mask_network_sha256, "motion_network_dataset": dataset.dataset}
    taught = {**record.made_by.inputs, network: sources[network]}
    record = record.model_copy(update={"made_by": record.made_by.model_copy(update={"inputs": taught})})
    later = dataset.model_copy(update={"dataset": "later", "recipe": "taught", "shards": (shard,)})
    learnt = backbone.model_copy(update={"backbone": "learnt", "dataset": "later"})
    other = backbone.model_copy(update={"backbone": "other", "dataset": "other"})
    store.write("extractions/taught/shards/plan/00000-0.json", record.model_dump_json().encode())
    store.write(layout.dataset("later"), later.model_dump_json().encode())
    for one in (learnt, other):
        store.write(layout.backbone(one.backbone, "record.json"), one.model_dump_json().encode())
    _, receipt = forget(context, CHOICE)

    assert VICTIM not in {row.video.key for row in record.videos}
    assert {"later", dataset.dataset} < set(receipt.datasets)
    assert set(receipt.backbones) == {"learnt", name}
    assert store.head(layout.learnt_backbone("other")) is None


class _Killed(Exception):
    """The process ends here."""


def _kill() -> None:
    raise _Killed


def _interrupted_after(store: Store, count: int, interrupt: Callable[[], object]) -> Store:
    """The same store; before the writing call that follows the first `count`, `interrupt` is called."""
    calls = itertools.count()

    class Ending(type(store)):  # type: ignore[misc]
        """A store of the same kind."""

    def ending(name: str) -> Callable[..., object]:
        def call(self: Store, *arguments: object) -> object:
            if next(calls) == count:
                interrupt()
            return getattr(super(Ending, self), name)(*arguments)

        return call

    for name in ("write", "create", "upload", "remove"):
        setattr(Ending, name, ending(name))
    made = Ending.__new__(Ending)
    made.__dict__.update(store.__dict__)
    return made


def test_killed_at_any_write_the_same_command_finishes_it(finished: Path, tmp_path: Path) -> None:
    """Every number of writes is tried, until it is enough; the store is then the same as without a kill."""
    made = context_in(finished)
    whole = replace(made, store=context_in(copied(finished / "store", tmp_path / "whole" / "store").parent).store)
    forget(whole, CHOICE)
    expected, kills = timeless(whole.store), 0
    while True:
        folder = copied(finished / "store", tmp_path / str(kills) / "store").parent
        store = context_in(folder).store
        try:
            forget(replace(made, store=_interrupted_after(store, kills, _kill)), CHOICE)
        except _Killed:
            forget(replace(made, store=store), CHOICE)
        else:
            break
        found = timeless(store)
        assert found.keys() == expected.keys(), kills
        assert [key for key in found if found[key] != expected[key]] == [], kills
        kills += 1

    assert kills > 20


@pytest.mark.parametrize("other", ["0001-cuts.mp4", "0002-moving.mp4"])
@pytest.mark.parametrize("writes", [2, 8, 14, 20])
def test_two_calls_at_once(context: StepContext, other: str, writes: int) -> None:
    """Whenever in a call another one is made, of both works nothing is left, and snapshots name tars that exist."""
    second = partial(forget, context, Selector("video", (other,)))
    forget(replace(context, store=_interrupted_after(context.store, writes, second)), CHOICE)
    works = [work for receipt in receipts_of(context.store).values() for work in receipt.works]
    ids = {video.encode() for work in works for video in work.videos}
    left = {key for key, _ in mentions(context.store, VICTIM.encode(), other.encode(), *ids)}
    keys = [item.key for item in context.store.list("datasets/") if item.key.endswith(".json")]
    shards = [shard for key in keys for shard in need(context.store, key, DatasetRecord, "gather").shards]

    assert len(works) == len(ids) == 2
    assert [key for key in left if not key.startswith("forgotten/receipts/")] == []
    assert shards
    assert [shard.key for shard in shards if context.store.head(shard.key) is None] == []


def test_a_second_call_changes_nothing_but_the_receipt(context: StepContext) -> None:
    """It looks again, because steps may have written meanwhile."""
    key, first = forget(context, CHOICE)
    before = {item.key: item.etag for item in context.store.list()}
    _, second = forget(context, CHOICE)
    after = {item.key: item.etag for item in context.store.list()}

    assert (second.works, second.removals) == (first.works, first.removals)
    assert {name for name in before if before[name] != after[name]} <= {key}
    assert before.keys() == after.keys()


@pytest.mark.parametrize(
    ("selector", "count"),
    [
        (Selector("owner", ("Ada Lovelace",)), 1),
        (Selector("licence", ("by-nc",)), 3),
        (Selector("licence", ("Attribution License",)), 1),
    ],
)
def test_a_dry_run_lists_what_a_call_does(context: StepContext, selector: Selector, count: int) -> None:
    """It writes nothing; owners and licences come from the list of videos."""
    before = content(context.store)
    listed = to_forget(context, selector)

    assert content(context.store) == before
    assert len(listed.works) == count
    assert forget(context, selector)[1].removals == listed.removals


def test_an_owners_works_are_all_forgotten(context: StepContext) -> None:
    """A run can lose all frames but one video's."""
    forget(context, Selector("owner", ("Grace Hopper",)))

    assert {video for video, _ in frames(context)} == {VICTIM}
    assert mentions(context.store, b"Grace Hopper", b"At sea") == []


@pytest.mark.parametrize("option", ["--video", "--owner", "--licence"])
def test_what_is_unknown_is_said_in_one_line(context: StepContext, option: str) -> None:
    """Nothing is changed then; of several videos all must be known."""
    before = content(context.store)
    known = ["--video", VICTIM] if option == "--video" else []
    done = CliRunner().invoke(app, ["forget", *known, option, "nobody", "--store", context.store.uri])
    lines = [line for line in done.output.splitlines() if line]

    assert done.exit_code == 65
    assert len(lines) == 1
    assert f"{option} nobody: no record in {context.store.uri}" in lines[0]
    assert content(context.store) == before


def test_the_command_says_what_it_did_and_did_not(context: StepContext) -> None:
    """First as a dry run; then the receipt is named."""
    place = ["--store", context.store.uri]
    dry = CliRunner().invoke(app, ["forget", "--video", VICTIM, "--dry-run", *place])
    done = CliRunner().invoke(app, ["forget", "--video", VICTIM, *place])

    assert (dry.exit_code, done.exit_code) == (0, 0), dry.output + done.output
    assert "would be removed: extractions/" in dry.stdout
    assert "not touched: the videos themselves" in done.stdout
    [receipt] = re.findall(r"receipt: .*/(forgotten/receipts/\w+\.json)", done.stdout)
    assert json.loads(context.store.read(receipt) or b"")["finished_at_unix_seconds"]
    assert mentions(context.store, *NAMES) == []


@pytest.mark.parametrize("given", [([], "", ""), (["a"], "b", ""), ([""], "", "")])
def test_one_kind_of_selector_is_given(given: tuple[list[str], str, str]) -> None:
    """None or several are refused."""
    with pytest.raises(InvalidInput, match="one of --video"):
        selector_of(*given)


def squares(folder: Path, *names: str) -> None:
    """Videos of a moving square."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        write_video(folder / name, moving_square((3, number), 30, height=320).frames, 24.0)


def test_on_s3(s3_environment: str, make_context: MakeContext, tmp_path: Path) -> None:
    """Frames and names leave a bucket too, and the others stay."""
    assert s3_environment
    squares(tmp_path / "videos", "secret.mp4", "other.mp4")
    context = make_context("store=s3://frames/store")
    for shard in range(plan(context, "run").shards):
        extract(context, "run", shard)
    gather(context, "run")
    before = frames(context)
    forget(context, Selector("video", (f"file://{tmp_path}/videos/secret.mp4",)))

    assert mentions(context.store, b"secret") == []
    assert frames(context) == {name: found for name, found in before.items() if name[0] == "other.mp4"}
    assert dataset_of(context.store, "run").kept_videos == 1
    assert {one.key for one in snapshot_samples(context, dataset_of(context.store, "run"))} == {
        key for (_, key), found in before.items() if found[0].metadata["reject_reason"] is None
    } - {key for video, key in before if video == "secret.mp4"}


def test_a_work_that_is_forgotten_before_its_shard_is_not_extracted(make_context: MakeContext, tmp_path: Path) -> None:
    """The plan's lists lose it, and the run goes on with the others."""
    squares(tmp_path / "videos", "secret.mp4", "other.mp4")
    context = make_context()
    planned = plan(context, "run")
    lists = {key: data for key, data in content(context.store).items() if "/plans/" in key}
    forget(context, Selector("video", ("secret.mp4",)))
    # as if another process had planned meanwhile, from the list before
    for key, data in lists.items():
        if not key.endswith(".gz"):
            context.store.write(key, data)
    rows = extract(context, "run", 0)

    assert planned.videos_new == 2
    assert [row.video.key for row in rows] == ["other.mp4"]
    assert {video for video, _ in frames(context)} == {"other.mp4"}
    assert gather(context, "run").kept_videos == 1


def test_a_name_is_taken_as_it_is_printed(make_context: MakeContext) -> None:
    """With codes for what cannot be seen, any number of times; a name that has such codes itself is that name."""
    names = ("a\u202e.mp4", "b\u202e.mp4", "b⟨U+202E⟩.mp4")
    context = make_context()
    touch_videos(context, *names)
    planned = plan(context, "run")
    listed = []
    for name in ("a⟨U+202E⟩.mp4", "a⟨U+202E⟩.mp4", "b⟨U+202E⟩.mp4", "b⟨U+202E⟩.mp4", "b\u202e.mp4"):
        forget(context, Selector("video", (name,)))
        listed.append({video.key for video in planned_videos(context, planned, 0)})

    assert listed == [set(names[1:])] * 2 + [{names[1]}] * 2 + [set()]


def test_files_that_desktops_add_are_passed_over(make_context: MakeContext) -> None:
    """In any folder of the store, also where all other files are folders deeper or records."""
    context = make_context()
    touch_videos(context, "secret.mp4", "other.mp4")
    planned = plan(context, "run")
    folders = {key.rpartition("/")[0] for key in content(context.store)}
    for folder in (*folders, "extractions", "backbones", "datasets", "controls", "claims", "runs"):
        context.store.write(f"{folder}/.DS_Store", b"1")
        context.store.write(f"{folder}/._record.json", b"2")
        context.store.write(f"{folder}/._shard.tar", b"3")
    forget(context, Selector("video", ("secret.mp4",)))

    assert {video.key for video in planned_videos(context, planned, 0)} == {"other.mp4"}
    assert context.store.read("extractions/.DS_Store") == b"1"


def test_a_receipt_that_another_call_completes_meanwhile_stays_complete(make_context: MakeContext) -> None:
    """A call that sees another one begun, and ends after it, does not write what it saw of it at first."""
    context = make_context()
    touch_videos(context, "one.mp4", "two.mp4", "three.mp4")
    plan(context, "run")
    key, ended = forget(context, Selector("video", ("one.mp4",)))
    complete = context.store.read(key) or b""
    begun = ended.model_copy(update={"removals": (), "finished_at_unix_seconds": None})
    context.store.write(key, begun.model_dump_json().encode())
    store = _interrupted_after(context.store, 3, partial(context.store.write, key, complete))
    forget(replace(context, store=store), Selector("video", ("two.mp4",)))

    assert ended.removals
    assert need(context.store, key, ForgetRecord, "forget") == ended


def test_damaged_credits_are_named(make_context: MakeContext, tmp_path: Path) -> None:
    """Nothing is removed before they are."""
    squares(tmp_path / "videos", "secret.mp4", "other.mp4")
    context = make_context()
    plan(context, "run")
    extract(context, "run", 0)
    key = gather(context, "run").attribution_key
    context.store.write(key, (context.store.read(key) or b"")[:-9])
    with pytest.raises(InvalidInput, match=rf"{re.escape(key)}: damaged \(.*\); remove it and run again"):
        forget(context, Selector("video", ("secret.mp4",)))

    assert {video for video, _ in frames(context)} == {"secret.mp4", "other.mp4"}


def test_what_was_committed_meanwhile_is_removed_by_a_second_call(make_context: MakeContext, tmp_path: Path) -> None:
    """An object that is restored, as from a backup, is found again."""
    squares(tmp_path / "videos", "secret.mp4", "other.mp4")
    context = make_context()
    plan(context, "run")
    extract(context, "run", 0)
    before = {item.key: context.store.read(item.key) or b"" for item in context.store.list("extractions/")}
    forget(context, Selector("video", ("secret.mp4",)))
    for key, data in before.items():
        context.store.write(key, data)
    forget(context, Selector("video", ("secret.mp4",)))

    assert mentions(context.store, b"secret") == []
    assert {video for video, _ in frames(context)} == {"other.mp4"}


def test_the_same_key_in_another_place_is_another_work(make_context: MakeContext, tmp_path: Path) -> None:
    """A URI selects one of the two, and a key both."""
    squares(tmp_path / "videos", "secret.mp4")
    squares(tmp_path / "others", "secret.mp4", "more.mp4")
    here, there = make_context(), make_context(f"videos=file://{tmp_path}/others")
    for name, context in (("here", here), ("there", there)):
        plan(context, name)
        extract(context, name, 0)
        gather(context, name)
    both = frames(here)
    forget(here, Selector("video", (f"file://{tmp_path}/videos/secret.mp4",)))
    one = frames(here)
    planned = [plan(there, "there-again").videos_listed, gather(there, "there-again").kept_videos]
    forget(here, Selector("video", ("secret.mp4",)))

    assert planned == [2, 2]
    assert len({key.rpartition("-")[0] for video, key in both if video == "secret.mp4"}) == 2
    assert len({key.rpartition("-")[0] for video, key in one if video == "secret.mp4"}) == 1
    assert {video for video, _ in frames(here)} == {"more.mp4"}
    assert mentions(here.store, b"secret") == []


def test_an_imported_image_is_not_imported_again(make_context: MakeContext, tmp_path: Path) -> None:
    """The annotations still have it; the run can be repeated, gathered and forgotten from as any other."""
    context = make_context()
    annotations = written(tmp_path / "a.json", instances(tmp_path / "videos"))
    import_coco(context, "run", annotations)
    before = frames(context)
    forget(context, Selector("video", ("003.jpg",)))
    import_coco(context, "run", annotations)

    assert {video for video, _ in before} - {video for video, _ in frames(context)} == {"003.jpg"}
    assert mentions(context.store, b"003.jpg") == []
    assert gather(context, "run").kept_videos == len(before) - 1
