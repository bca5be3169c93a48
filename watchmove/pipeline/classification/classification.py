"""Image classification by linear SVMs on frozen features, which measures what a trunk has learned.

The protocol is that of Goyal et al. (ICCV 2019, section 6.1) for VOC 2007: an SVM for each class against all others,
its cost chosen by cross-validation in three parts, average precision on the test images. An image in which all objects
of a class are difficult is ignored for that class, in training and in testing.
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
"""Candidate costs, 2⁻¹⁸ to 2⁴. The benchmark's powers of two end at 2⁻⁴; small training sets need higher costs."""
FOLDS = 3
"""Parts of the cross-validation (Goyal et al., ICCV 2019, section 6.1)."""

Labels = NDArray[np.int8]


@dataclass(frozen=True)
class ClassFigures:
    """One class: average precision in [0, 1] and the chosen cost; None where `left_out` gives the reason."""

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
        for annotated in image.objects:
            column = number.get(annotated.name)
            if column is not None:
                # -1 < 0 < 1: one object that is not difficult decides, whatever else the image shows
                labels[row, column] = max(labels[row, column], 0 if annotated.difficult else 1)
    return labels


def classification_scores(
    train: Tensor, train_labels: Labels, test: Tensor, test_labels: Labels, classes: Sequence[str]
) -> ClassificationScores:
    """Scores of SVMs that are fitted to `train` (N, D) and are tested on `test` (M, D), features of unit length.

    Labels are `image_labels`, (N, K) and (M, K). A class that fewer than three training images show, or all of them, or
    no test image, has no figures and a reason in `left_out`.
    """
    reasons = [_left_out(train_labels[:, k], test_labels[:, k]) for k in range(len(classes))]
    known = [k for k, reason in enumerate(reasons) if not reason]
    figures: dict[str, ClassFigures] = {}
    if known:
        features, test_features = _in_spanned_space(train.double(), test.double())
        labels = torch.from_numpy(train_labels[:, known]).to(train.device, torch.float64)
        costs = _choose_costs(features, labels)
        scores = svm_scores(test_features, fit_svms(features, labels, costs)).cpu().numpy()
        for column, k in enumerate(known):
            figures[classes[k]] = _figures(scores[:, column], test_labels[:, k], float(costs[column]))
    for k, name in enumerate(classes):
        if reasons[k]:
            figures[name] = ClassFigures(None, None, None, int((test_labels[:, k] == 1).sum()), reasons[k])
    in_order = {name: figures[name] for name in classes}
    return ClassificationScores(
        in_order,
        _mean([found.ap_11_point for found in in_order.values()]),
        _mean([found.ap_area for found in in_order.values()]),
    )


def _left_out(train: Labels, test: Labels) -> str:
    """Why a class cannot be learnt or scored; empty where it can."""
    positive, negative = int((train == 1).sum()), int((train == -1).sum())
    if min(positive, negative) < FOLDS:
        which = "show it" if positive < FOLDS else "are without it"
        return f"fewer than {FOLDS} training images {which}"
    return "" if (test == 1).any() else "no test image shows it"


def _in_spanned_space(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Features (., D) in the N coordinates of the space that the training features span, where D is larger than N.

    An SVM's weights are combinations of training features, so that the scores do not change and fitting is faster.
    """
    if len(train) >= train.shape[1]:
        return train, test
    base, _ = torch.linalg.qr(train.T)
    return train @ base, test @ base


def _choose_costs(features: Tensor, labels: Tensor) -> Tensor:
    """The cost of each class (K,) with the highest mean average precision on the held-out parts."""
    folds = _folds(labels)
    found = torch.zeros(len(COSTS), labels.shape[1], dtype=torch.float64)
    for fold in range(FOLDS):
        weights: Tensor | None = None
        held_out = torch.where(folds == fold, labels, 0).cpu().numpy().astype(np.int8)
        # costs rise, so that each fit begins at the solution for the next lower cost
        for row, cost in enumerate(COSTS):
            costs = torch.full((labels.shape[1],), cost, dtype=features.dtype, device=features.device)
            # 0 marks an image as ignored
            weights = fit_svms(features, torch.where(folds == fold, 0, labels), costs, weights)
            scores = svm_scores(features, weights).cpu().numpy()
            for column in range(labels.shape[1]):
                found[row, column] += _curve_areas(scores[:, column], held_out[:, column])[1]
    # of equally good costs argmax takes the lowest, which regularises most
    return torch.tensor(COSTS, dtype=features.dtype)[found.argmax(dim=0)].to(features.device)


def _folds(labels: Tensor) -> Tensor:
    """Part (N, K) of each image for each class: positives take turns among the parts, and so do the other images."""
    # divided separately, because otherwise a part could have no positives of a rare class
    positive = labels > 0
    return torch.where(positive, positive.cumsum(dim=0) - 1, (~positive).cumsum(dim=0) - 1) % FOLDS


def _figures(scores: NDArray[np.float64], labels: Labels, cost: float) -> ClassFigures:
    eleven_point, area = _curve_areas(scores, labels)
    return ClassFigures(eleven_point, area, cost, int((labels == 1).sum()))


def _curve_areas(scores: NDArray[np.float64], labels: Labels) -> tuple[float, float]:
    """11-point and area average precision of scores (N,); images with label 0 are ignored."""
    counted = labels != 0
    right = labels[counted][np.argsort(-scores[counted], kind="stable")] == 1
    hits = np.cumsum(right)
    return average_precision(hits / np.arange(1, len(hits) + 1), hits / max(int(hits[-1]), 1))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
