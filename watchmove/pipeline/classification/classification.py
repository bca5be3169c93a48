"""Image classification by linear SVMs on frozen features, which measures what a trunk has learned.

The protocol is that of Goyal et al. (ICCV 2019, section 6.1) for VOC 2007, as their code has it
(facebookresearch/fair_self_supervision_benchmark, tools/svm): an SVM for each class against all others, its cost chosen
by cross-validation in three parts, average precision on the test images. An image in which all objects of a class are
difficult is ignored for that class in testing; in training it counts as one without the class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.classification.linear_svm import fit_svms, svm_scores
from watchmove.pipeline.voc.annotations import VocImage
from watchmove.pipeline.voc.average_precision import average_precision, mean_of_known

COSTS = tuple(sorted([2.0**power for power in range(-19, -3)] + [10.0**power for power in range(-7, 3)]))
"""Candidate costs: 2⁻¹⁹ to 2⁻⁴ and 10⁻⁷ to 10² (tools/svm/svm_helper.py, and the commands in GETTING_STARTED.md)."""
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
    # the benchmark's tools/svm/train_svm_kfold.py fits to images with difficult objects only as negatives
    train_labels = np.where(train_labels == 0, np.int8(-1), train_labels)
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
        mean_of_known([found.ap_11_point for found in in_order.values()]),
        mean_of_known([found.ap_area for found in in_order.values()]),
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
        # costs rise, so that each fit begins at the solution for the next lower cost
        for row, cost in enumerate(COSTS):
            costs = torch.full((labels.shape[1],), cost, dtype=features.dtype, device=features.device)
            # 0 marks an image as ignored
            weights = fit_svms(features, torch.where(folds == fold, 0, labels), costs, weights)
            scores = svm_scores(features, weights)
            for column in range(labels.shape[1]):
                held_out = folds[:, column] == fold
                found[row, column] += _mean_precision(scores[held_out, column], labels[held_out, column])
    # of equally good costs argmax takes the lowest, which regularises most
    return torch.tensor(COSTS, dtype=features.dtype)[found.argmax(dim=0)].to(features.device)


def _folds(labels: Tensor) -> Tensor:
    """Part (N, K) of each image for each class: a class's positives in order in equal parts, and so the other images.

    These are the parts of scikit-learn's StratifiedKFold without shuffling, which the benchmark's cross-validation has.
    """
    folds = torch.zeros_like(labels, dtype=torch.int64)
    for column in range(labels.shape[1]):
        # divided separately, because otherwise a part could have no positives of a rare class
        for of_class in (labels[:, column] > 0, labels[:, column] <= 0):
            for fold, rows in enumerate(torch.tensor_split(torch.nonzero(of_class).flatten(), FOLDS)):
                folds[rows, column] = fold
    return folds


def _mean_precision(scores: Tensor, labels: Tensor) -> float:
    """Mean of the precision at the rank of each positive, by which the benchmark's cross-validation compares costs.

    It is scikit-learn's `average_precision`: unlike VOC's, precision is not raised to the best at a higher recall.
    """
    hits = (labels[scores.argsort(descending=True, stable=True)] > 0).double()
    precision = hits.cumsum(dim=0) / torch.arange(1, len(hits) + 1, device=hits.device)
    return float((precision * hits).sum() / hits.sum())


def _figures(scores: NDArray[np.float64], labels: Labels, cost: float) -> ClassFigures:
    eleven_point, area = _curve_areas(scores, labels)
    return ClassFigures(eleven_point, area, cost, int((labels == 1).sum()))


def _curve_areas(scores: NDArray[np.float64], labels: Labels) -> tuple[float, float]:
    """11-point and area average precision of scores (N,); images with label 0 are ignored."""
    counted = labels != 0
    right = labels[counted][np.argsort(-scores[counted], kind="stable")] == 1
    hits = np.cumsum(right)
    return average_precision(hits / np.arange(1, len(hits) + 1), hits / max(int(hits[-1]), 1))
