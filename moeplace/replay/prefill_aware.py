"""Placing a decode batch by what its prefill used (arXiv 2510.05497, case study 2, Algorithm 2).

The paper times the expert kernels alone, on one server; here they are modelled
(:func:`moeplace.placement.evaluate`), and the whole MoE layers beside them. ``best`` is the
paper's oracle, Remap fitted on the decode selections themselves; ``worst`` fills the ranks with
the heaviest experts first. How the paper builds its worst placement could not be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InfeasibleError, InputError
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import Placement, evaluate, make_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec
    from moeplace.placement import Problem
    from moeplace.traces import Workload

# Name, what it is fitted on, solver, whether it has one redundant expert a rank.
PLANS: tuple[tuple[str, str, str, bool], ...] = (
    ("default", "nothing", "contiguous", False),
    ("worst", "decode", "worst", False),
    ("remap", "prefill", "remap", False),
    ("moeplace", "prefill", "auto", False),
    ("best", "decode", "remap", False),
    ("moeplace-best", "decode", "auto", False),
    ("dup", "prefill", "dup", True),
    ("eplb", "prefill", "eplb", True),
    ("moeplace+1", "prefill", "auto", True),
    ("eplb-best", "decode", "eplb", True),
    ("moeplace+1-best", "decode", "auto", True),
)


@dataclass(frozen=True)
class PrefillRow:
    """One placement under the decode loads.

    Attributes
    ----------
    name
        Of `PLANS`.
    fitted_on
        ``nothing``, ``prefill``, ``decode``, ``history`` or ``mixed``.
    redundant
        Redundant experts it may have, over all ranks.
    compute_s, step_s
        Seconds of the expert kernels, and of all MoE layers, of a decode step.
    compute_gain, step_gain
        The default's seconds over these.
    over_oracle
        Compute seconds over the least of any placement with as many redundant experts that is
        fitted on the decode loads, minus 1.
    """

    name: str
    fitted_on: str
    redundant: int
    compute_s: float
    step_s: float
    compute_gain: float
    step_gain: float
    over_oracle: float


def prefill_aware(
    model: ModelSpec,
    system: System,
    prefill: Workload,
    decode: Workload,
    batch_tokens: int,
    *,
    history: Workload | None = None,
    seed: int = 0,
    on_plan: Callable[[str], None] | None = None,
) -> list[PrefillRow]:
    """Fit every plan and report it under the decode loads.

    Plans with a redundant expert on each rank are left out where those do not fit.

    Parameters
    ----------
    model, system
        What runs where.
    prefill, decode
        Loads of the two phases, of the same layers.
    batch_tokens
        Tokens of a decode step, over all ranks.
    history
        Decode loads of other requests, for two more rows: fitted on them, and on the mean of
        their shares and the prefill's.
    seed
        Of the solver.
    on_plan
        Called with the name of each plan before it is fitted.

    Raises
    ------
    InputError
        If the batch is smaller than the ranks, or the layers differ.
    InfeasibleError
        If the model does not fit.
    """
    ranks = system.ranks
    if batch_tokens < ranks:
        raise InputError(f"a batch of {batch_tokens} tokens on {ranks} ranks; give one each")
    known = {"prefill": prefill, "decode": decode, "nothing": decode}
    plans = list(PLANS)
    if history is not None:
        known["history"], known["mixed"] = history, _mixed(prefill, history)
        plans.append(("moeplace-history", "history", "auto", False))
        plans.append(("moeplace-mixed", "mixed", "auto", False))
    problems = {}
    for source, workload in known.items():
        for extra in (False, True):
            try:
                problems[source, extra] = make_problem(
                    model,
                    system,
                    workload.replace(phase=None),
                    ranks if extra else 0,
                    dedup="none",
                    phase="decode",
                    tokens_per_rank=max(batch_tokens // ranks, 1),
                )
            except InfeasibleError:
                if not extra:
                    raise
    scores = {}
    plans = [plan for plan in plans if (plan[1], plan[3]) in problems]
    for name, source, solver, extra in plans:
        if on_plan is not None:
            on_plan(name)
        placement = _fitted(problems[source, extra], solver, seed)
        scores[name] = evaluate(problems["decode", extra], placement)
    start = scores["default"]
    oracles = [(extra, name) for name, source, _, extra in plans if source == "decode"]
    least = {
        extra: min(scores[name].compute_s for more, name in oracles if more == extra)
        for extra, _ in oracles
    }
    return [
        PrefillRow(
            name=name,
            fitted_on=source,
            redundant=ranks if extra else 0,
            compute_s=scores[name].compute_s,
            step_s=scores[name].step_time_s,
            compute_gain=start.compute_s / scores[name].compute_s,
            step_gain=start.step_time_s / scores[name].step_time_s,
            over_oracle=scores[name].compute_s / least[extra] - 1.0,
        )
        for name, source, _, extra in plans
    ]


def worst_ranks(load: NDArray[np.float64], num_ranks: int) -> NDArray[np.int64]:
    """Return (layers, experts) ranks: the heaviest experts together on the first ranks.

    Parameters
    ----------
    load
        (layers, experts).
    num_ranks
        R.
    """
    layers, experts = load.shape
    sizes = experts // num_ranks + (np.arange(num_ranks) < experts % num_ranks)
    by_place = np.repeat(np.arange(num_ranks), sizes)
    order = np.argsort(-load, axis=1, kind="stable")
    ranks = np.empty((layers, experts), np.int64)
    np.put_along_axis(ranks, order, np.tile(by_place, (layers, 1)), axis=1)
    return ranks


def _mixed(first: Workload, second: Workload) -> Workload:
    if first.load.shape != second.load.shape:
        raise InputError(
            f"loads {first.name!r} and {second.name!r} differ in layers or experts; use the same"
        )
    rows = [load / load.sum(axis=1, keepdims=True) for load in (first.load, second.load)]
    return first.replace(load=(rows[0] + rows[1]) * first.load.sum(axis=1, keepdims=True) / 2)


def _fitted(problem: Problem, solver: str, seed: int) -> Placement:
    if solver == "worst":
        ranks = worst_ranks(problem.workload.load, problem.num_ranks)
        return Placement.from_rank_of_expert(
            ranks, num_ranks=problem.num_ranks, layer_ids=problem.workload.layer_ids
        )
    placement = load_solver(solver)(problem, Run(seed), None).placement
    if placement is None:
        raise InputError(f"solver {solver} found no placement for {problem.workload.name!r}")
    return placement
