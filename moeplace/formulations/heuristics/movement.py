"""Balance that few moved replicas can reach from the placement in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.bounds.load import max_rank_pairs_bound
from moeplace.formulations.heuristics.tables import to_placement, without_duplicates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

ROUNDS = 100
STEPS = 100_000  # a round takes a few ms


def few_moves(problem: Problem, run: Run) -> Placement:
    """Return the current placement, better balanced, with at most `max_moves` moved per layer.

    Balances pairs, whatever the objective is. Deterministic for a seed unless a time limit cuts it
    short; layers not reached stay as they are. About 130 ms a layer.

    Parameters
    ----------
    problem
        With a current placement.
    """
    if problem.current is None:
        raise ValueError("few_moves needs a problem with a current placement")
    placement = without_duplicates(problem, problem.current)
    budget = problem.num_slots if problem.max_moves is None else problem.max_moves
    shape = (problem.num_layers, problem.num_ranks, problem.slots_per_rank)
    table = placement.expert_of_slot.reshape(shape).copy()
    in_use = problem.current.replicas_on_rank > 0
    floor = max_rank_pairs_bound(
        problem.load_share, problem.num_ranks, problem.slots_per_rank, problem.max_replicas
    ).value
    for layer in range(problem.num_layers):
        if run.out_of_time():
            break
        balance_within(
            problem.load_share[layer],
            table[layer],
            in_use[layer],
            max_moves=budget,
            max_replicas=problem.max_replicas,
            floor=float(floor[layer]),
            seed=run.seed + layer,
        )
    return to_placement(problem, table.reshape(problem.num_layers, -1))


def balance_within(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    current: NDArray[np.bool_],
    *,
    max_moves: int,
    max_replicas: int,
    floor: float = 0.0,
    seed: int = 0,
    rounds: int = ROUNDS,
    steps: int = STEPS,
) -> float:
    """Lower the largest rank load of one layer within a budget of moves, in place; return it.

    Parameters
    ----------
    load
        (experts,) loads in any unit; replicas share them evenly.
    table
        (ranks, slots) experts, −1 empty; an expert at most once on a rank. Changed.
    current
        (experts, ranks) where replicas lie now; the others count as moved.
    max_moves, max_replicas
        Most moved replicas, `table` within; and most replicas.
    floor
        A lower bound, which ends the search where it is reached.
    seed, rounds, steps
        See :func:`~moeplace.formulations.heuristics.movement_kernels.move_few`.
    """
    from moeplace.formulations.heuristics.movement_kernels import move_few

    return float(
        move_few(
            np.array(load, np.float64),
            table,
            np.array(current, np.bool_, order="C"),
            max_moves,
            max_replicas,
            floor,
            rounds,
            steps,
            seed,
        )
    )
