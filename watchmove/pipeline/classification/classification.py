"""Which classes an image shows, told by linear SVMs from features that stay as they are: what a trunk knows by itself.

The protocol is that of Goyal et al. (ICCV 2019, section 6.1) for VOC 2007: an SVM for each class against all others,
its cost chosen by cross-validation in three parts, average precision on the test images. An image in which all objects
of a class are difficult says nothing of that class, in training as in testing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.classification.linear_svm import fit_svms, svm_scores
from watchmove.pipeline.voc.annotations import VocImage
from watchmove.pipeline.voc.average_precision import average_precision

COSTS = tuple(2.0**power for power in range(-18, 5, 2))
"""Costs that are tried. The benchmark's end at 2⁻⁴; smaller sets want higher ones."""
FOLDS = 3

Labels = NDArray[np.int8]


@dataclass(frozen=True)
class ClassFigures:
    """One class: average precision in [0, 1] and the cost that was chosen; None where `left_out` says why."""

    ap_11_point: float | None
    ap_area: float | None
    cost: float | None
    test_images: int
    left_out: str = ""


@dataclass(frozen=True)
class ClassificationScores:
    """Figures by class, and their means over the classes that have one (None where none has)."""

    per_class: dict[str, ClassFigures]
    mean_ap_11_point: float | None
    mean_ap_area: float | None


def image_labels(images: Sequence[VocImage], classes: Sequence[str]) -> Labels:
    """int8 (N, K): 1 where an image shows a class, 0 where all its objects of that class are difficult, else −1."""
    labels = np.full((len(images), len(classes)), -1, np.int8)
    number = {name: column for column, name in enumerate(classes)}
    for row, image in enumerate(images):
        for one in image.objects:
            column = number.get(one.name)
            if column is not None:
                labels[row, column] = max(labels[row, column], 0 if one.difficult else 1)
    return labels


def classification_scores(
    train: Tensor, train_labels: Labels, test: Tensor, test_labels: Labels, classes: Sequence[str]
) -> ClassificationScores:
    """Scores of SVMs that learn from `train` (N, D) and are tested on `test` (M, D), features of unit length.

    Labels are `image_labels`, (N, K) and (M, K). A class that fewer than three training images show, or all of them, or
    no test image, is left out and says so.
    """
    reasons = [_left_out(train_labels[:, k], test_labels[:, k]) for k in range(len(classes))]
    known = [k for k, reason in enumerate(reasons) if not reason]
    figures: dict[str, ClassFigures] = {}
    if known:
        features, test_features = _spanned(train.double(), test.double())
        labels = torch.from_numpy(train_labels[:, known]).to(train.device, torch.float64)
        costs = _chosen_costs(features, labels)
        scores = svm_scores(test_features, fit_svms(features, labels, costs)).cpu().numpy()
        for column, k in enumerate(known):
            figures[classes[k]] = _figures(scores[:, column], test_labels[:, k], float(costs[column]))
    for k, name in enumerate(classes):
        if reasons[k]:
            figures[name] = ClassFigures(None, None, None, int((test_labels[:, k] == 1).sum()), reasons[k])
    in_order = {name: figures[name] for name in classes}
    return ClassificationScores(
        in_order,
        _mean([one.ap_11_point for one in in_order.values()]),
        _mean([one.ap_area for one in in_order.values()]),
    )


def _left_out(train: Labels, test: Labels) -> str:
    """Why a class cannot be learnt or scored; empty where it can."""
    positive, negative = int((train == 1).sum()), int((train == -1).sum())
    if min(positive, negative) < FOLDS:
        which = "show it" if positive < FOLDS else "are without it"
        return f"fewer than {FOLDS} training images {which}"
    return "" if (test == 1).any() else "no test image shows it"


def _spanned(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both in coordinates of the space that training features span, where an SVM's weights lie anyway: N, not D."""
    if len(train) >= train.shape[1]:
        return train, test
    base, _ = torch.linalg.qr(train.T)
    return train @ base, test @ base


def _chosen_costs(features: Tensor, labels: Tensor) -> Tensor:
    """Of each class, the cost (K,) with the highest mean average precision on the parts that were left out."""
    folds = _folds(labels)
    found = torch.zeros(len(COSTS), labels.shape[1], dtype=torch.float64)
    for fold in range(FOLDS):
        weights: Tensor | None = None
        held_out = torch.where(folds == fold, labels, 0).cpu().numpy().astype(np.int8)
        for row, cost in enumerate(COSTS):
            costs = torch.full((labels.shape[1],), cost, dtype=features.dtype, device=features.device)
            weights = fit_svms(features, torch.where(folds == fold, 0, labels), costs, weights)
            scores = svm_scores(features, weights).cpu().numpy()
            for column in range(labels.shape[1]):
                found[row, column] += _curve_areas(scores[:, column], held_out[:, column])[1]
    return torch.tensor(COSTS, dtype=features.dtype)[found.argmax(dim=0)].to(features.device)


def _folds(labels: Tensor) -> Tensor:
    """Number (N, K) of the part that each image is in, for each class: positives dealt by turns, and so the others."""
    positive = labels > 0
    return torch.where(positive, positive.cumsum(dim=0) - 1, (~positive).cumsum(dim=0) - 1) % FOLDS


def _figures(scores: NDArray[np.float64], labels: Labels, cost: float) -> ClassFigures:
    eleven_point, area = _curve_areas(scores, labels)
    return ClassFigures(eleven_point, area, cost, int((labels == 1).sum()))


def _curve_areas(scores: NDArray[np.float64], labels: Labels) -> tuple[float, float]:
    """11-point and area average precision of scores (N,); images with label 0 are passed over."""
    counted = labels != 0
    right = labels[counted][np.argsort(-scores[counted], kind="stable")] == 1
    hits = np.cumsum(right)
    return average_precision(hits / np.arange(1, len(hits) + 1), hits / max(int(hits[-1]), 1))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
