"""Plan: what is new is dealt into shards, and what is not taken is accounted for."""

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from tests.service.conftest import MakeContext, context_of
from tests.service.planning.sources.test_yfcc100m import HASH, PHOTO, row
from tests.service.records.made_up_run import end_shard, planned_videos, touch_videos
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.listing import read_listing
from watchmove.service.records.outcomes import Credit
from watchmove.service.records.plans import PlanRecord
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.steps.plan import plan
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store


def planned_keys(context: StepContext, record: PlanRecord) -> list[list[str]]:
    """The keys of each shard."""
    return [[video.key for video in planned_videos(context, record, shard)] for shard in range(record.shards)]


def end(context: StepContext, record: PlanRecord) -> None:
    """End every shard of a plan."""
    for shard in range(record.shards):
        end_shard(context, record, shard, {})


def rows_of(context: StepContext, record: PlanRecord, name: str) -> list[dict[str, object]]:
    """The rows of a file that a plan writes beside its shards."""
    packed = context.store.read(layout.plan_file(record.recipe, record.plan, name))
    assert packed is not None
    return [json.loads(line) for line in gzip.decompress(packed).splitlines()]


def write_list(folder: Path, *rows: str) -> str:
    """A CSV list of keys and whatever else; the setting that names it."""
    (folder / "list.csv").write_text("uri,size,etag,licence,duration_seconds\n" + "".join(f"{one}\n" for one in rows))
    return f"plan.manifest=file://{folder}/list.csv"


def test_progress_is_complete_when_the_plan_is_written(make_context: MakeContext) -> None:
    """Of 2,001 videos it is said at intervals how many have been read, and at the end that all have."""
    context = make_context()
    touch_videos(context, *(f"{number}.mp4" for number in range(2001)))
    progress = create_autospec(context.progress)
    plan(replace(context, progress=progress), "run")

    assert [told.args[1:3] for told in progress.update.call_args_list] == [(1000, 1001), (2000, 2001), (2001, 2001)]


def test_a_folder_without_videos_is_refused(make_context: MakeContext, tmp_path: Path) -> None:
    """The line names the folder, counts what lies there, and says what would do."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "notes.txt").write_text("")

    with pytest.raises(InvalidInput, match=r"no video there \(1 other files\); name a folder with videos"):
        plan(make_context(), "run")


def test_a_list_that_leaves_no_video_is_refused(make_context: MakeContext, tmp_path: Path) -> None:
    """The line counts why, and names the first malformed row; a run that has no plan can be planned again."""
    words = write_list(tmp_path, "a.mp4,,,by-nc,", "b.mp4,,,,1", "/c.mp4,,,,")
    context = make_context(words, "plan.licences=[commercial]")

    counts = r"\(1 malformed rows, 1 left out: licence, 1 left out: licence-unknown\)"
    with pytest.raises(InvalidInput, match=rf"{counts}; malformed is first .*line 4: key '/c.mp4': would leave"):
        plan(context, "run")
    assert list(context.store.list()) == []


def test_a_run_keeps_its_plan(make_context: MakeContext) -> None:
    """Planning twice changes nothing, even when a video has come since; the next run sees it."""
    context = make_context()
    touch_videos(context, "a.mp4")
    first = plan(context, "one")
    touch_videos(context, "b.mp4")
    again, other = plan(context, "one"), plan(context, "two")

    assert again == first
    assert (first.videos_new, other.videos_new) == (1, 2)


def test_of_two_that_plan_one_run_the_first_decides(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both go on with its plan, though the other has seen more videos."""
    one, two = make_context(), make_context()
    touch_videos(one, "a.mp4")
    found: list[PlanRecord] = []

    def overtaken(key: str, path: Path) -> None:
        if not found:
            touch_videos(two, "b.mp4")
            found.append(plan(two, "run"))
        open_store(one.settings.store).upload(key, path)

    monkeypatch.setattr(one.store, "upload", overtaken)

    assert plan(one, "run") == found[0]
    assert found[0].videos_listed == 2


def test_the_same_list_is_the_same_plan(make_context: MakeContext) -> None:
    """Another run of it writes the same shards under the same names."""
    context = make_context("plan.max_shard_videos=2")
    touch_videos(context, *(f"{number}.mp4" for number in range(5)))
    first = plan(context, "one")
    before = {item.key: context.store.read(item.key) for item in context.store.list() if "listing" not in item.key}
    second = plan(context, "two")

    assert (second.plan, second.shards) == (first.plan, 3)
    assert {key: context.store.read(key) for key in before} == before


def test_only_what_is_new_is_planned(make_context: MakeContext) -> None:
    """When data has grown, shards hold what came; the listing holds all."""
    context = make_context()
    touch_videos(context, "a.mp4", "c.mp4")
    end(context, plan(context, "one"))
    touch_videos(context, "b.mp4", "d.mp4")
    more = plan(context, "two")
    end(context, more)
    none = plan(context, "three")

    assert planned_keys(context, more) == [["b.mp4", "d.mp4"]]
    assert (more.videos_listed, more.videos_new, more.videos_changed, more.videos_removed) == (4, 2, 0, 0)
    assert [v.key for v in read_listing(context.store, more.recipe, more.plan)] == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    assert (none.videos_listed, none.videos_new, none.shards, none.expected_seconds) == (4, 0, 0, 0.0)


def test_a_changed_video_is_new_work_and_told_from_a_removed_one(make_context: MakeContext, tmp_path: Path) -> None:
    """The store has the list of what was removed; once the new version has ended, nothing has changed any more."""
    context = make_context()
    touch_videos(context, "a.mp4", "b.mp4", "c.mp4")
    end(context, plan(context, "one"))
    os.utime(tmp_path / "videos" / "b.mp4", ns=(1, 1))
    (tmp_path / "videos" / "c.mp4").unlink()
    two = plan(context, "two")
    end(context, two)
    three = plan(context, "three")

    assert planned_keys(context, two) == [["b.mp4"]]
    assert (two.videos_listed, two.videos_new, two.videos_changed, two.videos_removed) == (2, 1, 1, 1)
    assert [one["key"] for one in rows_of(context, two, "removed")] == ["c.mp4"]
    assert (three.videos_new, three.videos_changed, three.videos_removed) == (0, 0, 1)


def test_another_recipe_is_new_work(make_context: MakeContext) -> None:
    """What was extracted otherwise is neither done nor removed."""
    context = make_context()
    touch_videos(context, "a.mp4")
    end(context, plan(context, "one"))
    other = plan(make_context("extract.seed=7"), "two")

    assert (other.videos_new, other.videos_changed, other.videos_removed) == (1, 0, 0)


def test_what_is_left_out_or_in_another_store_is_not_removed(make_context: MakeContext, tmp_path: Path) -> None:
    """It is counted by reason; a video listed twice counts once."""
    words = write_list(tmp_path, "a.mp4,,,by,5", "b.mp4,,,by-nc,5", "c.mp4,,,by,0.5", "a.mp4,,,by,5")
    everything = make_context(words)
    end(everything, plan(everything, "one"))
    some = plan(make_context(words, "plan.licences=[commercial]", "plan.min_video_seconds=1"), "two")
    elsewhere = plan(make_context(words, f"videos=file://{tmp_path}/elsewhere"), "three")

    assert some.filtered == {"licence": 1, "listed-twice": 1, "too-short": 1}
    assert (some.videos_listed, some.videos_new, some.videos_removed) == (1, 0, 0)
    assert (elsewhere.videos_listed, elsewhere.videos_new, elsewhere.videos_removed) == (3, 3, 0)


def test_a_larger_sample_plans_what_the_smaller_left(make_context: MakeContext, tmp_path: Path) -> None:
    """A tenth of the videos, then a fifth: nothing is planned twice and nothing is removed."""
    words = (write_list(tmp_path, *(f"{number}.mp4,,,," for number in range(300))), "plan.max_shard_videos=1000")
    tenth_context, fifth_context = (make_context(*words, f"plan.sample_fraction={part}") for part in (0.1, 0.2))
    tenth = plan(tenth_context, "tenth")
    end(tenth_context, tenth)
    fifth = plan(fifth_context, "fifth")

    assert 10 < tenth.videos_listed < fifth.videos_listed < 100
    assert fifth.videos_new == fifth.videos_listed - tenth.videos_listed
    assert fifth.filtered == {"not-in-sample": 300 - fifth.videos_listed}
    assert fifth.videos_removed == 0


@pytest.fixture
def metadata(store: Store, tmp_path: Path) -> StepContext:
    """A store of each kind, with YFCC100M's metadata in it: a photo, two videos, and a row that is none."""
    lines = (PHOTO, row(nickname="me+%26+you"), row(hash=HASH[::-1]), "row\t1")
    store.write("yfcc100m_dataset", "\n".join(lines).encode())
    words = (f"store={store.uri}", "videos=s3://multimedia-commons", f"plan.manifest={store.uri}/yfcc100m_dataset")
    return context_of(load_settings(LAPTOP, words), tmp_path / "scratch")


def test_metadata_becomes_shards_with_credits(metadata: StepContext) -> None:
    """What is not known of a video is left to the fetch; the record says what the plan was made from."""
    record = plan(metadata, "run")
    [first, second] = planned_videos(metadata, record, 0)
    manifest = metadata.settings.plan.manifest
    item = metadata.store.head("yfcc100m_dataset")

    assert (first.key, second.key) == tuple(f"data/videos/mp4/{h[:3]}/{h[3:6]}/{h}.mp4" for h in (HASH, HASH[::-1]))
    assert (first.etag, first.size_bytes, first.duration_seconds) == ("", 0, 0)
    assert first.credit.owner == "me & you"
    assert (first.credit.licence, second.credit == Credit()) == ("Attribution-ShareAlike License", False)
    assert record.expected_seconds == pytest.approx(2 * (1 + 37 * metadata.settings.plan.seconds_per_video_second))
    assert item is not None
    assert record.made_by.inputs == {manifest: item.etag, "s3://multimedia-commons": record.plan}


def test_a_malformed_row_is_named_in_the_store(metadata: StepContext) -> None:
    """The count stands in the record."""
    record = plan(metadata, "run")
    where = f"{metadata.settings.plan.manifest} line 4"

    assert record.rows_malformed == 1
    assert rows_of(metadata, record, "malformed") == [
        {"where": where, "why": "2 columns, neither 25 nor 23", "begins": "row\t1"}
    ]


def test_a_plan_that_was_killed_is_made_again(metadata: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever write it dies in, the next try makes the same plan, and a run has its plan last."""
    whole = plan(metadata, "whole")
    store = open_store(metadata.settings.store)
    writes = 0

    def dying(*_: object) -> None:
        nonlocal writes
        writes += 1
        raise KeyboardInterrupt

    for name in ("write", "upload", "create"):
        monkeypatch.setattr(metadata.store, name, dying)
        with pytest.raises(KeyboardInterrupt):
            plan(metadata, "run")
        monkeypatch.setattr(metadata.store, name, getattr(store, name))
        assert store.head(layout.run_record("run", "plan")) is None

    assert writes >= 3
    assert plan(metadata, "run").plan == whole.plan
