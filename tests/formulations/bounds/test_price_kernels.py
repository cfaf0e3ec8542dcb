"""Steps of prices: their mixtures reach the best random partition with given chances of pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from moeplace.formulations.bounds.price_kernels import ATOMS, step_prices
from moeplace.formulations.bounds.token_kernels import least_parts
from moeplace.formulations.verify.partition_check import set_partitions


def steps(together: np.ndarray, size: int, number: int) -> tuple[np.ndarray, ...]:
    """Return prices, mean parts and pairs after steps for one token of the first experts."""
    ids = np.zeros((1, len(together)), np.int32)
    ids[0, :size] = np.arange(size)
    pairs = len(together) * (len(together) - 1) // 2
    price = np.zeros((1, pairs))
    atom = np.zeros((1, ATOMS), np.int64)
    parts, share = np.zeros((2, 1, ATOMS))
    for _ in range(number):
        asked, wished = step_prices(
            ids, np.array([size]), np.ones(1), together, price, atom, parts, share, 0.5, 2
        )
        assert share.sum() == pytest.approx(1.0)
        assert share.min() >= 0.0
    assert not asked[size:].any()
    return ids, price, (parts * share).sum(), wished + wished.T


@pytest.mark.parametrize("size", [3, 4, 5])
def test_reaches_the_linear_program(size):
    """With X fixed, prices and mixture reach the least mean parts, found by a linear program."""
    rng = np.random.default_rng(size)
    together, number = set_partitions(size)
    first, second = np.triu_indices(size, 1)
    for _ in range(5):
        x = together.T @ rng.dirichlet(np.full(number.size, 0.4))
        matrix = np.eye(size + 1)
        matrix[first, second] = matrix[second, first] = x
        least = linprog(
            number,
            A_eq=np.vstack([together.T, np.ones(number.size)]),
            b_eq=np.append(x, 1.0),
            method="highs",
        ).fun
        ids, price, parts, y = steps(matrix, size, 400)
        assert y[first, second] == pytest.approx(x, abs=5e-3)
        assert parts == pytest.approx(least, abs=1e-2)
        constant, pairs = least_parts(ids, np.array([size]), np.ones(1), price, size + 1)
        proven = constant - (pairs[:size, :size] * matrix[:size, :size]).sum()
        assert least - 1e-2 <= proven <= least + 1e-9


def test_far_from_any_partition():
    """Prices stay within their range, and so in 8 bits, where no partition has such chances."""
    matrix = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], float)
    _, price, _, _ = steps(matrix, 3, 200)
    assert np.abs(price).max() <= 1.27
    assert np.abs(price).max() > 1.0
