"""The real world is put together from a folder of videos and annotated frames, once, without compressing again."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.service.conftest import MakeContext
from watchmove.pipeline.dataset.true_masks import read_truth
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.frames import VideoFrames
from watchmove.service.claims.real_world import put_together
from watchmove.service.runner.runner import StepContext

FRAMES = 12


@pytest.fixture
def context(make_context: MakeContext, tmp_path: Path) -> StepContext:
    """A folder of one file, and two annotated sequences in the layout of DAVIS."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.mp4").write_bytes(b"not decoded here")
    rng = np.random.default_rng(0)
    for name in ("bear", "swan"):
        for part in ("JPEGImages", "Annotations"):
            (tmp_path / "davis" / part / name).mkdir(parents=True)
        for frame in range(FRAMES):
            image = cv2.blur(rng.integers(0, 255, (72, 96, 3), dtype=np.uint8), (9, 9))
            mask = np.zeros((72, 96), np.uint8)
            mask[10:20, frame : frame + 20] = 255
            cv2.imwrite(str(tmp_path / "davis" / "JPEGImages" / name / f"{frame:05d}.jpg"), image)
            cv2.imwrite(str(tmp_path / "davis" / "Annotations" / name / f"{frame:05d}.png"), mask)
    return make_context(f"truth=file://{tmp_path}/truth")


def test_videos_and_truth_are_where_the_settings_expect_them(context: StepContext, tmp_path: Path) -> None:
    """Frames are those of the JPEG files, bit for bit as they are decoded, and masks those of the annotations."""
    record = put_together(context, f"file://{tmp_path}/clips", f"file://{tmp_path}/davis")
    truth = read_truth(tmp_path / "truth" / "annotated" / "swan.npz")
    with VideoFrames(tmp_path / "videos" / "annotated" / "swan.mjpeg", ExtractionSettings()) as frames:
        decoded = [frame.image for frame in frames]

    assert (record.videos, record.annotated) == (1, 2)
    assert (tmp_path / "videos" / "given" / "one.mp4").read_bytes() == b"not decoded here"
    assert truth.masks.shape == (FRAMES, 72, 96)
    assert truth.masks[3, 15, 3:23].all()
    assert len(decoded) == FRAMES


def test_folders_of_a_resolution_above_the_sequences_are_passed_through(context: StepContext, tmp_path: Path) -> None:
    """As in DAVIS's own archives."""
    for part in ("JPEGImages", "Annotations"):
        (tmp_path / "davis" / part).rename(tmp_path / "480p")
        (tmp_path / "davis" / part).mkdir()
        (tmp_path / "480p").rename(tmp_path / "davis" / part / "480p")
    record = put_together(context, f"file://{tmp_path}/clips", f"file://{tmp_path}/davis")

    assert record.annotated == 2
    assert read_truth(tmp_path / "truth" / "annotated" / "bear.npz").masks.shape == (FRAMES, 72, 96)


def test_it_is_put_together_once(context: StepContext, tmp_path: Path) -> None:
    """The second time nothing is copied, also where a file was removed since."""
    places = (f"file://{tmp_path}/clips", f"file://{tmp_path}/davis")
    first = put_together(context, *places)
    (tmp_path / "videos" / "given" / "one.mp4").unlink()

    assert put_together(context, *places) == first
    assert not (tmp_path / "videos" / "given" / "one.mp4").exists()


def test_a_sequence_with_a_missing_annotation_is_named(context: StepContext, tmp_path: Path) -> None:
    """Its frames would get the masks of others."""
    (tmp_path / "davis" / "Annotations" / "bear" / "00003.png").unlink()

    with pytest.raises(InvalidInput, match=f"bear has {FRAMES} JPEG files and {FRAMES - 1} annotations"):
        put_together(context, f"file://{tmp_path}/clips", f"file://{tmp_path}/davis")


def test_annotations_of_other_names_are_refused(context: StepContext, tmp_path: Path) -> None:
    """As many as there are frames, but not theirs."""
    folder = tmp_path / "davis" / "Annotations" / "bear"
    (folder / "00000.png").rename(folder / f"{FRAMES:05d}.png")

    with pytest.raises(InvalidInput, match=r"bear has .* of one name"):
        put_together(context, f"file://{tmp_path}/clips", f"file://{tmp_path}/davis")


def test_numbers_in_names_are_ordered_by_their_values(context: StepContext, tmp_path: Path) -> None:
    """Frame 10 comes after frame 2 and not before it."""
    for path in sorted((tmp_path / "davis").rglob("*.*g")):
        path.rename(path.with_stem(str(int(path.stem))))
    put_together(context, f"file://{tmp_path}/clips", f"file://{tmp_path}/davis")
    masks = read_truth(tmp_path / "truth" / "annotated" / "swan.npz").masks

    assert [int(mask.any(axis=0).argmax()) for mask in masks] == [*range(FRAMES)]


@pytest.mark.parametrize(("videos", "frames"), [("none", "davis"), ("clips", "none")])
def test_an_empty_folder_is_named(context: StepContext, tmp_path: Path, videos: str, frames: str) -> None:
    """The one that is empty, and what should be in it."""
    with pytest.raises(InvalidInput, match="none: has no"):
        put_together(context, f"file://{tmp_path}/{videos}", f"file://{tmp_path}/{frames}")
