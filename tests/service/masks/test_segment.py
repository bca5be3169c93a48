"""`watchmove segment` writes a mask or a named reason for every frame of a video or folder."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.video import moving_square
from watchmove.service.cli.main import app
from watchmove.service.extraction.recipe import local_extraction
from watchmove.service.masks.segment import segment
from watchmove.service.settings.loading import LAPTOP, load_settings

FRAMES = 8


def folder_of(path: Path, frames: list[Image], mode: str = "RGB") -> Path:
    """A folder of frames as PNG files of a Pillow mode."""
    path.mkdir()
    for index, frame in enumerate(frames):
        PIL.Image.fromarray(frame).convert(mode).save(path / f"{index:05d}.png")
    return path


def segmented(source: Path, out: Path, *words: str) -> list[dict[str, Any]]:
    """Run the command, check that it succeeds, and return the rows of `frames.jsonl`."""
    done = CliRunner().invoke(app, ["segment", str(source), "--out", str(out), *words])

    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]


def mask_of(out: Path, name: str) -> Image:
    """The pixels of a written mask file."""
    return np.asarray(cv2.imread(str(out / f"{name}.png"), cv2.IMREAD_UNCHANGED), np.uint8)


def square(frames: int = FRAMES, **more: Any) -> list[Image]:
    """Frames of a square that moves 3 pixels per frame."""
    return list(moving_square((3.0, 0.0), frames, **more).frames)


def test_a_folder_gives_a_mask_of_the_same_name_and_size_for_every_frame(tmp_path: Path) -> None:
    """The square is found in images larger than the working size; each has a mask of its size and a row."""
    frames = [np.asarray(cv2.resize(frame, (640, 480)), np.uint8) for frame in square()]
    rows = segmented(folder_of(tmp_path / "in", frames), tmp_path / "out")
    truth = moving_square((3.0, 0.0), FRAMES).masks[4]
    found = cv2.resize(mask_of(tmp_path / "out", "00004"), (320, 240), interpolation=cv2.INTER_AREA) >= 128

    assert [row["index"] for row in rows] == list(range(FRAMES))
    assert {mask_of(tmp_path / "out", f"{index:05d}").shape for index in range(FRAMES)} == {(480, 640)}
    assert (found & truth).sum() / (found | truth).sum() > 0.75
    assert all(np.isfinite(row["confidence"]) and row["kept"] == (row["reject_reason"] is None) for row in rows)


def test_progress_is_complete_only_at_the_end(tmp_path: Path) -> None:
    """Masks and frames read are counted up, and masks are never ahead of the frames."""
    told: list[tuple[int, int]] = []
    with local_extraction(load_settings(LAPTOP, [])) as settings:
        count = segment(
            folder_of(tmp_path / "in", square()),
            tmp_path / "out",
            settings,
            on_frame=lambda done, read: told.append((done, read)),
        )

    assert count == FRAMES
    assert told == sorted(told)
    assert told[0] == (0, 1)
    assert told[-1] == (FRAMES, FRAMES)
    assert told.count((FRAMES, FRAMES)) == 1


def test_a_video_gives_masks_by_frame_number_and_an_overlay(tmp_path: Path) -> None:
    """Masks of a video are numbered from 000000 and have its size; the overlay has as many frames."""
    frames = [np.asarray(cv2.resize(frame, (480, 360)), np.uint8) for frame in square()]
    write_video(tmp_path / "v.mp4", frames, 12)
    rows = segmented(tmp_path / "v.mp4", tmp_path / "out", "--overlay")
    film = cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4"))

    assert len(rows) == FRAMES
    assert {mask_of(tmp_path / "out", f"{index:06d}").shape for index in range(FRAMES)} == {(360, 480)}
    assert int(film.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES


def test_a_long_video_has_a_mask_for_every_frame(tmp_path: Path) -> None:
    """The bound `max_frames` of an extraction does not apply to this command."""
    write_video(tmp_path / "v.mp4", square(), 12)
    rows = segmented(tmp_path / "v.mp4", tmp_path / "out", "--set", "extract.max_frames=3")

    assert len(rows) == len(list((tmp_path / "out").glob("*.png"))) == FRAMES


def test_running_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """A second run into a folder that also holds remains of a killed run gives the same masks."""
    source, out = folder_of(tmp_path / "in", square()), tmp_path / "out"
    segmented(source, out)
    first = {path.name: path.read_bytes() for path in out.glob("*.png")}
    (out / "00003.png").write_bytes(b"half a")
    (out / "frames.jsonl").unlink()
    segmented(source, out)

    assert {path.name: path.read_bytes() for path in out.glob("*.png")} == first


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_pictures_of_any_mode_are_read(mode: str, tmp_path: Path) -> None:
    """Grey, alpha, palette and black-and-white images each get a mask of their size."""
    rows = segmented(folder_of(tmp_path / "in", square(), mode), tmp_path / "out")

    assert len(rows) == FRAMES
    assert {mask_of(tmp_path / "out", f"{index:05d}").shape for index in range(FRAMES)} == {(240, 320)}


def test_sixteen_bit_pictures_are_no_white_ones(tmp_path: Path) -> None:
    """The high byte of 16-bit images is used, so the square is found as in 8-bit images."""
    (tmp_path / "in").mkdir()
    for index, frame in enumerate(square()):
        cv2.imwrite(str(tmp_path / "in" / f"{index}.png"), frame.astype(np.uint16) * 257)
    rows = segmented(tmp_path / "in", tmp_path / "out")
    found = mask_of(tmp_path / "out", "4") >= 128
    truth = moving_square((3.0, 0.0), FRAMES).masks[4]

    assert len(rows) == FRAMES
    assert (found & truth).sum() / (found | truth).sum() > 0.75


@pytest.mark.parametrize(
    ("frames", "reasons"),
    [
        pytest.param([square(1)[0]] * FRAMES, {"no-motion", "short-shot"}, id="identical"),
        pytest.param([np.zeros((240, 320, 3), np.uint8)] * FRAMES, {"no-motion", "short-shot"}, id="black"),
        pytest.param(square(1), {"short-shot"}, id="one frame"),
    ],
)
def test_no_mask_is_made_of_nothing(frames: list[Image], reasons: set[str], tmp_path: Path) -> None:
    """If nothing moves, every mask is zero and every row has a reject reason."""
    rows = segmented(folder_of(tmp_path / "in", frames), tmp_path / "out")

    assert {row["reject_reason"] for row in rows} <= reasons
    assert [int(mask_of(tmp_path / "out", row["frame"]).max()) for row in rows] == [0] * len(frames)


def test_a_change_of_size_begins_a_shot(tmp_path: Path) -> None:
    """A change from landscape to portrait starts a new shot; masks have the sizes of their frames."""
    tall = [np.ascontiguousarray(frame.transpose(1, 0, 2)) for frame in square()]
    rows = segmented(folder_of(tmp_path / "in", square() + tall), tmp_path / "out")

    assert [row["shot"] for row in rows] == [0] * FRAMES + [1] * FRAMES
    assert mask_of(tmp_path / "out", "00000").shape == (240, 320)
    assert mask_of(tmp_path / "out", "00015").shape == (320, 240)


def test_an_8k_picture_is_read(tmp_path: Path) -> None:
    """Two frames of 7680 x 4320 give two masks of that size."""
    (tmp_path / "in").mkdir()
    for index, frame in enumerate(square(2)):
        cv2.imwrite(str(tmp_path / "in" / f"{index}.jpg"), cv2.resize(frame, (7680, 4320)))
    rows = segmented(tmp_path / "in", tmp_path / "out")

    assert [row["reject_reason"] for row in rows] == ["short-shot"] * 2
    assert mask_of(tmp_path / "out", "1").shape == (4320, 7680)


def test_a_strip_is_of_absurd_size(tmp_path: Path) -> None:
    """A very long image is rejected as in videos, because it would fill the memory at working size."""
    source = folder_of(tmp_path / "in", square())
    PIL.Image.new("RGB", (4000, 3)).save(source / "strip.png")
    rows = segmented(source, tmp_path / "out")

    assert [row["frame"] for row in rows if row["reject_reason"] == "absurd-size"] == ["strip"]
    assert not (tmp_path / "out" / "strip.png").exists()


def test_what_is_no_picture_is_passed_over_or_named(tmp_path: Path) -> None:
    """Text and hidden files are ignored; a damaged image gets a row with its reason, the others get masks."""
    source = folder_of(tmp_path / "in", square())
    (source / "notes.txt").write_text("no picture")
    (source / "._00001.png").write_bytes(b"what macOS leaves beside a copy")
    (source / "99999.png").write_bytes(b"no picture either")
    rows = segmented(source, tmp_path / "out")

    assert [row["frame"] for row in rows if row["reject_reason"] == "unreadable"] == ["99999"]
    assert len(list((tmp_path / "out").glob("*.png"))) == FRAMES


@pytest.mark.parametrize("content", ["absent", "empty", "damaged", "text", "itself"])
def test_nothing_readable_is_one_line_and_65(content: str, tmp_path: Path) -> None:
    """The error line names the given path; there is no trace and no frames.jsonl."""
    source, out = tmp_path / "in", tmp_path / "out"
    if content != "absent":
        source.mkdir()
    if content == "damaged":
        (source / "1.png").write_bytes(b"damaged")
    if content == "itself":
        folder_of(source / "x", square(2))
        source = out = source / "x"
    if content == "text":
        source = source / "v.mp4"
        source.write_text("no video")
    done = CliRunner().invoke(app, ["segment", str(source), "--out", str(out)])

    assert done.exit_code == 65
    assert str(source) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (out / "frames.jsonl").exists()


def test_a_file_in_place_of_the_folder_is_one_line_and_65(tmp_path: Path) -> None:
    """`--out` may be neither a file nor a path below one."""
    source = folder_of(tmp_path / "in", square(2))
    (tmp_path / "out").write_text("a file")
    for out in (tmp_path / "out", tmp_path / "out" / "masks"):
        done = CliRunner().invoke(app, ["segment", str(source), "--out", str(out)])

        assert done.exit_code == 65
        assert "--out" in done.stderr.splitlines()[-1]


def test_after_a_damaged_picture_one_shot_begins(tmp_path: Path) -> None:
    """A frame after an unreadable one is not compared with the frame before the gap, nor treated as the first."""
    source = folder_of(tmp_path / "in", [*square(), *square(seed=3)])
    (source / f"{FRAMES - 1:05d}.png").write_bytes(b"no picture")
    rows = segmented(source, tmp_path / "out")

    assert [row["shot"] for row in rows] == [0] * (FRAMES - 1) + [1] + [2] * FRAMES


def test_numbers_in_names_are_numbers(tmp_path: Path) -> None:
    """Files are ordered by number: frame2 comes before frame10, with or without leading zeros."""
    (tmp_path / "in").mkdir()
    for index, frame in enumerate(square(12)):
        PIL.Image.fromarray(frame).save(tmp_path / "in" / f"frame{index}.png")
    rows = segmented(tmp_path / "in", tmp_path / "out")

    assert [row["frame"] for row in rows] == [f"frame{index}" for index in range(12)]


def test_a_run_that_fails_leaves_no_facts_of_an_earlier_one(tmp_path: Path) -> None:
    """A second run removes frames.jsonl, the mark of complete output, before it rewrites the first mask."""
    source, out = folder_of(tmp_path / "in", square()), tmp_path / "out"
    segmented(source, out)
    for path in source.iterdir():
        path.write_bytes(b"no picture")
    done = CliRunner().invoke(app, ["segment", str(source), "--out", str(out)])

    assert done.exit_code == 65
    assert not (out / "frames.jsonl").exists()


def test_flow_by_another_method_is_computed_and_said(tmp_path: Path) -> None:
    """Variational flow gives other masks than DIS, also finds the square, and is named in every row."""
    source = folder_of(tmp_path / "in", square())
    usual, rows = (
        segmented(source, tmp_path / method, "--set", f"extract.flow={method}") for method in ("dis", "variational")
    )
    masks = [mask_of(tmp_path / method, "00004") for method in ("dis", "variational")]
    truth = moving_square((3.0, 0.0), FRAMES).masks[4]

    assert {row["flow"] for row in usual} == {"dis"}
    assert {row["flow"] for row in rows} == {"variational"}
    assert not np.array_equal(masks[0], masks[1])
    assert all(((mask >= 128) & truth).sum() / ((mask >= 128) | truth).sum() > 0.85 for mask in masks)


@pytest.mark.parametrize(
    ("word", "said"),
    [("extract.device=cuda", "no GPU here"), ("extract.raft_weights=absent.safetensors", "absent.safetensors")],
)
def test_flow_that_cannot_be_computed_ends_with_one_line(
    word: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing GPU or weights file is reported before any frame is read."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = ["--set", word, *(["--set", "extract.flow=raft"] if "raft" in word else [])]
    done = CliRunner().invoke(app, ["segment", str(tmp_path), "--out", str(tmp_path / "out"), *words])

    assert done.exit_code == 65
    assert said in done.output + capsys.readouterr().err


def test_an_overlay_is_that_of_the_last_call_and_never_replaces_the_input(tmp_path: Path) -> None:
    """An overlay of other masks would be taken for theirs; an input of its name is refused and stays."""
    (tmp_path / "out").mkdir()
    write_video(tmp_path / "out" / "overlay.mp4", square(4), 10)
    before = (tmp_path / "out" / "overlay.mp4").read_bytes()
    words = ["segment", str(tmp_path / "out" / "overlay.mp4"), "--out", str(tmp_path / "out"), "--overlay"]
    done = CliRunner().invoke(app, words)

    assert (done.exit_code, "would replace the input" in done.stderr) == (65, True)
    assert (tmp_path / "out" / "overlay.mp4").read_bytes() == before
    segmented(folder_of(tmp_path / "in", square(4)), tmp_path / "out")
    assert not (tmp_path / "out" / "overlay.mp4").exists()


@pytest.mark.parametrize("name", ["none.mp4", "junk.mp4", "empty"])
def test_an_input_that_cannot_be_read_leaves_an_earlier_output(tmp_path: Path, name: str) -> None:
    """As a mistyped name of a video, with the folder of the last one."""
    (tmp_path / "junk.mp4").write_bytes(b"junk")
    for folder in ("empty", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "out" / "frames.jsonl").write_text("{}")
    done = CliRunner().invoke(app, ["segment", str(tmp_path / name), "--out", str(tmp_path / "out")])

    assert done.exit_code == 65
    assert (tmp_path / "out" / "frames.jsonl").read_text() == "{}"
