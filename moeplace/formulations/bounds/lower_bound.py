"""The best proven lower bound on a problem's objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.clock import monotonic
from moeplace.errors import InputError
from moeplace.formulations.bounds.bound import EFFORTS, Bound
from moeplace.formulations.bounds.combine import best_of, time_bound, volume_bound
from moeplace.formulations.bounds.load import max_rank_pairs_bound
from moeplace.formulations.bounds.stay import stay_bound
from moeplace.formulations.bounds.touched import parts_of, prove_touches, trimmed
from moeplace.formulations.bounds.weights import coupling_of, levels_that_matter
from moeplace.placement.robust import scenario_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeplace.formulations.bounds.touched import TouchProof
    from moeplace.placement import Problem


def lower_bound(
    problem: Problem,
    effort: str = "fast",
    time_limit_s: float | None = None,
    on_layer: Callable[[int], None] | None = None,
) -> Bound:
    """Return a value that no placement of the problem can beat, and which theorem gave it.

    For ``time`` the minima of the terms are added: a sum of maxima is at least the sum of the
    terms' own minima. Communication uses the linear relaxation of
    :func:`~moeplace.formulations.bounds.communication.spread_dual`, or, where replicas may
    serve their own rank first (dispatch ``nearest`` or ``rank_modulo`` with redundancy), averages
    over all links. Under execution ``stay`` see :mod:`moeplace.formulations.bounds.stay`.
    With several scenarios the risk measure of their bounds: each is at most the
    scenario's value and the measure is monotone.

    Parameters
    ----------
    problem
        From :func:`moeplace.make_problem`.
    effort
        ``fast`` takes a second or so. ``strong`` also looks for prices on the contents of parts
        (:func:`~moeplace.formulations.bounds.contents.contents_bound`), or solves the doubly
        nonnegative relaxation of :func:`~moeplace.formulations.bounds.partition.touched_parts`,
        for each layer: seconds a layer, minutes with hundreds of experts, with a certificate that
        :func:`moeplace.verify` checks.
    time_limit_s
        Seconds for ``strong``; it stops anywhere and is a bound all the same.
    on_layer
        Called with the number of layers that ``strong`` has done.

    Raises
    ------
    InputError
        If the effort is unknown or the limit is not positive.
    """
    if effort not in EFFORTS:
        raise InputError(f"unknown effort {effort!r}: use one of {', '.join(EFFORTS)}")
    if time_limit_s is not None and not time_limit_s > 0:
        raise InputError(f"time limit is {time_limit_s} s; it must be positive")
    if problem.scenarios:
        return _robust(problem, effort, time_limit_s)
    proofs: tuple[TouchProof, ...] = ()
    if effort == "strong":
        proofs = _proofs(problem, time_limit_s, on_layer)
    return assembled(problem, proofs, effort)


def assembled(problem: Problem, proofs: tuple[TouchProof, ...], effort: str) -> Bound:
    """Return the bound of a problem without scenarios from touches that were proven."""
    if problem.execution == "stay" and problem.objective != "balance":
        return stay_bound(problem)
    if problem.objective == "balance":
        load = max_rank_pairs_bound(
            problem.load_share * float(problem.tokens * problem.top_k),
            problem.num_ranks,
            problem.slots_per_rank,
            problem.max_replicas,
        )
        return best_of(load.by_name)
    if problem.objective in ("copies", "hops"):
        return volume_bound(problem, proofs, effort)
    return time_bound(problem, proofs, effort)


def _proofs(
    problem: Problem, time_limit_s: float | None, on_layer: Callable[[int], None] | None
) -> tuple[TouchProof, ...]:
    end = None if time_limit_s is None else monotonic() + time_limit_s
    levels = levels_that_matter(problem)
    proofs = []
    for number, level in enumerate(levels):
        left = None if end is None else max(1e-3, end - monotonic()) / (len(levels) - number)
        coupling = coupling_of(problem, level)
        proofs.append(prove_touches(problem, level, coupling, time_limit_s=left, on_layer=on_layer))
    return trimmed(tuple(proofs), parts=lambda level: parts_of(problem, level))


def _robust(problem: Problem, effort: str, time_limit_s: float | None) -> Bound:
    share = None if time_limit_s is None else time_limit_s / len(problem.scenarios)
    return robust_bound(
        problem, tuple(lower_bound(scenario, effort, share) for scenario in problem.scenarios)
    )


def robust_bound(problem: Problem, bounds: tuple[Bound, ...]) -> Bound:
    """Return the bound of a robust problem from those of its scenarios."""
    weights = scenario_weights(np.array([b.value for b in bounds]), problem.risk, problem.tail)
    terms = {
        f"{number}. {scenario.phase} {scenario.workload.name}": bound.value
        for number, (scenario, bound) in enumerate(
            zip(problem.scenarios, bounds, strict=True), start=1
        )
    }
    layer_value = np.einsum("s,sl->l", weights, np.array([b.layer_value for b in bounds]))
    return Bound(
        float(layer_value.sum()),
        f"{problem.risk} of the scenarios' bounds",
        terms,
        layer_value,
        theorems=terms,
        effort=bounds[0].effort,
        scenarios=bounds,
    )
