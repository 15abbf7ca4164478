"""The diversity loss against a double loop, by hand, and its gradient."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from favor_mini.losses import diversity_loss


@given(windows=st.integers(1, 4), queries=st.integers(2, 6), width=st.integers(2, 8),
       seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_equals_the_double_loop(windows, queries, width, seed):
    x = np.random.default_rng(seed).normal(size=(windows, queries, width)).astype(np.float32)
    assert diversity_loss(torch.tensor(x)).item() == pytest.approx(reference.diversity(x), abs=2e-6)


@pytest.mark.parametrize("queries, value", [
    ([[1, 2], [1, 2], [3, 6]], 1.0),  # the same direction, whatever the length
    ([[1, 0, 0], [0, 2, 0], [0, 0, 3]], 0.0),
    ([[1, 0], [-1, 0]], -1.0),
    ([[1, 0], [1, 0], [0, 1]], 1 / 3),  # of the three pairs one agrees
    ([[1, 0], [1, 1]], 0.5**0.5),
])
def test_by_hand(queries, value):
    loss = diversity_loss(torch.tensor([queries], dtype=torch.float32))
    assert loss.item() == pytest.approx(value, abs=1e-6)


def test_the_diagonal_never_counts():
    """32 orthogonal queries: with the diagonal the value would be 1 / 32."""
    assert abs(diversity_loss(torch.eye(32)[None]).item()) < 1e-7


def test_an_empty_window_never_counts():
    queries = torch.randn(4, 3, 5)
    real = torch.tensor([True, False, True, False])
    assert diversity_loss(queries, real) == diversity_loss(queries[real])
    assert diversity_loss(queries, real) != diversity_loss(queries)


def test_windows_count_alike():
    same, apart = torch.ones(1, 2, 2), torch.eye(2)[None]
    assert diversity_loss(torch.cat([same, apart, apart])).item() == pytest.approx(1 / 3)


def test_nothing_to_compare_is_zero_and_has_a_gradient():
    for queries, real in ((torch.randn(2, 1, 4), None),
                          (torch.randn(2, 3, 4), torch.zeros(2, dtype=torch.bool))):
        queries.requires_grad_()
        value = diversity_loss(queries, real)
        value.backward()
        assert value.item() == 0 and not queries.grad.any()


def test_the_gradient_is_the_slope():
    x = torch.randn(2, 4, 3)
    x.requires_grad_()
    diversity_loss(x).backward()
    wanted, step = np.zeros(x.shape), 1e-4
    for index in np.ndindex(*x.shape):
        shifted = [x.detach().numpy().astype(np.float64) for _ in range(2)]
        shifted[0][index] += step
        shifted[1][index] -= step
        high, low = (reference.diversity(x) for x in shifted)
        wanted[index] = (high - low) / (2 * step)
    np.testing.assert_allclose(x.grad.numpy(), wanted, atol=1e-5)


def test_a_step_downhill_spreads_the_queries():
    x = torch.randn(1, 1, 8) + 0.5 * torch.randn(1, 5, 8)
    values = []
    for _ in range(20):
        x = x.detach().requires_grad_()
        values.append(diversity_loss(x))
        values[-1].backward()
        x = x - x.grad
    assert values == sorted(values, reverse=True) and values[-1] < values[0] - 0.2
