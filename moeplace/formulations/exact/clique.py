"""Clique cut into equal parts, proven: the pair and triangle model alone.

The pairs of experts that are used together and lie on different ranks, weighted. Only an
approximation of what a token costs (three experts together count three pairs and save two
copies), but exact for tokens with two experts, and the strongest program there is for a partition:
no rank is named, so no twin of a solution has to be excluded.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

import numpy as np

from moeplace.clock import monotonic
from moeplace.errors import InputError, unknown_name
from moeplace.formulations.exact.clique_cuts import prove
from moeplace.formulations.exact.linear_model import ModelBuilder, terms, total
from moeplace.formulations.exact.pairs import add_pairs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from moeplace.formulations.exact.linear_model import LinearModel
    from moeplace.formulations.exact.outcome import Backend

BACKENDS = ("milp", "cpsat", "pulp")
UNITS = 1000.0  # all pairs together, as the backend sees them
STARTS = 100
OPTIMAL_GAP = 1e-6


@dataclass(frozen=True, eq=False)
class CliqueCut:
    """A partition into equal parts and how far from optimal it can be.

    Attributes
    ----------
    rank_of_expert
        (experts,) part of each expert, numbered by their first experts.
    cut
        Σ weight[e, f] over pairs e < f in different parts.
    lower_bound
        No partition into equal parts cuts less.
    runtime_s
        Seconds.
    """

    rank_of_expert: NDArray[np.int64]
    cut: float
    lower_bound: float
    runtime_s: float

    @property
    def gap(self) -> float:
        """(cut − bound) / cut, 0 where both are 0."""
        return (self.cut - self.lower_bound) / self.cut if self.cut > 0 else 0.0

    @property
    def status(self) -> str:
        """``optimal`` where the gap is at most 1e-6, else ``feasible``."""
        return "optimal" if self.gap <= OPTIMAL_GAP else "feasible"


def clique_cut(
    weight: ArrayLike,
    num_ranks: int,
    *,
    backend: str = "cpsat",
    time_limit_s: float | None = 60.0,
    seed: int = 0,
) -> CliqueCut:
    """Partition experts into ranks of equal size so that little weight is cut, with a proof.

    Parameters
    ----------
    weight
        (experts, experts) at least 0; only weight[e, f] + weight[f, e] matters, halved. A
        co-activation matrix, for example.
    num_ranks
        Parts R; it must divide the number of experts.
    backend
        ``cpsat`` or ``pulp``: all triangles at once. ``milp``: cutting planes and HiGHS,
        :mod:`.clique_cuts`.
    time_limit_s
        Seconds for the proof; None for no limit.
    seed
        Of the heuristic start and the backend.

    Raises
    ------
    InputError
        If the matrix is not square, finite and at least 0, R does not divide its size, or there is
        no such backend.

    Examples
    --------
    >>> found = clique_cut([[0, 5, 1, 0], [5, 0, 0, 1], [1, 0, 0, 5], [0, 1, 5, 0]], 2)
    >>> found.cut, found.rank_of_expert.tolist(), found.status
    (2.0, [0, 0, 1, 1], 'optimal')
    """
    started = monotonic()
    matrix = _checked(weight, num_ranks)
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS, "milp, cpsat or pulp")
    experts = len(matrix)
    part = _descend(matrix, num_ranks, np.random.default_rng(seed))
    cut, bound = _cut(matrix, part), 0.0
    if not (1 < num_ranks < experts and cut > 0):
        bound = cut
    elif backend == "milp":
        while True:  # until nothing better is found, or time is over
            left = None if time_limit_s is None else time_limit_s - (monotonic() - started)
            bound, together = prove(matrix, num_ranks, cut, left)
            if together is None:
                break
            found = _numbered(together.argmax(axis=1))
            if _cut(matrix, found) >= cut:  # no better but for rounding
                break
            part, cut = found, _cut(matrix, found)
    else:
        bound, found = _whole_program(matrix, num_ranks, part, backend, time_limit_s, seed)
        if _cut(matrix, found) < cut:
            part, cut = found, _cut(matrix, found)
    return CliqueCut(_numbered(part), cut, min(bound, cut), monotonic() - started)


def _whole_program(
    matrix: NDArray[np.float64],
    num_ranks: int,
    part: NDArray[np.int64],
    backend: str,
    seconds: float | None,
    seed: int,
) -> tuple[float, NDArray[np.int64]]:
    """Return the bound and the best partition of the program with all triangles."""
    scale = UNITS / float(np.triu(matrix, 1).sum())
    model, pairs = _program(matrix * scale, num_ranks)
    upper = np.triu_indices(len(matrix), 1)
    hint = (pairs[upper], (part[upper[0]] == part[upper[1]]).astype(float))
    module = import_module(f"moeplace.formulations.exact.{backend}.model")
    outcome = cast("Backend", module.minimize)(model, hint, seconds, seed)
    bound = 0.0 if outcome.bound is None else max(0.0, outcome.bound / scale)
    if outcome.values is None:
        return bound, part
    together = (outcome.values[np.maximum(pairs, 0)] > 0.5) | (pairs < 0)
    return bound, _numbered(together.argmax(axis=1))


def _checked(weight: ArrayLike, num_ranks: int) -> NDArray[np.float64]:
    matrix = np.array(weight, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise InputError(f"weight has shape {matrix.shape}; (experts, experts) expected")
    if not (np.isfinite(matrix).all() and (matrix >= 0).all()):
        raise InputError("weight: entries must be finite and at least 0")
    if num_ranks < 1 or len(matrix) % num_ranks:
        raise InputError(
            f"{len(matrix)} experts cannot be cut into {num_ranks} equal parts; use a divisor"
        )
    symmetric: NDArray[np.float64] = (matrix + matrix.T) / 2
    np.fill_diagonal(symmetric, 0.0)
    return symmetric


def _program(matrix: NDArray[np.float64], num_ranks: int) -> tuple[LinearModel, NDArray[np.int64]]:
    """Return the program that minimizes the cut, and its pair variables."""
    builder = ModelBuilder()
    experts = len(matrix)
    pairs = add_pairs(builder, experts)
    size = experts // num_ranks
    row = np.arange(experts)[:, None]
    builder.constrain(terms(row, pairs, 1.0, experts), size - 1.0, size - 1.0)
    upper = np.triu_indices(experts, 1)
    kept = terms(np.zeros(upper[0].size), pairs[upper], -matrix[upper], 1)
    kept.constant[0] = matrix[upper].sum()
    return builder.build(builder.at_least_each(total([kept]))), pairs


def _cut(matrix: NDArray[np.float64], part: NDArray[np.int64]) -> float:
    return float(np.triu(matrix, 1)[part[:, None] != part[None, :]].sum())


def _numbered(part: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the partition with its parts numbered in the order of their first experts."""
    _, first, inverse = np.unique(part, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    numbered: NDArray[np.int64] = rank[inverse].astype(np.int64)
    return numbered


def _descend(
    matrix: NDArray[np.float64], num_ranks: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the best of several descents by swaps from random equal parts."""
    experts = len(matrix)
    best, least = np.repeat(np.arange(num_ranks), experts // num_ranks), np.inf
    for _ in range(STARTS):
        part = rng.permutation(np.repeat(np.arange(num_ranks), experts // num_ranks))
        while True:
            to = matrix @ (part[:, None] == np.arange(num_ranks))  # (experts, ranks) ties
            own = to[np.arange(experts), part]
            gain = to[:, part] - own[:, None]
            change = gain + gain.T - 2 * matrix
            change[part[:, None] == part[None, :]] = 0.0
            e, f = np.unravel_index(int(change.argmax()), change.shape)
            if change[e, f] <= 1e-12 * own.sum():
                break
            part[e], part[f] = part[f], part[e]
        if (value := _cut(matrix, part)) < least:
            best, least = part, value
    return best
