"""The objectives as linear expressions of one layer's variables.

    balance   M            M ≥ pairs · Σ_i share[i] · x[i, d]                   for every rank
    copies    T · Σ_j messages[j] · touch[j]
    hops      T · Σ_j crossings[j] · touch[j]
    time      f · (α_d + α_c) + L + C + D + B + price · moves
      compute   C ≥ a + Σ_i g[i] · x[i, d]                                      for every rank
      dispatch  D ≥ f · T · bytes / bandwidth[l] · Σ_j use[l, j] · touch[j]     for every link
      combine   B likewise, with the combine's bytes and crossings
      latency   L ≥ 2 f · latency[d] · Σ_{i of e} x[i, d]                       for every used e, d
                L ≥ 2 f · Σ_i Σ_d latency[d] / copies[i] · x[i, d]              (for the LP)

g[i] is the time of a slot that serves share[i], tiles and chance of activation included: it
depends on the expert and its number of replicas only, so it is a constant of the choice.
latency[d] is the largest of the sets that contain rank d. f is the system's in-situ factor. The
combine's links of most fabrics are busy as the dispatch's are; then B = D · bytes / bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.exact.layer_columns import moved, replica_share
from moeplace.formulations.exact.linear_model import Terms, terms, total
from moeplace.formulations.exact.touches import add_touches
from moeplace.placement.evaluate import slot_compute_s

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.layer_columns import LayerColumns
    from moeplace.formulations.exact.linear_model import ModelBuilder
    from moeplace.placement import Problem

SAME = 1e-12  # link rows that agree to this share are the same


def add_cost(
    builder: ModelBuilder, problem: Problem, columns: LayerColumns, unit: float, most: float
) -> Terms:
    """Return the objective of a layer as one expression; adds what it needs to the model.

    Parameters
    ----------
    problem
        The scenario.
    unit
        What counts as 1.
    most
        Upper limit of any term, in units; infinite without one.
    """
    if problem.objective == "balance":
        pairs = float(problem.tokens * problem.top_k)
        rank_load = columns.holding(replica_share(problem, columns) * (pairs / unit))
        return builder.at_least_each(rank_load, most)
    if problem.objective in ("copies", "hops"):
        plan = problem.plan
        cost = plan.uniform_messages
        if problem.objective == "hops":
            cost = plan.uniform_use[0].sum(axis=0)
        touch = add_touches(builder, problem, columns, cost > 0)
        return touch.mixed(cost[None, :]).times(problem.tokens / unit)
    return _time(builder, problem, columns, unit, most)


def _time(
    builder: ModelBuilder, problem: Problem, columns: LayerColumns, unit: float, most: float
) -> Terms:
    system = problem.system
    alpha = system.alpha_us[problem.phase]
    factor = system.in_situ_factor / unit
    fixed = terms([], [], [], 1)
    fixed.constant[0] = factor * 1e-6 * (alpha["dispatch"] + alpha["combine"])
    parts = [fixed, builder.at_least_each(_compute(problem, columns).times(1 / unit), most)]
    uses = _link_seconds(problem)
    relevant = np.zeros(problem.plan.num_sets, bool)
    for use in uses:
        relevant |= (use > 0).any(axis=0)
    if relevant.any():
        touch = add_touches(builder, problem, columns, relevant)
        parts += [
            builder.at_least_each(touch.mixed(use).times(factor), most) for use in uses if use.size
        ]
    latency = _latency(problem, columns)
    if latency.num_rows:
        parts.append(builder.at_least_each(latency.times(2 * factor), most))
    if problem.move_price_us_per_GB:
        parts.append(moved(problem, columns).times(problem.move_price_s / unit))
    return total(parts)


def _compute(problem: Problem, columns: LayerColumns) -> Terms:
    seconds = slot_compute_s(problem, replica_share(problem, columns))
    compute = columns.holding(seconds)
    compute.constant[:] = problem.compute_constants[0]
    return compute


def _link_seconds(problem: Problem) -> list[NDArray[np.float64]]:
    """Return (links, sets) seconds per touch, one matrix for dispatch and combine if they agree.

    Links that carry nothing, or the same as another, are left out.
    """
    bandwidth = problem.plan.topology.bandwidth_Bps[:, None]
    sizes = problem.system.copy_bytes(problem.model.payload_size)
    out, back = (
        np.unique(problem.tokens * use / bandwidth, axis=0) for use in problem.plan.uniform_use
    )
    out, back = (rows[rows.any(axis=1)] for rows in (out, back))
    if out.shape == back.shape and np.allclose(out, back, rtol=SAME, atol=0.0):
        return [out * (sizes[0] + sizes[1])]
    return [out * sizes[0], back * sizes[1]]


def _latency(problem: Problem, columns: LayerColumns) -> Terms:
    """Return expressions that the longest latency is at least, in seconds."""
    plan, choices = problem.plan, columns.choices
    per_rank = np.where(plan.members, plan.uniform_latency_s[:, None], 0.0).max(axis=0, initial=0.0)
    used = np.flatnonzero(used_by(problem, columns.layer)[choices.order])
    if not per_rank.any() or not used.size:
        return terms([], [], [], 0)
    position = np.full(choices.order.size, -1, np.int64)
    position[used] = np.arange(used.size)
    choice = np.flatnonzero(position[choices.expert] >= 0)
    at = position[choices.expert[choice]]
    ranks = per_rank.size
    each = terms(
        at[:, None] * ranks + np.arange(ranks)[None, :],
        columns.x[choice],
        per_rank[None, :],
        used.size * ranks,
    )
    mean = terms(
        used.size * ranks + at[:, None],
        columns.x[choice],
        per_rank[None, :] / choices.copies[choice][:, None],
        used.size * (ranks + 1),
    )
    return Terms(
        np.concatenate([each.row, mean.row]),
        np.concatenate([each.column, mean.column]),
        np.concatenate([each.value, mean.value]),
        mean.constant,
    )


def used_by(problem: Problem, layer: int) -> NDArray[np.bool_]:
    """Return (experts,) whether a replica of the expert makes its rank touched.

    Without de-duplication it must have load, else be in a token set.
    """
    if problem.plan.dedup == "none" or problem.workload.token_sets is None:
        used: NDArray[np.bool_] = problem.load_share[layer] > 0
        return used
    ids = problem.workload.token_sets[layer].ids
    used = np.zeros(problem.num_experts, bool)
    used[np.unique(ids[ids >= 0])] = True
    return used
