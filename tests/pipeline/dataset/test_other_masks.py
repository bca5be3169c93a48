"""Frames with other masks: which mask each frame gets, and what is said of truth that does not fit."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.pipeline.dataset.mask_samples import HEIGHT, WIDTH, drawn_samples
from watchmove.pipeline.dataset.other_masks import label_of, shuffled_masks, true_masks
from watchmove.pipeline.dataset.shard import Sample, index_shard, write_shard
from watchmove.pipeline.dataset.true_masks import VideoTruth, read_truth
from watchmove.pipeline.errors import InvalidInput


def mask_of(sample: Sample) -> NDArray[np.uint8]:
    """The decoded mask."""
    return np.asarray(cv2.imdecode(np.frombuffer(sample.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def numbered(videos: int, frames: int) -> list[Sample]:
    """Drawn frames whose metadata has the number of the frame."""
    samples = drawn_samples(videos, frames)
    return [replace(one, metadata=one.metadata | {"frame": int(one.key.rpartition("-")[2])}) for one in samples]


def truth_of(frames: int) -> VideoTruth:
    """Truth of a video: in frame t a square that is t pixels to the right, of two objects with boxes."""
    masks = np.zeros((frames, HEIGHT, WIDTH), bool)
    boxes = np.full((frames, 2, 4), np.nan, np.float32)
    for t in range(frames):
        masks[t, 10:20, t : t + 10] = True
        boxes[t, 0] = (t, 10, t + 10, 20)
    boxes[0, 1] = (0, 0, 50, 50)
    return VideoTruth(masks, boxes, ("disk", "star"))


def test_each_shuffled_mask_is_used_once_and_never_with_its_own_video(tmp_path: Path) -> None:
    """Four videos of three frames: images stay, and masks are those of the video two further."""
    before = numbered(4, 3)
    write_shard(tmp_path / "a.tar", before)
    after = list(shuffled_masks(index_shard(tmp_path / "a.tar")))

    assert [one.jpeg for one in after] == [one.jpeg for one in before]
    for number, sample in enumerate(after):
        np.testing.assert_array_equal(mask_of(sample), mask_of(before[(number + 6) % 12]))


def test_a_mask_of_another_size_is_scaled_to_its_frame(tmp_path: Path) -> None:
    """Videos can have different sizes."""
    large, small = numbered(2, 1)
    _, png = cv2.imencode(".png", np.full((2 * HEIGHT, 2 * WIDTH), 255, np.uint8))
    write_shard(tmp_path / "a.tar", [replace(large, mask_png=png.tobytes()), small])
    first, second = shuffled_masks(index_shard(tmp_path / "a.tar"))

    assert mask_of(first).shape == (2 * HEIGHT, 2 * WIDTH)
    assert mask_of(second).shape == (HEIGHT, WIDTH)
    assert (mask_of(second) == 255).all()


def test_true_masks_are_those_of_the_frames_number() -> None:
    """Frames whose truth is unknown, or has no object, are left out."""
    truth = truth_of(3)
    truth.masks[1] = False
    samples = [*numbered(1, 4), *(replace(one, metadata={"video": "other", "frame": 0}) for one in numbered(1, 1))]
    found = list(true_masks(iter(samples), {"video0": truth}))

    assert [one.metadata["frame"] for one in found] == [0, 2]
    np.testing.assert_array_equal(mask_of(found[1]) == 255, truth.masks[2])


def test_a_label_is_the_class_of_the_largest_visible_object() -> None:
    """In the first frame the star is larger, later it is not visible; an unknown frame has no label."""
    samples = numbered(1, 4)

    assert [label_of(one, {"video0": truth_of(3)}) for one in samples] == ["star", "disk", "disk", None]


def test_truth_survives_its_file(tmp_path: Path) -> None:
    """The drawn world's files have masks, boxes and classes; masks alone are enough."""
    truth = truth_of(2)
    np.savez_compressed(
        tmp_path / "a.npz", masks=truth.masks, boxes_xyxy=truth.boxes_xyxy, class_names=np.array(truth.class_names)
    )
    np.savez_compressed(tmp_path / "b.npz", masks=truth.masks)

    assert read_truth(tmp_path / "a.npz").class_names == ("disk", "star")
    assert read_truth(tmp_path / "b.npz").boxes_xyxy.shape == (2, 0, 4)


def test_what_is_no_truth_is_refused(tmp_path: Path) -> None:
    """No file, another file, masks of another type, and pickled objects, which are never unpickled."""
    np.savez(tmp_path / "floats.npz", masks=np.zeros((2, 3, 4)))
    np.savez(tmp_path / "pickled.npz", masks=np.array([{}], object))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("absent.npz", "floats.npz", "pickled.npz", "text.npz"):
        with pytest.raises(InvalidInput, match=name):
            read_truth(tmp_path / name)
