"""Controls: snapshots with other masks, which runs train on like any other, and what is said of missing truth."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.service.conftest import MakeContext
from tests.service.records.snapshot_samples import snapshot_samples
from tests.service.steps.test_import_coco import PICTURES, SIDE, instances, written
from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.voc.annotations import VocObject, write_split, write_voc_image
from watchmove.service.records.datasets import dataset_of, gathered_of
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.control import Kind, control
from watchmove.service.steps.gather import gather
from watchmove.service.steps.import_coco import import_coco


@pytest.fixture
def context(make_context: MakeContext, tmp_path: Path) -> StepContext:
    """A store with the run `source` of annotated pictures, and the truth of the first half of them."""
    made = make_context()
    annotations = written(tmp_path / "a.json", instances(tmp_path / "videos"))
    import_coco(made, "source", annotations)
    gather(made, "source")
    truth = tmp_path / "truth"
    truth.mkdir()
    for number in range(PICTURES // 2):
        masks = np.zeros((1, SIDE, 2 * SIDE), bool)
        masks[0, :10, :20] = True
        boxes, names = np.array([[[0, 0, 20, 10]]], np.float32), np.array(["disk" if number % 2 else "star"])
        np.savez(truth / f"{number:03d}.npz", masks=masks, boxes_xyxy=boxes, class_names=names)
    return made


def samples_of(context: StepContext, kind: Kind, truth: str = "", fraction: float = 1.0) -> list[Sample]:
    """The frames of a control, as pretraining reads them."""
    run = f"{kind}-{fraction}"
    record = control(context, run, "source", kind, truth, fraction=fraction)

    assert gathered_of(context.store, run).dataset == record.dataset
    return snapshot_samples(context, record)


def foreground(sample: Sample) -> int:
    """Number of pixels of the mask."""
    mask = cv2.imdecode(np.frombuffer(sample.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    return int((mask > 127).sum())


def test_each_kind_changes_what_it_says(context: StepContext, tmp_path: Path) -> None:
    """Frames stay those of the source; those whose truth is not known are left out where it is needed."""
    truth = f"file://{tmp_path}/truth"
    source = {one.key: one for one in samples_of(context, "same", truth)}
    shuffled, true = samples_of(context, "shuffled-masks"), samples_of(context, "true-masks", truth)
    known, labelled = samples_of(context, "masks-with-truth", truth), samples_of(context, "labels", truth)

    assert {foreground(one) for one in source.values()} == {1600}
    assert {one.key: one.jpeg for one in shuffled} == {key: one.jpeg for key, one in source.items()}
    assert sorted(one.mask_png for one in shuffled) == sorted(one.mask_png for one in source.values())
    assert all(one.mask_png != source[one.key].mask_png for one in shuffled)
    assert [foreground(one) for one in true] == [200] * (PICTURES // 2)
    assert [one.mask_png for one in known] == [source[one.key].mask_png for one in true]
    assert {one.key: one.mask_png for one in labelled} == {one.key: one.mask_png for one in known}
    assert sorted(str(one.metadata["label"]) for one in labelled) == ["disk", "disk", "star", "star"]
    assert dataset_of(context.store, "labels-1.0").labels == ("disk", "star")


def test_a_smaller_fraction_is_part_of_a_larger_one(context: StepContext) -> None:
    """By videos, here pictures; at least one is left."""
    half, quarter, least = (
        {one.key for one in samples_of(context, "same", fraction=part)} for part in (0.5, 0.25, 0.001)
    )

    assert (len(half), len(quarter), len(least)) == (PICTURES // 2, PICTURES // 4, 1)
    assert least < quarter < half


def test_boxes_of_the_detection_set_are_frames_with_labels(context: StepContext, tmp_path: Path) -> None:
    """Each object that is not difficult is a frame, of the split `val` alone."""
    image = np.full((60, 80, 3), 90, np.uint8)
    for name in ("a", "b"):
        objects = [
            VocObject("cat", (10, 20, 30, 50)),
            VocObject("dog", (0, 0, 8, 9)),
            VocObject("cow", (0, 0, 5, 5), True),
        ]
        write_voc_image(tmp_path / "voc", name, image, objects)
    write_split(tmp_path / "voc", "val", ["a"])
    write_split(tmp_path / "voc", "train", ["b"])
    found = samples_of(context, "labelled-boxes")

    assert [(one.metadata["label"], foreground(one)) for one in found] == [("cat", 600), ("dog", 72)]


def test_a_control_is_made_once(context: StepContext) -> None:
    """The second call writes nothing, and another control under the same run's name is refused."""
    first = control(context, "twice", "source", "shuffled-masks")
    before = [item.etag for item in context.store.list()]

    assert control(context, "twice", "source", "shuffled-masks") == first
    assert [item.etag for item in context.store.list()] == before
    with pytest.raises(InvalidInput, match="run twice: has a snapshot of something else"):
        control(context, "twice", "source", "same")


def test_missing_truth_is_named(context: StepContext, tmp_path: Path) -> None:
    """No folder, or one with the truth of other videos."""
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other" / "else.npz", masks=np.zeros((1, 4, 4), bool))

    with pytest.raises(InvalidInput, match="control true-masks: needs true masks"):
        control(context, "a", "source", "true-masks")
    with pytest.raises(InvalidInput, match=r"control true-masks: no frame of dataset .* has a known truth"):
        control(context, "a", "source", "true-masks", f"file://{tmp_path}/other")
