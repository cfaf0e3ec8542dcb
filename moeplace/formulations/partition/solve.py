"""The public call: arguments checked, then searched."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from moeplace.errors import InfeasibleError, InputError
from moeplace.formulations.partition.nets import as_nets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from moeplace.formulations.partition.nets import Nets
    from moeplace.formulations.partition.search import Partition


def partition(
    token_sets: ArrayLike | Sequence[Sequence[int]] | Nets,
    weights: ArrayLike | None,
    num_experts: int,
    num_ranks: int,
    slots_per_rank: int | ArrayLike,
    *,
    max_load: float | None = None,
    time_limit_s: float | None = 10.0,
    seed: int = 0,
    initial: ArrayLike | None = None,
    max_iterations: int | None = None,
) -> NDArray[np.int32]:
    """Place experts so that token sets touch few ranks, without replicas.

    Minimizes the λ-connectivity Σ_t w_t · (number of distinct ranks that set t touches), the
    (λ − 1)-metric of hypergraph partitioning plus Σ w, on one core. Up to 1,024 experts by
    annealing on λ from recursive bisections of the pairs used together and from the contiguous
    partition; above that, by multilevel recursive bisection, Fiduccia–Mattheyses refinement and
    recombination of good partitions.

    Parameters
    ----------
    token_sets
        (sets, k) expert ids with −1 pads, or a sequence of sequences of any lengths, or the same
        in compressed rows (:class:`~moeplace.formulations.partition.nets.Nets`): the hyperedges.
        Their order does not matter; an expert named twice in a set counts once.
    weights
        (sets,) tokens that have each set, ≥ 0; if None, those of the Nets or all 1.
    num_experts, num_ranks
        Experts E and ranks R.
    slots_per_rank
        The most experts that a rank may hold, or (ranks,) of each.
    max_load
        Most load of a rank, in mean rank loads: 1.1 allows 10 % more than a fair share. The load
        of a rank is the sum of the loads of its experts, the load of an expert the sum of the
        weights of the sets that contain it. Kept to 1e-9.
    time_limit_s
        Seconds to search, None to stop at `max_iterations` alone. The first call on a machine also
        compiles, which is not interrupted.
    seed
        With `max_iterations` and while the time limit is not reached: same seed, same result.
    initial
        (experts,) ranks to start from, or (starts, experts); the result is never worse, unless
        they break `max_load`.
    max_iterations
        Rounds after the first starts: annealings, each twice as long as the one before (up to
        1,024 experts), or partitions made (above). Without any limit 4 or 24.

    Returns
    -------
    (experts,) int32 rank of each expert

    Raises
    ------
    InputError
        If arguments do not fit together.
    InfeasibleError
        If the experts do not fit into the slots, or a bound shows that no partition meets
        `max_load`.
    LimitError
        If no partition was found that meets `max_load`.

    Examples
    --------
    >>> partition([[0, 3], [1, 2], [0, 3, 4]], [5, 4, 1], 6, 2, 3, time_limit_s=None).tolist()
    [1, 0, 0, 1, 1, 0]
    """
    return find_partition(
        token_sets,
        weights,
        num_experts,
        num_ranks,
        slots_per_rank,
        max_load=max_load,
        time_limit_s=time_limit_s,
        seed=seed,
        initial=initial,
        max_iterations=max_iterations,
    ).rank_of_expert


def find_partition(
    token_sets: ArrayLike | Sequence[Sequence[int]] | Nets,
    weights: ArrayLike | None,
    num_experts: int,
    num_ranks: int,
    slots_per_rank: int | ArrayLike,
    *,
    max_load: float | None = None,
    time_limit_s: float | None = 10.0,
    seed: int = 0,
    initial: ArrayLike | None = None,
    max_iterations: int | None = None,
) -> Partition:
    """Do what :func:`partition` does and return its λ-connectivity and rounds as well."""
    from moeplace.formulations.partition.clock import Clock
    from moeplace.formulations.partition.hypergraph import make_instance
    from moeplace.formulations.partition.search import search

    num_experts = _whole("num_experts", num_experts, 1)
    num_ranks = _whole("num_ranks", num_ranks, 1)
    slots = _slots(slots_per_rank, num_experts, num_ranks)
    if max_load is not None and not (np.isfinite(max_load) and max_load >= 1):
        raise InputError(f"max_load is {max_load}; at least 1 expected, in mean rank loads")
    if time_limit_s is not None and not time_limit_s > 0:
        raise InputError(f"time_limit_s is {time_limit_s}; it must be positive")
    if max_iterations is not None:
        max_iterations = _whole("max_iterations", max_iterations, 0)
    seed = _whole("seed", seed, 0)
    clock = Clock(time_limit_s, max_iterations)
    nets = as_nets(token_sets, weights, num_experts)
    starts = [] if initial is None else _starts(initial, slots, num_experts)
    return search(
        make_instance(nets), slots, max_load=max_load, clock=clock, seed=seed, initial=starts
    )


def _whole(name: str, value: SupportsIndex, least: int) -> int:
    """Return a whole number of at least `least`."""
    try:
        number = index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}; a whole number expected") from None
    if number < least:
        raise InputError(f"{name} is {number}; at least {least} expected")
    return number


def _slots(slots_per_rank: int | ArrayLike, num_experts: int, num_ranks: int) -> NDArray[np.int64]:
    """Return (ranks,) slots that hold all experts."""
    slots = np.asarray(slots_per_rank)
    if slots.dtype.kind not in "iu" or slots.shape not in ((), (num_ranks,)):
        raise InputError(
            f"slots_per_rank: {slots.dtype} of shape {slots.shape}; a whole number or "
            f"({num_ranks},) of them expected"
        )
    if slots.min() < 0:
        raise InputError(f"slots_per_rank: rank {slots.argmin()} has {slots.min()} slots")
    most: NDArray[np.int64] = np.full(num_ranks, np.minimum(slots, num_experts), np.int64)
    if most.sum() < num_experts:
        raise InfeasibleError(
            f"{num_experts} experts do not fit into {most.sum()} slots of {num_ranks} ranks; "
            "use more ranks or slots"
        )
    return most


def _starts(
    initial: ArrayLike, slots: NDArray[np.int64], num_experts: int
) -> list[NDArray[np.int32]]:
    """Return `initial` as valid partitions."""
    parts = np.asarray(initial)
    if parts.shape[-1:] != (num_experts,) or parts.ndim > 2 or parts.dtype.kind not in "iu":
        raise InputError(
            f"initial: {parts.dtype} of shape {parts.shape}; ({num_experts},) or (starts, "
            f"{num_experts}) ranks expected"
        )
    for part in np.atleast_2d(parts):
        if part.min() < 0 or part.max() >= slots.size:
            raise InputError(
                f"initial: ranks {part.min()} to {part.max()}; 0 to {slots.size - 1} exist"
            )
        held = np.bincount(part, minlength=slots.size)
        if (full := np.flatnonzero(held > slots)).size:
            raise InputError(
                f"initial: {held[full[0]]} experts on rank {full[0]}, which has "
                f"{slots[full[0]]} slots"
            )
    return list(np.atleast_2d(parts).astype(np.int32))
