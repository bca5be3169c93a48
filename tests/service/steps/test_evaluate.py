"""The evaluate step: foreign weights, few images, published proposals and presets, as its record tells them."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.torch import save_file
from scipy.io import savemat
from torchvision.models import alexnet, resnet18

from tests.service.conftest import context_of
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.networks.alexnet import random_backbone, save_backbone
from watchmove.pipeline.settings.evaluation import QUICK, EvaluationSettings
from watchmove.pipeline.voc.annotations import VocImage, write_split
from watchmove.pipeline.world.detection_images import draw_voc_image
from watchmove.service.evaluation.detection_set import first_by_hash
from watchmove.service.records import layout
from watchmove.service.records.record import commit, origin, point
from watchmove.service.records.training import (
    BackboneRecord,
    PretrainPointer,
    backbone_of_cell,
    evaluations_of,
    is_first_of_trunk,
)
from watchmove.service.report.evaluated_cells import classification_records, evaluation_records
from watchmove.service.report.result import classification_rows
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.evaluate import EvaluateSettings, preset_in_words
from watchmove.service.settings.pretrain import PretrainSettings
from watchmove.service.settings.settings import Settings
from watchmove.service.steps.evaluate import evaluate

IDS = [f"{number:06d}" for number in range(6)]


def write_mat(path: Path, ids: list[str]) -> str:
    """Boxes on a grid for each image, as published files have them; the file's URI."""
    corners = np.array([[y, x, y + 40, x + 40] for y in range(1, 80, 20) for x in range(1, 110, 20)], float)
    cells, names = np.empty((1, len(ids)), object), np.empty((len(ids), 1), object)
    for number, one in enumerate(ids):
        cells[0, number], names[number, 0] = corners, one
    savemat(path, {"boxes": cells, "images": names})
    return f"file://{path}"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Settings of one step of training on six drawn pictures."""
    for number, image_id in enumerate(IDS):
        draw_voc_image(tmp_path / "voc", image_id, np.random.default_rng(number), (160, 120))
    write_split(tmp_path / "voc", "train", IDS[:5])
    write_split(tmp_path / "voc", "test", IDS[4:])
    small = {"iterations": 1, "rois_per_image": 8, "shorter_side_pixels": 96, "foreground_iou": 0.3}
    evaluation = {"train_split": "train", "test_split": "test", "preset": "quick", "detector": small}
    return {"store": f"file://{tmp_path}/store", "voc": f"file://{tmp_path}/voc", "evaluate": evaluation}


def test_a_named_backbone_learns_from_few_images_and_published_proposals(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """The record says which tensors were taken, which images were learnt from, and how the preset was changed."""
    save_file(alexnet(weights=None).state_dict(), tmp_path / "alexnet.safetensors")
    settings["evaluate"] |= {
        "initialisations": [f"file://{tmp_path}/alexnet.safetensors"],
        "train_images": 3,
        "proposal_files": [write_mat(tmp_path / "train.mat", IDS[:5]), write_mat(tmp_path / "test.mat", IDS[4:])],
    }
    record = evaluate(context_of(Settings.model_validate(settings), tmp_path), "r", 0)

    assert record.weights is not None
    assert (record.weights.layout, record.weights.fresh) == ("torchvision", ())
    assert record.weights.unused == ("classifier.6.bias", "classifier.6.weight")
    assert len(record.train_image_ids) == 3
    assert set(record.train_image_ids) < set(IDS[:5])
    assert record.preset.startswith("quick, but ")
    assert "iterations 1" in record.preset


def test_images_without_published_proposals_are_named(settings: dict[str, Any], tmp_path: Path) -> None:
    """One file of two is forgotten: the images that it would have had are named."""
    settings["evaluate"] |= {"initialisations": ["random"], "proposal_files": [write_mat(tmp_path / "a.mat", IDS[:5])]}

    with pytest.raises(InvalidInput, match=IDS[5]):
        evaluate(context_of(Settings.model_validate(settings), tmp_path), "r", 0)


def test_pickled_and_absent_weights_end_in_one_line(settings: dict[str, Any], tmp_path: Path) -> None:
    """Before anything is read: what would do is in the message."""
    settings["evaluate"] |= {"initialisations": [f"file://{tmp_path}/a.pth", f"file://{tmp_path}/a.safetensors"]}
    context = context_of(Settings.model_validate(settings), tmp_path)

    with pytest.raises(InvalidInput, match="convert it"):
        evaluate(context, "r", 0)
    with pytest.raises(InvalidInput, match="no such file"):
        evaluate(context, "r", 1)


def test_a_resnet_is_refused_in_one_line(settings: dict[str, Any], tmp_path: Path) -> None:
    """torchvision's own names, no error about shapes: what would do is in the message."""
    save_file(resnet18(weights=None).state_dict(), tmp_path / "resnet18.safetensors")
    settings["evaluate"] |= {"initialisations": [f"file://{tmp_path}/resnet18.safetensors"]}

    with pytest.raises(InvalidInput, match=r"resnet18\.safetensors: a ResNet's weights.*pretrain\.trunk alexnet"):
        evaluate(context_of(Settings.model_validate(settings), tmp_path), "r", 0)


@pytest.mark.parametrize("name", ["imagenet", "s3://bucket/a.safetensors#keras", "file://folder/"])
def test_what_is_no_trunk_is_no_setting(name: str) -> None:
    """A misspelt trunk or layout is told before any step runs."""
    with pytest.raises(ValueError, match="is no trunk"):
        EvaluateSettings(initialisations=(name,))


@pytest.mark.parametrize(
    ("ignored", "instead"), [({"freeze_through": 5}, "evaluate.freeze_through"), ({"seed": 1}, "evaluate.seeds")]
)
def test_what_the_fan_out_decides_is_not_set_beside_it(ignored: dict[str, int], instead: str) -> None:
    """It would be passed over, and the record would say otherwise."""
    with pytest.raises(ValueError, match=instead):
        EvaluateSettings.model_validate({"detector": ignored})


def test_few_images_are_the_same_ones_always() -> None:
    """The list depends on ids alone, and a shorter one begins a longer one."""
    images = [VocImage(image_id, Path("none"), 1, 1, ()) for image_id in map(str, range(400))]
    few = first_by_hash(images, 150)

    assert few == first_by_hash(images[::-1], 150)
    assert few[:50] == first_by_hash(images, 50)
    assert first_by_hash(images, 0) == tuple(images)


def test_a_preset_is_said_with_what_differs_from_it() -> None:
    """`paper` and `quick` as they are, and with one change."""
    assert preset_in_words(EvaluateSettings()) == "paper"
    assert preset_in_words(EvaluateSettings.model_validate({"preset": "quick"})) == "quick"
    search = QUICK.proposals.model_copy(update={"max_boxes": 9})
    given = {"iterations": 7, "proposals": {"max_boxes": 9}}
    changed = EvaluateSettings.model_validate({"preset": "quick", "detector": given})
    assert preset_in_words(changed) == "quick, but iterations 7, proposals.max_boxes 9"
    assert changed.detector == QUICK.model_copy(update={"iterations": 7, "proposals": search})
    assert EvaluateSettings.model_validate(changed.model_dump(mode="json")) == changed


def test_the_defaults_are_the_published_configuration() -> None:
    """Fast R-CNN's CaffeNet: each number of sections 2.3 and 4.1 and of the configuration published with it."""
    published = {
        "iterations": 40_000, "learning_rate": 0.001, "learning_rate_drop_fraction": 30_000 / 40_000,
        "learning_rate_drop_factor": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "images_per_batch": 2,
        "rois_per_image": 64, "foreground_fraction": 0.25, "foreground_iou": 0.5, "background_max_iou": 0.5,
        "background_min_iou": 0.1, "flips": True, "shorter_side_pixels": 600, "longer_side_pixels": 1000,
        "scales_pixels": [], "nms_iou": 0.3, "warmup_iterations": 0, "max_gradient_norm": 0.0, "dropout": 0.5,
    }  # fmt: skip
    defaults = EvaluationSettings().model_dump(mode="json")

    assert {key: defaults[key] for key in published} == published


def test_a_random_trunk_has_the_size_of_the_pretrained_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """A small pretrained trunk compares with a small random one, which is another trunk than the published one."""
    settings["evaluate"] |= {"initialisations": ["random"], "proposal_files": [write_mat(tmp_path / "a.mat", IDS)]}
    records = []
    for trunk in ("alexnet", "alexnet-small"):
        settings["pretrain"] = {"trunk": trunk}
        records.append(evaluate(context_of(Settings.model_validate(settings), tmp_path), "r", 0))

    assert [record.backbone for record in records] == ["random", "random alexnet-small"]


def test_trunks_of_two_sizes_are_not_compared(settings: dict[str, Any], tmp_path: Path) -> None:
    """Weights of the published size beside small trunks are refused: the difference would be that of the sizes."""
    save_file(alexnet(weights=None).state_dict(), tmp_path / "alexnet.safetensors")
    settings["evaluate"] |= {
        "initialisations": [f"file://{tmp_path}/alexnet.safetensors"],
        "proposal_files": [write_mat(tmp_path / "a.mat", IDS)],
    }
    settings["pretrain"] = {"trunk": "alexnet-small"}
    with pytest.raises(InvalidInput, match=r"its trunk is alexnet, and pretrain\.trunk is alexnet-small"):
        evaluate(context_of(Settings.model_validate(settings), tmp_path), "r", 0)


def test_images_are_not_classified_by_the_small_trunk() -> None:
    """The benchmark's windows are for the published size: the message names both settings."""
    with pytest.raises(ValidationError, match=r"evaluate\.classification .* alexnet-small"):
        Settings.model_validate({"pretrain": {"trunk": "alexnet-small"}, "evaluate": {"classification": True}})


def test_stopped_while_testing_it_tests_again_and_trains_no_more(settings: dict[str, Any], tmp_path: Path) -> None:
    """SIGTERM after the first of two images: the next call begins from the trained detector."""
    settings["evaluate"] |= {"initialisations": ["random"], "proposal_files": [write_mat(tmp_path / "a.mat", IDS)]}
    settings["pretrain"] = {"trunk": "alexnet-small"}
    context = context_of(Settings.model_validate(settings), tmp_path)
    told = Told(stop_at="evaluate random f0 s0, test", stop=context.stop)
    with pytest.raises(Stopped, match="after 1 of 2 images"):
        evaluate(dataclasses.replace(context, progress=told), "r", 0)
    again, told_again = context_of(Settings.model_validate(settings), tmp_path), Told()
    record = evaluate(dataclasses.replace(again, progress=told_again), "r", 0)

    assert told.steps == {"evaluate random f0 s0", "evaluate random f0 s0, test"}
    assert told_again.steps == {"evaluate random f0 s0, test"}
    assert not [item.key for item in again.store.list("evaluations/") if "/checkpoints/" in item.key]
    assert [iteration for iteration, _ in record.loss] == [1]


def test_a_run_that_is_evaluated_by_other_settings_points_to_what_they_gave(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """The same run and number, two steps in place of one: the later counts; again, nothing is written."""
    settings["evaluate"] |= {"initialisations": ["random"], "proposal_files": [write_mat(tmp_path / "a.mat", IDS)]}
    settings["pretrain"] = {"trunk": "alexnet-small"}
    evaluate(context_of(Settings.model_validate(settings), tmp_path), "r", 0)
    settings["evaluate"]["detector"]["iterations"] = 2
    context = context_of(Settings.model_validate(settings), tmp_path)
    evaluate(context, "r", 0)
    every = {item.key: item.etag for item in context.store.list()}
    evaluate(context, "r", 0)
    [(_, record)] = evaluation_records(context.store, "r", context.settings, "none")

    assert [iteration for iteration, _ in record.loss] == [1, 2]
    assert {item.key: item.etag for item in context.store.list()} == every


class Told:
    """Progress that remembers which steps told it something, and stops one of them."""

    def __init__(self, stop_at: str = "", stop: threading.Event | None = None) -> None:
        self.steps: set[str] = set()
        self._stop_at, self._stop = stop_at, stop

    def update(self, step: str, done: int, total: int, facts: str) -> None:  # noqa: ARG002 (a report's form)
        """Remember the step."""
        self.steps.add(step)
        if step == self._stop_at and self._stop is not None:
            self._stop.set()

    def stage(self, name: str, number: int, total: int, estimate: str) -> None:
        """No step is a stage of its own."""

    def close(self) -> None:
        """Nothing is open."""


def test_layers_of_trunks_are_classified_once(settings: dict[str, Any], tmp_path: Path) -> None:
    """Told to stop after a layer, it goes on with the next; a file without fc layers has none; again does nothing."""
    ids = [f"{number:06d}" for number in range(24)]
    for number, image_id in enumerate(ids):
        draw_voc_image(tmp_path / "voc", image_id, np.random.default_rng(number), (160, 120))
    write_split(tmp_path / "voc", "train", ids[:18])
    write_split(tmp_path / "voc", "test", ids[12:])
    state = {name: tensor for name, tensor in alexnet(weights=None).state_dict().items() if "features" in name}
    save_file(state, tmp_path / "convolutions.safetensors")
    name = f"file://{tmp_path}/convolutions.safetensors"
    settings["evaluate"] |= {
        "classification": True,
        "initialisations": [name],
        "proposal_files": [write_mat(tmp_path / "all.mat", ids)],
    }
    context = context_of(Settings.model_validate(settings), tmp_path)
    stop_after_a_layer(context)
    with pytest.raises(Stopped):
        evaluate(context, "r", 0)
    first = {item.key: item.etag for item in context.store.list("classifications/")}
    context = context_of(Settings.model_validate(settings), tmp_path)
    evaluate(context, "r", 0)
    every = {item.key: item.etag for item in context.store.list("classifications/")}
    evaluate(context, "again", 0)
    records = list(classification_records(context.store, "r", context.settings, "none"))
    rows = classification_rows(records)

    assert len(first) == 1
    assert first.items() <= every.items()
    assert [row.layer for row in rows] == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert {item.key: item.etag for item in context.store.list("classifications/")} == every
    assert all(row.ap_area is not None and 0 < row.ap_area.mean <= 1 for row in rows)
    assert not (tmp_path / "layer-features").exists()


def test_one_cell_classifies_for_its_trunk() -> None:
    """Of all levels of freezing the first; of all seeds the first, but for a random trunk, which is another each."""
    evaluate = EvaluateSettings(freeze_through=(2, 0), seeds=(7, 8))
    settings = Settings(evaluate=evaluate, pretrain=PretrainSettings(seeds=(1, 5)))
    first = [cell for cell in evaluations_of(settings) if is_first_of_trunk(evaluate, cell)]

    assert [(cell.trunk, cell.freeze_through, cell.seed) for cell in first] == [
        ("random", 2, 7),
        ("random", 2, 8),
        ("pretrained, pretraining seed 1", 2, 7),
        ("pretrained, pretraining seed 5", 2, 7),
    ]


def test_pretrained_trunks_are_evaluated_with_every_pair_of_seeds() -> None:
    """Own and other runs' backbones have a cell for each pair; random trunks have one for each seed of the detector."""
    settings = Settings(
        evaluate=EvaluateSettings(initialisations=("random", "pretrained", "run:other"), seeds=(0, 1)),
        pretrain=PretrainSettings(seeds=(3, 4)),
    )
    cells = [(cell.initialisation, cell.pretraining_seed, cell.seed) for cell in evaluations_of(settings)]

    pairs = [(3, 0), (3, 1), (4, 0), (4, 1)]
    assert cells == [("random", 0, 0), ("random", 0, 1)] + [
        (name, *pair) for name in ("pretrained", "run:other") for pair in pairs
    ]


def test_another_runs_backbone_is_found_by_its_name(settings: dict[str, Any], tmp_path: Path) -> None:
    """`run:NAME` is the backbone of the run's pointer; a run that is not pretrained, or not with a seed, is named."""
    settings["pretrain"] = {"seeds": [0, 2]}
    settings["evaluate"] |= {"initialisations": ["run:other"]}
    context = context_of(Settings.model_validate(settings), tmp_path)
    first, second = evaluations_of(context.settings)
    with pytest.raises(InvalidInput, match=r"other/pretrain\.json: not there; run `watchmove pretrain --run other`"):
        backbone_of_cell(context.store, context.settings, "mine", first)
    pointer = PretrainPointer(made_by=origin(context.settings, {}), backbones={0: "theirs"})
    point(context.store, layout.run_record("other", "pretrain"), pointer)

    assert backbone_of_cell(context.store, context.settings, "mine", first) == "theirs"
    with pytest.raises(InvalidInput, match="run:other: pretrained with the seeds 0, not 2; pretrain that run with"):
        backbone_of_cell(context.store, context.settings, "mine", second)


def test_another_runs_backbone_is_evaluated(settings: dict[str, Any], tmp_path: Path) -> None:
    """The record names that run's backbone; once the run has another one, the evaluation is no longer taken for its."""
    settings["evaluate"] |= {"initialisations": ["run:other"], "proposal_files": [write_mat(tmp_path / "a.mat", IDS)]}
    context = context_of(Settings.model_validate(settings), tmp_path)
    save_backbone(random_backbone(5), tmp_path / "theirs.safetensors", {})
    context.store.upload("backbones/theirs/backbone.safetensors", tmp_path / "theirs.safetensors")
    backbone = BackboneRecord(
        made_by=origin(context.settings, {}), backbone="theirs", dataset="frames", images_per_second=1.0, curve=(),
        weights_key="backbones/theirs/backbone.safetensors",
        weights_sha256=file_sha256(tmp_path / "theirs.safetensors"),
    )  # fmt: skip
    commit(context.store, layout.backbone("theirs", "record.json"), backbone)
    pointer = PretrainPointer(made_by=backbone.made_by, backbones={0: "theirs"})
    point(context.store, layout.run_record("other", "pretrain"), pointer)
    record = evaluate(context, "r", 0)

    assert (record.backbone, record.evaluation.initialisation) == ("theirs", "run:other")
    assert [found for _, found in evaluation_records(context.store, "r", context.settings, "mine")] == [record]
    changed = pointer.model_copy(update={"backbones": {0: "their next"}})
    point(context.store, layout.run_record("other", "pretrain"), changed)
    with pytest.raises(InvalidInput, match="run r: evaluation 0 was made with other settings or weights"):
        list(evaluation_records(context.store, "r", context.settings, "mine"))


def stop_after_a_layer(context: StepContext) -> None:
    """Set the context's stop once a layer has been committed."""
    write = context.store.create

    def create(key: str, data: bytes) -> bool:
        if key.startswith("classifications/"):
            context.stop.set()
        return write(key, data)

    context.store.create = create  # type: ignore[method-assign]
