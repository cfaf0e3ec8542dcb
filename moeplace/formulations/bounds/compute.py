"""Lower bounds on the expert kernel's time of the slowest rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.bounds.load import crowd
from moeplace.placement.evaluate import slot_compute_s

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem


def compute_bounds(problem: Problem) -> dict[str, NDArray[np.float64]]:
    """Return (layers,) valid lower bounds on max over ranks of the compute time, by theorem.

    Let g(q) be the time of a slot with share q of the pairs. g is nondecreasing and the maximum
    of two subadditive functions (1 − (1 − p)^T is concave with value 0 at 0; ⌈x⌉ is
    subadditive), so splitting an expert never lowers its total: Σ_s g(q_s) ≥ g(Σ_s q_s).

    * ``average``: the fullest of R ranks is at least Σ_e g(q_e) / R.
    * ``largest replica``: if every slot stays ≤ M, expert e needs at least the smallest r with
      g(q_e / r) ≤ M replicas (the even split minimizes the largest part), and all together at
      most E + N exist; the smallest M that allows this is a bound.
    * ``fill`` (no redundancy): the rank of the costliest expert holds at least
      E − (R − 1) · slots experts, the others being full.
    * ``crowd`` (no redundancy): the ranks of the k costliest experts hold others, too
      (:func:`~moeplace.formulations.bounds.load.crowd`).

    Each holds for every dispatch policy. Source: DESIGN §5, bounds; own derivation.
    """
    share, ranks = problem.load_share, problem.num_ranks
    floor = problem.compute_constants[0]
    whole = slot_compute_s(problem, share)
    copies = np.arange(1, min(ranks, problem.redundant + 1) + 1)
    split = slot_compute_s(problem, share[:, :, None] / copies)  # (layers, experts, copies)
    bounds = {
        "average": floor + whole.sum(axis=1) / ranks,
        "largest replica": floor
        + np.array([_largest_replica(layer, problem.max_replicas) for layer in split]),
    }
    if problem.redundant == 0:
        least = max(1, problem.num_experts - (ranks - 1) * problem.slots_per_rank)
        ordered = np.sort(whole, axis=1)
        bounds["fill"] = floor + ordered[:, -1] + ordered[:, : least - 1].sum(axis=1)
        bounds["crowd"] = floor + crowd(whole, ranks, problem.slots_per_rank)
    return bounds


def _largest_replica(split: NDArray[np.float64], max_replicas: int) -> float:
    """Return the smallest M for which enough replicas exist; `split` is (experts, copies)."""
    candidates = np.unique(split)
    low, high = 0, candidates.size - 1
    while low < high:
        middle = (low + high) // 2
        fits = split <= candidates[middle]
        needed = np.where(fits.any(axis=1), fits.argmax(axis=1) + 1, max_replicas + 1).sum()
        if needed <= max_replicas:
            high = middle
        else:
            low = middle + 1
    return float(candidates[low])
