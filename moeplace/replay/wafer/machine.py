"""The wafer in numbers: what one slice of an expert costs in each part of a die."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.models import DTYPE_BYTES
from moeplace.replay.wafer.constants import load_constants

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec
    from moeplace.replay.wafer.constants import Constants


@dataclass(frozen=True, eq=False)
class Machine:
    """A wafer and the experts of one model on it.

    Attributes
    ----------
    num_dies, num_experts, num_layers
        Dies, experts of a layer, MoE layers of the whole model.
    expert_bytes, slice_bytes
        Weights of one expert in one layer, and of one of its slices.
    hbm_slice_s, link_slice_s
        Seconds a slice holds an HBM, latency included, and a link, without latency.
    hop_s
        Latency of one link.
    hit_s, miss_s, write_s
        Last-level cache.
    llc_slices
        Slices that fit into the cache.
    hops
        (dies, dies) links between two dies.
    route_start, route_edges
        Compressed rows of mesh edges on the XY route of every (source, destination).
    num_edges
        Mesh edges; both directions are one, unless the constants say otherwise.
    compute_s
        (tokens + 1,) seconds of one slice's product for so many tokens.
    usable_bytes
        HBM of a die that experts may fill.
    constants
        Of the die model.
    """

    num_dies: int
    num_experts: int
    num_layers: int
    expert_bytes: float
    slice_bytes: float
    hbm_slice_s: float
    link_slice_s: float
    hop_s: float
    hit_s: float
    miss_s: float
    write_s: float
    llc_slices: int
    hops: NDArray[np.int64]
    route_start: NDArray[np.int64]
    route_edges: NDArray[np.int64]
    num_edges: int
    compute_s: NDArray[np.float64]
    usable_bytes: float
    constants: Constants

    @property
    def copies_per_die(self) -> int:
        """Experts of one layer that fit into a die's share of HBM for that layer."""
        return int(self.usable_bytes / self.num_layers / self.expert_bytes + 1e-9)

    def home(self) -> NDArray[np.int64]:
        """Return (experts,) the die that holds each expert, the same in every layer.

        ``e // (E // N)``, what is left over on dies 0, 1, ...: the contiguous layout of expert
        parallelism (simulator of arXiv 2510.05497).
        """
        experts = np.arange(self.num_experts)
        if self.num_experts < self.num_dies:
            return experts * self.num_dies // self.num_experts
        each = self.num_experts // self.num_dies
        return np.where(experts < each * self.num_dies, experts // each, experts % self.num_dies)


def make_machine(
    model: ModelSpec,
    system: System,
    batch: int,
    *,
    weight_dtype: str = "bf16",
    constants: Constants | None = None,
) -> Machine:
    """Return a wafer ready to run a model's experts.

    Parameters
    ----------
    model
        Gives experts and their size.
    system
        A mesh.
    batch
        Tokens of a step; no expert gets more.
    weight_dtype
        Type in which weights are stored and moved; products run at the bf16 rate.
    constants
        Of the die model; default: the shipped ones.

    Raises
    ------
    InputError
        If the system is no mesh, has no bf16 peak, or the type is unknown.
    """
    found = constants or load_constants()
    if system.kind != "mesh":
        raise InputError(f"system {system.name}: the wafer study needs a mesh, not a {system.kind}")
    if "bf16" not in system.peak_tflops:
        raise InputError(f"system {system.name} has no bf16 peak; the wafer study needs one")
    if weight_dtype not in DTYPE_BYTES:
        raise InputError(f"unknown weight type {weight_dtype!r}; known: {', '.join(DTYPE_BYTES)}")
    topology = system.topology
    links = np.arange(topology.num_links)
    owner = links if found.full_duplex else np.minimum(links, topology.reverse_link)
    names, edge = np.unique(owner, return_inverse=True)
    slice_bytes = model.expert_bytes(weight_dtype) / found.slices
    tokens = np.arange(batch + 1)
    busy = np.interp(
        np.log2(np.maximum(tokens, 1)), np.log2(found.utilization_tokens), found.utilization
    )
    flops = 2.0 * model.expert_params / found.slices * tokens
    return Machine(
        num_dies=system.ranks,
        num_experts=model.num_experts,
        num_layers=model.num_moe_layers,
        expert_bytes=model.expert_bytes(weight_dtype),
        slice_bytes=slice_bytes,
        hbm_slice_s=found.hbm_access_ns * 1e-9
        + slice_bytes / (system.hbm_GBps * 1e9 * system.hbm_efficiency),
        link_slice_s=slice_bytes / (system.link_GBps * 1e9 * system.link_efficiency),
        hop_s=system.link_latency_us * 1e-6,
        hit_s=found.llc_hit_ns * 1e-9,
        miss_s=found.llc_miss_ns * 1e-9,
        write_s=found.llc_write_ns * 1e-9,
        llc_slices=int(found.llc_MiB * 2**20 / slice_bytes),
        hops=topology.hops(),
        route_start=topology.route_start,
        route_edges=edge[topology.route_links],
        num_edges=len(names),
        compute_s=flops / (system.peak_tflops["bf16"] * 1e12 * busy),
        usable_bytes=system.hbm_GB * 1e9 * (1 - system.reserve_fraction),
        constants=found,
    )
