"""Figures of the bench on a drawn sequence with exactly known masks."""

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from tests.service.cli.test_main import run
from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.video import moving_square
from watchmove.service.cli.main import app
from watchmove.service.masks.davis_sequences import chosen_sequences, frames_with_truth


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


@pytest.fixture
def copied(davis: Path, tmp_path: Path) -> Path:
    """A copy of the drawn sequence that a test may change."""
    shutil.copytree(davis, tmp_path / "davis")
    return tmp_path / "davis"


def test_a_frame_and_its_annotation_belong_together_by_name(copied: Path) -> None:
    """Names without leading zeros give the same masks and truths, and annotations of other names are refused."""
    settings = ExtractionSettings()
    before = frames_with_truth(copied, "square", 10, None, settings)
    for path in sorted(copied.rglob("0*.*g")):
        path.rename(path.with_stem(f"{int(path.stem) + 5}"))
    after = frames_with_truth(copied, "square", 10, None, settings)
    (copied / "Annotations/square/5.png").rename(copied / "Annotations/square/99.png")

    assert [frame.frame.name for frame in after[0]] == [str(number) for number in range(5, 15)]
    assert all((one == other).all() for one, other in zip(before[1], after[1], strict=True))
    with pytest.raises(InvalidInput, match=r"square/5\.png: the annotation of a frame is not there"):
        frames_with_truth(copied, "square", 10, None, settings)


@pytest.mark.parametrize(
    ("shape", "said"),
    [(None, "frame 00002 is unreadable"), ((90, 30), "frame 00002 has another shape"), ((8, 200), "is absurd-size")],
)
def test_a_frame_that_cannot_be_measured_is_named(copied: Path, shape: tuple[int, int] | None, said: str) -> None:
    """A frame that is damaged, or has another shape than the first, has no flow to it."""
    path = copied / "JPEGImages/square/00002.jpg"
    path.write_bytes(b"junk")
    if shape:
        PIL.Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(path)

    with pytest.raises(InvalidInput, match=said):
        frames_with_truth(copied, "square", 10, None, ExtractionSettings())


def test_sequences_of_the_folder_of_a_resolution_are_found(copied: Path) -> None:
    """DAVIS's own archives have the folder `480p` above their sequences, and 2016's have another one beside it."""
    before = frames_with_truth(copied, "square", 10, None, ExtractionSettings())
    for part in ("JPEGImages", "Annotations"):
        (copied / part / "square").rename(copied / "square")
        (copied / part / "480p").mkdir()
        (copied / part / "1080p" / "square").mkdir(parents=True)
        (copied / "square").rename(copied / part / "480p" / "square")
    after = frames_with_truth(copied, "square", 10, None, ExtractionSettings())

    assert chosen_sequences(copied, [], None) == ["square"]
    assert len(after[0]) == len(before[0]) == 10
    assert all((one == other).all() for one, other in zip(before[1], after[1], strict=True))


def test_hidden_folders_are_no_sequences(copied: Path) -> None:
    """Tools leave folders such as `.ipynb_checkpoints`."""
    (copied / "JPEGImages/.ipynb_checkpoints").mkdir()

    assert chosen_sequences(copied, [], None) == ["square"]


def test_a_folder_without_the_videos_of_sequences_is_named(copied: Path) -> None:
    """It is the folder of the videos that is wrong, not the sequences."""
    with pytest.raises(InvalidInput, match=r"--videos .*none: no SEQUENCE\.mp4"):
        chosen_sequences(copied, [], copied / "none")


def test_a_sequence_that_is_named_twice_counts_once(davis: Path) -> None:
    """Its frames have one weight in all figures."""
    done = CliRunner().invoke(
        app, ["bench", "masks", "--davis", str(davis), "--sequences", "square, square", "--frames", "4", "--json"]
    )

    assert json.loads(done.stdout)["frames"] == 2


def test_a_number_of_frames_beyond_the_machines_is_refused(davis: Path) -> None:
    """As any number that is out of range."""
    done = CliRunner().invoke(app, ["bench", "masks", "--davis", str(davis), "--frames", "9" * 30])

    assert "is not from 3 to" in done.stderr
