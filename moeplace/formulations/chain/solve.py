"""Which method solves a chain: exact where it can be had, alternating assignment elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError, unknown_name
from moeplace.formulations.chain.assignment import alternating, stay_labels
from moeplace.formulations.chain.exact import solve_cpsat, solve_milp
from moeplace.formulations.chain.instance import ChainInstance, ChainResult, row_bound
from moeplace.formulations.chain.viterbi import MOST_RANKS, viterbi

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

METHODS = ("auto", "assignment", "viterbi", "alternating", "milp", "cp-sat")


def solve_chain(
    flow: ArrayLike,
    distance: ArrayLike,
    *,
    combine: str = "sum",
    sizes: ArrayLike | None = None,
    method: str = "auto",
    time_limit_s: float | None = None,
    seed: int = 0,
) -> ChainResult:
    """Map the clusters of every layer to ranks so that neighboring layers exchange little.

    ``auto`` is exact for 0/1 distances (one linear assignment a pair of layers, any number of
    ranks) and up to six ranks (Viterbi over permutations). Above it alternates linear assignments,
    with a bound from each pair of layers alone.

    Parameters
    ----------
    flow
        (layers − 1, n, n) from cluster c of a layer to cluster c' of the next.
    distance
        (n, n) price of a unit between ranks.
    combine
        ``sum`` of flow × distance over a pair of layers, or ``max``; pairs add up.
    sizes
        (layers, n) experts of each cluster, if every rank must hold the same number over all
        layers (MoETuner's Eq. 13); needs ``milp`` or ``cp-sat`` where sizes differ in a layer.
    method
        ``auto``, ``assignment`` (0/1 distances only), ``viterbi``, ``alternating``, ``milp``
        (HiGHS), ``cp-sat``.
    time_limit_s
        For ``milp`` and ``cp-sat``.
    seed
        Of the random starts of ``alternating`` and of CP-SAT.

    Raises
    ------
    InputError
        If shapes or values do not fit, or the method cannot solve this instance.
    LimitError
        If a backend found nothing within its limit.
    """
    instance = ChainInstance(
        np.asarray(flow, np.float64),
        np.asarray(distance, np.float64),
        combine,  # type: ignore[arg-type]
        None if sizes is None else np.asarray(sizes),
    )
    if method not in METHODS:
        raise unknown_name("method", method, METHODS, "solve_chain's documentation")
    if method == "auto":
        method = _choose(instance)
    if instance.sizes_bind and method in ("assignment", "viterbi"):
        raise InputError(f"chain: {method} cannot obey sizes that differ; use milp or cp-sat")
    if method == "milp":
        return solve_milp(instance, time_limit_s)
    if method == "cp-sat":
        return solve_cpsat(instance, time_limit_s, seed=seed)
    if method == "assignment":
        if not instance.uniform:
            raise InputError("chain: distances differ between ranks; assignment alone is not exact")
        labels = stay_labels(instance)
    elif method == "viterbi":
        if instance.num_ranks > MOST_RANKS:
            raise InputError(
                f"chain: {instance.num_ranks} ranks have too many permutations for viterbi "
                f"(at most {MOST_RANKS} ranks); use alternating"
            )
        labels = viterbi(instance)
    else:
        labels = alternating(instance, np.random.default_rng(seed))
        if not instance.allowed(labels):
            raise InputError("chain: no mapping found that obeys the sizes; use milp or cp-sat")
        return ChainResult(labels, instance.cost(labels), row_bound(instance), "alternating")
    cost = instance.cost(labels)
    return ChainResult(labels, cost, cost, method)


def _choose(instance: ChainInstance) -> str:
    if instance.sizes_bind:
        return "milp" if instance.num_ranks <= MOST_RANKS else "alternating"
    if instance.uniform:
        return "assignment"
    return "viterbi" if instance.num_ranks <= MOST_RANKS else "alternating"
