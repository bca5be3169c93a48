"""Figures of the bench on a drawn sequence with exactly known masks."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from tests.service.cli.test_main import run
from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.video import moving_square


def mask(first: int, last: int) -> NDArray[np.bool_]:
    """A mask of one row of ten pixels, set from `first` up to `last`."""
    row = np.zeros((1, 10), bool)
    row[0, first:last] = True
    return row


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [((0, 4), (0, 4), 1), ((0, 4), (2, 6), 1 / 3), ((0, 2), (5, 7), 0), ((0, 0), (0, 0), 1), ((0, 0), (0, 5), 0)],
)
def test_jaccard(a: tuple[int, int], b: tuple[int, int], expected: float) -> None:
    """Intersection over union; two empty masks agree."""
    assert jaccard(mask(*a), mask(*b)) == pytest.approx(expected)


@pytest.fixture(scope="module")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A square and its masks in the layout of DAVIS, and as a video."""
    folder = tmp_path_factory.mktemp("davis")
    video = moving_square((3.0, 0.0), 10)
    for kind in ("JPEGImages", "Annotations"):
        (folder / kind / "square").mkdir(parents=True)
    for number, (frame, truth) in enumerate(zip(video.frames, video.masks, strict=True)):
        PIL.Image.fromarray(frame).save(folder / f"JPEGImages/square/{number:05d}.jpg", quality=95)
        PIL.Image.fromarray(truth.astype(np.uint8) * 255).save(folder / f"Annotations/square/{number:05d}.png")
    write_video(folder / "square.mp4", video.frames, 10)
    return folder


@pytest.mark.parametrize("as_video", [False, True])
def test_bench_of_a_square(davis: Path, *, as_video: bool) -> None:
    """Eight of ten frames are scored, J is above 0.85 from images and from video, and every stage has its time."""
    extra = ["--videos", str(davis)] if as_video else []
    ended = run("bench", "masks", "--davis", str(davis), "--json", *extra)
    facts = json.loads(ended.stdout)

    assert (facts["sequences"], facts["frames"]) == (1, 8)
    assert facts["J"] > 0.85
    assert facts["J_by_confidence"]["100%"] == pytest.approx(facts["J"])
    assert set(facts["cpu_milliseconds_by_stage"]) == {
        "conditions", "flow", "camera", "smoothing", "appearance", "edges",
    }  # fmt: skip
    assert facts["ratio_to_dis_medium"] == pytest.approx(facts["cpu_milliseconds"] / facts["dis_medium_milliseconds"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--davis", "/nonexistent"], "JPEGImages"), (["--sequences", "circle"], "known there: square")],
)
def test_what_is_not_there_is_named(arguments: list[str], said: str, davis: Path) -> None:
    """Invalid arguments give exit code 65 and one line."""
    given = arguments if "--davis" in arguments else ["--davis", str(davis), *arguments]
    ended = run("bench", "masks", *given)

    assert ended.returncode == 65
    assert said in ended.stderr


def test_a_sequence_of_two_frames_leaves_nothing_to_score(davis: Path, tmp_path: Path) -> None:
    """The first and last frames of a sequence are not scored, so that two give exit code 65 and one line."""
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / kind / "square").mkdir(parents=True)
        for file in sorted((davis / kind / "square").iterdir())[:2]:
            (tmp_path / kind / "square" / file.name).write_bytes(file.read_bytes())
    ended = run("bench", "masks", "--davis", str(tmp_path))

    assert ended.returncode == 65
    assert "three frames" in ended.stderr


def test_tables_name_every_figure(davis: Path) -> None:
    """Without --json the same figures are printed as tables."""
    printed = run("bench", "masks", "--davis", str(davis), "--frames", "6").stdout

    assert "4 frames of 1 sequences" in printed
    assert "flow" in printed
    assert "square" in printed
