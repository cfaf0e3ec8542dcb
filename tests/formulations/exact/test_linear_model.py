"""Programs as arrays: what the blocks add up to, and the same optimum in every backend."""

from __future__ import annotations

from importlib import import_module
from itertools import product

import numpy as np
import pytest

from moeplace.formulations.exact.cpsat.constraints import whole_rows
from moeplace.formulations.exact.cpsat.variables import scales
from moeplace.formulations.exact.linear_model import INTEGER, ModelBuilder, terms, total

BACKENDS = ("cpsat", "milp", "pulp")


def knapsack(seed):
    """Return a program of choices whose largest of three costs counts, and its arrays."""
    rng = np.random.default_rng(seed)
    weight = rng.random((3, 6)) * 10
    size = rng.integers(1, 6, 6).astype(float)
    builder = ModelBuilder()
    x = builder.columns(6, INTEGER)
    builder.constrain(terms(0, x, size, 1), lower=float(size.sum()) / 2)
    cost = builder.at_least_each(terms(np.arange(3)[:, None], x[None, :], weight, 3))
    return builder.build(cost), weight, size


def least(weight, size):
    """Return the optimum by enumeration."""
    choices = np.array(list(product([0, 1], repeat=6)))
    kept = choices[choices @ size >= size.sum() / 2]
    return float((kept @ weight.T).max(axis=1).min())


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree_with_enumeration(backend):
    """Value, bound and proof; the bound is not above the optimum."""
    minimize = import_module(f"moeplace.formulations.exact.{backend}.model").minimize
    for seed in range(5):
        model, weight, size = knapsack(seed)
        best = least(weight, size)
        outcome = minimize(model, None, None, 0)
        assert outcome.proven
        assert outcome.values @ model.objective == pytest.approx(best, rel=1e-6)
        assert best * (1 - 2e-6) <= outcome.bound <= best * (1 + 1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_solution_is_proven(backend):
    """Rows that contradict each other."""
    minimize = import_module(f"moeplace.formulations.exact.{backend}.model").minimize
    builder = ModelBuilder()
    x = builder.columns(3, INTEGER)
    builder.constrain(terms(0, x, 1.0, 1), lower=2.0)
    builder.constrain(terms(0, x, 1.0, 1), upper=1.0)
    outcome = minimize(builder.build(terms(0, x, 1.0, 1)), None, None, 0)
    assert outcome.infeasible
    assert outcome.values is None


def test_terms_add_up():
    """Broadcast blocks, missing columns, constants, sums and mixtures are linear algebra."""
    rng = np.random.default_rng(0)
    x = np.array([[0, 1, -1], [2, -1, 3]])
    value = rng.random((2, 3))
    point = rng.random(4)
    expression = terms(np.arange(2)[:, None], x, value, 2)
    expression.constant[:] = 1.0, 2.0
    dense = np.where(x >= 0, value * point[np.maximum(x, 0)], 0.0).sum(axis=1) + np.array(
        [1.0, 2.0]
    )

    def at(e):
        return np.bincount(e.row, e.value * point[e.column], minlength=e.num_rows) + e.constant

    weight = rng.random((3, 2))
    np.testing.assert_allclose(at(expression), dense)
    np.testing.assert_allclose(at(expression.mixed(weight)), weight @ dense)
    np.testing.assert_allclose(at(total([expression, expression.times(2.0)])), 3 * dense)


def test_whole_rows_keep_every_solution():
    """Rounded rows hold for each solution of the program with its costs rounded up."""
    for seed in range(5):
        model, weight, size = knapsack(seed)
        scale = scales(model)
        rows = whole_rows(model, scale)
        number = np.repeat(np.arange(rows.upper.size), np.diff(rows.start))
        for choice in product([0, 1], repeat=6):
            if np.dot(choice, size) < size.sum() / 2:
                continue
            cost = float((weight @ choice).max())
            whole = np.array([*choice, int(np.ceil(cost * scale[6]))], object)
            held = np.zeros(rows.upper.size, object)
            np.add.at(held, number, rows.value.astype(object) * whole[rows.column])
            assert (held <= rows.upper).all()
            whole[6] = int(cost * scale[6] * (1 - 1e-6))
            held = np.zeros(rows.upper.size, object)
            np.add.at(held, number, rows.value.astype(object) * whole[rows.column])
            assert (held > rows.upper).any()


def test_many_rows_are_arrays():
    """A program of 20,000 columns and rows is a handful of blocks, in CP-SAT's numbers too."""
    size = 20_000
    builder = ModelBuilder()
    x = builder.columns(size, INTEGER)
    pairs = np.stack([x, np.roll(x, 1)], axis=1)
    builder.constrain(terms(np.arange(size)[:, None], pairs, 1.0, size), lower=1.0)
    model = builder.build(terms(np.zeros(size), x, 1.0, 1))
    assert model.matrix.nnz == 2 * size
    assert (model.num_rows, model.num_columns) == (size, size)
    rows = whole_rows(model, scales(model))
    assert rows.value.size == 2 * size
    assert (rows.value == -1).all()
    assert (rows.upper == -1).all()
