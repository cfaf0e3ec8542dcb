"""The best proven lower bound on a problem's objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.bounds.bound import Bound
from moeplace.formulations.bounds.communication import remote_bound, spread_bound, touch_bounds
from moeplace.formulations.bounds.compute import compute_bounds
from moeplace.formulations.bounds.load import max_rank_pairs_bound
from moeplace.formulations.bounds.stay import stay_bound
from moeplace.placement.robust import scenario_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.bounds.communication import TouchBounds
    from moeplace.placement import Problem


def lower_bound(problem: Problem) -> Bound:
    """Return a value that no placement of the problem can beat, and which theorem gave it.

    For ``time`` the minima of the terms are added: a sum of maxima is at least the sum of the
    terms' own minima. Communication uses the linear relaxation of
    :func:`~moeplace.formulations.bounds.communication.spread_bound`, or, where replicas may
    serve their own rank first (dispatch ``nearest`` or ``rank_modulo`` with redundancy), averages
    over all links. Under execution ``stay`` see :mod:`moeplace.formulations.bounds.stay`.
    With several scenarios the risk measure of their bounds: each is at most the
    scenario's value and the measure is monotone.
    """
    if problem.scenarios:
        return _robust(problem)
    if problem.execution == "stay" and problem.objective != "balance":
        return stay_bound(problem)
    if problem.objective == "balance":
        load = max_rank_pairs_bound(
            problem.load_share * float(problem.tokens * problem.top_k),
            problem.num_ranks,
            problem.slots_per_rank,
            problem.max_replicas,
        )
        return _best(load.by_name)
    if problem.objective in ("copies", "hops"):
        return _volume(problem)
    compute = _best(compute_bounds(problem))
    terms = {"compute_s": compute.value}
    layer_value = compute.layer_value.copy()
    method = [f"compute: {compute.method}"]
    sizes = problem.system.copy_bytes(problem.model.payload_size)
    touches = None if _sources_matter(problem) else touch_bounds(problem)
    for name, use, size in zip(
        ("dispatch", "combine"), problem.plan.uniform_use, sizes, strict=True
    ):
        layer = _collective(problem, touches, name, use, size)
        terms[f"{name}_s"] = float(layer.sum())
        layer_value += layer
    method.append(
        "communication: "
        + ("link averages" if _sources_matter(problem) else "spread LP or hottest replica")
    )
    return Bound(float(layer_value.sum()), "; ".join(method), terms, layer_value)


def _robust(problem: Problem) -> Bound:
    bounds = [lower_bound(scenario) for scenario in problem.scenarios]
    weights = scenario_weights(np.array([b.value for b in bounds]), problem.risk, problem.tail)
    terms = {
        f"{number}. {scenario.phase} {scenario.workload.name}": bound.value
        for number, (scenario, bound) in enumerate(
            zip(problem.scenarios, bounds, strict=True), start=1
        )
    }
    layer_value = np.einsum("s,sl->l", weights, np.array([b.layer_value for b in bounds]))
    return Bound(
        float(layer_value.sum()), f"{problem.risk} of the scenarios' bounds", terms, layer_value
    )


def _sources_matter(problem: Problem) -> bool:
    return problem.dispatch in ("nearest", "rank_modulo") and problem.redundant > 0


def _best(named: dict[str, NDArray[np.float64]]) -> Bound:
    """Return the layer-wise best of several valid bounds."""
    stacked = np.array(list(named.values()))
    layer_value = stacked.max(axis=0)
    wins = np.bincount(stacked.argmax(axis=0), minlength=len(named))
    method = " / ".join(name for name, won in zip(named, wins, strict=True) if won)
    terms = {name: float(value.sum()) for name, value in named.items()}
    return Bound(float(layer_value.sum()), method, terms, layer_value)


def _volume(problem: Problem) -> Bound:
    plan = problem.plan
    remote = remote_bound(problem) * problem.tokens
    named = {"remote": remote}
    hops = problem.objective == "hops"
    if hops:
        per_message = np.bincount(plan.message, minlength=plan.source.size)
        named["remote"] = remote * (float(per_message.min()) if per_message.size else 0.0)
    if not _sources_matter(problem):
        linear = plan.uniform_use[0].sum(axis=0) if hops else plan.uniform_messages
        named["spread LP"] = problem.tokens * spread_bound(
            problem, touch_bounds(problem), None, linear
        )
    return _best(named)


def _collective(
    problem: Problem,
    touches: TouchBounds | None,
    name: str,
    use: NDArray[np.float64],
    size: float,
) -> NDArray[np.float64]:
    """Return (layers,) seconds that a dispatch or combine takes at least."""
    plan, system = problem.plan, problem.system
    bandwidth = plan.topology.bandwidth_Bps
    seconds_per_touch = problem.tokens * size * use / bandwidth[:, None]
    latency = 0.0
    if touches is None:
        volume_s = problem.tokens * remote_bound(problem) * size / bandwidth.sum()
        if plan.latency_s.size and (volume_s > 0).all():
            latency = float(plan.latency_s.min())
    else:
        volume_s = spread_bound(problem, touches, seconds_per_touch, np.zeros(plan.num_sets))
        if plan.num_sets and (volume_s > 0).all():
            latency = float(plan.uniform_latency_s.min())
    seconds: NDArray[np.float64] = system.in_situ_factor * (
        system.alpha_us[problem.phase][name] * 1e-6 + latency + volume_s
    )
    return seconds
