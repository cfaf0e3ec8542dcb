"""Clique cut by cutting planes: 2-partition rows at the root, then HiGHS with lazy triangles.

For an expert i and a set T of others, a rank of i holds T's members only together with each other:

    Σ_{t ∈ T} s[i, t] − Σ_{t < u ∈ T} s[t, u] ≤ 1

|T| = 2 are the triangles; larger T cut off far more. Source: Grötschel & Wakabayashi, Math.
Programming 45 (1989), 2-partition inequalities with |S| = 1; separated greedily.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.clock import lose, monotonic

if TYPE_CHECKING:
    from numpy.typing import NDArray

Cut = tuple[int, tuple[int, ...]]

ROUNDS = 60
AGED_UNTIL = 40  # rounds in which rows that are not tight are dropped
MOST_NEW = 600  # rows added in a round
VIOLATED = 1e-3
TIGHT = 1e-6
UNITS = 1000.0  # of a known cut: HiGHS's tolerances are absolute
SAFETY = 5e-7  # of HiGHS's floats, as in exact-milp
STRICT = 9e-7  # a gap below 1e-6 counts as optimal


def prove(
    matrix: NDArray[np.float64],
    num_ranks: int,
    cut: float,
    seconds: float | None,
) -> tuple[float, NDArray[np.bool_] | None]:
    """Return a lower bound on the cut, and which pairs are together in a better partition.

    Parameters
    ----------
    matrix
        (experts, experts) symmetric weights, zero diagonal.
    cut
        Of a known partition into `num_ranks` equal parts, > 0.
    seconds
        Limit, None for none.
    """
    from scipy.optimize import linprog

    started = monotonic()
    experts = len(matrix)
    pairs = np.triu_indices(experts, 1)
    index = np.zeros((experts, experts), np.int64)
    index[pairs] = np.arange(pairs[0].size)
    index = np.maximum(index, index.T)
    unit = cut / UNITS
    cost = -matrix[pairs] / unit
    whole = -float(cost.sum())  # at the known partition the cut is UNITS units
    grain = _grain(matrix[pairs]) / unit
    target = UNITS - max(grain * 0.9, STRICT * UNITS)
    degree = _degrees(experts, pairs)
    size = np.full(experts, experts / num_ranks - 1)
    rows: list[Cut] = []
    bound = 0.0
    for number in range(ROUNDS):
        matrix_rows = _rows(rows, index, pairs[0].size)
        limits = {"A_ub": matrix_rows, "b_ub": np.ones(len(rows))} if rows else {}
        solved = linprog(cost, A_eq=degree, b_eq=size, bounds=(0, 1), method="highs", **limits)
        if solved.status != 0:
            break
        bound = max(bound, (whole + solved.fun) * (1 - SAFETY))
        if bound > target or _late(started, seconds):
            break
        if rows and number < AGED_UNTIL:
            tight = np.flatnonzero(1 - matrix_rows @ solved.x < TIGHT)
            rows = [rows[i] for i in tight]
        known = set(rows)
        new = [row for row in _separate(solved.x, index, experts) if row not in known]
        if not new:
            break
        rows += new
    if bound > target:
        return (cut if grain else bound * unit), None
    left = None if seconds is None else seconds - (monotonic() - started)
    root = _Root(cost, whole, target, index, pairs, degree, size)
    relative, together = _branch(root, bound, rows, left)
    if together is None and relative >= target and grain:
        return cut, None  # nothing is better, so the known one is best
    return relative * unit, together


@dataclass(frozen=True, eq=False)
class _Root:
    """The program without its cuts; the known cut is 1000 units."""

    cost: NDArray[np.float64]
    whole: float
    target: float
    index: NDArray[np.int64]
    pairs: Any
    degree: Any
    size: NDArray[np.float64]


def _branch(
    root: _Root, bound: float, rows: list[Cut], seconds: float | None
) -> tuple[float, NDArray[np.bool_] | None]:
    """Let HiGHS look for a partition better than `target`, adding triangles that it breaks."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, vstack

    started = monotonic()
    cost, size, experts, count = root.cost, root.size, root.size.size, root.cost.size
    while not _late(started, seconds):
        matrix = vstack([root.degree, _rows(rows, root.index, count), csr_array(cost[None, :])])
        lower = np.concatenate([size, np.full(len(rows) + 1, -np.inf)])
        upper = np.concatenate([size, np.ones(len(rows)), [root.target - root.whole]])
        options: dict[str, float] = {"mip_rel_gap": 1e-9}
        if seconds is not None:
            options["time_limit"] = max(0.1, seconds - (monotonic() - started))
        found = milp(
            cost,
            integrality=np.ones(count),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, lower, upper),
            options=options,
        )
        if found.status == 2:  # nothing is better than the target
            return max(bound, root.target), None
        dual = found.get("mip_dual_bound")
        if dual is not None and np.isfinite(dual):
            bound = max(bound, min((root.whole + float(dual)) * (1 - SAFETY), root.target))
        if found.x is None or found.status != 0:
            lose("HiGHS stopped at its own time limit")
            break
        together = np.zeros((experts, experts), bool)
        together[root.pairs] = found.x > 0.5
        together |= together.T | np.eye(experts, dtype=bool)
        broken = _broken(together)
        if not broken:
            return bound, together
        rows = rows + broken
    return bound, None


def _late(started: float, seconds: float | None) -> bool:
    return seconds is not None and monotonic() - started >= seconds


def _grain(weight: NDArray[np.float64]) -> float:
    """Return 1 for whole weights, 0 otherwise: every cut is a multiple."""
    return 1.0 if bool((weight == np.rint(weight)).all()) and weight.sum() < 2**40 else 0.0


def _degrees(experts: int, pairs: Any) -> Any:
    from scipy.sparse import csr_array

    column = np.arange(pairs[0].size)
    return csr_array(
        (np.ones(2 * column.size), (np.concatenate(pairs), np.concatenate([column, column]))),
        shape=(experts, column.size),
    )


def _rows(rows: list[Cut], index: NDArray[np.int64], columns: int) -> Any:
    from scipy.sparse import csr_array

    row, column, value = [], [], []
    for number, (expert, others) in enumerate(rows):
        t = np.array(others)
        a, b = np.triu_indices(t.size, 1)
        column += [index[expert, t], index[t[a], t[b]]]
        value += [np.ones(t.size), -np.ones(a.size)]
        row.append(np.full(t.size + a.size, number))
    if not rows:
        return csr_array((0, columns))
    return csr_array(
        (np.concatenate(value), (np.concatenate(row), np.concatenate(column))),
        shape=(len(rows), columns),
    )


def _separate(x: NDArray[np.float64], index: NDArray[np.int64], experts: int) -> list[Cut]:
    """Return violated rows, most violated first, from a greedy choice of T for each pair."""
    near = x[index]
    np.fill_diagonal(near, 0.0)
    found: dict[Cut, float] = {}
    for expert in range(experts):
        others = np.flatnonzero(near[expert] > TIGHT)
        between = near[np.ix_(others, others)]
        for first in range(others.size):
            gain = near[expert, others] - between[first]
            gain[first] = -np.inf
            chosen, value = [first], near[expert, others[first]]
            while (best := int(gain.argmax())) >= 0 and gain[best] > TIGHT:
                value += gain[best]
                chosen.append(best)
                gain -= between[best]
                gain[best] = -np.inf
            if value > 1 + VIOLATED and len(chosen) > 1:
                found[expert, tuple(sorted(others[chosen].tolist()))] = float(value)
    return sorted(found, key=lambda row: -found[row])[:MOST_NEW]


def _broken(together: NDArray[np.bool_]) -> list[Cut]:
    """Return the triangles that a choice of pairs breaks: t and u with i, but not together."""
    broken: list[Cut] = []
    for expert in range(len(together)):
        others = np.flatnonzero(together[expert])
        others = others[others != expert]
        a, b = np.nonzero(np.triu(~together[np.ix_(others, others)], 1))
        broken += [(expert, (int(others[i]), int(others[j]))) for i, j in zip(a, b, strict=True)]
    return broken
