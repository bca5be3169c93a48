"""The page of a comparison and its command: what stands on it, that it stands alone, and where it is written."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.service.report.run_comparison.conftest import HOSTILE, With
from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cli.compare import print_comparison
from watchmove.service.cli.main import app
from watchmove.service.report.run_comparison.common_frames import CommonFrame, SampledFrame
from watchmove.service.report.run_comparison.compare import compare_runs
from watchmove.service.report.run_comparison.differences import (
    CountDifference,
    FigureDifference,
    FrameDifference,
    SettingDifference,
)
from watchmove.service.report.run_comparison.page import check_place, page_of


class _Parsed(HTMLParser):
    """The tags of a page with their attributes, in order, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


def page(runs: With, a: str, b: str) -> _Parsed:
    """The page of two runs."""
    context = runs()
    return _Parsed(page_of(*compare_runs(context.store, context.scratch, a, b)))


def test_the_page_stands_alone(runs: With) -> None:
    """No script, and nothing that a browser would fetch; it says that it can be light or dark, and narrow."""
    context = runs()
    text = page_of(*compare_runs(context.store, context.scratch, "base", "larger"))

    assert {name for name, _ in _Parsed(text).tags}.isdisjoint({"script", "link", "iframe", "object", "a"})
    assert re.search(r'(src|href)="(?!data:image/jpeg)', text) is None
    assert re.search(r"url\(|@import|\son\w+=", text) is None
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert 'name="viewport"' in text


def test_each_frame_has_both_masks_and_a_choice_by_keys(runs: With) -> None:
    """Two images of one size, three buttons of one group with labels, of which `both` is chosen, and the IoU."""
    context = runs()
    found, frames = compare_runs(context.store, context.scratch, "base", "larger")
    made = _Parsed(page_of(found, frames))
    buttons = [attributes for attributes in made.all("input") if attributes["type"] == "radio"]
    ids = [attributes["id"] for attributes in buttons]

    assert len(made.all("figure")) == len(frames) > 3
    assert len(made.all("img")) == 2 * len(frames)
    assert all(attributes["alt"] for attributes in made.all("img"))
    assert set(Counter(attributes["name"] for attributes in buttons).values()) == {3}
    assert len(set(ids)) == len(ids) == 3 * len(frames)
    assert [attributes["for"] for attributes in made.all("label")] == ids
    assert [attributes["id"] for attributes in buttons if "checked" in attributes] == ids[1::3]
    assert found.masks is not None
    for frame in found.masks.frames_shown:
        assert (f"IoU {frame.iou:.3f}" if frame.iou is not None else "no IoU") in made.text


def test_the_story_is_told_in_order(runs: With) -> None:
    """The two sentences come first, then settings, counts, yields, frames and figures."""
    context = runs()
    found, frames = compare_runs(context.store, context.scratch, "base", "strict")
    text = _Parsed(page_of(found, frames)).text
    parts = (
        *found.sentences,
        *("Settings that differ", "extract.min_confidence", "0.9999", "work.workers", "Counts", "videos listed"),
        *("Yields", "rejected: low-confidence", "The same frames", "mask is not stored", "Detection"),
        "Neither run has evaluations",
    )
    for part in parts:
        assert part in text
        text = text.partition(part)[2]


def test_names_are_text_and_what_cannot_be_seen_has_its_code(runs: With) -> None:
    """A name with markup and a letter that turns text is printed as it is, with the letter's code in its place."""
    context = runs()
    found, frames = compare_runs(context.store, context.scratch, "base", "strict")
    assert found.masks is not None
    rejected = [row.model_copy(update={"reject_reason_b": HOSTILE}) for row in found.masks.frames_shown]
    hostile = found.model_copy(
        update={
            "a": found.a.model_copy(update={"missing": (HOSTILE,), "champion": HOSTILE}),
            "settings": (SettingDifference(name=HOSTILE, a=HOSTILE, b=[HOSTILE], of_machine=False),),
            "frames": (CountDifference(name=HOSTILE, a=1, b=1),),
            "masks": found.masks.model_copy(update={"frames_shown": tuple(rejected)}),
            "figures": (FigureDifference(initialisation=HOSTILE, freeze_through=0, a=None, b=None),),
        }
    )
    text = page_of(hostile, frames)
    written = _Parsed(text).text.count(HOSTILE.replace("\u202e", "⟨U+202E⟩"))
    names = [row.video for row in rejected].count(HOSTILE)

    assert names
    assert written == names + len(rejected) + 7
    assert "\u202e" not in text
    assert "<b>&" not in text


def test_masks_of_one_recipe_and_missing_parts_are_said(runs: With) -> None:
    """There are no images then, and the page has the rest."""
    same, planned = page(runs, "base", "again"), page(runs, "base", "planned")

    assert "are the same, as both runs have the same snapshot of frames" in same.text
    assert "None of those that decide what a run makes." in same.text
    assert "Run B has no outcome yet of 3 of its 3 videos." in planned.text
    assert same.all("img") == planned.all("img") == []


def test_many_large_images_leave_the_page_below_3_mb(runs: With) -> None:
    """Noise does not compress: the last frames are left out, and the page says how many it shows."""
    context = runs()
    found, _ = compare_runs(context.store, context.scratch, "base", "larger")
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    jpeg, png = (cv2.imencode(kind, noise)[1].tobytes() for kind in (".jpg", ".png"))
    sample = Sample("k", jpeg, png, {})
    frames = [CommonFrame("k", SampledFrame(None, ""), SampledFrame(None, ""), sample, sample, 0.5)] * 24
    row = FrameDifference(
        key="k",
        video="v",
        time_seconds=1,
        reject_reason_a=None,
        reject_reason_b=None,
        stored_a=True,
        stored_b=True,
        iou=0.5,
    )
    assert found.masks is not None
    masks = found.masks.model_copy(update={"frames_shown": (row,) * 24})
    text = page_of(found.model_copy(update={"masks": masks}), frames)
    shown = len(_Parsed(text).all("figure"))

    assert 2_000_000 < len(text.encode()) < 3_000_000
    assert 5 < shown < 24
    assert f"Frame 1 of {shown}" in text


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a command, which is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_prints_the_facts_and_writes_the_page(runs: With, store: Path, here: Path) -> None:
    """As a table with the path, or as JSON with the same facts; running it again replaces its own page."""
    words = ["compare", "base", "strict", "--store", str(store)]
    text, found = (CliRunner().invoke(app, [*words, *more]) for more in ([], ["--json"]))
    context = runs()
    facts, _ = compare_runs(context.store, context.scratch, "base", "strict")
    printed = json.loads(found.stdout)

    assert (text.exit_code, found.exit_code) == (0, 0)
    assert "page: compare-base-strict.html" in text.stdout
    assert [path.name for path in here.iterdir()] == ["compare-base-strict.html"]
    assert printed.pop("page") == "compare-base-strict.html"
    assert printed == json.loads(facts.model_dump_json())


def test_the_table_fits_40_columns(runs: With, capsys: pytest.CaptureFixture[str]) -> None:
    """Every count and the path are there in full."""
    context = runs()
    found, _ = compare_runs(context.store, context.scratch, "base", "larger")
    capsys.readouterr()  # what the steps before have printed
    print_comparison(found, Path("a-page.html"), Console(width=40), as_json=False)
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= 40
    assert lines[-1] == "page: a-page.html"
    for row in found.counts:
        assert any(row.name.split()[-1] in line for line in lines)
        assert any(line.split("│")[2].strip() == f"{row.a}" for line in lines if line.count("│") == 5)


def test_names_of_counts_are_printed_as_they_are(runs: With, capsys: pytest.CaptureFixture[str]) -> None:
    """The reasons of a record are no markup, and their control codes reach no terminal."""
    context = runs()
    found, _ = compare_runs(context.store, context.scratch, "base", "larger")
    capsys.readouterr()  # what the steps before have printed
    forged = found.counts[0].model_copy(update={"name": "rejected: [/bold]\x1b[2J"})
    print_comparison(found.model_copy(update={"counts": (forged,)}), Path("a.html"), Console(width=160), as_json=False)
    printed = capsys.readouterr().out

    assert "rejected: [/bold]?[2J" in printed


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("base", "nobody"), "run nobody: "),
        (("nobody", "base"), "run nobody: "),
        (("base", "../up"), "a run's name"),
        (("base", "base"), "named twice"),
    ],
)
def test_unknown_runs_end_in_one_line(store: Path, here: Path, names: tuple[str, str], said: str) -> None:
    """Exit code 65, the known names where a run is unknown, and no page."""
    ended = CliRunner().invoke(app, ["compare", *names, "--store", str(store)])

    assert ended.exit_code == 65
    assert said in ended.stderr.splitlines()[-1]
    assert ("again, base" in ended.stderr) == ("nobody" in names)
    assert list(here.iterdir()) == []


def test_other_files_are_not_overwritten(store: Path, here: Path) -> None:
    """Not a text of the user's, and a folder is named too."""
    (here / "notes.html").write_text("mine")
    (here / "folder").mkdir()
    words = ["compare", "base", "again", "--store", str(store), "--out"]
    refused, folder, made = (CliRunner().invoke(app, [*words, name]) for name in ("notes.html", "folder", "in/a.html"))

    assert (refused.exit_code, folder.exit_code, made.exit_code) == (65, 65, 0)
    assert "no page of a comparison; name another file with --out" in refused.stderr
    assert (here / "notes.html").read_text() == "mine"
    assert (here / "in" / "a.html").is_file()
    with pytest.raises(InvalidInput, match="File name too long"):
        check_place(here / ("x" * 300))
