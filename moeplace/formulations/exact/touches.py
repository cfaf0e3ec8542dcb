"""Expected touches of destination sets as linear expressions, exact under an even split.

Without de-duplication a set is touched once for each pair its ranks serve: linear in x. With it,
token set t touches set j with the chance 1 − Π_e (1 − f_e), f_e the share of e's replicas in j.

* No expert of t can have a second replica: f_e ∈ {0, 1}, and the chance is

      z[t, j] ≥ X[e, j]                        X[e, j] = Σ_{d in j} x[e, d], for every e in t

* Otherwise the product is built up one expert after the other, v[0] = 1, v[m] the chance that none
  of the first m experts is served in j. g[i, j, a] says that choice i has at least a replicas in j
  (x itself where j is a single rank):

      Σ_a g[i, j, a] = Σ_{d in j} x[i, d],   g[i, j, a + 1] ≤ g[i, j, a]
      v[m] ≤ v[m − 1]
      v[m] ≤ (1 − a/c) v[m − 1] + (a/c) (1 − g[i, j, a])        for every choice i of expert m
      v[m] ≤ 1 − Σ_i Σ_a g[i, j, a] / c                         (for the LP)

  If a of the c replicas lie in j, the row of a says v[m] ≤ (1 − a/c) v[m − 1], those of fewer
  replicas are weaker, and those of other choices say no more than v[m] ≤ v[m − 1].

Every cost grows with the touches, so z and 1 − v end at what `evaluate` computes. Own derivation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.exact.layer_columns import inside_sets, replica_share
from moeplace.formulations.exact.linear_model import (
    FRACTION,
    IMPLIED,
    INTEGER,
    Terms,
    terms,
    total,
)
from moeplace.formulations.exact.pairs import strengthen_touches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.layer_columns import LayerColumns
    from moeplace.formulations.exact.linear_model import ModelBuilder
    from moeplace.placement import Problem


def add_touches(
    builder: ModelBuilder, problem: Problem, columns: LayerColumns, relevant: NDArray[np.bool_]
) -> Terms:
    """Return one expression for each destination set: expected touches per token.

    Parameters
    ----------
    problem
        The scenario; its dispatch is an even split.
    relevant
        (sets,) whether the objective sees the set; others get no variables and count 0.
    """
    plan = problem.plan
    if plan.dedup == "none":
        return columns.holding(problem.top_k * replica_share(problem, columns))
    if problem.workload.token_sets is None:
        return terms([], [], [], plan.num_sets)
    sets = problem.workload.token_sets[columns.layer]
    rows = np.where(sets.ids >= 0, columns.choices.row_of[np.maximum(sets.ids, 0)], -1)
    weight = sets.weight / sets.weight.sum()
    kept = np.flatnonzero(relevant)
    members = plan.members[kept]
    chain = (columns.choices.most[rows] > 1) & (rows >= 0)
    chained = chain.any(axis=1)
    parts = []
    if (~chained).any():
        parts.append(_single(builder, columns, rows[~chained], weight[~chained], members))
    if chained.any():
        parts.append(_products(builder, columns, rows[chained], weight[chained], members))
    summed = total(parts)
    constant = np.zeros(plan.num_sets)
    constant[kept] = summed.constant
    return Terms(kept[summed.row], summed.column, summed.value, constant)


def count_columns(problem: Problem, layer: int) -> int:
    """Return about how many entries the touches of a layer take, before they are built."""
    if problem.plan.dedup == "none" or problem.workload.token_sets is None:
        return 0
    sets = problem.workload.token_sets[layer]
    copies = min(problem.num_ranks, problem.redundant + 1)
    return int(sets.ids.size) * problem.plan.num_sets * (1 if copies == 1 else 3 * copies**2)


def _single(
    builder: ModelBuilder,
    columns: LayerColumns,
    rows: NDArray[np.int64],
    weight: NDArray[np.float64],
    members: NDArray[np.bool_],
) -> Terms:
    """Touches by token sets whose experts have one replica each: maxima."""
    choices = columns.choices
    inside = inside_sets(builder, columns, members)
    number, sets = weight.size, members.shape[0]
    z = builder.columns((number, sets), IMPLIED)
    token, place = np.nonzero(rows >= 0)
    held = inside[choices.first[rows[token, place]]]  # (uses, sets)
    token, held = np.repeat(token, sets), held.ravel()
    touched = z[token, np.tile(np.arange(sets), token.size // sets)]
    token, touched, held = token[held >= 0], touched[held >= 0], held[held >= 0]
    row = np.arange(held.size)
    builder.constrain(
        total([terms(row, held, 1.0, row.size), terms(row, touched, -1.0, row.size)]), upper=0.0
    )
    strengthen_touches(builder, columns, rows, z, members)
    return terms(np.arange(sets)[None, :], z, weight[:, None], sets)


def _products(
    builder: ModelBuilder,
    columns: LayerColumns,
    rows: NDArray[np.int64],
    weight: NDArray[np.float64],
    members: NDArray[np.bool_],
) -> Terms:
    """Touches by token sets with experts that can have several replicas: products."""
    choices = columns.choices
    at_least = _at_least(builder, columns, members)  # (choices, sets, copies)
    number, sets = weight.size, at_least.shape[1]
    v = builder.columns((number, rows.shape[1], sets), FRACTION)
    before = np.full((number, sets), -1, np.int64)  # column of v[m − 1], −1 for 1
    for place in range(rows.shape[1]):
        here = rows[:, place] >= 0
        token = np.flatnonzero(here)
        expert = rows[token, place]
        now = v[token, place]  # (tokens, sets)
        # v[m] ≤ v[m − 1]; padding keeps the value
        later = v[:, place]
        row = np.arange(later.size)
        builder.constrain(
            total(
                [
                    terms(row, later.ravel(), 1.0, row.size),
                    terms(row, before.ravel(), -1.0, row.size),
                ]
            ),
            upper=np.where(before.ravel() < 0, 1.0, 0.0),
        )
        use = np.repeat(np.arange(token.size), choices.most[expert] - choices.fewest[expert] + 1)
        choice = np.concatenate(
            [np.arange(choices.first[e], choices.first[e + 1]) for e in expert]
            or [np.empty(0, np.int64)]
        )
        g = at_least[choice]  # (uses, sets, copies)
        # the sum over choices and counts bounds v[m] without v[m − 1]
        cell = use[:, None] * sets + np.arange(sets)[None, :]
        builder.constrain(
            total(
                [
                    terms(np.arange(now.size), now.ravel(), 1.0, now.size),
                    terms(cell[:, :, None], g, (1 / choices.copies[choice])[:, None, None],
                          now.size),
                ]
            ),
            upper=1.0,
        )  # fmt: skip
        one, which, count = np.nonzero(g >= 0)
        copies, inside = choices.copies[choice[one]].astype(float), count + 1.0
        previous = before[token[use[one]], which]
        row = np.arange(one.size)
        builder.constrain(  # times c, so that the numbers are whole
            total(
                [
                    terms(row, now[use[one], which], copies, row.size),
                    terms(row, previous, inside - copies, row.size),
                    terms(row, g[one, which, count], inside, row.size),
                ]
            ),
            upper=np.where(previous < 0, copies, inside),
        )
        before = later
    last = terms(np.arange(sets)[None, :], before, -weight[:, None], sets)
    return Terms(last.row, last.column, last.value, np.full(sets, weight.sum()))


def _at_least(
    builder: ModelBuilder, columns: LayerColumns, members: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return (choices, sets, copies) columns of g, −1 where it is known to be 0."""
    choices, size = columns.choices, members.sum(axis=1)
    single = inside_sets(builder, columns, members)
    most = int(min(choices.copies.max(), size.max(initial=1)))
    found = np.full((choices.expert.size, members.shape[0], most), -1, np.int64)
    found[:, :, 0] = single
    alone = size == 1
    found[:, alone, 0] = columns.x[:, members[alone].argmax(axis=1)]
    for copies in np.unique(choices.copies[choices.copies > 1]):
        ours = np.flatnonzero(choices.copies == copies)
        for j in np.flatnonzero(~alone):
            upto = int(min(copies, size[j]))
            g = builder.columns((ours.size, upto), INTEGER)
            found[ours, j, :upto] = g
            row = np.arange(ours.size)[:, None]
            inside = terms(row, columns.x[np.ix_(ours, members[j])], 1.0, ours.size)
            builder.constrain(total([inside, terms(row, g, -1.0, ours.size)]), 0.0, 0.0)
            if upto > 1:
                row = np.arange(g[:, 1:].size)
                builder.constrain(
                    total(
                        [
                            terms(row, g[:, 1:].ravel(), 1.0, row.size),
                            terms(row, g[:, :-1].ravel(), -1.0, row.size),
                        ]
                    ),
                    upper=0.0,
                )
    return found
