"""Calibrated confidence: of the answers with confidence p, a share p is right.

Platt scaling (Platt 1999): a logistic regression on the log odds of the answer's probability and on
the distance of the question from the training questions (`familiarity`). The second makes answers
to questions that the model never learned uncertain.
"""

from dataclasses import dataclass

import numpy as np
import torch

BINS = 10
LEAST = 1e-4  # probabilities are kept this far from 0 and 1
PENALTY = 1e-3  # keeps the weights finite if all answers are right


@dataclass(frozen=True)
class Bin:
    """Answers of similar confidence: how many, their mean confidence, and the share that is right.
    """

    count: int
    confidence: float
    accuracy: float


def reliability(confidence, right, bins: int = BINS) -> list[Bin]:
    """The reliability curve, in bins of equal count.

    Args:
        confidence, right: (n,), of each answer.

    Raises:
        ValueError: there are fewer answers than bins.
    """
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    if len(confidence) < bins:
        raise ValueError(f"found {len(confidence)} answers, expected at least {bins}, one in a bin")
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return [Bin(len(p), float(confidence[p].mean()), float(right[p].mean())) for p in parts]


def expected_calibration_error(curve: list[Bin]) -> float:
    """The mean of |accuracy - confidence| over all answers (Guo et al. 2017, arXiv 1706.04599)."""
    total = sum(b.count for b in curve)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in curve) / total


def _inputs(probability, distance) -> torch.Tensor:
    """What the regression sees, (n, 3): 1, the log odds of the answer, the question's distance."""
    p = torch.as_tensor(probability, dtype=torch.float64).clamp(LEAST, 1 - LEAST)
    return torch.stack([torch.ones_like(p), p.logit(), torch.as_tensor(distance).to(p)], dim=-1)


def fit(probability, distance, right) -> torch.Tensor:
    """The weights (3,) of the regression, by Newton's method."""
    x, y = _inputs(probability, distance), torch.as_tensor(right, dtype=torch.float64)
    weights, penalty = torch.zeros(3, dtype=torch.float64), PENALTY * torch.eye(3).double()
    for _ in range(50):
        p = (x @ weights).sigmoid()
        hessian = (x * (p * (1 - p))[:, None]).T @ x + penalty
        weights = weights - torch.linalg.solve(hessian, x.T @ (p - y) + penalty @ weights)
    return weights.float()


def calibrate(weights: torch.Tensor, probability, distance) -> np.ndarray:
    """The confidence (n,) of answers: the probability that each is right."""
    return (_inputs(probability, distance) @ weights.double()).sigmoid().numpy()
