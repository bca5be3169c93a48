"""Why a video or a frame was kept or rejected: the records of small runs, and of runs whose extraction is made up."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import end_shard, touch_videos
from tests.service.steps.test_extract import extracted
from tests.service.steps.test_import_coco import instances, written
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.cli.answer_lines import print_answer
from watchmove.service.cli.main import app
from watchmove.service.cli.status_table import print_video
from watchmove.service.explanation.answer import LEFT_OUT, PENDING, Answer, why
from watchmove.service.planning.retry import retry
from watchmove.service.records import layout
from watchmove.service.records.outcomes import Outcome, ShardRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.stream import shard_records
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.gather import gather
from watchmove.service.steps.import_coco import import_coco
from watchmove.service.steps.plan import plan
from watchmove.service.watching.videos import ended_videos

SMALL = "extract.shorter_side_pixels=96"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A video of a moving square, of twelve small frames, and a file that is no video."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "a.mp4", moving_square((3, 0), 12, height=160).frames, 24.0)
    (folder / "text.mp4").write_text("no video\n")
    return folder


def asked(context: StepContext, name: str, run: str = "run") -> Answer:
    """Why a run kept or rejected what has a name."""
    return why(context.store, context.scratch, run, name)


def said(answer: Answer, capsys: pytest.CaptureFixture[str]) -> str:
    """The answer as it is printed for a person, without what was printed before."""
    capsys.readouterr()
    print_answer(answer, as_json=False)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "strict",
    [
        ["extract.min_confidence=0.9999"],
        ["extract.max_area_fraction=0.02", "extract.min_motion_pixels=50"],
        ["extract.min_change=0.5"],
    ],
)
def test_with_the_proposed_settings_the_frame_is_kept(
    make_context: MakeContext, videos: Path, strict: list[str]
) -> None:
    """A run with settings that are too strict proposes others, and a run with those keeps the frame."""
    assert videos.is_dir()
    context = make_context(SMALL, *strict)
    extracted(context, "strict")
    frames = [frame for frame in asked(context, "a.mp4", "strict").frames if frame.what_if and frame.what_if.keeps]
    nearest = asked(context, "a.mp4", "strict").nearest
    for number, frame in enumerate(frames):
        assert frame.what_if is not None
        changed = [f"{name}={value:g}" for name, value in frame.what_if.settings.items()]
        extracted(make_context(SMALL, *strict, *changed), f"changed-{number}")

        assert len(changed) == len(strict)
        assert asked(context, frame.key, f"changed-{number}").frames[0].verdict.reject_reason is None
    assert nearest in frames


def test_every_examined_frame_has_its_thresholds(
    make_context: MakeContext, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A frame is rejected if and only if it fails a threshold, and the margin says by how much."""
    assert videos.is_dir()
    context = make_context(SMALL)
    extracted(context)
    answer = asked(context, "a.mp4")
    assert answer.record is not None

    assert answer.outcome == Outcome.KEPT
    assert answer.examined == answer.recorded == len(answer.frames) == 8
    for frame in answer.frames:
        margins = {met.reason: met.margin for met in frame.thresholds if met.passes is False}
        assert set(margins) == {frame.verdict.reject_reason} - {None}
        assert all(margin is not None and margin < 0 for margin in margins.values())
    assert f"{answer.record.frames_kept} of 8 examined frames kept, of 12 in the video" in said(answer, capsys)
    print_answer(answer, as_json=True)

    assert Answer.model_validate_json(capsys.readouterr().out) == answer


def test_one_frame_by_every_name(make_context: MakeContext, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A frame is named by the key, the URI or the id of its video; alone, it has a line for each threshold."""
    context = make_context(SMALL)
    extracted(context)
    key = asked(context, "a.mp4").frames[2].key
    by_key = asked(context, key)
    number = key.rpartition("-")[2]
    others = [asked(context, f"{place}a.mp4-{number}") for place in ("", f"file://{videos}/")]

    assert [frame.key for frame in by_key.frames] == [key]
    assert [other.frames for other in others] == [by_key.frames] * 2
    assert "extract.min_confidence: confidence >= 0.65, measured 0.9" in said(by_key, capsys)


def test_a_name_is_taken_as_it_is_printed(make_context: MakeContext, capsys: pytest.CaptureFixture[str]) -> None:
    """With codes for what cannot be seen; a name that has such codes itself is that name."""
    context = make_context()
    names = ("a\u202egnp.mp4", "b\x1b[31m.mp4", "b⟨U+001B⟩[31m.mp4")
    touch_videos(context, *names)
    end_shard(context, plan(context, "run"), 0, dict.fromkeys(names, ("unreadable", "not-a-video")), at=9e3)
    capsys.readouterr()
    for row in ended_videos(context.store, "run"):
        print_video(row, as_json=False)
    printed = [line.split("\t")[3] for line in capsys.readouterr().out.splitlines()]
    found = [asked(context, name).video for name in printed]

    assert printed == ["a⟨U+202E⟩gnp.mp4", "b⟨U+001B⟩[31m.mp4", "b⟨U+001B⟩[31m.mp4"]
    assert [video.key for video in found if video] == [names[0], names[2], names[2]]
    assert said(asked(context, names[1]), capsys).startswith("b⟨U+001B⟩[31m.mp4: unreadable")


def test_records_without_verdicts(make_context: MakeContext, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a record that an older version wrote, the frames with a picture are known, and the rest only in number."""
    assert videos.is_dir()
    context = make_context(SMALL, "extract.audited_frames_per_reason=2")
    planned = extracted(context)
    full = asked(context, "a.mp4")
    [(key, part)] = shard_records(context.store, planned.recipe)
    rows = tuple(row.model_copy(update={"verdicts": (0, 0)}) for row in part.videos)
    old = part.model_copy(update={"verdicts_key": "", "videos": rows})
    context.store.write(key, old.model_dump_json().encode())
    context.store.remove(part.verdicts_key)
    answer = asked(context, "a.mp4")
    kept = [frame.verdict.frame for frame in full.frames if frame.verdict.reject_reason is None]
    rejected = [frame for frame in answer.frames if frame.verdict.reject_reason]

    assert b'"verdicts' not in old.model_dump_json().encode()
    assert [f.verdict.frame for f in answer.frames if f.verdict.reject_reason is None] == kept
    assert len(rejected) == 2
    assert answer.examined - answer.recorded == 8 - len(kept) - 2
    assert all(frame.what_if and frame.what_if.keeps is None for frame in rejected)
    assert "only the number is recorded" in said(answer, capsys)


def test_lost_verdicts_are_an_error(make_context: MakeContext, videos: Path) -> None:
    """A file that a record names and that is gone is not taken for an older record."""
    assert videos.is_dir()
    context = make_context(SMALL)
    planned = extracted(context)
    [(_, part)] = shard_records(context.store, planned.recipe)
    context.store.remove(part.verdicts_key)

    with pytest.raises(InvalidInput, match="remove the shard's record"):
        asked(context, "a.mp4")


def test_a_video_that_is_no_video(make_context: MakeContext, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The decoder's words are printed, and how to try again."""
    assert videos.is_dir()
    context = make_context(SMALL)
    extracted(context)
    text = said(asked(context, "text.mp4"), capsys)

    assert text.startswith("text.mp4: unreadable, not-a-video\n")
    assert "moov atom not found" in text
    assert "`watchmove retry run --outcomes unreadable`" in text


def test_frames_of_a_copy_are_not_in_the_snapshot(
    make_context: MakeContext, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two equal videos one is in the snapshot, and of the other the setting is named that left it out."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "a.mp4", moving_square((3, 0), 60, height=160).frames, 24.0)
    (folder / "b.mp4").write_bytes((folder / "a.mp4").read_bytes())
    context = make_context(SMALL, "gather.leave_out_near_duplicates=true")
    extracted(context)
    before = asked(context, "a.mp4").in_snapshot
    gather(context, "run")
    answers = {name: asked(context, name) for name in ("a.mp4", "b.mp4")}
    [left_out] = [answer for answer in answers.values() if not answer.in_snapshot]

    assert before is None
    assert {answer.outcome for answer in answers.values()} == {Outcome.KEPT}
    assert [answer.in_snapshot for answer in answers.values()].count(True) == 1
    assert "gather.leave_out_near_duplicates=false" in said(left_out, capsys)


def made_up(context: StepContext) -> PlanRecord:
    """A run of forty videos, each in a shard of its own, of which the last is not extracted."""
    touch_videos(context, *(f"{number:02d}.mp4" for number in range(40)))
    planned = plan(context, "run")
    for shard in range(39):
        end_shard(context, planned, shard, {"07.mp4": ("missing", "not-in-store"), "08.mp4": ("rejected", "")}, at=9e3)
    return planned


@pytest.mark.parametrize("place", ["file", "s3"])
def test_only_the_records_of_its_shard_are_read(
    make_context: MakeContext, request: pytest.FixtureRequest, place: str
) -> None:
    """With all other records damaged, a video in the middle is still found, by its place in the listing."""
    if place == "s3":
        request.getfixturevalue("s3_environment")
    context = make_context("plan.max_shard_videos=1", *(["store=s3://frames/store"] if place == "s3" else []))
    planned = made_up(context)
    for item in list(context.store.list(layout.shard_records(planned.recipe))):
        if not item.key.endswith(("00007-0.json", "00039-0.json")):
            context.store.write(item.key, b"damaged")

    assert asked(context, "07.mp4").planned_in == ((planned.plan, 7),)
    assert (asked(context, "07.mp4").outcome, asked(context, "07.mp4").reason) == ("missing", "not-in-store")
    assert asked(context, "39.mp4").outcome == PENDING
    with pytest.raises(InvalidInput, match="no valid record"):
        asked(context, "06.mp4")


def test_a_retry_counts(make_context: MakeContext, capsys: pytest.CaptureFixture[str]) -> None:
    """Both attempts are named, and the later one, which did not fail, is the outcome for both runs."""
    context = make_context("plan.max_shard_videos=1")
    made_up(context)
    name, planned = retry(context.settings, context.store, context.scratch, "run", "missing")
    end_shard(context, planned, 0, {"07.mp4": ("rejected", "fade")}, at=9999.0)

    for run in ("run", name):
        assert [row.outcome for row in asked(context, "07.mp4", run).attempts] == ["missing", "rejected"]
        assert asked(context, "07.mp4", run).outcome == Outcome.REJECTED
    assert "2 attempts: missing, not-in-store, then rejected, fade" in said(asked(context, "07.mp4"), capsys)


def test_a_video_that_another_run_has_ended(make_context: MakeContext) -> None:
    """A later run that lists it names the plan and shard of the earlier one, however many shards that has."""
    context = make_context("plan.max_shard_videos=1")
    first = made_up(context)
    touch_videos(context, "new.mp4")
    plan(context, "later")

    assert asked(context, "08.mp4", "later").planned_in == ((first.plan, 8),)
    assert asked(context, "08.mp4", "later").outcome == Outcome.REJECTED
    assert asked(context, "new.mp4", "later").outcome == PENDING


def test_videos_that_the_plan_leaves_out(make_context: MakeContext, tmp_path: Path) -> None:
    """By licence and length as the list has them, with the setting; a malformed row and a later one are named too."""
    rows: list[dict[str, object]] = [
        {"uri": "free.mp4", "duration_seconds": 9, "licence": "by"},
        {"uri": "nc.mp4", "duration_seconds": 9, "licence": "by-nc"},
        {"uri": "short.mp4", "duration_seconds": 1, "licence": "by"},
        {"uri": "odd.mp4", "duration_seconds": "long", "licence": "by"},
    ]
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"plan.manifest=file://{path}", "plan.licences=[commercial]", "plan.min_video_seconds=3"]
    context = make_context(*words)
    plan(context, "run")
    with path.open("a") as file:
        file.write(json.dumps({**rows[0], "uri": "late.mp4"}) + "\n")
    found = {name: asked(context, f"{name}.mp4") for name in ("nc", "short", "odd", "late")}

    assert {answer.outcome for answer in found.values()} == {LEFT_OUT}
    assert {name: answer.reason for name, answer in found.items()} == {
        "nc": "licence",
        "short": "too-short",
        "odd": "malformed-row",
        "late": "listed-later",
    }
    with pytest.raises(InvalidInput, match="and not found among the 2 left out"):
        asked(context, "d")
    assert found["nc"].detail == "its licence is by-nc, and plan.licences is commercial"
    assert found["short"].detail == "it takes 1 s, and plan.min_video_seconds is 3"


def test_files_that_the_folder_has_and_the_plan_does_not(make_context: MakeContext, tmp_path: Path) -> None:
    """A hidden file, one that is no video by its name, a new one, and one that is no longer there."""
    context = make_context()
    touch_videos(context, "a.mp4", ".b.mp4", "c.txt", "gone.mp4")
    end_shard(context, plan(context, "before"), 0, {})
    (tmp_path / "videos/gone.mp4").unlink()
    touch_videos(context, "new.mp4")
    plan(context, "run")
    touch_videos(context, "d.mp4")

    assert {name: asked(context, name).reason for name in (".b.mp4", "c.txt", "d.mp4", "gone.mp4")} == {
        ".b.mp4": "hidden-file",
        "c.txt": "no-video-suffix",
        "d.mp4": "listed-later",
        "gone.mp4": "no-longer-listed",
    }


def test_unknown_names(make_context: MakeContext, videos: Path) -> None:
    """One line says what would do: how to list the names, a name that ends so, or the frames that there are."""
    (videos / "sub").mkdir()
    (videos / "text.mp4").rename(videos / "sub/text.mp4")
    context = make_context(SMALL)
    extracted(context)

    with pytest.raises(InvalidInput, match="no video or frame 'x' among its 2; name a video as `watchmove videos run`"):
        asked(context, "x")
    with pytest.raises(InvalidInput, match=r"such as 'sub/text\.mp4'"):
        asked(context, "text.mp4")
    with pytest.raises(InvalidInput, match=r"no frame 1 was examined; frames 0, 2, 3, 5, 6, 8, 9, 11 are there"):
        asked(context, "a.mp4-000001")
    with pytest.raises(InvalidInput, match="no frame 1 was examined; it has no frames"):
        asked(context, "sub/text.mp4-000001")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        asked(context, "\udcff")
    with pytest.raises(InvalidInput, match="run `watchmove plan` first"):
        asked(context, "a.mp4", "other")


def test_the_command(make_context: MakeContext, tmp_path: Path) -> None:
    """The store is enough; a program reads the answer as JSON, and an unknown name is one line and exit code 65."""
    touch_videos(make_context(), "a.mp4", "b\x1b.mp4")
    context = make_context("extract.min_confidence=0.5")
    end_shard(context, plan(context, "run"), 0, {"b\x1b.mp4": ("timed-out", "time-limit")})
    words = ["--store", str(tmp_path / "store")]
    names = (["b\x1b.mp4"], ["b\x1b.mp4", "--json"], ["x"])
    text, found, unknown = (CliRunner().invoke(app, ["why", "run", *name, *words]) for name in names)

    assert (text.exit_code, found.exit_code, unknown.exit_code) == (0, 0, 65)
    assert text.stdout.startswith("b⟨U+001B⟩.mp4: timed-out, time-limit\n")
    assert "a larger work.video_timeout_seconds may avoid it" in text.stdout
    assert json.loads(found.stdout)["record"]["outcome"] == "timed-out"
    assert "no video or frame 'x' among its 2" in unknown.stderr.splitlines()[-1]


def test_imported_masks_met_no_threshold(make_context: MakeContext, tmp_path: Path) -> None:
    """An image of human-annotated masks is found like a video, and no rule for masks from motion is named."""
    context = make_context()
    planned = import_coco(context, "run", written(tmp_path / "i.json", instances(tmp_path / "videos")))
    [(_, part)] = shard_records(context.store, planned.recipe)
    answer = asked(context, part.videos[0].video.key)

    assert answer.outcome == Outcome.KEPT
    assert [(frame.verdict.reject_reason, frame.thresholds, frame.what_if) for frame in answer.frames] == [
        (None, (), None)
    ]


def test_the_tars_do_not_hold_the_verdicts(make_context: MakeContext, videos: Path) -> None:
    """The places in the record are those of one gzip stream for each video, in a file of its own."""
    assert videos.is_dir()
    context = make_context(SMALL)
    planned = extracted(context)
    [(_, part)] = shard_records(context.store, planned.recipe)
    assert isinstance(part, ShardRecord)
    item = context.store.head(part.verdicts_key)
    assert item is not None

    assert [row.verdicts for row in part.videos] == [(0, item.size_bytes), (0, 0)]
