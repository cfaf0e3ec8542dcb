"""Terms into one bound: sums of minima, and touches bounded together with compute time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.bounds.bound import Bound
from moeplace.formulations.bounds.communication import (
    MARGIN,
    hottest_replica,
    most_at_home,
    remote_bound,
    spread_dual,
    touch_bounds,
)
from moeplace.formulations.bounds.compute import compute_bounds
from moeplace.formulations.bounds.weights import guessed_touches, link_seconds, sources_matter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.bounds.communication import Spread, TouchBounds
    from moeplace.formulations.bounds.touched import TouchProof
    from moeplace.placement import Problem

COLLECTIVES = ("dispatch", "combine")


def best_of(named: dict[str, NDArray[np.float64]]) -> Bound:
    """Return the layer-wise best of several valid bounds."""
    stacked = np.array(list(named.values()))
    layer_value = stacked.max(axis=0)
    wins = np.bincount(stacked.argmax(axis=0), minlength=len(named))
    method = " / ".join(name for name, won in zip(named, wins, strict=True) if won)
    terms = {name: float(value.sum()) for name, value in named.items()}
    return Bound(float(layer_value.sum()), method, terms, layer_value, theorems=terms)


def volume_bound(problem: Problem, proofs: tuple[TouchProof, ...], effort: str) -> Bound:
    """Return the bound for objectives ``copies`` and ``hops``."""
    plan = problem.plan
    remote = remote_bound(problem) * problem.tokens
    hops = problem.objective == "hops"
    shortest = 1.0
    if hops:
        per_message = np.bincount(plan.message, minlength=plan.source.size)
        shortest = float(per_message.min()) if per_message.size else 0.0
    named = {"remote": remote * shortest}
    proven = {proof.level: proof.value for proof in proofs}
    theorems = {}
    if sources_matter(problem):
        if "ranks" in proven:
            away = np.maximum(proven["ranks"] - most_at_home(problem), 0.0)
            named[theorem_of(proofs)] = away * problem.tokens * shortest
    else:
        linear = plan.uniform_use[0].sum(axis=0) if hops else plan.uniform_messages
        least = touch_bounds(problem)
        touched = {"spread LP": least}
        if proofs:
            touched[theorem_of(proofs)] = with_proofs(least, proofs)
        for name, touches in touched.items():
            dual = spread_dual(problem, touches, None, linear)
            named[name] = problem.tokens * dual.least(touches)
        theorems["touched ranks: pairs and eigenvalues"] = float(least.ranks.mean())
    for proof in proofs:
        theorems[f"touched {proof.level}: {theorem_of((proof,))}"] = float(proof.value.mean())
    found = best_of(named)
    return replace(found, theorems={**found.terms, **theorems}, effort=effort, proofs=proofs)


def theorem_of(proofs: tuple[TouchProof, ...]) -> str:
    """Return which theorems the touches of proofs are from."""
    contents = any(one is not None for proof in proofs for one in proof.contents)
    pairs = any(one is not None for proof in proofs for one in proof.certificates)
    names = [("contents of parts", contents), ("partition", pairs or not contents)]
    return " and ".join(name for name, there in names if there)


def with_proofs(touches: TouchBounds, proofs: tuple[TouchProof, ...]) -> TouchBounds:
    """Return the touches raised to what was proven about touches alone."""
    for proof in proofs:
        if proof.coupling is None:
            better = np.maximum(getattr(touches, proof.level), proof.value)
            touches = replace(touches, **{proof.level: better})
    return touches


def time_bound(problem: Problem, proofs: tuple[TouchProof, ...], effort: str) -> Bound:
    """Return the bound for objective ``time``: the better of two sums for each layer.

    *Sum of minima*: every term's own bound. *Together*: with W at least the slowest rank's compute
    time and λ the touches, a proof gives λ + Σμ (W / W₀ − 1) ≥ v for multipliers with Σμ · (seconds
    per touch) ≤ W₀; so W + seconds · λ ≥ W₀ + seconds · v. The smallest peak of the links is at
    least a linear function of λ (weak duality), which is where seconds per touch come from.
    """
    compute = best_of(compute_bounds(problem))
    theorems = {f"compute: {name}": value for name, value in compute.terms.items()}
    matter = sources_matter(problem)
    least = None if matter else touch_bounds(problem)
    alone = {"compute": compute.layer_value}
    together = {"compute": compute.layer_value}
    coupled = [p for p in proofs if p.coupling is not None and p.coupling.seconds_per_touch > 0]
    for name in COLLECTIVES:
        if least is None:
            volume = _averaged(problem, name, proofs)
            theorems[f"{name}: link averages"] = float(volume.sum())
            alone[name] = together[name] = _seconds(problem, name, volume, averaged=True)
            continue
        touches = with_proofs(least, proofs)
        none = np.zeros(problem.plan.num_sets)
        per_link = link_seconds(problem, name)
        spread = spread_dual(problem, touches, per_link, none).least(touches)
        hottest = hottest_replica(problem, per_link) if per_link.size else np.zeros_like(spread)
        theorems[f"{name}: spread LP"] = float(spread.sum())
        theorems[f"{name}: hottest replica"] = float(hottest.sum())
        volume = np.maximum(spread, hottest * (1 - MARGIN))
        alone[name] = _seconds(problem, name, volume, averaged=False)
        together[name] = alone[name]
        if coupled:
            dual = spread_dual(problem, guessed_touches(problem), per_link, none)
            linear = _linear(dual, least, coupled)
            together[name] = _seconds(problem, name, linear, averaged=False, sure=volume)
            theorems[f"{name}: with compute"] = float(linear.sum())
    sums = np.array([sum(alone.values()), sum(together.values())])
    better = sums.argmax(axis=0)
    layer_value = sums.max(axis=0)
    terms = {
        f"{name}_s": float(np.where(better == 1, together[name], alone[name]).sum())
        for name in alone
    }
    for proof in proofs:
        theorems[f"touched {proof.level}: {theorem_of((proof,))}"] = float(proof.value.mean())
    method = [f"compute: {compute.method}"]
    method.append(
        "communication: " + ("link averages" if matter else "spread LP / hottest replica")
    )
    if (better == 1).any():
        method.append(f"touched {coupled[0].level} together with compute: {theorem_of(proofs)}")
    return Bound(
        float(layer_value.sum()),
        "; ".join(method),
        terms,
        layer_value,
        theorems=theorems,
        effort=effort,
        proofs=proofs,
    )


def _linear(dual: Spread, least: TouchBounds, coupled: list[TouchProof]) -> NDArray[np.float64]:
    """Return (layers,) the peak's linear function at proven touches; it may be negative."""
    known = {"ranks": least.ranks, "nodes": least.nodes}
    known.update({proof.level: proof.value for proof in coupled})
    value: NDArray[np.float64] = (
        dual.per_rank_touch * known["ranks"]
        + dual.per_node_touch * known["nodes"]
        - dual.per_draw * least.most_per_rank
    )
    return value * (1 - MARGIN)


def _averaged(problem: Problem, name: str, proofs: tuple[TouchProof, ...]) -> NDArray[np.float64]:
    """Return (layers,) seconds if all links shared what must leave its rank."""
    remote = remote_bound(problem)
    for proof in proofs:
        if proof.level == "ranks":
            remote = np.maximum(remote, proof.value - most_at_home(problem))
    sizes = problem.system.copy_bytes(problem.model.payload_size)
    size = sizes[COLLECTIVES.index(name)]
    volume: NDArray[np.float64] = (
        problem.tokens * remote * size / problem.plan.topology.bandwidth_Bps.sum()
    )
    return volume


def _seconds(
    problem: Problem,
    name: str,
    volume_s: NDArray[np.float64],
    *,
    averaged: bool,
    sure: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return (layers,) seconds of a collective with its fixed cost and the shortest latency."""
    plan, system = problem.plan, problem.system
    known = plan.latency_s if averaged else plan.uniform_latency_s
    latency = 0.0
    if known.size and ((volume_s if sure is None else sure) > 0).all():
        latency = float(known.min())
    seconds: NDArray[np.float64] = system.in_situ_factor * (
        system.alpha_us[problem.phase][name] * 1e-6 + latency + volume_s
    )
    return seconds
