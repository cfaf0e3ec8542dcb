"""Lower bounds on what must cross the fabric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem

MARGIN = 1e-6  # LP duals are exact to about 1e-7; a bound gives this share away


@dataclass(frozen=True, eq=False)
class TouchBounds:
    """What every placement must touch, per token.

    Attributes
    ----------
    ranks, nodes
        (layers,) least expected distinct ranks and nodes (pairs for dedup ``none``).
    most_per_rank
        (layers,) most expected copies to a single rank.
    """

    ranks: NDArray[np.float64]
    nodes: NDArray[np.float64]
    most_per_rank: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Together:
    """What the token sets of one layer say about pairs, whatever the placement.

    Attributes
    ----------
    mean_size
        Mean experts of a token set.
    strongest
        (experts, experts) chance of a token using the expert and its partner, strongest first.
    eigenvalues
        (experts,) of the co-activation matrix with zero diagonal, largest first, at least 0.
    """

    mean_size: float
    strongest: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]


def together(problem: Problem) -> list[Together] | None:
    """Return the pair structure of each layer, None if only loads are known."""
    from threadpoolctl import threadpool_limits

    if problem.workload.token_sets is None:
        return None
    found = []
    for sets in problem.workload.token_sets:
        matrix = _coactivation(sets.ids, sets.weight, problem.num_experts)
        with threadpool_limits(1, "blas"):  # threads only get in each other's way at this size
            eigenvalues = np.linalg.eigvalsh(matrix)
        found.append(
            Together(
                float(sets.weight @ (sets.ids >= 0).sum(axis=1)) / float(sets.weight.sum()),
                -np.sort(-matrix, axis=1),
                np.maximum(eigenvalues[::-1], 0.0),
            )
        )
    return found


def distinct_bound(
    problem: Problem, pairs_of: list[Together] | None, part_capacity: int
) -> NDArray[np.float64]:
    """Return (layers,) a bound on the expected distinct parts a token touches.

    Parts (ranks or nodes) hold at most `part_capacity` experts each.

    Theorem. Let k_t be the experts of a token that have one replica only and P the expected
    pairs of them that share a part. For every integer m ≥ 1, with c experts of the token in a
    part, 1 ≥ c (2m + 1 − c) / (m (m + 1)) (a chord of c ↦ 1/c below the integers), so summing
    over the touched parts, distinct ≥ 2 (m k_t − pairs_t) / (m (m + 1)). At most N experts have
    further replicas, which takes at most the N largest activation chances off E[k_t]; touches
    of replicated experts only add. P ≤ half the sum over experts of their part_capacity − 1
    strongest partners, and P ≤ half of Σ capacity · eigenvalue over the largest eigenvalues of
    the co-activation matrix (Donath & Hoffman 1973). Also distinct ≥ ⌈k / part_capacity⌉.

    Valid for every dispatch policy.
    """
    experts, k = problem.num_experts, problem.top_k
    if pairs_of is None or part_capacity >= experts:
        return np.full(problem.num_layers, float(-(-k // part_capacity)))
    chance = np.sort(k * problem.load_share, axis=1)
    replicated = chance[:, experts - problem.redundant :].sum(axis=1) if problem.redundant else 0.0
    size = np.array([layer.mean_size for layer in pairs_of])
    full, rest = divmod(experts, part_capacity)
    amount = np.zeros(experts)
    amount[:full], amount[full : full + 1] = part_capacity, rest
    pairs = np.array(
        [
            min(layer.strongest[:, : part_capacity - 1].sum(), amount @ layer.eigenvalues) / 2
            for layer in pairs_of
        ]
    )
    m = np.arange(1, k + 1)
    count = (size - replicated)[:, None]
    chords = 2 * (m * count - pairs[:, None]) / (m * (m + 1))
    # a token set has at least one expert, and ⌈size / capacity⌉ parts if all sets are full
    floor = -(-k // part_capacity) if (size >= k * (1 - 1e-12)).all() else 1
    least: NDArray[np.float64] = np.maximum(chords.max(axis=1), float(floor))
    return least


def _coactivation(
    ids: NDArray[np.int32], weight: NDArray[np.float64], experts: int
) -> NDArray[np.float64]:
    """Return (experts, experts) chance that a token uses both, zero diagonal."""
    from scipy.sparse import csr_array

    rows, k = np.nonzero(ids >= 0)
    uses = csr_array((np.ones(rows.size), (rows, ids[rows, k])), shape=(ids.shape[0], experts))
    scaled = csr_array((weight[rows], (rows, ids[rows, k])), shape=(ids.shape[0], experts))
    matrix: NDArray[np.float64] = (uses.T @ scaled).toarray() / weight.sum()
    np.fill_diagonal(matrix, 0.0)
    return (matrix + matrix.T) / 2


def touch_bounds(problem: Problem) -> TouchBounds:
    """Return the least touches of ranks and nodes, and the most of one rank."""
    chance = np.sort(problem.top_k * problem.load_share, axis=1)[:, ::-1]
    most = chance[:, : problem.slots_per_rank].sum(axis=1)
    if problem.dedup == "none":
        total = np.where(problem.load_share.any(axis=1), float(problem.top_k), 0.0)
        return TouchBounds(total, np.zeros_like(total), most)
    pairs_of = together(problem)
    ranks = distinct_bound(problem, pairs_of, problem.slots_per_rank)
    nodes = np.zeros_like(ranks)
    if problem.dedup == "node":
        fullest = int(np.bincount(problem.plan.topology.node_of_rank).max())
        nodes = distinct_bound(problem, pairs_of, problem.slots_per_rank * fullest)
    return TouchBounds(ranks, nodes, np.minimum(most, 1.0))


def remote_bound(problem: Problem) -> NDArray[np.float64]:
    """Return (layers,) least copies per token that must leave their rank, for any policy.

    A token starts on rank s with chance 1/R, and only experts with a replica on s can be served
    there. Over all ranks the replicas' activation chances add up to at most Σ_e p_e plus the N
    largest that R − 1 further replicas each can give, so at least k minus that over R experts
    are remote, at most min(top_k, slots) of them on one rank.
    """
    chance = problem.top_k * problem.load_share
    extra = _further_chances(problem, chance)
    total = chance.sum(axis=1)
    remote = np.maximum(total - (total + extra) / problem.num_ranks, 0.0)
    shared = 1 if problem.dedup == "none" else min(problem.top_k, problem.slots_per_rank)
    least: NDArray[np.float64] = remote / shared
    return least


@dataclass(frozen=True)
class Spread:
    """The least of a peak over links as a linear function of what must be touched.

    Attributes
    ----------
    per_rank_touch, per_node_touch
        What another touched rank, or node, of a token adds, ≥ 0.
    per_draw
        What is taken off per token that a single rank could draw, ≥ 0.
    """

    per_rank_touch: float
    per_node_touch: float
    per_draw: float

    def least(self, touches: TouchBounds) -> NDArray[np.float64]:
        """Return (layers,) the value, for any numbers of touches."""
        value: NDArray[np.float64] = (
            self.per_rank_touch * touches.ranks
            + self.per_node_touch * touches.nodes
            - self.per_draw * touches.most_per_rank
        )
        return np.maximum(value * (1 - MARGIN), 0.0)


def most_at_home(problem: Problem) -> NDArray[np.float64]:
    """Return (layers,) the most copies a token can be spared on its own rank, for any policy.

    A token starts on rank s with chance 1/R and touches it, if it does, once; it can only if one
    of its experts has a replica there. See :func:`remote_bound` for the sum of these chances.
    """
    chance = problem.top_k * problem.load_share
    total = chance.sum(axis=1) + _further_chances(problem, chance)
    least: NDArray[np.float64] = np.minimum(total / problem.num_ranks, 1.0)
    return least


def _further_chances(problem: Problem, chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (layers,) the most that N further replicas add to the activation chances."""
    if not problem.redundant:
        return np.zeros(problem.num_layers)
    further = np.repeat(np.sort(chance, axis=1)[:, ::-1], problem.num_ranks - 1, axis=1)
    most: NDArray[np.float64] = further[:, : problem.redundant].sum(axis=1)
    return most


def spread_dual(
    problem: Problem,
    touches: TouchBounds,
    per_link: NDArray[np.float64] | None,
    linear: NDArray[np.float64],
) -> Spread:
    """Return a dual solution of the least of max over links (per_link · touches) + linear costs.

    A linear relaxation over the expected touches c of ranks and sets: Σ_r c_r at least the
    distinct-ranks bound, c_r at most what a rank's slots can draw, a set's touches at least each
    member's and at least the sum of its members' over min(size, top_k). The constraints do not
    depend on the layer, only their right sides do: one dual solution, made for the means over the
    layers, bounds every layer by weak duality. Valid where sources do not matter (dispatch
    ``even``, or no replicas).
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, vstack

    plan = problem.plan
    sets, ranks = plan.members.shape
    # variables: touches of sets (J), touches of ranks (R), peak of the links (1)
    width = sets + ranks + 1
    peak = None if per_link is None or not per_link.size else np.zeros((len(per_link), width))
    scale = float(np.abs(linear).max(initial=0.0)) or 1.0
    cost = np.concatenate([linear / scale, np.zeros(ranks + 1)])
    rows: list[csr_array] = []
    if peak is not None and per_link is not None:
        scale = float(per_link.max()) or 1.0
        peak[:, :sets] = per_link / scale
        peak[:, -1] = -1.0
        rows.append(csr_array(peak))
        cost = np.concatenate([linear, np.zeros(ranks), [1.0]])
    inside = plan.members.astype(float)
    size = plan.members.sum(axis=1)
    member_set, member = np.nonzero(plan.members)
    each = np.zeros((member.size, width))
    each[np.arange(member.size), sets + member] = 1.0
    each[np.arange(member.size), member_set] = -1.0
    rows.append(csr_array(each))
    share = np.zeros((sets, width))
    shared = np.ones(sets) if problem.dedup == "none" else np.minimum(size, problem.top_k)
    share[:, sets : sets + ranks] = inside / shared[:, None]
    share[np.arange(sets), np.arange(sets)] = -1.0
    rows.append(csr_array(share))
    fixed = sum(block.shape[0] for block in rows)
    demand = np.zeros((2 + ranks, width))
    demand[0, sets : sets + ranks] = -1.0  # Σ touches of ranks ≥ least
    if problem.dedup == "node":
        demand[1, ranks:sets] = -1.0  # Σ touches of nodes ≥ least
    demand[2:, sets : sets + ranks] = np.eye(ranks)  # touches of a rank ≤ most
    rows.append(csr_array(demand))
    right = np.zeros(fixed + 2 + ranks)
    right[fixed] = -float(touches.ranks.mean())
    right[fixed + 1] = -float(touches.nodes.mean())
    right[fixed + 2 :] = float(touches.most_per_rank.mean())
    solved = linprog(
        cost, A_ub=vstack(rows, format="csr"), b_ub=right, bounds=(0, None), method="highs"
    )
    if solved.status != 0:
        return Spread(0.0, 0.0, 0.0)
    dual = -scale * np.minimum(solved.ineqlin.marginals, 0.0)
    return Spread(float(dual[fixed]), float(dual[fixed + 1]), float(dual[fixed + 2 :].sum()))


def hottest_replica(problem: Problem, per_link: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (layers,) what the links around the hottest replica carry at least.

    Some replica draws at least h = the least, over all ways to spend the redundancy, of the
    largest chance p_e / r_e that a token uses a replica of an expert (splitting evenly makes the
    largest part smallest; greedy counts make the largest quotient smallest). Its rank, and every
    set that contains the rank, is touched at least h times a token, wherever the rank is.
    """
    from moeplace.formulations.heuristics.lpt import greedy_replicas

    chance = problem.top_k * problem.load_share
    count = greedy_replicas(chance, min(problem.max_replicas, problem.num_slots))
    around = per_link @ problem.plan.members.astype(float)  # (links, ranks)
    hottest: NDArray[np.float64] = (chance / count).max(axis=1)
    return hottest * float(around.max(axis=0).min())
