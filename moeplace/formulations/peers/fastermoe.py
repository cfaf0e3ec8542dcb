"""Dynamic shadowing of FasterMoE (He et al., PPoPP 2022), in its inference form.

From the contiguous layout, the hottest experts are copied to every rank, one after the other, as
long as the modelled latency falls. A shadowed expert's tokens stay where they are. The paper pays
for a shadow by broadcasting its weights in every iteration and reducing its gradients; weights that
stay resident in redundant slots cost each rank the time to read them instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.tables import usable_replicas
from moeplace.formulations.peers.layout import (
    contiguous_holds,
    pair_exchange_s,
    pairs_of_step,
    place,
)
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem


def shadow_latency_s(
    holds: NDArray[np.bool_],
    pairs: NDArray[np.float64],
    shadowed: NDArray[np.bool_],
    token_s: float,
    exchange_s: float,
    read_s: float,
) -> float:
    """Return the modelled seconds of a layer with some experts on every rank.

    The fullest rank computes and exchanges the tokens of its own experts, everyone computes an
    equal part of the shadowed ones and reads their weights.

    Parameters
    ----------
    holds
        (ranks, experts) home of each expert.
    pairs
        (experts,) tokens of a step.
    shadowed
        (experts,) which experts every rank has.
    token_s, exchange_s, read_s
        Seconds to compute a token, to send it and its result, and to read an expert's weights.
    """
    own = float((holds @ np.where(shadowed, 0.0, pairs)).max())
    local = float(pairs[shadowed].sum()) / len(holds)
    count = int(np.count_nonzero(shadowed))
    return token_s * (own + local) + exchange_s * own + read_s * count


def shadows(
    holds: NDArray[np.bool_],
    pairs: NDArray[np.float64],
    constants: tuple[float, float, float],
    spare: int,
    slots_per_rank: int,
) -> NDArray[np.bool_]:
    """Return (experts,) which experts to shadow: hottest first, while the latency falls.

    Parameters
    ----------
    holds, pairs
        See :func:`shadow_latency_s`.
    constants
        Its last three arguments.
    spare
        Most replicas beyond the first; a shadow takes one on every rank but its home.
    slots_per_rank
        Most experts on a rank.
    """
    ranks = holds.shape[0]
    chosen = np.zeros(pairs.size, bool)
    best = shadow_latency_s(holds, pairs, chosen, *constants)
    if ranks == 1:
        return chosen
    for expert in np.argsort(-pairs, kind="stable"):
        trial = chosen.copy()
        trial[expert] = True
        held = (holds | trial).sum(axis=1)
        if trial.sum() * (ranks - 1) > spare or held.max() > slots_per_rank:
            break
        latency = shadow_latency_s(holds, pairs, trial, *constants)
        if latency >= best:
            break
        chosen, best = trial, latency
    return chosen


def fastermoe_shadowing(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Copy the hottest experts to all ranks while the modelled latency falls."""
    holds = contiguous_holds(problem)
    _, read_s, token_s = problem.compute_constants
    constants = (token_s, pair_exchange_s(problem), read_s)
    spare = usable_replicas(problem) - problem.num_experts
    pairs = pairs_of_step(problem)
    for layer in range(problem.num_layers):
        chosen = shadows(holds[layer], pairs[layer], constants, spare, problem.slots_per_rank)
        holds[layer] |= chosen
    return Solved(place(problem, holds))
