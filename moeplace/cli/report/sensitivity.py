"""What would help next: the model's own answer to one change at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.cli.report.words import NB
from moeplace.errors import MoeplaceError
from moeplace.placement import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moeplace.cli.report.gather import Gathered
    from moeplace.hwmodels import System
    from moeplace.placement import Placement, Problem

SHARE = 0.1  # every constant is made this much better
MOST_SOURCES = 40  # ranks; `nearest` is scored from every source, which takes long on more


@dataclass(frozen=True)
class Effect:
    """One change and what it does to the placement.

    Attributes
    ----------
    kind
        ``hardware``, ``software``, ``batch`` (same placement, scored again) or ``search``
        (solved again).
    change
        In words.
    step_time_s, per_token
        Seconds of a step, and its change per token relative to now: −0.05 is 5 % less.
    objective
        The objective's relative change; None where the batch differs.
    note
        Why there is no number, or how it was found.
    """

    kind: str
    change: str
    step_time_s: float | None
    per_token: float | None
    objective: float | None
    note: str = ""


def what_would_help(gathered: Gathered, resolve_s: float = 0.0) -> list[Effect]:
    """Return the effect of each change on the placement of a result.

    Constants get 10 % better, one at a time, and the same placement is scored again; so do other
    kernels and batches. More slots need another placement: it is searched for from this one, and
    so is a better one with the slots there are, for comparison.

    Parameters
    ----------
    gathered
        The result and its problem.
    resolve_s
        Seconds for each search; 0 leaves them out.
    """
    problem, now = gathered.problem, gathered.found
    effects = [_effect(gathered, *row) for row in _changes(problem, now.placement)]
    if resolve_s > 0:
        effects += [
            _searched(gathered, "search longer, with the slots there are", 0, resolve_s),
            _searched(
                gathered,
                f"one more slot a rank: {problem.redundant + problem.num_ranks} redundant experts",
                problem.num_ranks,
                resolve_s,
            ),
        ]
    return effects


def _changes(
    problem: Problem, placement: Placement
) -> list[tuple[str, str, Callable[[Problem], Problem]]]:
    """Return kind, words and what to do to the problem, for changes that can matter here."""
    system, better = problem.system, f"{SHARE * 100:.0f}{NB}%"
    rows: list[tuple[str, str, Callable[[Problem], Problem]]] = []

    def hardware(words: str, change: Callable[[System], Mapping[str, Any]]) -> None:
        rows.append(
            ("hardware", words, lambda p: p.replace(system=p.system.replace(**change(p.system))))
        )

    more, less = 1 + SHARE, 1 - SHARE
    if system.edges:
        hardware(f"links {better} faster", lambda s: {"edges": _faster(s, more)})
    else:
        fast = "die-to-die links" if system.kind == "mesh" else "links inside a node"
        hardware(f"{fast} {better} faster", lambda s: {"link_GBps": s.link_GBps * more})
        if system.nic_GBps > 0 and system.num_nodes > 1:
            hardware(f"network {better} faster", lambda s: {"nic_GBps": s.nic_GBps * more})
    hardware(
        f"latency and fixed cost of communication {better} lower",
        lambda s: {
            "alpha_us": {k: {t: v * less for t, v in a.items()} for k, a in s.alpha_us.items()},
            "link_latency_us": s.link_latency_us * less,
            "nic_latency_us": s.nic_latency_us * less,
        },
    )
    hardware(f"memory (HBM) {better} faster", lambda s: {"hbm_GBps": s.hbm_GBps * more})
    hardware(
        f"peak arithmetic {better} higher",
        lambda s: {"peak_tflops": {k: v * more for k, v in s.peak_tflops.items()}},
    )
    if system.kernel_floor_us.get(problem.phase, 0) > 0:
        hardware(
            f"fixed cost of the expert kernel {better} lower",
            lambda s: {"kernel_floor_us": {k: v * less for k, v in s.kernel_floor_us.items()}},
        )
    rows += _software(problem, placement)
    rows += [
        ("batch", words, _batch(factor))
        for words, factor in (("twice the batch", 2), ("half the batch", 0.5))
        if problem.tokens_per_rank * factor >= 1
    ]
    return rows


def _software(
    problem: Problem, placement: Placement
) -> list[tuple[str, str, Callable[[Problem], Problem]]]:
    rows: list[tuple[str, str, Callable[[Problem], Problem]]] = []
    if problem.execution == "stay":
        return rows
    if problem.dedup != "multicast" and problem.system.kind == "mesh":
        rows.append(
            (
                "hardware",
                "links that copy and reduce on the way (multicast)",
                lambda p: p.replace(dedup_choice="multicast"),
            )
        )
    if (placement.replica_count > 1).any():
        policies = (
            ("even", "nearest", "lp") if problem.num_ranks <= MOST_SOURCES else ("even", "lp")
        )
        others = [name for name in policies if name != problem.dispatch]
        rows += [("software", f"dispatch policy {name}", _dispatch(name)) for name in others]
    return rows


def _dispatch(name: str) -> Callable[[Problem], Problem]:
    return lambda p: p.replace(dispatch=name)


def _batch(factor: float) -> Callable[[Problem], Problem]:
    return lambda p: p.replace(tokens_per_rank=round(p.tokens_per_rank * factor))


def _faster(system: System, factor: float) -> tuple[tuple[int, int, float, float], ...]:
    return tuple((a, b, rate * factor, delay) for a, b, rate, delay in system.edges)


def everywhere(problem: Problem, change: Callable[[Problem], Problem]) -> Problem:
    """Return a changed problem, its scenarios changed alike."""
    changed = change(problem)
    return changed.replace(scenarios=tuple(change(one) for one in problem.scenarios))


def _effect(
    gathered: Gathered, kind: str, words: str, change: Callable[[Problem], Problem]
) -> Effect:
    problem, now = gathered.problem, gathered.found.score
    try:
        changed = everywhere(problem, change)
        score = evaluate(changed, gathered.found.placement)
    except MoeplaceError as error:
        return Effect(kind, words, None, None, None, str(error))
    tokens = changed.tokens / problem.tokens
    objective = None if kind == "batch" else _relative(score.objective, now.objective)
    return Effect(
        kind,
        words,
        score.step_time_s,
        _relative(score.step_time_s / tokens, now.step_time_s),
        objective,
    )


def _relative(value: float, now: float) -> float:
    return (value - now) / now if now else 0.0


def _searched(gathered: Gathered, words: str, more: int, resolve_s: float) -> Effect:
    """Search from the placement for a better one, with `more` redundant experts."""
    from moeplace.formulations.solve import solve

    problem, now = gathered.problem, gathered.found.score
    try:
        wider = problem.with_redundancy(problem.redundant + more) if more else problem
        found = solve(
            wider.replace(holdout=None),
            "auto",
            resolve_s,
            int(gathered.document["seed"]),
            _embedded(gathered.found.placement, wider),
        )
    except MoeplaceError as error:
        return Effect("search", words, None, None, None, str(error))
    if found.score is None:
        return Effect("search", words, None, None, None, "nothing was found in time")
    return Effect(
        "search",
        words,
        found.score.step_time_s,
        _relative(found.score.step_time_s, now.step_time_s),
        _relative(found.score.objective, now.objective),
        f"searched for {resolve_s:g} s from this placement",
    )


def _embedded(placement: Placement, problem: Problem) -> Placement:
    """Return the placement in the slots of a problem with more of them."""
    rank_of_slot = problem.rank_of_slot
    if rank_of_slot.size == placement.num_slots:
        return placement
    table = np.full((placement.num_layers, rank_of_slot.size), -1, np.int32)
    for rank in range(problem.num_ranks):
        there = np.flatnonzero(placement.rank_of_slot == rank)
        room = np.flatnonzero(rank_of_slot == rank)[: there.size]
        table[:, room] = placement.expert_of_slot[:, there]
    return placement.replace(expert_of_slot=table, rank_of_slot=rank_of_slot)
