"""Classes of images from features that stay as they are: labels, costs, classes left out, and the features."""

import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from watchmove.pipeline.classification.classification import COSTS, classification_scores, image_labels
from watchmove.pipeline.classification.features import POOLING_WINDOWS, layer_features, squeezed_image, write_features
from watchmove.pipeline.classification.linear_svm import fit_svms, svm_scores
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.networks.alexnet import random_backbone
from watchmove.pipeline.voc.annotations import VocImage, VocObject, read_image

BOX = (0.0, 0.0, 9.0, 9.0)


def image(*objects: tuple[str, bool]) -> VocImage:
    """An image that shows objects, by class and whether they are difficult."""
    return VocImage("1", Path("1.jpg"), 10, 10, tuple(VocObject(name, BOX, difficult) for name, difficult in objects))


def test_what_an_image_shows() -> None:
    """An easy object makes a positive, whatever else there is; difficult ones alone say nothing of their class."""
    images = [image(("cat", True), ("cat", False)), image(("dog", True)), image(), image(("cow", False))]

    assert image_labels(images, ["cat", "dog"]).tolist() == [[1, -1], [-1, 0], [-1, -1], [-1, -1]]


def blobs(seed: int, count: int, spread: float) -> tuple[torch.Tensor, np.ndarray]:
    """Features around one of three places each, and labels of three classes."""
    rng = np.random.default_rng(seed)
    which = np.arange(count) % 3
    features = np.eye(8)[which] + spread * rng.normal(size=(count, 8))
    labels = np.where(which[:, None] == np.arange(3), 1, -1).astype(np.int8)
    return torch.from_numpy(features / np.linalg.norm(features, axis=1, keepdims=True)).float(), labels


def test_what_can_be_told_is_told_and_noise_is_not() -> None:
    """Average precision 1 for places apart; about a third, as many as are positive, where labels are dealt anew."""
    train, test = blobs(0, 60, 0.1), blobs(1, 60, 0.1)
    apart = classification_scores(*train, *test, ["a", "b", "c"])
    shuffled = np.random.default_rng(2).permuted(test[1], axis=0)
    noise = classification_scores(*train, test[0], shuffled, ["a", "b", "c"])

    assert apart.mean_ap_area == apart.mean_ap_11_point == 1.0
    assert noise.mean_ap_area is not None
    assert 0.2 < noise.mean_ap_area < 0.55


def test_the_cost_is_that_of_the_best_mean_over_what_was_left_out() -> None:
    """It is computed again cost by cost, part by part and class by class, each from zero weights."""
    train, labels = blobs(0, 45, 0.8)
    labels = labels[np.random.default_rng(3).permutation(45)]  # so that the parts differ from alternating ones
    scores = classification_scores(train, labels, train, labels, ["a", "b", "c"])
    for column, one in enumerate(scores.per_class.values()):
        mine = labels[:, column]
        parts = np.empty(45, int)
        # of 15 positives the first 5 are the first part, of 30 others the first 10
        parts[mine == 1], parts[mine == -1] = np.repeat([0, 1, 2], 5), np.repeat([0, 1, 2], 10)
        means = [np.mean([area_left_out(train, mine, parts == part, cost) for part in range(3)]) for cost in COSTS]
        assert one.cost == COSTS[int(np.argmax(means))]


def area_left_out(features: torch.Tensor, labels: np.ndarray, left_out: np.ndarray, cost: float) -> float:
    """Mean precision at the positives of what was left out, ranks counted one after another."""
    taught = torch.from_numpy(np.where(left_out, 0, labels)[:, None]).double()
    weights = fit_svms(features.double(), taught, torch.tensor([cost]).double())
    scores = svm_scores(features.double(), weights)[:, 0].numpy()[left_out]
    hits = labels[left_out][np.argsort(-scores, kind="stable")] == 1
    return float(np.mean([hits[: rank + 1].mean() for rank in range(len(hits)) if hits[rank]]))


def test_costs_are_the_benchmarks() -> None:
    """The powers of ten of its commands and the powers of two that its code adds to them, in rising order."""
    commands = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0]

    assert list(COSTS) == pytest.approx(sorted(commands + [0.5**n for n in range(4, 20)]))


def test_difficult_images_are_negatives_in_training() -> None:
    """An image whose objects of a class are all difficult is fitted as one without the class."""
    (train, labels), test = blobs(0, 60, 0.4), blobs(1, 30, 0.4)
    unsure, without = labels.copy(), labels.copy()
    unsure[:9], without[:9] = np.where(labels[:9] == 1, 0, -1), -1
    found = [classification_scores(train, given, *test, ["a", "b", "c"]) for given in (unsure, without)]

    assert found[0] == found[1]


def test_classes_without_enough_images_are_left_out_and_say_so() -> None:
    """Two to learn from, none to be tested on, and all but two: no figure, a reason, and no part in the mean."""
    (train, labels), (test, test_labels) = blobs(0, 30, 0.1), blobs(1, 30, 0.1)
    few, untested, nearly_all = labels[:, :1].copy(), labels[:, :1].copy(), np.ones((30, 1), np.int8)
    few[few[:, 0] == 1] = -1
    few[:2] = 1
    nearly_all[:2] = -1
    never = np.full((30, 1), -1, np.int8)
    scores = classification_scores(
        train,
        np.hstack([labels[:, :1], few, untested, nearly_all]),
        test,
        np.hstack([test_labels[:, :1], test_labels[:, :1], never, test_labels[:, :1]]),
        ["good", "few", "untested", "everywhere"],
    )

    assert {name: one.left_out for name, one in scores.per_class.items()} == {
        "good": "",
        "few": "fewer than 3 training images show it",
        "untested": "no test image shows it",
        "everywhere": "fewer than 3 training images are without it",
    }
    assert scores.mean_ap_area == scores.per_class["good"].ap_area == 1.0
    assert scores.per_class["few"].ap_area is None


def test_difficult_images_are_not_scored() -> None:
    """A test image that says nothing of a class may score as it likes."""
    train, (test, labels) = blobs(0, 60, 0.1), blobs(1, 30, 0.1)
    odd = torch.cat([test, test[:1]])
    scores = [
        classification_scores(*train, odd, np.vstack([labels, np.full((1, 3), value, np.int8)]), ["a", "b", "c"])
        for value in (0, -1)
    ]

    assert scores[0].mean_ap_area == 1.0
    assert scores[1].mean_ap_area is not None
    assert scores[1].mean_ap_area < 1.0


def test_features_of_each_layer() -> None:
    """Each has unit length and about nine thousand values; fc7's is the trunk's own output."""
    trunk = random_backbone(0).eval()
    images = torch.randn(2, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    found = layer_features(trunk, images)

    sizes = {name: features.shape[1] for name, features in found.items()}
    assert sizes == {
        "conv1": 9600,
        "conv2": 9216,
        "conv3": 9600,
        "conv4": 9600,
        "conv5": 9216,
        "fc6": 4096,
        "fc7": 4096,
    }
    assert all(torch.allclose(one.norm(dim=1), torch.ones(2), atol=1e-5) for one in found.values())
    assert torch.allclose(found["fc7"], torch.nn.functional.normalize(trunk(images)), atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "row", "column", "top", "left", "side"),
    [("conv1", 9, 2, 36, 8, 19), ("conv2", 5, 1, 15, 3, 12), ("conv3", 4, 4, 4, 4, 9), ("conv5", 5, 0, 5, 0, 8)],
)
def test_windows_overlap_as_in_the_benchmark(layer: str, row: int, column: int, top: int, left: int, side: int) -> None:
    """A value is the mean over the window that the benchmark's kernel and stride give, divided by the common norm."""
    trunk = random_backbone(0).eval()
    images = torch.randn(1, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    output = dict(trunk.layer_outputs(images))[layer][0]
    mean = output[:, top : top + side, left : left + side].mean(dim=(1, 2))
    cells = {"conv1": 10, "conv2": 6, "conv3": 5, "conv5": 6}[layer]
    found = layer_features(trunk, images)[layer].reshape(-1, cells, cells)[:, row, column]

    assert POOLING_WINDOWS[layer][0] == side
    assert torch.allclose(functional.normalize(found, dim=0), functional.normalize(mean, dim=0), atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(100, 300), (600, 400), (5, 5), (256, 256)])
def test_the_whole_image_is_squeezed(height: int, width: int) -> None:
    """The input has 227 pixels a side whatever the image, and its left and right edges are the image's."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[:, : width // 5], picture[:, -(width // 5) :] = 0, 255
    square = squeezed_image(picture)

    assert square.shape == (3, 227, 227)
    # a fifth of 227 is 45, and interpolation blurs an edge of a 5-pixel image over as much
    assert square[:, :, :20].max() < -1
    assert square[:, :, 207:].min() > 1
    assert square[:, :, 113].abs().max() < 1


def test_features_on_disk_are_those_of_the_images(tmp_path: Path) -> None:
    """More images than a batch has, in their order; one that cannot be read is named."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(34)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 255, (40, 50, 3), np.uint8))
    trunk = random_backbone(0)
    told: list[int] = []
    files = write_features(trunk, ["conv5"], paths, tmp_path, told.append)
    square = squeezed_image(read_image(paths[33]))

    assert list(files) == ["conv5"]
    assert told == [0, 32]
    assert np.allclose(np.load(files["conv5"])[33], layer_features(trunk, square[None])["conv5"][0], atol=1e-6)
    paths[1].write_text("no picture")
    with pytest.raises(InvalidInput, match=r"1\.png: cannot be decoded"):
        write_features(trunk, ["conv5"], paths, tmp_path, told.append)


def test_a_full_disk_is_an_error_of_the_file_of_features(tmp_path: Path) -> None:
    """And not a signal that ends the process, as it is where a memory map of the file is written."""
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path in paths:
        cv2.imwrite(str(path), np.zeros((40, 50, 3), np.uint8))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**10, hard))
    try:
        with pytest.raises(Unavailable, match=r"conv5\.npy: could not be written \(File too large\)"):
            write_features(random_backbone(0), ["conv5"], paths, tmp_path, lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_features_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    """A trunk with a NaN is refused by the name of the layer, instead of being scored as one that learned nothing."""
    path = tmp_path / "1.png"
    cv2.imwrite(str(path), np.zeros((40, 50, 3), np.uint8))
    trunk = random_backbone(0)
    trunk.conv4.weight.data[0, 0, 0, 0] = torch.nan

    with pytest.raises(InvalidInput, match=r"features of conv4 are not finite for .*1\.png"):
        write_features(trunk, ["conv3", "conv4"], [path], tmp_path, lambda _: None)
