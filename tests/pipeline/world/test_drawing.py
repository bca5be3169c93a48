"""The drawn world: the kinds of its videos, their exact truth, and files that are drawn once."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.voc.annotations import read_voc
from watchmove.pipeline.world.drawing import KINDS, DrawnVideo, draw_video, draw_world, video_name
from watchmove.pipeline.world.scene import box_of_mask_xyxy

SMALL = WorldSettings(videos=4, frames_per_video=12, width_pixels=160, height_pixels=120, train_images=5, test_images=3)


def _video(kind: str, seed: int = 0) -> DrawnVideo:
    return draw_video(seed, SMALL, kind)


def _changes(video: DrawnVideo) -> NDArray[np.float64]:
    """The mean absolute difference of neighbouring frames, (T-1,)."""
    return np.asarray(np.abs(np.diff(video.frames.astype(int), axis=0)).mean(axis=(1, 2, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_types(kind: str) -> None:
    """Videos of every kind have arrays of the documented shapes and types."""
    video = _video(kind)
    n_objects = len(video.class_names)

    assert video.kind == kind
    assert [array.dtype for array in (video.frames, video.masks)] == [np.uint8, np.bool_]
    assert [array.dtype for array in (video.flows, video.boxes_xyxy)] == [np.float32, np.float32]
    assert video.frames.shape == (12, 120, 160, 3)
    assert video.masks.shape == (12, 120, 160)
    assert video.flows.shape == (11, 120, 160, 2)
    assert video.boxes_xyxy.shape == (12, n_objects, 4)


def test_one_seed_gives_one_video() -> None:
    """The same seed gives the same arrays, and another seed gives another video."""
    first, again, other = _video("moving", 5), _video("moving", 5), _video("moving", 6)

    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.flows, again.flows)
    assert not np.array_equal(first.frames, other.frames)


@pytest.mark.parametrize("seed", range(6))
def test_objects_move_against_their_background(seed: int) -> None:
    """Every frame shows an object that is large enough, and on average its independent motion is over 0.33 pixels."""
    video = _video("moving", seed)
    flows = zip(video.masks, video.flows, strict=False)
    own_motion = [np.linalg.norm(flow[mask] - flow[~mask].mean(axis=0), axis=-1).mean() for mask, flow in flows]

    assert video.masks.mean(axis=(1, 2)).min() > 0.02
    assert np.mean(own_motion) > 0.33


@pytest.mark.parametrize("seed", range(6))
def test_boxes_fit_masks(seed: int) -> None:
    """The box around all boxes is the box around the mask."""
    video = _video("moving", seed)
    for mask, boxes in zip(video.masks, video.boxes_xyxy, strict=True):
        around = [*np.nanmin(boxes[:, :2], axis=0), *np.nanmax(boxes[:, 2:], axis=0)]
        assert box_of_mask_xyxy(mask).tolist() == around


def test_cuts_are_cuts() -> None:
    """Flow is NaN at cuts only, and frames change more there than anywhere else."""
    video = _video("cuts")
    across = [cut - 1 for cut in video.cuts]
    changes = _changes(video)

    assert video.cuts
    assert np.flatnonzero(np.isnan(video.flows).all(axis=(1, 2, 3))).tolist() == across
    assert np.isnan(video.flows).sum() == len(across) * video.flows[0].size
    assert changes[across].min() > 2 * np.delete(changes, across).max()


def test_camera_motion_alone_has_flow_and_no_mask() -> None:
    """Camera motion alone gives flow at every pixel and an empty mask."""
    video = _video("camera")

    assert not video.masks.any()
    assert np.linalg.norm(video.flows, axis=-1).mean() > 0.2


def test_still_video_is_still() -> None:
    """A still video has no flow and an empty mask, and its frames differ only in sensor noise."""
    video = _video("still")

    assert not video.masks.any()
    assert not video.flows.any()
    assert 0.5 < _changes(video).mean() < 4


def test_noise_has_no_flow() -> None:
    """A video of noise has empty masks and no flow."""
    video = _video("noise")

    assert not video.masks.any()
    assert np.isnan(video.flows).all()
    assert _changes(video).min() > 20


def test_unknown_kind_is_refused() -> None:
    """The message lists the known kinds."""
    with pytest.raises(InvalidInput, match="'film': is unknown; use one of moving"):
        _video("film")


def _contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world, drawn by one worker."""
    directory = tmp_path_factory.mktemp("world")
    draw_world(directory, SMALL)
    return directory


def test_world_has_its_files(world: Path) -> None:
    """There are videos with their truth, and a detection set with both splits, and no temporary file."""
    names = [video_name(number) for number in range(4)]

    assert names == ["0000-moving", "0001-cuts", "0002-moving", "0003-camera"]
    assert sorted(path.name for path in (world / "videos").iterdir()) == [f"{name}.mp4" for name in names]
    assert sorted(path.name for path in (world / "truth").iterdir()) == [f"{name}.npz" for name in names]
    assert [len(read_voc(world / "voc", split)) for split in ("train", "test")] == [5, 3]
    assert not list(world.rglob("*.partial*"))


def test_video_files_show_what_was_drawn(world: Path) -> None:
    """A decoded video is the drawn one except for small losses of the encoder, and the truth file has its truth."""
    drawn = draw_video(SMALL.seed, SMALL, "moving")
    with VideoReader(world / "videos" / "0000-moving.mp4", shorter_side_pixels=120) as reader:
        frames = np.stack(list(reader))
    truth = np.load(world / "truth" / "0000-moving.npz")

    assert frames.shape == drawn.frames.shape
    assert np.abs(frames.astype(int) - drawn.frames).mean() < 6
    assert np.array_equal(truth["masks"], drawn.masks)
    assert np.array_equal(truth["boxes_xyxy"], drawn.boxes_xyxy, equal_nan=True)
    assert tuple(truth["class_names"]) == drawn.class_names


def test_any_number_of_workers_draws_the_same_bytes(world: Path, tmp_path: Path) -> None:
    """Two workers write the same files as one."""
    draw_world(tmp_path, SMALL, workers=2)

    assert _contents(tmp_path) == _contents(world)


def test_existing_files_are_not_drawn_again(tmp_path: Path) -> None:
    """A second call changes no existing file, draws missing ones, and adds more if the settings ask for more."""
    few = SMALL.model_copy(update={"videos": 1, "train_images": 1, "test_images": 1})
    draw_world(tmp_path, few)
    kept = tmp_path / "videos" / "0000-moving.mp4"
    before, when = _contents(tmp_path), kept.stat().st_mtime_ns
    (tmp_path / "voc" / "Annotations" / "train_00000.xml").unlink()
    draw_world(tmp_path, few)

    assert _contents(tmp_path) == before
    assert kept.stat().st_mtime_ns == when
    draw_world(tmp_path, few.model_copy(update={"train_images": 2}))
    assert [image.image_id for image in read_voc(tmp_path / "voc", "train")] == ["train_00000", "train_00001"]


def test_another_world_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """A folder that holds another world is refused."""
    nothing = SMALL.model_copy(update={"videos": 0, "train_images": 0, "test_images": 0})
    draw_world(tmp_path, nothing)

    with pytest.raises(InvalidInput, match="drawn from other settings"):
        draw_world(tmp_path, nothing.model_copy(update={"seed": 1}))
