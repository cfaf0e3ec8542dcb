"""The workloads of Huang et al. (arXiv 2303.06182) in the gating model, beside its figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.hwmodels import load_system
from moeplace.models import load_model
from moeplace.replay.gating.constants import HERE, PLATFORM, gating_constants
from moeplace.replay.gating.costs import Gating, GatingCost, gating_cost, largest_batch, waste

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from moeplace.models import ModelSpec


@dataclass(frozen=True)
class PaperCase:
    """A workload of the paper; see cases.yaml."""

    name: str
    model: str
    layers: tuple[int, int]
    capacity: float
    phase: str
    sequence: int
    launch_us: float
    batch: Mapping[str, int]
    published: Mapping[str, Any]


@dataclass(frozen=True)
class PaperRow:
    """A workload on some nodes: the model's figures, and the paper's where there are any.

    Attributes
    ----------
    same_batch
        Tokens per second of dynamic over static gating at the static batch.
    best_batch
        The same, each at its own batch of the paper.
    over_sparse
        Dynamic over capacities without mask, at the static batch.
    static, dynamic
        Costs at the static batch.
    static_fits
        Most sequences whose static step fits the memory of a GPU.
    """

    case: PaperCase
    nodes: int
    waste: float
    same_batch: float
    best_batch: float
    over_sparse: float
    static: GatingCost
    dynamic: GatingCost
    static_fits: int

    @property
    def memory_ratio(self) -> float:
        """Peak memory of static over dynamic gating at the static batch, whole model's weights."""
        extra = self.static.activation_bytes - self.dynamic.activation_bytes
        peak = self.case.published.get("peak_GB", 0.0) * 2**30 or self.static.memory_bytes
        return float(peak / (peak - extra))


@cache
def paper_cases() -> tuple[PaperCase, ...]:
    """Return the workloads of cases.yaml."""
    import yaml

    with (HERE / "cases.yaml").open(encoding="utf-8") as file:
        entries: list[dict[str, Any]] = yaml.safe_load(file)
    return tuple(PaperCase(**{**entry, "layers": tuple(entry["layers"])}) for entry in entries)


def part_of(model: ModelSpec, first: int, end: int) -> ModelSpec:
    """Return the model that has only layers first..end − 1; other weights shrink in proportion."""
    layers = tuple(layer - first for layer in model.moe_layers if first <= layer < end)
    share = (end - first) / model.num_layers
    rest = None if model.non_expert_params is None else model.non_expert_params * share
    part = replace(
        model,
        name=f"{model.name} layers {first}-{end - 1}",
        num_layers=end - first,
        moe_layers=layers,
        hash_routed_layers=(),
        total_params=None,
        active_params=None,
    )
    return part if rest is None else replace(part, total_params=part.routed_params + rest)


def zipf_share(num_experts: int, exponent: float, seed: int = 0) -> NDArray[np.float64]:
    """Return (experts,) shares ∝ rank^−exponent in random order; equal for exponent 0."""
    share = np.arange(1, num_experts + 1, dtype=np.float64) ** -exponent
    order = np.random.default_rng(seed).permutation(num_experts)
    shuffled: NDArray[np.float64] = share[order] / share.sum()
    return shuffled


def paper_rows(nodes: int = 1, skew: float = 0.0, seed: int = 0) -> list[PaperRow]:
    """Return the paper's three workloads on the paper's platform.

    Parameters
    ----------
    nodes
        1 to 4 nodes of eight GPUs.
    skew
        Exponent of the popularity of experts (Zipf), 0 for equal loads.
    seed
        Which experts are popular.
    """
    rows = []
    for case in paper_cases():
        whole = load_model(case.model)
        system = load_system(PLATFORM, 8 * nodes)
        share = zipf_share(whole.num_experts, skew, seed)
        part = part_of(whole, *case.layers)
        setting = Gating(part, system, case.capacity, case.phase, share)
        tokens = {mode: batch * case.sequence for mode, batch in case.batch.items()}
        known = replace(gating_constants(), launch_s=case.launch_us * 1e-6)
        static = gating_cost(setting, "static", tokens["static"], known)
        dynamic = gating_cost(setting, "dynamic", tokens["static"], known)
        sparse = gating_cost(setting, "sparse", tokens["static"], known)
        best = gating_cost(setting, "dynamic", tokens["dynamic"], known)
        memory = Gating(whole, system, case.capacity, case.phase, share)
        rows.append(
            PaperRow(
                case=case,
                nodes=nodes,
                waste=waste(whole, case.capacity),
                same_batch=dynamic.tokens_per_s / static.tokens_per_s,
                best_batch=best.tokens_per_s / static.tokens_per_s,
                over_sparse=dynamic.tokens_per_s / sparse.tokens_per_s,
                static=static,
                dynamic=dynamic,
                static_fits=largest_batch(memory, "static", case.sequence),
            )
        )
    return rows
