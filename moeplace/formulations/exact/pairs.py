"""Pairs of experts on the same rank: the triangle model, and what it says about touches.

    s[e, f] ∈ {0, 1}     experts e < f lie on the same rank (each has one replica)

    triangle     s[e, f] + s[f, g] − s[e, g] ≤ 1             three ways for every triple
    capacity     Σ_f s[e, f] ≤ slots − 1                     for every expert
    linked       s[e, f] ≤ 1 − x[e, d] + x[f, d],   x[e, d] + x[f, d] − 1 ≤ s[e, f]

The touches of a token set with the experts e_1 … e_k add up over the ranks to the number of
experts that have none before them on their rank:

    Σ_d z[t, d] ≥ Σ_m max(0, 1 − Σ_{n < m} s[e_n, e_m])

The assignment variables alone say nothing to the linear relaxation (x = 1/R everywhere touches one
rank); the triangles do. Source: Grötschel & Wakabayashi, Math. Programming 45 (1989), for the
triangle inequalities of clique partitioning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.exact.linear_model import IMPLIED, INTEGER, terms, total

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.layer_columns import LayerColumns
    from moeplace.formulations.exact.linear_model import ModelBuilder

MOST_EXPERTS = 40  # 3 · C(40, 3) = 29,640 triangles


def add_pairs(builder: ModelBuilder, experts: int, kind: int = INTEGER) -> NDArray[np.int64]:
    """Add s with its triangles; return (experts, experts) columns, −1 on the diagonal."""
    s = np.full((experts, experts), -1, np.int64)
    upper = np.triu_indices(experts, 1)
    s[upper] = builder.columns(upper[0].size, kind)
    s = np.maximum(s, s.T)
    e, f, g = (a.ravel() for a in np.meshgrid(*[np.arange(experts)] * 3, indexing="ij"))
    keep = (e < f) & (f < g)
    e, f, g = e[keep], f[keep], g[keep]
    for a, b, c in ((e, f, g), (f, e, g), (f, g, e)):  # a–b and b–c imply a–c
        row = np.arange(a.size)
        size = row.size
        builder.constrain(
            total(
                [
                    terms(row, s[a, b], 1.0, size),
                    terms(row, s[b, c], 1.0, size),
                    terms(row, s[a, c], -1.0, size),
                ]
            ),
            upper=1.0,
        )
    return s


def strengthen_touches(
    builder: ModelBuilder,
    columns: LayerColumns,
    rows: NDArray[np.int64],
    z: NDArray[np.int64],
    members: NDArray[np.bool_],
) -> None:
    """Add the pair variables of a layer and what they say about the sum of touches.

    Only where every expert has one replica, every rank is a destination set, and the layer is
    small enough.

    Parameters
    ----------
    rows
        (token sets, top_k) rows of the experts, −1 pads.
    z
        (token sets, sets) columns of the touches.
    members
        (sets, ranks) the destination sets.
    """
    experts, ranks = columns.choices.order.size, members.shape[1]
    alone = np.flatnonzero(members.sum(axis=1) == 1)
    if not columns.choices.single or experts > MOST_EXPERTS or rows.shape[1] < 2:
        return
    if ranks < 2 or alone.size < ranks:
        return
    s = add_pairs(builder, experts, IMPLIED)
    add_capacity(builder, s, columns.slots)
    _link(builder, s, columns.x)
    _sum_of_touches(builder, s, rows, z[:, alone])


def _link(builder: ModelBuilder, s: NDArray[np.int64], x: NDArray[np.int64]) -> None:
    """Tie s to x: the same rank or not."""
    e, f = np.triu_indices(s.shape[0], 1)
    ranks = x.shape[1]
    row = np.arange(e.size * ranks).reshape(e.size, ranks)
    pair = np.broadcast_to(s[e, f][:, None], row.shape)
    for sign_e, sign_f, sign_s, limit in (
        (1.0, 1.0, -1.0, 1.0),
        (1.0, -1.0, 1.0, 1.0),
        (-1.0, 1.0, 1.0, 1.0),
    ):
        builder.constrain(
            total(
                [
                    terms(row, x[e], sign_e, row.size),
                    terms(row, x[f], sign_f, row.size),
                    terms(row, pair, sign_s, row.size),
                ]
            ),
            upper=limit,
        )


def add_capacity(builder: ModelBuilder, s: NDArray[np.int64], slots: int) -> None:
    """Let no expert share its rank with more than slots − 1 others."""
    rows = np.arange(s.shape[0])[:, None]
    builder.constrain(terms(rows, s, 1.0, s.shape[0]), upper=float(slots - 1))


def _sum_of_touches(
    builder: ModelBuilder,
    s: NDArray[np.int64],
    rows: NDArray[np.int64],
    z: NDArray[np.int64],
) -> None:
    number, most = rows.shape
    head = builder.columns((number, most), IMPLIED)
    parts = []
    for place in range(most):
        ours = rows[:, place]
        row = np.arange(number)
        first = [terms(row, head[:, place], 1.0, number)]
        for earlier in range(place):
            both = (ours >= 0) & (rows[:, earlier] >= 0)
            pair = np.where(both, s[ours, rows[:, earlier]], -1)
            first.append(terms(row, pair, 1.0, number))
        builder.constrain(total(first), lower=np.where(ours >= 0, 1.0, 0.0))
        parts.append(terms(row, head[:, place], 1.0, number))
    row = np.arange(number)
    touched = terms(row[:, None], z, -1.0, number)
    builder.constrain(total([*parts, touched]), upper=0.0)
