"""Tiny random instances whose parts all matter: no term of the layer time is negligible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.hwmodels import System
from moeplace.models import ModelSpec
from moeplace.placement import Placement, Problem, make_problem
from moeplace.traces import TokenSets, Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

MESHES = ((1, 1), (1, 2), (2, 1), (1, 3), (2, 2), (1, 4), (3, 1), (2, 3), (3, 2))
CLUSTERS = (
    (1, 2),
    (2, 4),
    (3, 4),
    (3, 2),
    (4, 2),
    (4, 3),
    (5, 2),
    (5, 3),
    (5, 4),
    (6, 2),
    (6, 3),
    (6, 4),
)
DEDUPS = ("none", "rank", "node", "multicast")
DISPATCHES = ("even", "nearest", "rank_modulo", "lp", "cover")
OBJECTIVES = ("time", "balance", "copies", "hops")


def tiny_model(experts: int, top_k: int, layers: int = 1, **changes: Any) -> ModelSpec:
    """Return a model whose every layer is a MoE layer of small experts."""
    figures: dict[str, Any] = {
        "name": "tiny",
        "num_layers": layers,
        "moe_layers": tuple(range(layers)),
        "num_experts": experts,
        "top_k": top_k,
        "hidden_size": 64,
        "moe_intermediate_size": 32,
    }
    return ModelSpec(**{**figures, **changes})


def tiny_mesh(rows: int, columns: int, **changes: Any) -> System:
    """Return a mesh whose links, weights and arithmetic take similar time on tiny models."""
    figures: dict[str, Any] = {
        "name": f"mesh {rows}x{columns}",
        "kind": "mesh",
        "ranks": rows * columns,
        "rows": rows,
        "columns": columns,
    }
    return System(**{**_FIGURES, **figures, **changes})


def tiny_cluster(ranks: int, node_size: int, **changes: Any) -> System:
    """Return a cluster with a NIC five times slower than the fast tier."""
    figures: dict[str, Any] = {
        "name": f"{ranks} ranks in nodes of {node_size}",
        "kind": "cluster",
        "ranks": ranks,
        "node_size": node_size,
        "nic_GBps": 0.4,
        "nic_latency_us": 5.0,
        "nic_efficiency": 0.8,
    }
    return System(**{**_FIGURES, **figures, **changes})


_FIGURES: dict[str, Any] = {
    "summary": "for tests",
    "link_GBps": 2.0,
    "link_latency_us": 0.7,
    "link_efficiency": 0.9,
    "hbm_GBps": 20.0,
    "hbm_efficiency": 0.8,
    "hbm_GB": 1.0,
    "peak_tflops": {"bf16": 0.05},
    "flops_efficiency": 0.7,
    "kernel_floor_us": {"prefill": 2.0, "decode": 1.0},
    "alpha_us": {
        "prefill": {"dispatch": 3.0, "combine": 4.0},
        "decode": {"dispatch": 1.5, "combine": 2.5},
    },
    "in_situ_factor": 1.25,
}


def token_sets(rng: np.random.Generator, experts: int, top_k: int, number: int) -> TokenSets:
    """Return distinct random sets with whole weights; some experts are used more than others."""
    appeal = rng.gamma(0.7, size=experts) + 1e-3
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(number):
        keys = rng.exponential(size=experts) / appeal
        chosen = tuple(sorted(int(e) for e in np.argsort(keys)[:top_k]))
        seen[chosen] = seen.get(chosen, 0) + int(rng.integers(1, 9))
    return TokenSets(np.array(list(seen), np.int32), np.array(list(seen.values()), float))


def workload_of_sets(sets: list[TokenSets], experts: int, **changes: Any) -> Workload:
    """Return the workload that has exactly these token sets."""
    load = np.stack([layer.load(experts) for layer in sets])
    bare = Workload.from_loads(load, top_k=sets[0].top_k, **{"phase": "prefill", **changes})
    return bare.with_token_sets(sets, "measured")


def random_system(rng: np.random.Generator, max_ranks: int = 6) -> System:
    """Return a mesh or a cluster, with a tile of tokens or without."""
    changes: dict[str, Any] = {
        "tile_tokens": int(rng.choice([1, 1, 4, 16])),
        "peak_tflops": {"bf16": float(rng.choice([0.005, 0.05, 0.5]))},
        "link_GBps": float(rng.choice([0.5, 2.0, 20.0])),
    }
    if rng.random() < 0.5:
        meshes = [m for m in MESHES if m[0] * m[1] <= max_ranks]
        return tiny_mesh(*meshes[rng.integers(len(meshes))], **changes)
    clusters = [c for c in CLUSTERS if 2 <= c[0] <= max_ranks]
    return tiny_cluster(*clusters[rng.integers(len(clusters))], **changes)


def random_workload(
    rng: np.random.Generator, experts: int, top_k: int, layers: int, sets: int = 8
) -> Workload:
    """Return a workload with token sets; an expert may stay without any load."""
    return workload_of_sets([token_sets(rng, experts, top_k, sets) for _ in range(layers)], experts)


def random_problem(
    rng: np.random.Generator,
    *,
    max_experts: int = 8,
    max_ranks: int = 6,
    max_layers: int = 4,
    max_redundant: int = 6,
    max_top_k: int = 3,
    **fixed: Any,
) -> Problem:
    """Return a random instance; `fixed` goes to ``make_problem``.

    One in ten has a single expert, one in five is known by its loads alone (its token sets, where
    the kernel needs them, are synthetic), one in four has a slot more on every rank than needed.
    """
    experts = int(rng.integers(2, max_experts + 1)) if rng.random() < 0.9 else 1
    top_k = int(rng.integers(1, min(max_top_k, experts) + 1))
    layers = int(rng.integers(1, max_layers + 1))
    system = random_system(rng, max_ranks)
    most = min(max_redundant, experts * (system.ranks - 1))
    redundant = int(rng.integers(0, most + 1))
    workload = random_workload(rng, experts, top_k, layers)
    if rng.random() < 0.2:
        workload = workload.replace(token_sets=None, token_sets_kind=None)
    options: dict[str, Any] = {
        "redundant": redundant,
        "slots_per_rank": -(-(experts + redundant) // system.ranks) + int(rng.random() < 0.25),
        "objective": str(rng.choice(OBJECTIVES)),
        "dedup": str(rng.choice(DEDUPS)),
        "dispatch": str(rng.choice(DISPATCHES)),
        "phase": str(rng.choice(["prefill", "decode"])),
        "tokens_per_rank": int(rng.choice([1, 2, 7, 16, 64, 500])),
    }
    model = tiny_model(experts, top_k, layers)
    return make_problem(model, system, workload, **{**options, **fixed})


def random_placement(
    rng: np.random.Generator, problem: Problem, *, duplicates: bool = False, spare: int = 0
) -> Placement:
    """Return a random placement of every expert, with replicas and empty slots.

    With `duplicates` an expert may lie twice on a rank; `spare` slots more a rank than the
    problem asks for make ranks unequal.
    """
    width = problem.slots_per_rank + spare
    rank_of_slot = np.repeat(np.arange(problem.num_ranks, dtype=np.int32), width)
    rows = [_random_row(rng, problem, rank_of_slot, duplicates) for _ in range(problem.num_layers)]
    return Placement(
        np.array(rows, np.int32),
        rank_of_slot,
        problem.num_experts,
        problem.num_ranks,
        problem.workload.layer_ids,
    )


def _random_row(
    rng: np.random.Generator, problem: Problem, rank_of_slot: NDArray[np.int32], duplicates: bool
) -> NDArray[np.int32]:
    row = np.full(rank_of_slot.size, -1, np.int32)
    first = rng.permutation(row.size)[: problem.num_experts]
    row[first] = rng.permutation(problem.num_experts)
    for slot in rng.permutation(np.flatnonzero(row < 0))[: problem.redundant]:
        held = set(row[rank_of_slot == rank_of_slot[slot]].tolist())
        free = [e for e in range(problem.num_experts) if duplicates or e not in held]
        if free and rng.random() < 0.8:
            row[slot] = rng.choice(free)
    return row
