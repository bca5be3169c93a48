"""The folder of a video: its page without scripts, its pictures and its MP4, on small real runs."""

import os
import re
import signal
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.service.conftest import MakeContext
from tests.service.explanation.video_page.conftest import CUT, HOSTILE, OWNER, With, draw_videos
from tests.service.records.snapshot_samples import snapshot_samples
from tests.service.steps.test_extract import extracted
from tests.service.steps.test_import_coco import instances, written
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cli.main import app
from watchmove.service.explanation.answer import Answer, why
from watchmove.service.explanation.video_page.show import Written, folder_name, show
from watchmove.service.forgetting.forget import forget
from watchmove.service.forgetting.selection import Selector
from watchmove.service.records import layout
from watchmove.service.records.datasets import dataset_of
from watchmove.service.records.forgotten import ForgetRecord, ForgottenWork, work_hash
from watchmove.service.records.outcomes import Video
from watchmove.service.records.record import commit, origin
from watchmove.service.records.stream import shard_records
from watchmove.service.runner.progress import LoggedProgress
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.import_coco import import_coco

FRAMES = 2 * CUT


class _Page(HTMLParser):
    """The tags of a page with their attributes, in order, its text, and the cells of the table of each frame."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.frames: dict[int, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "details":
            self._rows = self.frames[int((dict(attrs)["id"] or "").removeprefix("frame-"))] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th") and self._rows:
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._rows = []

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._rows and self._rows[-1]:
            self._rows[-1][-1] += data.strip()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


def shown(context: StepContext, name: str, out: Path, run: str = "", *, movie: bool = False) -> _Page:
    """The page of a video in a folder."""
    assert show(context, name, run, out, movie=movie).page == out / "index.html"
    return _Page(out / "index.html")


def asked(context: StepContext, name: str, run: str = "base") -> Answer:
    """What `why` says of it."""
    return why(context.store, context.scratch, run, name)


def frames_of(path: Path) -> list[np.ndarray]:
    """The decoded frames of an MP4, uint8 RGB."""
    video = cv2.VideoCapture(str(path))
    frames: list[np.ndarray] = []
    while True:
        read, frame = video.read()
        if not read:
            return frames
        frames.append(np.asarray(frame[..., ::-1]))


def test_the_page_stands_alone(runs: With, tmp_path: Path) -> None:
    """No script, no data URI and nothing outside its folder; each file beside it is shown on it."""
    out = tmp_path / "page"
    page = shown(runs(), "two.mp4", out)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    sources = [attributes["src"] for tag, attributes in page.tags if "src" in attributes]

    assert {name for name, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "a", "base"})
    assert re.search(r"url\(|@import|\son\w+=|data:|href", page.html) is None
    assert len(sources) == len(set(sources)) > 5
    assert files == {*sources, "index.html"}
    assert all(attributes["alt"] for attributes in page.all("img"))
    for words in ("prefers-color-scheme: dark", "@media print", "max-width: 640px", 'name="viewport"'):
        assert words in page.html


def test_every_sampled_frame_has_its_thresholds(runs: With, tmp_path: Path) -> None:
    """With the measured values and the margins of the record, in the order in which they are asked."""
    context = runs()
    page, answer = shown(context, "two.mp4", tmp_path / "page"), asked(context, "two.mp4")

    assert list(page.frames) == [frame.verdict.frame for frame in answer.frames]
    assert len(page.frames) == answer.examined == 32
    for frame in answer.frames:
        [_, *rows] = page.frames[frame.verdict.frame]
        assert len(rows) == len(frame.thresholds) == 12
        for row, met in zip(rows, frame.thresholds, strict=True):
            assert row[0].startswith(met.fact)
            assert row[1] == ("–" if met.measured is None else f"{met.measured:.4g}")
            assert row[4:] == [met.setting or "fixed", met.reason]
            assert row[3] == {True: "passes", False: "fails", None: "not evaluated"}[met.passes]
        confidence = next(row for row in rows if row[0] == "confidence ≥ 0.65")
        margin = float(confidence[2].replace("−", "-"))
        assert margin == pytest.approx(frame.verdict.facts["confidence"] - 0.65, abs=1e-3)
        assert f"frame {frame.verdict.frame}" in page.text


def test_kept_frames_have_mask_and_trimap_as_the_shards_do(runs: With, tmp_path: Path) -> None:
    """The mask is the stored file, the trimap follows from it, and a picture differs from it at the outline alone."""
    context = runs()
    shown(context, "two.mp4", tmp_path)
    id_ = asked(context, "two.mp4").video
    samples = [
        sample
        for sample in snapshot_samples(context, dataset_of(context.store, "base"))
        if id_ and sample.metadata["video_id"] == id_.id
    ]

    assert len(samples) > 3
    for sample in samples:
        stem = f"frames/{sample.metadata['frame']:06d}"
        mask = cv2.imdecode(np.frombuffer(sample.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        trimap = cv2.imread(str(tmp_path / f"{stem}-trimap.png"), cv2.IMREAD_GRAYSCALE)
        picture = cv2.imread(str(tmp_path / f"{stem}-picture.jpg"))
        plain = cv2.imdecode(np.frombuffer(sample.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert trimap is not None
        assert plain is not None
        inside = (mask >= 0.7 * 255).astype(np.uint8)
        away = cv2.dilate(inside, np.ones((13, 13))) == cv2.erode(inside, np.ones((13, 13)))
        difference = np.abs(picture.astype(int) - plain).max(axis=2)

        assert (tmp_path / f"{stem}-mask.png").read_bytes() == sample.mask_png
        assert np.array_equal(trimap, np.where(inside, 255, np.where(mask <= 0.4 * 255, 0, 128)))
        assert np.percentile(difference[away], 99) < 40
        assert difference[~away].max() > 100


def test_the_mp4_has_every_frame_with_verdict_and_outline(runs: With, tmp_path: Path) -> None:
    """As many frames as extraction decoded, of at most 640 pixels, an outline, and the verdict's colour."""
    context = runs()
    page = shown(context, "two.mp4", tmp_path / "page", movie=True)
    frames = frames_of(tmp_path / "page" / "video.mp4")
    height, width = frames[0].shape[:2]
    verdicts = [frame.verdict for frame in asked(context, "two.mp4").frames]
    kept = next(one.frame for one in verdicts if one.reject_reason is None)
    rejected = next(one.frame for one in verdicts if one.reject_reason is not None)
    yellow = (np.abs(frames[kept][60:].astype(int) - (255, 255, 0)).max(axis=2) < 60).sum()

    assert len(frames) == FRAMES
    assert max(height, width) == 640
    assert [attributes["src"] for attributes in page.all("video")] == ["video.mp4"]
    assert yellow > 200
    assert frames[kept][20, 9].tolist() == pytest.approx((64, 200, 110), abs=30)
    assert frames[rejected][20, 9].tolist() == pytest.approx((255, 150, 60), abs=30)
    assert "2 shots" in next(str(attributes["aria-label"]) for attributes in page.all("svg"))
    assert f"shot 1, frames {CUT} to {FRAMES - 1}" in page.text


def test_the_time_line_has_every_frame(runs: With, tmp_path: Path) -> None:
    """Without reading the video again too; then shots reach as far as frames were sampled."""
    context = runs()
    page, answer = shown(context, "two.mp4", tmp_path / "page"), asked(context, "two.mp4")
    classes = [attributes.get("class") for tag, attributes in page.tags if tag in ("rect", "line")]
    assert answer.record is not None

    assert classes.count("shot") == 2
    assert classes.count("window") == 4
    assert classes.count("mark-kept") == answer.record.frames_kept > 0
    assert classes.count("mark-rejected") == 32 - answer.record.frames_kept > 0
    assert "as far as frames were sampled" in page.text
    assert page.all("video") == []
    assert "There is no MP4: --no-video was given." in page.text


def test_hostile_names_are_text(runs: With, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder has letters of ASCII alone, markup is text, and letters that cannot be seen have their code."""
    monkeypatch.chdir(tmp_path)
    written_: Written = show(runs(), HOSTILE, "", None, movie=True)
    page = _Page(written_.page)

    assert re.fullmatch(r"show-_b___gpj\.mp4-[0-9a-f]{16}/index\.html", str(written_.page))
    assert written_.movie == written_.page.with_name("video.mp4")
    assert HOSTILE.replace("\u202e", "⟨U+202E⟩") in page.text
    assert OWNER.replace("\u202e", "⟨U+202E⟩").replace("\x1b", "⟨U+001B⟩") in page.text
    assert "Attribution License" in page.text
    assert {"\u202e", "\x1b"}.isdisjoint(page.html)
    assert "<b>&" not in page.html
    assert page.all("script") == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("monday/0001.mp4", "tuesday/0001.mp4", id="the same name in two folders"),
        pytest.param("猫が走る.mp4", "犬が泳ぐ.mp4", id="other letters than ASCII's"),
        pytest.param("a b.mp4", "a_b.mp4", id="a space"),
        pytest.param("l" * 90 + "1.mp4", "l" * 90 + "2.mp4", id="long names"),
    ],
)
def test_pages_of_two_videos_have_two_folders(one: str, other: str) -> None:
    """By default, no page replaces that of another video with a similar name; a plain name is taken as it is."""
    names = [
        folder_name(Video(id=id_ * 16, key=key, etag="e", size_bytes=1)) for id_, key in (("a", one), ("b", other))
    ]

    assert names[0] != names[1]
    assert all(re.fullmatch(r"show-[A-Za-z0-9._-]{1,97}", name) for name in names)
    assert folder_name(Video(id="c" * 16, key="dog.mp4", etag="e", size_bytes=1)) == "show-dog.mp4"


def test_the_run_that_decoded_it_last_is_shown(runs: With, tmp_path: Path) -> None:
    """The others are in the table with their own counts; a named run is shown instead."""
    context = runs()
    page = shown(context, "two.mp4", tmp_path / "page")
    strict = shown(context, "two.mp4", tmp_path / "page", "strict")
    planned = shown(context, "two.mp4", tmp_path / "page", "planned", movie=True)

    assert page.text.index("base (this page)") < page.text.index("strict")
    assert "Run base keeps" in page.text
    assert "Its kept frames are in the snapshot" in page.text
    assert "Run strict keeps none of the 32 frames that it examined, of 48" in strict.text
    assert "extract.min_confidence=0.9" in strict.text
    assert "Run planned has planned this video and not extracted it yet." in planned.text
    assert "There is no MP4: it has not been extracted yet." in planned.text
    assert planned.frames == {}


def test_a_file_that_is_no_video(runs: With, tmp_path: Path) -> None:
    """The page says how it ended, in the words of the decoder."""
    page = shown(runs(), "text.mp4", tmp_path / "page", movie=True)

    assert "which ended as unreadable: not-a-video" in page.text
    assert "moov atom not found" in page.text
    assert "There is no MP4: extraction could not read it (not-a-video)." in page.text


@pytest.mark.usefixtures("s3_environment")
def test_videos_and_records_in_buckets(make_context: MakeContext, tmp_path: Path) -> None:
    """The video is fetched again with its ETag; once another version is there, the page is made without an MP4."""
    draw_videos(tmp_path / "local")
    context = make_context("store=s3://frames/store", "videos=s3://frames/videos", "extract.shorter_side_pixels=96")
    videos = make_context("store=s3://frames/videos").store
    videos.upload("two.mp4", tmp_path / "local/two.mp4")
    extracted(context)
    made = shown(context, "s3://frames/videos/two.mp4", tmp_path / "page", movie=True)
    count = len(frames_of(tmp_path / "page" / "video.mp4"))
    videos.write("two.mp4", b"another")
    changed = shown(context, "two.mp4", tmp_path / "page", movie=True)

    assert count == FRAMES
    assert "s3://frames/videos/two.mp4" in made.text
    assert "There is no MP4: s3://frames/videos has another version of it now." in changed.text
    assert not (tmp_path / "page" / "video.mp4").exists()
    assert len(changed.all("img")) == len(made.all("img")) > 5


def test_without_its_source_the_page_is_made(make_context: MakeContext, tmp_path: Path) -> None:
    """Deleted, or in a place that is not on this machine; the rest of the page is the same."""
    draw_videos(tmp_path / "videos")
    context = make_context("extract.shorter_side_pixels=96")
    extracted(context, "run")
    full = shown(context, "two.mp4", tmp_path / "page")
    (tmp_path / "videos" / "two.mp4").unlink()
    gone = shown(context, "two.mp4", tmp_path / "page", movie=True)
    (tmp_path / "videos").rename(tmp_path / "elsewhere")
    away = shown(context, "two.mp4", tmp_path / "page", movie=True)

    for page in (gone, away):
        assert f"There is no MP4: file://{tmp_path}/videos does not have it any more." in page.text
        assert page.frames == full.frames
        assert page.all("img") == full.all("img")


def test_a_source_that_no_longer_decodes(make_context: MakeContext, tmp_path: Path) -> None:
    """Bytes that are lost without a change of size and time are found by the decoder; no part of an MP4 is left."""
    draw_videos(tmp_path / "videos")
    context = make_context("extract.shorter_side_pixels=96")
    extracted(context, "run")
    path = tmp_path / "videos" / "two.mp4"
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    page = shown(context, "two.mp4", tmp_path / "page", movie=True)

    assert "There is no MP4: it cannot be decoded again (" in page.text
    assert not (tmp_path / "page" / "video.mp4").exists()


def test_records_of_another_machine_and_version(make_context: MakeContext, tmp_path: Path) -> None:
    """Weights that are not here leave out the MP4; without verdicts, only frames with a picture are known."""
    draw_videos(tmp_path / "videos")
    context = make_context("extract.shorter_side_pixels=96")
    planned = extracted(context, "run")
    [(key, part)] = shard_records(context.store, planned.recipe)
    rows = tuple(row.model_copy(update={"verdicts": (0, 0)}) for row in part.videos)
    extract = part.made_by.settings["extract"] | {"motion_network": "/nowhere/gone.safetensors"}
    made_by = part.made_by.model_copy(update={"settings": part.made_by.settings | {"extract": extract}})
    old = part.model_copy(update={"verdicts_key": "", "videos": rows, "made_by": made_by})
    context.store.write(key, old.model_dump_json().encode())
    page, answer = shown(context, "two.mp4", tmp_path / "page", movie=True), asked(context, "two.mp4", "run")

    assert "There is no MP4: its masks cannot be computed here: extract.motion_network (/nowhere/gone" in page.text
    assert f"Of {answer.examined - answer.recorded} rejected frames only the number is recorded." in page.text
    assert len(page.all("img")) == 3 * len(page.frames) == 3 * answer.recorded > 9


def test_imported_masks(make_context: MakeContext, tmp_path: Path) -> None:
    """Annotations met no threshold, and there is no video to read; the image is shown with its mask."""
    context = make_context()
    planned = import_coco(context, "run", written(tmp_path / "i.json", instances(tmp_path / "videos")))
    [(_, part)] = shard_records(context.store, planned.recipe)
    page = shown(context, part.videos[0].video.key, tmp_path / "page", movie=True)

    assert "There is no MP4: its masks are annotations of images." in page.text
    assert len(page.all("img")) == 3
    assert "It met no threshold." in page.text
    assert "Attribution License" in page.text


def test_a_forgotten_video_is_not_shown(make_context: MakeContext, tmp_path: Path) -> None:
    """By key, URI, id or frame: exit code 65, and no folder; `why` says that it is forgotten."""
    draw_videos(tmp_path / "videos")
    context = make_context("extract.shorter_side_pixels=96")
    extracted(context, "run")
    before = asked(context, "two.mp4", "run")
    assert before.video is not None
    forget(context, Selector("video", ("two.mp4",)))
    names = ("two.mp4", f"file://{tmp_path}/videos/two.mp4", before.video.id, before.frames[0].key)

    for name in names:
        words = [name, "--store", str(tmp_path / "store"), "--out", str(tmp_path / "page")]
        ended = CliRunner().invoke(app, ["show", *words])
        assert ended.exit_code == 65
        assert f"video {name!r}: is forgotten" in ended.stderr.splitlines()[-1]
        assert asked(context, name, "run").reason == "forgotten"
    assert not (tmp_path / "page").exists()


def test_a_request_to_forget_that_is_not_finished_counts(make_context: MakeContext, tmp_path: Path) -> None:
    """While frames of the work are still in the store, nothing of it is shown, and all of the others."""
    draw_videos(tmp_path / "videos")
    context = make_context("extract.shorter_side_pixels=96")
    extracted(context, "run")
    work = ForgottenWork(work=work_hash(context.settings.videos, "two.mp4"))
    made_by = origin(context.settings, {})
    receipt = ForgetRecord(made_by=made_by, selector="video", selector_hashes=("0",), works=(work,))
    commit(context.store, layout.receipt("begun"), receipt)

    with pytest.raises(InvalidInput, match="is forgotten, and nothing of it is shown"):
        show(context, "two.mp4", "", tmp_path / "page", movie=False)
    assert shown(context, HOSTILE, tmp_path / "page").all("img")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x.mp4"], "no video or frame 'x.mp4' among its 3"),
        ([HOSTILE.partition("/")[2]], "such as 'in/<b>"),
        (["two.mp4", "--run", "nobody"], "name one of its runs (base, planned, strict)"),
        (["two.mp4", "--run", "../up"], "a run's name"),
    ],
)
def test_unknown_names_end_in_one_line(store: Path, tmp_path: Path, words: list[str], said: str) -> None:
    """Exit code 65, names that are like it where there are some, and no folder."""
    ended = CliRunner().invoke(app, ["show", *words, "--store", str(store), "--out", str(tmp_path / "page")])

    assert ended.exit_code == 65
    assert said in ended.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 75, and no folder."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    words = ["show", "a.mp4", "--store", "s3://frames/store", "--out", str(tmp_path / "page")]
    ended = CliRunner().invoke(app, words)

    assert ended.exit_code == 75
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_wrote(store: Path, tmp_path: Path) -> None:
    """The paths of the page and of the MP4, or why there is none."""
    out = tmp_path / "page"
    words = ["show", "two.mp4", "--store", str(store), "--out", str(out)]
    made, without = (CliRunner().invoke(app, [*words, *more]) for more in ([], ["--no-video"]))

    assert made.stdout.splitlines() == [f"page: {out}/index.html", f"video: {out}/video.mp4"]
    assert without.stdout.splitlines() == [f"page: {out}/index.html", "no MP4: --no-video was given"]
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_a_signal_leaves_the_page_of_before(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the MP4 is written is exit code 143, and nothing half-written is left."""
    words = ["show", "two.mp4", "--store", str(store), "--out", str(tmp_path / "page")]
    CliRunner().invoke(app, [*words, "--no-video"])
    before = {path: path.read_bytes() for path in (tmp_path / "page").rglob("*") if path.is_file()}
    monkeypatch.setattr(LoggedProgress, "update", lambda *_: signal.raise_signal(signal.SIGINT))
    ended = CliRunner().invoke(app, words)

    assert ended.exit_code == 143
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    assert {path: path.read_bytes() for path in (tmp_path / "page").rglob("*") if path.is_file()} == before


def test_other_files_are_not_removed(runs: With, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a folder of the user's, nor one that was put beside an earlier page; an empty folder is taken."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    context = runs()
    mine, empty = tmp_path / "mine", tmp_path / "empty"
    for folder in (mine, empty):
        folder.mkdir()
    (mine / "index.html").write_text("mine")
    show(context, "two.mp4", "", empty, movie=False)
    (empty / "notes.txt").write_text("mine")

    for folder in (mine, empty, mine / "index.html", Path(), Path(".."), Path("/")):
        with pytest.raises(InvalidInput, match="name another folder with --out"):
            show(context, "two.mp4", "", folder, movie=False)
    assert (mine / "index.html").read_text() == "mine"
    assert (empty / "notes.txt").read_text() == "mine"
