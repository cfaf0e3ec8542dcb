from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.hwmodels.communication import plan_communication
from moeplace.hwmodels.fabrics import Tiers, build, custom, wire
from moeplace.hwmodels.topology import cluster, mesh
from moeplace.models import DTYPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.hwmodels.communication import CommPlan
    from moeplace.hwmodels.fabrics import Wiring
    from moeplace.hwmodels.topology import Topology
    from moeplace.models import ModelSpec

PHASES = ("prefill", "decode")
CHANGED = "changed by the caller"
NOT_CONSTANTS = ("name", "kind", "summary", "sources", "phases")
POSITIVE = (
    "link_GBps",
    "link_efficiency",
    "nic_efficiency",
    "hbm_GBps",
    "hbm_efficiency",
    "hbm_GB",
    "flops_efficiency",
    "tile_tokens",
    "in_situ_factor",
)


@dataclass(frozen=True)
class System:
    """Devices, fabric and kernels on which experts can live; every constant it is scored with.

    All bandwidths are per direction. Where each figure comes from is in `sources`.

    Attributes
    ----------
    kind
        ``mesh`` (dies of a wafer, XY routing), ``cluster`` (nodes behind switches, NICs) or
        ``graph`` (`fabric` by name, or `edges`).
    ranks
        Devices R; `rows` × `columns` for a mesh.
    node_size
        Devices that share the fast tier of a cluster.
    link_GBps, link_latency_us, link_efficiency
        Fast tier: one mesh link, or one device's port into the node's switch; usable share.
    nic_GBps, nic_latency_us, nic_efficiency
        Slow tier of a cluster: one device's NIC.
    fabric
        Of a graph: ``torus:RxC``, ``full:N``, ``dragonfly:GxAxP``, ``fat-tree:LxK:O``,
        ``wafers:NxRxC`` (:mod:`moeplace.hwmodels.fabrics`), wired with the links and NICs above.
    edges
        Of a graph: (vertex, vertex, GB/s each way, latency in µs), used as they are; vertices
        from `ranks` on are switches.
    alpha_us
        Fixed cost of a collective, ``{phase: {"dispatch": .., "combine": ..}}``.
    dispatch_dtype, combine_dtype, scale_block, scale_bytes, header_bytes
        A dispatched copy is ``width · bytes(dtype)``, plus one scale per block for types of at
        most one byte, plus a header; a combined copy is ``width · bytes(dtype)``.
    dedup
        Default copies per kernel: ``{"one_node": .., "prefill": .., "decode": ..}``.
    peak_tflops
        Dense peak by dtype; a dtype that is missing cannot be computed with.
    flops_efficiency, hbm_GBps, hbm_efficiency, kernel_floor_us, tile_tokens
        Expert kernel, see :meth:`compute_constants`; the floor is by phase.
    hbm_GB, reserve_fraction, kv_cache_GB, non_expert
        Memory of a device, the share and the amount kept free, and whether non-expert weights
        are ``replicated`` on every rank, ``sharded`` over the ranks, or elsewhere (``none``).
    in_situ_factor
        Communication in a running server over the stand-alone kernel; 1 = stand-alone.
    phases
        Constants that differ by phase, ``{phase: {name: value}}``; see :meth:`for_phase`.
    """

    name: str
    kind: str
    summary: str
    ranks: int
    link_GBps: float
    hbm_GBps: float
    hbm_GB: float
    peak_tflops: Mapping[str, float]
    rows: int = 0
    columns: int = 0
    node_size: int = 0
    max_ranks: int = 0
    link_latency_us: float = 0.0
    link_efficiency: float = 1.0
    nic_GBps: float = 0.0
    nic_latency_us: float = 0.0
    nic_efficiency: float = 1.0
    fabric: str = ""
    edges: tuple[tuple[int, int, float, float], ...] = ()
    alpha_us: Mapping[str, Mapping[str, float]] = field(
        default_factory=lambda: {phase: {"dispatch": 0.0, "combine": 0.0} for phase in PHASES}
    )
    dispatch_dtype: str = "bf16"
    combine_dtype: str = "bf16"
    scale_block: int = 128
    scale_bytes: int = 4
    header_bytes: int = 16
    dedup: Mapping[str, str] = field(
        default_factory=lambda: {"one_node": "rank", "prefill": "node", "decode": "none"}
    )
    flops_efficiency: float = 1.0
    hbm_efficiency: float = 1.0
    kernel_floor_us: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    tile_tokens: int = 1
    reserve_fraction: float = 0.0
    kv_cache_GB: float = 0.0
    non_expert: str = "none"
    in_situ_factor: float = 1.0
    phases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in ("mesh", "cluster", "graph"):
            raise InputError(
                f"system {self.name}: kind {self.kind!r} is not mesh, cluster or graph"
            )
        if self.kind == "graph" and bool(self.fabric) == bool(self.edges):
            raise InputError(f"system {self.name}: a graph has either fabric or edges")
        if self.kind == "mesh" and self.ranks != self.rows * self.columns:
            raise InputError(
                f"system {self.name}: a {self.rows}x{self.columns} mesh has "
                f"{self.rows * self.columns} ranks, not {self.ranks}; use mesh:RxC for another size"
            )
        if self.ranks < 1 or (self.max_ranks and self.ranks > self.max_ranks):
            raise InputError(
                f"system {self.name}: {self.ranks} ranks asked, it has 1..{self.max_ranks or 'any'}"
            )
        if self.kind == "cluster" and self.ranks > self.node_size and self.nic_GBps <= 0:
            raise InputError(f"system {self.name}: several nodes need nic_GBps")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise InputError(f"system {self.name}: {name} must be positive")
        if self.non_expert not in ("replicated", "sharded", "none"):
            raise InputError(
                f"system {self.name}: non_expert {self.non_expert!r} is not replicated, sharded or "
                "none"
            )

    def replace(self, **changes: Any) -> System:
        """Return a copy with some constants changed; their sources say so.

        Raises
        ------
        InputError
            If a name is not a field.
        """
        known = {f.name for f in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise InputError(f"system {self.name}: no constant {unknown[0]!r} to replace")
        changed = {name: CHANGED for name in changes if name not in NOT_CONSTANTS}
        return replace(self, **{"sources": {**self.sources, **changed}, **changes})

    def for_phase(self, phase: str) -> System:
        """Return the system with the constants of a phase; itself where none differ."""
        changes = self.phases.get(phase)
        if not changes:
            return self
        return replace(self, **changes)

    @cached_property
    def _wiring(self) -> Wiring:
        """The edges of a graph."""
        if self.edges:
            return custom(self.ranks, self.node_size, self.edges)
        wiring = wire(
            self.fabric,
            Tiers(
                fast_GBps=self.link_GBps * self.link_efficiency,
                fast_us=self.link_latency_us,
                slow_GBps=(self.nic_GBps or self.link_GBps) * self.nic_efficiency,
                slow_us=self.nic_latency_us,
            ),
        )
        if wiring.ranks != self.ranks:
            raise InputError(
                f"system {self.name}: fabric {self.fabric} has {wiring.ranks} ranks, "
                f"not {self.ranks}"
            )
        return wiring

    @cached_property
    def topology(self) -> Topology:
        """The fabric with usable bandwidths."""
        if self.kind == "graph":
            return build(self._wiring)
        if self.kind == "mesh":
            return mesh(
                self.rows,
                self.columns,
                bandwidth_Bps=self.link_GBps * self.link_efficiency * 1e9,
                latency_s=self.link_latency_us * 1e-6,
            )
        return cluster(
            self.ranks,
            self.node_size,
            intra_Bps=self.link_GBps * self.link_efficiency * 1e9,
            inter_Bps=self.nic_GBps * self.nic_efficiency * 1e9,
            intra_latency_s=self.link_latency_us * 1e-6,
            inter_latency_s=self.nic_latency_us * 1e-6,
        )

    @cached_property
    def _plans(self) -> dict[str, CommPlan]:
        return {}

    def plan(self, dedup: str) -> CommPlan:
        """Return the message layout for a dedup mode, made once."""
        if dedup not in self._plans:
            self._plans[dedup] = plan_communication(self.topology, dedup)
        return self._plans[dedup]

    @property
    def num_nodes(self) -> int:
        """Nodes in use; a wafer is one."""
        if self.kind == "graph":
            return -(-self.ranks // self._wiring.node_size)
        return 1 if self.kind == "mesh" else -(-self.ranks // self.node_size)

    def default_dedup(self, phase: str) -> str:
        """Return the copies the usual kernel of this phase makes."""
        return self.dedup["one_node" if self.num_nodes == 1 else phase]

    def copy_bytes(self, width: int) -> tuple[float, float]:
        """Return bytes of one dispatched and one combined copy of a token of `width` elements."""
        dispatch = width * DTYPE_BYTES[self.dispatch_dtype] + self.header_bytes
        if DTYPE_BYTES[self.dispatch_dtype] <= 1:
            dispatch += -(-width // self.scale_block) * self.scale_bytes
        return dispatch, width * DTYPE_BYTES[self.combine_dtype]

    def weight_dtype(self, model: ModelSpec) -> str:
        """Return the dtype of the experts: the model's if the device has it, else bf16 or fp16."""
        for dtype in (model.weight_dtype, "bf16"):
            if dtype in self.peak_tflops:
                return dtype
        return "fp16"  # devices older than bf16

    def compute_constants(
        self, model: ModelSpec, phase: str, dtype: str | None = None
    ) -> tuple[float, float, float]:
        """Return (a, b, β) of DESIGN §5: seconds per layer, per activated expert, per token.

        a is the kernel floor; b streams one expert's weights from HBM,
        ``bytes / (hbm_GBps · hbm_efficiency)``; β is ``2 · parameters / (peak ·
        flops_efficiency)``. One token costs two operations per parameter.

        Raises
        ------
        InputError
            If the device has no peak for the dtype.
        """
        dtype = dtype or self.weight_dtype(model)
        if dtype not in self.peak_tflops:
            raise InputError(
                f"system {self.name} does not compute in {dtype}; it has "
                f"{', '.join(self.peak_tflops)}"
            )
        expert_bytes = model.expert_params * DTYPE_BYTES[dtype]
        b = expert_bytes / (self.hbm_GBps * 1e9 * self.hbm_efficiency)
        beta = 2 * model.expert_params / (self.peak_tflops[dtype] * 1e12 * self.flops_efficiency)
        return self.kernel_floor_us[phase] * 1e-6, b, beta

    def non_expert_bytes(self, model: ModelSpec, dtype: str) -> float:
        """Return bytes of attention, embedding, dense and shared-expert weights on each rank.

        Zero where the model's total is not published (then nothing can be counted).
        """
        if self.non_expert == "none" or model.non_expert_params is None:
            return 0.0
        total = float(model.non_expert_params) * DTYPE_BYTES[dtype]
        return total / self.ranks if self.non_expert == "sharded" else total

    def expert_memory_bytes(self, model: ModelSpec, dtype: str) -> float:
        """Return the bytes of a rank's HBM that are left for experts."""
        usable = self.hbm_GB * 1e9 * (1 - self.reserve_fraction) - self.kv_cache_GB * 1e9
        return usable - self.non_expert_bytes(model, dtype)
