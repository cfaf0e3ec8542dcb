"""Descent by full evaluation, for dispatch policies the compiled search only approximates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.clock import wall
from moeplace.placement import Placement, evaluate, violations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Problem

WORK = 5e7  # (source, token, expert) triples looked at in a layer
# most placements scored in a layer; a linear program takes milliseconds
MOST_TRIES = {"nearest": 3000, "rank_modulo": 3000, "lp": 300}
LEAST_GAIN = 1e-9  # relative; less is rounding


@dataclass(frozen=True, eq=False)
class PolishTask:
    """One layer as a problem of its own, its slots, and how hard to try.

    Attributes
    ----------
    row
        (slots,) a feasible layer.
    tries
        Most placements scored.
    deadline
        Clock time after which no other is, None for none.
    """

    problem: Problem
    row: NDArray[np.int32]
    tries: int
    seed: int
    deadline: float | None


def polish(problem: Problem, run: Run, placement: Placement) -> Placement:
    """Return the placement after a descent on ``evaluate`` itself, layer by layer.

    The compiled search prices replicas as if every one served alike. Where the policy looks at
    the token's own rank, or solves a program, its last steps are made here: two slots exchanged,
    or a slot given another expert or none, in random order, the first that helps is taken.
    Complexity: at most WORK / (sources · token sets · top_k) evaluations of each layer.
    """
    if problem.dispatch not in MOST_TRIES or problem.redundant == 0 or run.out_of_time():
        return placement
    tries = allowed_tries(problem)
    left = run.remaining_s()
    deadline = None if left is None else wall() + left
    with run.workers.started() as pool:
        rows = pool.map(
            polish_layer,
            (
                PolishTask(
                    single_layer(problem, layer),
                    placement.expert_of_slot[layer],
                    tries,
                    run.seed,
                    deadline,
                )
                for layer in range(problem.num_layers)
            ),
        )
    return placement.replace(expert_of_slot=np.array(rows, np.int32))


def allowed_tries(problem: Problem) -> int:
    """Return how many placements of a layer may be scored."""
    sets = problem.workload.token_sets
    sources = problem.num_ranks if problem.dispatch != "lp" else 1
    tokens = max((s.ids.shape[0] for s in sets), default=1) if sets else 1
    return int(min(MOST_TRIES[problem.dispatch], WORK / (sources * tokens * problem.top_k)))


def single_layer(problem: Problem, layer: int) -> Problem:
    """Return the problem of one layer alone."""
    current = problem.current
    if current is not None:
        current = current.replace(
            expert_of_slot=current.expert_of_slot[layer : layer + 1],
            layer_ids=None if current.layer_ids is None else current.layer_ids[layer : layer + 1],
        )
    return problem.replace(
        workload=problem.workload.select_layers([layer]),
        current=current,
        holdout=None,
        phase_workloads={},
    )


def polish_layer(task: PolishTask) -> NDArray[np.int32]:
    """Return (slots,) the layer after the descent."""
    problem, row = task.problem, task.row.copy()
    rng = np.random.default_rng([task.seed, row.size])
    best = _value(problem, row)
    left = task.tries
    improved = best is not None
    while improved and best is not None and left > 0:
        improved = False
        for trial in _neighbors(problem, row, rng):
            left -= 1
            value = _value(problem, trial)
            if value is not None and value < best * (1 - LEAST_GAIN):
                row, best, improved = trial, value, True
                break
            if left <= 0 or (task.deadline is not None and wall() >= task.deadline):
                return row
    return row


def _value(problem: Problem, row: NDArray[np.int32]) -> float | None:
    """Return the layer's objective, None if a rule is broken."""
    placement = Placement(
        row[None, :],
        problem.rank_of_slot,
        problem.num_experts,
        problem.num_ranks,
        problem.workload.layer_ids,
    )
    if violations(problem, placement):
        return None
    return evaluate(problem, placement).objective


def _neighbors(
    problem: Problem, row: NDArray[np.int32], rng: np.random.Generator
) -> Iterator[NDArray[np.int32]]:
    """Yield rows that keep every expert and hold none twice on a rank, in random order."""
    rank = problem.rank_of_slot
    slots, experts = row.size, problem.num_experts
    count = np.bincount(row[row >= 0], minlength=experts)
    held = np.zeros((experts, problem.num_ranks), np.bool_)
    held[row[row >= 0], rank[row >= 0]] = True
    moves = slots * (slots - 1) // 2 + slots * (experts + 1)
    for code in rng.permutation(moves):
        number = int(code)
        trial = row.copy()
        if number < slots * (experts + 1):
            slot, expert = divmod(number, experts + 1)
            expert -= 1
            old = row[slot]
            if expert == old or (old >= 0 and count[old] == 1):
                continue
            if expert >= 0 and held[expert, rank[slot]]:
                continue
            if old < 0 and (row >= 0).sum() >= problem.max_replicas:
                continue
            trial[slot] = expert
        else:
            number -= slots * (experts + 1)
            b = int((1 + np.sqrt(1 + 8 * number)) // 2)
            b -= b * (b - 1) // 2 > number
            a = number - b * (b - 1) // 2
            x, y = row[a], row[b]
            if rank[a] == rank[b] or x == y:
                continue
            if (x >= 0 and held[x, rank[b]]) or (y >= 0 and held[y, rank[a]]):
                continue
            trial[a], trial[b] = y, x
        yield trial
