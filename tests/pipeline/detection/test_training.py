"""Training a detector: schedule, freezing, stopping, resuming, and that it learns."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from watchmove.pipeline.detection.proposals import selective_search
from watchmove.pipeline.detection.testing import detect_objects
from watchmove.pipeline.detection.training import (
    DetectorHooks,
    DetectorProgress,
    TrainedDetector,
    detector_learning_rate,
    train_detector,
)
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.networks.alexnet import random_backbone
from watchmove.pipeline.networks.alexnet_shape import SMALL_ALEXNET
from watchmove.pipeline.settings.evaluation import QUICK, EvaluationSettings, ProposalSettings
from watchmove.pipeline.training.checkpoints import CHECKPOINT_NAMES
from watchmove.pipeline.voc.annotations import VocImage, VocObject, read_image, read_voc, write_split
from watchmove.pipeline.voc.average_precision import evaluate_detections
from watchmove.pipeline.world.detection_images import draw_voc_image
from watchmove.pipeline.world.shapes import SHAPES

CLASSES = ("disk", "square")
SETTINGS = EvaluationSettings(
    shorter_side_pixels=128,
    longer_side_pixels=256,
    iterations=3,
    rois_per_image=8,
    learning_rate=0.005,
    max_gradient_norm=5,
    rescale_trunk=False,
)
Proposals = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def drawn_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[VocImage], Proposals]:
    """Six pictures with a striped disk and a plain square each, and their proposals."""
    folder, images, proposals = tmp_path_factory.mktemp("drawn"), [], {}
    for number in range(6):
        generator = np.random.default_rng(number)
        pixels = cv2.GaussianBlur(generator.uniform(40, 160, (128, 160, 3)).astype(np.float32), (0, 0), 4)
        x, y = int(generator.integers(28, 56)), int(generator.integers(30, 98))
        cv2.circle(pixels, (x, y), 24, (250, 250, 60), -1)
        left, top = int(generator.integers(90, 110)), int(generator.integers(8, 70))
        cv2.rectangle(pixels, (left, top), (left + 43, top + 43), (40, 60, 240), -1)
        objects = (
            VocObject("disk", (x - 24.0, y - 24.0, x + 25.0, y + 25.0)),
            VocObject("square", (left, top, left + 44.0, top + 44.0)),
        )
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), pixels)
        images.append(VocImage(str(number), path, 160, 128, objects))
        proposals[str(number)] = selective_search(read_image(path), ProposalSettings(longer_side_pixels=128))
    return images, proposals


def trained(
    drawn_set: tuple[list[VocImage], Proposals], folder: Path, settings: EvaluationSettings, stop_at: int | None = None
) -> TrainedDetector:
    """A detector on a random trunk, or what stopping it raises."""
    seen: list[DetectorProgress] = []
    hooks = DetectorHooks(folder, seen.append, lambda: stop_at is not None and len(seen) >= stop_at)
    return train_detector(random_backbone(0), *drawn_set, CLASSES, settings, hooks)


def test_the_settings_choose_the_rescaling(drawn_set: tuple[list[VocImage], Proposals], tmp_path: Path) -> None:
    """Of a random trunk both ways give every unit of conv1 variance 1; one then multiplies the layer by a factor."""
    kernels = []
    for rescaling in ("unit-variance", "between-layers"):
        update = {"rescale_trunk": True, "rescaling": rescaling, "iterations": 1, "learning_rate": 1e-12}
        settings = SETTINGS.model_copy(update=update)
        hooks = DetectorHooks(tmp_path / rescaling)
        trained = train_detector(random_backbone(0), *drawn_set, CLASSES, settings, hooks)
        kernels.append(trained.model.trunk.conv1.weight.detach())
    ratio = kernels[1] / kernels[0]

    assert abs(float(ratio.mean()) - 1) > 0.02
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=0)


def test_the_learning_rate_is_the_published_one() -> None:
    """0.001 for 30,000 of 40,000 iterations, then a tenth."""
    settings = EvaluationSettings()

    assert [detector_learning_rate(step, settings) for step in (0, 29_999, 30_000, 39_999)] == [1e-3, 1e-3, 1e-4, 1e-4]


def test_the_learning_rate_can_drop_several_times() -> None:
    """With a fraction of a third it drops after 50,000 and after 100,000 of 150,000 iterations."""
    settings = EvaluationSettings(iterations=150_000, learning_rate_drop_fraction=0.33333)
    rates = [detector_learning_rate(step, settings) for step in (49_999, 50_000, 99_999, 100_000, 149_999)]

    assert rates == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_the_learning_rate_warms_up() -> None:
    """In 4 steps it grows by a quarter each."""
    settings = EvaluationSettings(learning_rate=0.4, warmup_iterations=4)

    assert [detector_learning_rate(step, settings) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


def test_frozen_layers_stay_and_others_learn(drawn_set: tuple[list[VocImage], Proposals], tmp_path: Path) -> None:
    """Frozen through conv3, three convolutions are as they were, bit for bit, and the other layers are not."""
    before = random_backbone(0).state_dict()
    settings = SETTINGS.model_copy(update={"freeze_through": 3, "iterations": 1})
    after = trained(drawn_set, tmp_path, settings).model.trunk.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}

    assert changed == {"conv4", "conv5", "fc6", "fc7"}


def test_stopped_and_resumed_is_the_same_as_never_stopped(
    drawn_set: tuple[list[VocImage], Proposals], tmp_path: Path
) -> None:
    """Weights and curve are equal to the last bit, with momentum and dropout at work; the stop left a checkpoint."""
    whole = trained(drawn_set, tmp_path / "whole", SETTINGS)
    with pytest.raises(Stopped, match="iteration 2"):
        trained(drawn_set, tmp_path / "parts", SETTINGS, stop_at=2)
    assert any((tmp_path / "parts" / name).is_file() for name in CHECKPOINT_NAMES)
    resumed = trained(drawn_set, tmp_path / "parts", SETTINGS)
    weights, others = whole.model.state_dict(), resumed.model.state_dict()

    assert whole.curve == resumed.curve
    assert [at for at, _ in whole.curve] == [1, 2, 3]
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_a_checkpoint_of_other_settings_is_refused(drawn_set: tuple[list[VocImage], Proposals], tmp_path: Path) -> None:
    """It would be neither the one training nor the other."""
    with pytest.raises(Stopped):
        trained(drawn_set, tmp_path, SETTINGS, stop_at=0)

    with pytest.raises(InvalidInput, match="other settings"):
        trained(drawn_set, tmp_path, SETTINGS.model_copy(update={"learning_rate": 0.5}))


def test_a_broken_checkpoint_is_named(drawn_set: tuple[list[VocImage], Proposals], tmp_path: Path) -> None:
    """What is no safetensors file is InvalidInput with its path."""
    (tmp_path / CHECKPOINT_NAMES[0]).write_bytes(b"nothing of the kind")
    (tmp_path / CHECKPOINT_NAMES[0]).with_suffix(".json").write_bytes(b"{}")

    with pytest.raises(InvalidInput, match=CHECKPOINT_NAMES[0]):
        trained(drawn_set, tmp_path, SETTINGS)


def test_a_loss_that_is_not_finite_ends_the_training(
    drawn_set: tuple[list[VocImage], Proposals], tmp_path: Path
) -> None:
    """A learning rate far too high says what to change."""
    settings = SETTINGS.model_copy(update={"learning_rate": 1e12, "max_gradient_norm": 0.0, "iterations": 8})

    with pytest.raises(InvalidInput, match="learning_rate"):
        trained(drawn_set, tmp_path, settings)


def test_weights_that_are_not_finite_after_the_last_step_end_the_training(
    drawn_set: tuple[list[VocImage], Proposals], tmp_path: Path
) -> None:
    """One step of a finite loss makes the weights infinite: there is an error, and no checkpoint holds them."""
    settings = SETTINGS.model_copy(update={"learning_rate": 1e300, "max_gradient_norm": 0.0, "iterations": 1})

    with pytest.raises(InvalidInput, match=r"is not finite at iteration 1: learning_rate \(1e\+300\)"):
        trained(drawn_set, tmp_path, settings)
    assert not list(tmp_path.iterdir())


def test_a_finished_checkpoint_with_infinite_weights_is_refused(
    drawn_set: tuple[list[VocImage], Proposals], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that was saved complete without the check, as by an earlier version, does not go on to be tested."""
    settings = SETTINGS.model_copy(update={"learning_rate": 1e300, "max_gradient_norm": 0.0, "iterations": 1})
    with monkeypatch.context() as unchecked:
        unchecked.setattr("watchmove.pipeline.detection.training._check_finite", lambda *_: None)
        trained(drawn_set, tmp_path, settings)

    with pytest.raises(InvalidInput, match="is not finite"):
        trained(drawn_set, tmp_path, settings)


def test_ten_images_of_the_drawn_world_are_learned_by_heart(tmp_path: Path) -> None:
    """In 90 steps from random weights of a small AlexNet, mean AP on the pictures it was trained on is 0.9 or more."""
    ids, root = [f"{number:02d}" for number in range(10)], tmp_path / "voc"
    for number, image_id in enumerate(ids):
        draw_voc_image(root, image_id, np.random.default_rng([0, number]), (212, 160))
    write_split(root, "train", ids)
    images = read_voc(root, "train")
    changed = {"iterations": 90, "images_per_batch": 10, "rois_per_image": 4, "dropout": 0.0, "warmup_iterations": 10}
    settings = QUICK.model_copy(update={"shorter_side_pixels": 160, "longer_side_pixels": 320, **changed})
    proposals = {image.image_id: selective_search(read_image(image.path), settings.proposals) for image in images}
    trunk = random_backbone(0, SMALL_ALEXNET)
    model = train_detector(trunk, images, proposals, SHAPES, settings, DetectorHooks(tmp_path)).model
    scores = evaluate_detections(images, detect_objects(model, images, proposals, settings), 0.5)

    assert all(score.n_ground_truth for score in scores.per_class.values())
    assert scores.mean_ap_11_point is not None
    assert scores.mean_ap_11_point >= 0.9


def test_real_voc_images_go_through_training_and_testing(test_data: Path, tmp_path: Path) -> None:
    """Real XML, several sizes and classes: one step, and detections of known classes in known images."""
    root = test_data / "voc" / "toyexample"
    annotated = read_voc(root / "gts_vocpascal_format", None)
    images = [
        VocImage(one.image_id, root / "images" / f"{one.image_id}.jpg", one.width, one.height, one.objects)
        for one in annotated
    ]
    search = ProposalSettings(mode="single", longer_side_pixels=128, max_boxes=50)
    proposals = {image.image_id: selective_search(read_image(image.path), search) for image in images}
    classes = sorted({one.name for image in images for one in image.objects})
    settings = SETTINGS.model_copy(update={"iterations": 1, "min_score": 0.0})
    model = train_detector(random_backbone(0), images, proposals, classes, settings, DetectorHooks(tmp_path)).model
    detections = detect_objects(model, images, proposals, settings)

    assert sorted(detections) == classes
    assert {one.image_id for found in detections.values() for one in found} == set(proposals)
