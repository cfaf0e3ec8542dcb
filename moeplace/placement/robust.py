"""One placement for several scenarios: workloads, phases, parts of a trace."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.placement.score import Score
from moeplace.traces import AnchoredSets, TokenSets, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from moeplace.placement.problem import Problem

RISKS = ("max", "mean", "cvar")


def make_robust(problems: Sequence[Problem], risk: str = "max", tail: float = 0.5) -> Problem:
    """Return the problem of finding one placement for all of several problems.

    Its objective is the worst, the mean or the conditional value at risk of theirs. Its own
    workload is their mixture, which solvers that look at loads alone then use.

    Parameters
    ----------
    problems
        At least one; same model, system, layers, slots, redundancy and objective. Workload,
        phase, batch, dedup and dispatch may differ.
    risk
        ``max``, ``mean``, or ``cvar``: the mean of the worst `tail` of the scenarios, all
        equally likely (Rockafellar & Uryasev 2000).
    tail
        Share of the scenarios in the tail, in (0, 1].

    Raises
    ------
    InputError
        If there is no problem, they differ in what they must share, or the risk is unknown.
    """
    if not problems:
        raise InputError("a robust problem needs at least one scenario")
    if risk not in RISKS:
        raise InputError(f"unknown risk {risk!r}: use one of {', '.join(RISKS)}")
    if not 0 < tail <= 1:
        raise InputError(f"tail is {tail}; it must be above 0 and at most 1")
    first = problems[0]
    for other in problems[1:]:
        for name in (
            "model",
            "system",
            "redundant",
            "slots_per_rank",
            "objective",
            "weight_dtype",
            "max_load",
            "groups_on_nodes",
            "execution",
        ):
            if getattr(first, name) != getattr(other, name):
                raise InputError(f"scenarios differ in {name}; one placement must fit them all")
        if first.workload.layer_ids != other.workload.layer_ids:
            raise InputError("scenarios have different layers; one placement must fit them all")
    scenarios = tuple(problem.replace(holdout=None, scenarios=()) for problem in problems)
    weights = np.full(len(scenarios), 1 / len(scenarios))
    return first.replace(
        workload=mixture([problem.workload for problem in scenarios], weights),
        scenarios=scenarios,
        risk=risk,
        tail=tail,
    )


def scenario_weights(values: NDArray[np.float64], risk: str, tail: float) -> NDArray[np.float64]:
    """Return (scenarios,) weights with which the values add up to the risk measure."""
    if risk == "mean":
        return np.full(values.size, 1 / values.size)
    order = np.argsort(-values, kind="stable")
    share = np.full(values.size, 1.0) if risk == "max" else np.full(values.size, 1 / values.size)
    budget = 1.0 if risk == "max" else tail
    weights = np.zeros(values.size)
    for scenario in order:
        weights[scenario] = min(share[scenario], budget)
        budget -= weights[scenario]
    total: NDArray[np.float64] = weights / weights.sum()
    return total


def combine_scores(scores: Sequence[Score], risk: str, tail: float) -> Score:
    """Return the score of a robust problem: the scenarios' numbers under the risk's weights."""
    weights = scenario_weights(np.array([s.objective for s in scores]), risk, tail)
    mixed: dict[str, Any] = {}
    for field in fields(Score):
        values = [getattr(score, field.name) for score in scores]
        if isinstance(values[0], str):
            mixed[field.name] = values[0]
        elif any(value is None for value in values):
            mixed[field.name] = None
        else:
            mixed[field.name] = sum(w * v for w, v in zip(weights, values, strict=True) if w > 0)
    moved = scores[0].moved_replicas
    return replace(Score(**mixed), moved_replicas=moved)


def mixture(workloads: Sequence[Workload], weights: NDArray[np.float64]) -> Workload:
    """Return the workload of tokens drawn from several, each with its weight.

    It has token sets only if all of them have.
    """
    first = workloads[0]
    kept = [(w, weight) for w, weight in zip(workloads, weights, strict=True) if weight > 0]
    load = sum(
        (weight * w.load / np.maximum(w.load.sum(axis=1, keepdims=True), 1e-300)
         for w, weight in kept),
        np.zeros_like(first.load),
    )  # fmt: skip
    sets = None
    if all(w.token_sets is not None for w, _ in kept):
        sets = tuple(
            TokenSets(
                np.concatenate([w.token_sets[layer].ids for w, _ in kept if w.token_sets]),
                np.concatenate(
                    [
                        weight * w.token_sets[layer].weight / w.token_sets[layer].weight.sum()
                        for w, weight in kept
                        if w.token_sets
                    ]
                ),
            )
            for layer in range(first.num_layers)
        )
    measured = all(w.kind == "measured" for w, _ in kept)
    kinds = {w.token_sets_kind for w, _ in kept}
    return first.replace(
        load=load,
        transition_counts=None,
        anchored=_mixed_anchored(kept),
        token_sets=sets,
        token_sets_kind=None
        if sets is None
        else "synthetic"
        if "synthetic" in kinds
        else "measured",
        kind="measured" if measured else "synthetic",
        name=" + ".join(w.name for w, _ in kept),
    )


def _mixed_anchored(kept: Sequence[tuple[Workload, float]]) -> tuple[AnchoredSets, ...] | None:
    """Return the anchored sets of a mixture, None unless every part has them."""
    parts = [(w.anchored, weight) for w, weight in kept if w.anchored is not None]
    if len(parts) < len(kept):
        return None
    layers = []
    for layer in range(len(parts[0][0])):
        rows = [sets[layer] for sets, _ in parts]
        shares = [weight / part.weight.sum() for part, (_, weight) in zip(rows, parts, strict=True)]
        layers.append(
            AnchoredSets(
                np.concatenate([part.ids for part in rows]),
                np.concatenate([part.before for part in rows]),
                np.concatenate([part.anchor for part in rows]),
                np.concatenate(
                    [part.weight * share for part, share in zip(rows, shares, strict=True)]
                ),
            )
        )
    return tuple(layers)
