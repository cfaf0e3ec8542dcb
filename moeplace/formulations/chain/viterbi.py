"""The best mapping of few ranks, exactly: a shortest path over permutations.

A layer's state is its permutation; a step costs what the two layers exchange. With all n! states
of every layer the shortest path is the optimum (Viterbi 1967). Costs of a step are one matrix
product: with G_π[c', g'] = Σ_c flow[c, c'] · distance[π(c), g'], the pair (π, σ) costs
Σ_c' G_π[c', σ(c')].
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.chain.instance import ChainInstance

MOST_RANKS = 6  # 720 permutations; 7 would take 49 times as long and 200 MB a pair of layers


def viterbi(instance: ChainInstance) -> NDArray[np.int64]:
    """Return (layers, n) the ranks of the clusters at least cost; sizes are not looked at.

    Complexity: O(layers · (n!)² · n²) time for ``sum`` as matrix products, O((n!)²) memory.
    """
    n = instance.num_ranks
    perms = np.array(list(permutations(range(n))), np.int64)
    best = np.zeros(len(perms))
    came_from = np.zeros((instance.num_layers, len(perms)), np.int64)
    for pair, flow in enumerate(instance.flow):
        through = best[:, None] + step_costs(flow, instance.distance, perms, instance.combine)
        came_from[pair + 1] = through.argmin(axis=0)
        best = through[came_from[pair + 1], np.arange(len(perms))]
    state = int(best.argmin())
    states = [state]
    for layer in range(instance.num_layers - 1, 0, -1):
        state = int(came_from[layer, state])
        states.append(state)
    labels: NDArray[np.int64] = perms[states[::-1]]
    return labels


def step_costs(
    flow: NDArray[np.float64],
    distance: NDArray[np.float64],
    perms: NDArray[np.int64],
    combine: str,
) -> NDArray[np.float64]:
    """Return (perms, perms) cost between two layers for every pair of permutations."""
    states, n = perms.shape
    if combine == "sum":
        sent = np.einsum("cd,pcg->pdg", flow, distance[perms])  # (states, c', g')
        picks = np.zeros((states, n * n))
        picks[np.arange(states)[:, None], np.arange(n) * n + perms] = 1.0
        total: NDArray[np.float64] = sent.reshape(states, -1) @ picks.T
        return total
    worst = np.zeros((states, states))
    for c in range(n):
        for d in range(n):
            if flow[c, d] > 0:
                part = flow[c, d] * distance[perms[:, c][:, None], perms[:, d][None, :]]
                np.maximum(worst, part, out=worst)
    return worst
