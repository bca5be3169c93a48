"""Linear SVMs: the minimum that a slow general solver finds, class by class, and a case done by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from watchmove.pipeline.classification.linear_svm import POSITIVE_WEIGHT, fit_svms, svm_scores
from watchmove.pipeline.errors import InvalidInput


def objective(
    weights: NDArray[np.float64], features: NDArray[np.float64], labels: NDArray[np.float64], cost: float
) -> tuple[float, NDArray[np.float64]]:
    """Value and gradient of one class's problem, written from its definition, example by example."""
    value, gradient = 0.5 * float(weights @ weights), weights.copy()
    for row, label in zip(np.c_[features, np.ones(len(features))], labels, strict=True):
        margin = 1 - label * float(row @ weights)
        if label != 0 and margin > 0:
            weight = cost * (POSITIVE_WEIGHT if label > 0 else 1)
            value += weight * margin**2
            gradient -= 2 * weight * margin * label * row
    return value, gradient


def problem(seed: int, examples: int, size: int, classes: int) -> tuple[Tensor, Tensor]:
    """Features of unit length, and labels of which some say nothing."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(examples, size)) + 0.5
    labels = rng.choice([-1.0, 0.0, 1.0], size=(examples, classes), p=[0.6, 0.1, 0.3])
    return torch.from_numpy(features / np.linalg.norm(features, axis=1, keepdims=True)), torch.from_numpy(labels)


@given(st.integers(0, 10**6), st.integers(2, 25), st.integers(1, 12), st.floats(1e-5, 50))
def test_as_low_as_a_general_solver_gets(seed: int, examples: int, size: int, cost: float) -> None:
    """Every class of several at once, with other costs beside it, from nothing and from other weights.

    Fitting ends at 1e-5 of the gradient at zero weights. The Hessian is at least the identity, so what is left above
    the minimum is at most half of that gradient's squared norm.
    """
    features, labels = problem(seed, examples, size, 3)
    costs = torch.tensor([cost, 0.5, 1e-3], dtype=torch.float64)
    found = fit_svms(features, labels, costs)
    again = fit_svms(features, labels, costs, torch.full_like(found, 0.3))
    for column, one in enumerate(costs.tolist()):
        arguments = features.numpy(), labels[:, column].numpy(), one
        zeros = np.zeros(size + 1)
        best = minimize(objective, zeros, arguments, jac=True, method="BFGS", options={"gtol": 1e-9}).fun
        left = float(np.square(1e-5 * objective(zeros, *arguments)[1]).sum()) / 2
        for weights in (found, again):
            assert objective(weights[:, column].numpy(), *arguments)[0] <= best + left + 1e-9 * best + 1e-12


def test_two_examples_by_hand() -> None:
    """x = ±1 with its label: w minimises w²/2 + 3 C (1 − w)² at 6C / (1 + 6C) without bias, and the bias follows."""
    features, labels = torch.tensor([[1.0], [-1.0]]).double(), torch.tensor([[1.0], [-1.0]]).double()
    weights = fit_svms(features, labels, torch.tensor([0.5]).double())
    # 0 = w − 2C·(2(1 − w − b) + (1 − w + b)), 0 = b − 2C·(2(1 − w − b) − (1 − w + b)), with C = 1/2
    expected = torch.linalg.solve(torch.tensor([[4.0, 1.0], [1.0, 4.0]]).double(), torch.tensor([3.0, 1.0]).double())

    assert torch.allclose(weights[:, 0], expected, atol=1e-4)
    assert svm_scores(features, weights)[0, 0] == pytest.approx(float(expected.sum()), abs=1e-4)


def test_examples_that_say_nothing_change_nothing() -> None:
    """A label of 0 is an example that is not there."""
    features, labels = problem(3, 30, 5, 2)
    labels[20:] = 0
    costs = torch.ones(2, dtype=torch.float64)

    assert torch.allclose(fit_svms(features, labels, costs), fit_svms(features[:20], labels[:20], costs), atol=1e-9)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e200])
def test_features_that_are_not_finite_or_overflow_are_refused(value: float) -> None:
    """NaN, infinity, and finite values with squares beyond float64 are an error, not weights that separate nothing."""
    features, labels = torch.tensor([[value], [-1.0]]).double(), torch.tensor([[1.0], [-1.0]]).double()

    with pytest.raises(InvalidInput, match=r"linear SVMs: (features|weights) are not finite"):
        fit_svms(features, labels, torch.tensor([0.5]).double())
