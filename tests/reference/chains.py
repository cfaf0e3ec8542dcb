"""Small random traces whose layers follow each other, and problems with ``stay`` execution."""

from __future__ import annotations

from typing import Any

import numpy as np

from moeplace.placement import Problem, make_problem
from moeplace.traces import RoutingTrace, Workload
from tests.reference.instances import DEDUPS, OBJECTIVES, random_system, tiny_model


def random_trace(
    rng: np.random.Generator,
    experts: int,
    top_k: int,
    layers: int,
    tokens: int = 10,
    *,
    weights: bool | None = None,
) -> RoutingTrace:
    """Return tokens of a few kinds that prefer the same experts in every layer, with noise."""
    kind = rng.integers(0, 3, tokens)
    taste = rng.gumbel(size=(3, layers, experts))
    score = 2 * taste[kind] + rng.gumbel(size=(tokens, layers, experts))
    ids = np.argsort(-score, axis=2)[:, :, :top_k]
    ids = rng.permuted(ids, axis=2)
    with_weights = rng.random() < 0.7 if weights is None else weights
    return RoutingTrace.from_arrays(
        ids,
        experts,
        phase="prefill",
        weights=rng.random(ids.shape) if with_weights else None,
        name="random",
    )


def random_stay_problem(
    rng: np.random.Generator,
    *,
    max_experts: int = 6,
    max_ranks: int = 4,
    max_layers: int = 3,
    max_redundant: int = 2,
    tokens: int = 10,
    **fixed: Any,
) -> tuple[Problem, RoutingTrace]:
    """Return a random problem with execution ``stay`` and the trace behind it."""
    experts = int(rng.integers(2, max_experts + 1))
    top_k = int(rng.integers(1, min(3, experts) + 1))
    layers = int(rng.integers(1, max_layers + 1))
    system = random_system(rng, max_ranks)
    redundant = int(rng.integers(0, min(max_redundant, experts * (system.ranks - 1)) + 1))
    trace = random_trace(rng, experts, top_k, layers, tokens)
    options: dict[str, Any] = {
        "redundant": redundant,
        "objective": str(rng.choice(OBJECTIVES)),
        "dedup": str(rng.choice(DEDUPS)),
        "tokens_per_rank": int(rng.choice([1, 7, 64])),
        "execution": "stay",
    }
    workload = Workload.from_trace(trace, anchored=True)
    model = tiny_model(experts, top_k, layers)
    return make_problem(model, system, workload, **{**options, **fixed}), trace
