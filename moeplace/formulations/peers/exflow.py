"""ExFlow's placement (Yao et al., arXiv 2401.08383): keep a token's next expert on its device.

The paper's integer program puts the experts of every layer into parts of equal size such that
tokens change parts as rarely as possible from layer to layer, and is made tractable by bipartition:
first nodes, then halves of their devices, and so on. Here every bipartition of all layers at once
works on counts of transitions between main experts instead of variables for each token, which is
the same objective. With the neighboring layers fixed, the best half of a layer is the one that
gains most, which sorting finds exactly; sweeps there and back do so layer after layer, from several
starts. (The paper hands each bipartition to Gurobi for a minute; neither method proves its result.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.peers.layout import equal_sizes, one_replica, place
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

STARTS = 6
SWEEPS = 30


def exflow(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Bipartition all layers into nodes, then into ranks; no replicas.

    Raises
    ------
    InputError
        If the workload does not know which expert follows which.
    """
    follow = problem.workload.transition()
    sizes = equal_sizes(problem.num_experts, problem.num_ranks)
    node_of_rank = problem.system.topology.node_of_rank
    rank_of = np.zeros((problem.num_layers, problem.num_experts), np.int64)
    rng = np.random.default_rng(run.seed)
    everyone = np.ones((problem.num_layers, problem.num_experts), bool)
    open_ = [(everyone, np.arange(problem.num_ranks))]
    while open_:
        inside, ranks = open_.pop()
        if ranks.size == 1:
            rank_of[inside] = ranks[0]
            continue
        cut = _cut(node_of_rank[ranks])
        first = bipartition(follow, inside, int(sizes[ranks[:cut]].sum()), rng)
        open_ += [(first, ranks[:cut]), (inside & ~first, ranks[cut:])]
    return Solved(place(problem, one_replica(rank_of, problem.num_ranks)))


def _cut(node: NDArray[np.int64]) -> int:
    """Return where to cut a row of ranks: in the middle, between nodes if there are several."""
    middle = (node.size + 1) // 2
    borders = np.flatnonzero(np.diff(node)) + 1
    if not borders.size:
        return middle
    return int(borders[np.abs(borders - middle).argmin()])


def bipartition(
    follow: NDArray[np.float64],
    inside: NDArray[np.bool_],
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return (layers, experts) which experts go to the first part, `size` of each layer.

    Parameters
    ----------
    follow
        (layers − 1, experts, experts) transitions.
    inside
        (layers, experts) experts to divide, the same number in every layer.
    size
        Experts of the first part in a layer.
    rng
        Chooses the starts after the first, in which the first experts come first.
    """
    layers, experts = inside.shape
    found: tuple[float, NDArray[np.bool_]] | None = None
    for start in range(STARTS):
        order = np.arange(experts) if start == 0 else rng.permutation(experts)
        first = np.zeros((layers, experts), bool)
        for layer in range(layers):
            members = order[inside[layer, order]]
            first[layer, members[:size]] = True
        kept = -1.0
        for _ in range(SWEEPS):
            for layer in (*range(layers), *range(layers - 2, -1, -1)):
                _best_half(follow, inside, first, layer, size)
            now = kept_inside(follow, inside, first)
            if now <= kept:
                break
            kept = now
        if found is None or kept > found[0]:
            found = kept, first
    return first if found is None else found[1]


def kept_inside(
    follow: NDArray[np.float64], inside: NDArray[np.bool_], first: NDArray[np.bool_]
) -> float:
    """Return the transitions that stay in their part."""
    total = 0.0
    for part in (first, inside & ~first):
        total += float(np.einsum("le,lef,lf->", part[:-1], follow, part[1:]))
    return total


def _best_half(
    follow: NDArray[np.float64],
    inside: NDArray[np.bool_],
    first: NDArray[np.bool_],
    layer: int,
    size: int,
) -> None:
    """Choose the half of one layer that keeps most, the other layers as they are."""
    gain = np.zeros(inside.shape[1])
    other = inside & ~first
    if layer > 0:
        gain += (first[layer - 1].astype(float) - other[layer - 1]) @ follow[layer - 1]
    if layer < inside.shape[0] - 1:
        gain += follow[layer] @ (first[layer + 1].astype(float) - other[layer + 1])
    members = np.flatnonzero(inside[layer])
    # equals stay where they are, so that sweeps end
    order = np.lexsort((members, ~first[layer, members], -gain[members]))
    first[layer] = False
    first[layer, members[order[:size]]] = True
