"""COCO's instances to a run: shards that gather and training take, what is wrong counted, stops and repeats."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.service.conftest import MakeContext
from tests.service.records.snapshot_samples import snapshot_samples
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.pretraining.batches import MaskDataset
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.service.cli.main import app
from watchmove.service.extraction.shard_part import committed_parts
from watchmove.service.records import layout
from watchmove.service.records.datasets import gathered_of
from watchmove.service.records.plans import PlanRecord
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.extract import extract
from watchmove.service.steps.gather import gather
from watchmove.service.steps.import_coco import import_coco

PICTURES = 8
SIDE = 120


def square(x: int, y: int) -> list[list[float]]:
    """A polygon of 40 pixels a side."""
    return [[x, y, x + 40, y, x + 40, y + 40, x, y + 40]]


def instances(folder: Path, pictures: int = PICTURES) -> dict[str, Any]:
    """Pictures of noise in a folder, each with a bright square and its annotation, and a licence."""
    folder.mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(pictures):
        image = np.random.default_rng(number).integers(0, 90, (SIDE, 2 * SIDE, 3), dtype=np.uint8)
        x = 10 + 20 * number
        image[30:70, x : x + 40] += 150
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), image)
        images.append({"id": 100 - number, "file_name": f"{number:03d}.jpg", "license": 3, "flickr_url": "http://a.b"})
        annotations.append({"image_id": 100 - number, "iscrowd": 0, "segmentation": square(x, 30)})
    licences = [{"id": 3, "name": "Attribution License", "url": "http://c.d"}]
    return {"info": {"year": 1}, "annotations": annotations, "images": images, "licenses": licences}


def written(path: Path, content: dict[str, Any]) -> Path:
    """The file of instances."""
    path.write_text(json.dumps(content))
    return path


def rows_of(context: StepContext, plan: PlanRecord) -> dict[str, tuple[str, str]]:
    """Outcome and reason of every picture."""
    parts = [part for shard in range(plan.shards) for part in committed_parts(context.store, plan, shard)]
    return {row.video.key: (row.outcome.value, row.reason) for part in parts for row in part.videos}


def test_gather_and_training_take_them_without_knowing(make_context: MakeContext, tmp_path: Path) -> None:
    """A snapshot of all pictures, credited, whose masks lie on the squares, and every one an example."""
    context = make_context()
    plan = import_coco(context, "run", written(tmp_path / "i.json", instances(tmp_path / "videos")))
    dataset = gather(context, "run")
    samples = snapshot_samples(context, dataset)
    path = context.store.local(dataset.shards[0].key, tmp_path / "shard.tar")
    assert path is not None
    data = MaskDataset.of_shards([path], PretrainingSettings(batch_size=PICTURES, validation_fraction=0))
    batch = data.training_batch(0)

    assert (plan.videos_listed, dataset.kept_frames, dataset.masks_from) == (PICTURES, PICTURES, "annotations")
    assert dataset.licences["Attribution License"].frames == PICTURES
    assert gathered_of(context.store, "run").outcomes == {"kept": PICTURES}
    for sample in samples:
        mask = cv2.imdecode(np.frombuffer(sample.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE)
        image = cv2.imdecode(np.frombuffer(sample.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        assert image is not None
        assert mask.shape == image.shape
        assert image[mask > 200].mean() > image[mask < 50].mean() + 100
        assert (sample.metadata["licence_url"], sample.metadata["page_url"]) == ("http://c.d", "http://a.b")
    assert (len(batch.images), batch.unusable) == (PICTURES, 0)


def test_a_second_time_nothing_changes(make_context: MakeContext, tmp_path: Path) -> None:
    """No object is written again, and another run with the same annotations finds its shards done."""
    context, file = make_context(), written(tmp_path / "i.json", instances(tmp_path / "videos"))
    first = import_coco(context, "run", file)
    before = [(item.key, item.etag) for item in context.store.list()]

    assert import_coco(context, "run", file) == first
    assert [(item.key, item.etag) for item in context.store.list()] == before
    assert import_coco(context, "other", file).plan == first.plan
    assert gather(context, "other").dataset == gather(context, "run").dataset


def test_what_is_wrong_with_one_picture_is_its_outcome(make_context: MakeContext, tmp_path: Path) -> None:
    """Missing, torn, outside, cut, badly drawn, too small, without an object, one of a crowd alone: all counted."""
    content = instances(tmp_path / "videos")
    (tmp_path / "videos" / "000.jpg").unlink()
    (tmp_path / "videos" / "001.jpg").write_bytes(b"\xff\xd8 torn")
    content["images"][2]["file_name"] = "../002.jpg"
    content["annotations"][3]["segmentation"] = square(230, 30)
    content["annotations"][4]["segmentation"] = [[1, 2]]
    content["annotations"][5]["segmentation"] = [[50, 50, 52, 50, 52, 52]]
    del content["annotations"][6]
    content["annotations"][6] |= {"iscrowd": 1, "segmentation": {"size": [SIDE, 2 * SIDE], "counts": [0, 28800]}}
    context = make_context("gather.max_failed_fraction=0.1")
    plan = import_coco(context, "run", written(tmp_path / "i.json", content))

    assert rows_of(context, plan) == {
        "000.jpg": ("missing", "not-in-store"),
        "001.jpg": ("unreadable", "not-a-picture"),
        "../002.jpg": ("unreadable", "outside-prefix"),
        "003.jpg": ("kept", ""),
        "004.jpg": ("unreadable", "bad-mask"),
        "005.jpg": ("rejected", "too-small"),
        "006.jpg": ("rejected", "no-object"),
        "007.jpg": ("rejected", "no-object"),
    }
    with pytest.raises(InvalidInput, match="4 of 8 videos failed"):
        gather(context, "run")


def test_one_bad_object_costs_that_object(make_context: MakeContext, tmp_path: Path) -> None:
    """The others of its image are taken, what was left out stands with the image, and its box is not background."""
    content = instances(tmp_path / "videos")
    for bad in ({"segmentation": None}, {"segmentation": square(10, 30), "iscrowd": "maybe"}):
        content["annotations"].append({"image_id": 100, "iscrowd": 0, "bbox": [150, 80, 20, 20], **bad})
    context = make_context()
    plan = import_coco(context, "run", written(tmp_path / "i.json", content))
    [part] = committed_parts(context.store, plan, 0)
    [row] = [row for row in part.videos if row.video.key == "000.jpg"]
    [sample] = [one for one in snapshot_samples(context, gather(context, "run")) if one.key.startswith(row.video.id)]
    mask = cv2.imdecode(np.frombuffer(sample.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE)

    assert mask is not None
    assert row.detail.startswith("2 objects left out; object 2: a segmentation is a list or an object")
    assert (mask[30:70, 10:50].mean() > 250, set(mask[82:98, 152:168].ravel().tolist())) == (True, {140})


@pytest.mark.parametrize("how", [int, float, str])
def test_an_image_of_another_size_than_its_entry_says_is_unreadable(
    make_context: MakeContext, tmp_path: Path, how: Any
) -> None:
    """Its masks would be at the wrong place. Sizes are numbers, whole or written as 120.0, or text."""
    content = instances(tmp_path / "videos")
    for image in content["images"]:
        image |= {"height": how(SIDE), "width": how(2 * SIDE)}
    content["images"][3] |= {"height": how(2 * SIDE), "width": how(4 * SIDE)}
    context = make_context()
    rows = rows_of(context, import_coco(context, "run", written(tmp_path / "i.json", content)))

    assert {key: row for key, row in rows.items() if row != ("kept", "")} == {"003.jpg": ("unreadable", "other-size")}


def test_annotations_of_unlisted_images_are_counted(
    make_context: MakeContext, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the plan's record and in the step's output; the images that are listed are imported."""
    content = instances(tmp_path / "videos")
    content["annotations"] += [{"image_id": 7, "segmentation": square(10, 30)}] * 2
    context = make_context()
    plan = import_coco(context, "run", written(tmp_path / "i.json", content))

    assert plan.filtered == {"annotation-of-unlisted-image": 2}
    assert "2 annotations of images that the file does not list" in "".join(capsys.readouterr())
    assert set(rows_of(context, plan).values()) == {("kept", "")}


class StopsAfter(threading.Event):
    """Set once it has been asked so often."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._left = times

    def is_set(self) -> bool:
        """Whether it has been asked often enough."""
        self._left -= 1
        return self._left < 0


def test_stopped_it_goes_on_where_it_was(
    make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every moment: each picture is in one part only, and the frames are those of an undisturbed import."""
    monkeypatch.setattr("watchmove.service.extraction.coco_instances.IMAGES_PER_SHARD", 3)
    context, file = make_context(), written(tmp_path / "i.json", instances(tmp_path / "videos"))
    stops = 0
    for times in range(2, 9):
        try:
            import_coco(replace(context, stop=StopsAfter(times)), "run", file)
        except Stopped:
            stops += 1
    plan = import_coco(context, "run", file)
    parts = [part for shard in range(plan.shards) for part in committed_parts(context.store, plan, shard)]
    keys = [row.video.key for part in parts for row in part.videos]
    frames = {sample.key: sample for sample in snapshot_samples(context, gather(context, "run"))}
    alone = make_context(f"store=file://{tmp_path}/alone")
    import_coco(alone, "run", file)

    assert stops >= 3
    assert (plan.shards, len(parts) > 3) == (3, True)
    assert sorted(keys) == [f"{number:03d}.jpg" for number in range(PICTURES)]
    assert frames == {sample.key: sample for sample in snapshot_samples(alone, gather(alone, "run"))}


def test_no_part_of_extraction_takes_it_for_videos(make_context: MakeContext, tmp_path: Path) -> None:
    """Extract says what to do instead, and other annotations do not take the run's name."""
    context, content = make_context(), instances(tmp_path / "videos")
    import_coco(context, "run", written(tmp_path / "i.json", content))
    content["annotations"].pop()

    with pytest.raises(InvalidInput, match="watchmove import-coco"):
        extract(context, "run", 0)
    with pytest.raises(InvalidInput, match="name another run"):
        import_coco(context, "run", written(tmp_path / "other.json", content))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"images": [{"id": 1,', "no JSON object of lists"),
        ('{"images": []}', "lists no images"),
        ('{"images": [{"id": 1}]}', "no file_name in"),
        ('{"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}]}', "two images have one file_name"),
        ('{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}', "two images have the id 1"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_not_cocos_ends_with_65(tmp_path: Path, content: str | None, line: str) -> None:
    """By the command: one line, and no run."""
    if content is not None:
        (tmp_path / "i.json").write_text(content)
    words = ["import-coco", "--run", "run", "--annotations", str(tmp_path / "i.json"), "--images", str(tmp_path)]
    result = CliRunner().invoke(app, [*words, "--set", f"store=file://{tmp_path}/store"])

    assert result.exit_code == 65
    assert line in result.output
    assert not (tmp_path / "store" / layout.run_record("run", "plan")).exists()
