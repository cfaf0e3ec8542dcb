"""Bytes, operations, memory and seconds of one MoE step under each kind of gating.

``static`` is gating with a capacity (GShard, fairseq): every expert gets the same number of rows
from every rank, empty ones included; the rows are put in place by a product with a mask of
(experts, tokens, capacity). ``sparse`` has the same capacities without mask (Tutel's kernels).
``dynamic`` sends and computes exactly the rows routed (arXiv 2303.06182 §V): argsort and bincount,
one exchange of sizes, one of rows.

The paper's counts are reproduced: work E·C·S against k·S, mask product S²·E·D·C. What a second is
made of is ours; the paper measures and gives no time model.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.models import DTYPE_BYTES
from moeplace.replay.gating.constants import GatingConstants, gating_constants

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec

MODES = ("static", "sparse", "dynamic")


@dataclass(frozen=True, eq=False)
class Gating:
    """A model, where it runs, and how its tokens are routed.

    Attributes
    ----------
    model, system
        What runs where; experts lie on the ranks in order, equally many on each.
    capacity
        C: rows that a rank sends to every expert, as a share of the rank's tokens.
    phase
        ``prefill`` or ``decode``; picks the fixed cost of an exchange.
    load_share
        (experts,) share of the (token, expert) pairs; None for equal shares.
    """

    model: ModelSpec
    system: System
    capacity: float
    phase: str = "prefill"
    load_share: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not self.capacity > 0:
            raise InputError(f"capacity is {self.capacity}; it must be positive")
        experts, ranks = self.model.num_experts, self.system.ranks
        if experts % ranks:
            raise InputError(
                f"{experts} experts do not divide over {ranks} ranks; choose ranks that do"
            )
        if self.load_share is not None and self.load_share.shape != (experts,):
            raise InputError(f"load_share has shape {self.load_share.shape}, ({experts},) expected")

    @property
    def share(self) -> NDArray[np.float64]:
        """(experts,) shares that add to 1."""
        if self.load_share is None:
            return np.full(self.model.num_experts, 1.0 / self.model.num_experts)
        share: NDArray[np.float64] = self.load_share / self.load_share.sum()
        return share


@dataclass(frozen=True)
class GatingCost:
    """One step of a model under one kind of gating; per rank where nothing else is said.

    Attributes
    ----------
    mode
        A name of `MODES`.
    tokens
        S, tokens of a rank.
    rows
        Rows of expert input, mean over ranks.
    waste
        Rows over the k·S that are needed.
    dropped_share
        Share of the (token, expert) pairs above the capacity.
    exchange_bytes
        Bytes a rank sends in one layer, dispatch and combine, its own experts left out.
    gate_flops, expert_flops
        Operations of one layer.
    activation_bytes
        Memory of one layer's mask, rows and inner activations.
    memory_bytes
        Weights and activations together, on the fullest rank.
    gate_s, exchange_s, expert_s
        Seconds of one layer on the slowest rank.
    step_s
        Seconds of all layers, those without experts included.
    """

    mode: str
    tokens: int
    rows: float
    waste: float
    dropped_share: float
    exchange_bytes: float
    gate_flops: float
    expert_flops: float
    activation_bytes: float
    memory_bytes: float
    gate_s: float
    exchange_s: float
    expert_s: float
    step_s: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens of one rank per second."""
        return self.tokens / self.step_s


def waste(model: ModelSpec, capacity: float) -> float:
    """Return E·C/k, rows computed over rows needed with fixed capacities (2303.06182 §IV)."""
    return model.num_experts * capacity / model.top_k


def gating_cost(
    setting: Gating, mode: str, tokens: int, constants: GatingConstants | None = None
) -> GatingCost:
    """Return what one step costs.

    Parameters
    ----------
    setting
        Model, system, capacity and routing.
    mode
        A name of `MODES`.
    tokens
        S, tokens of every rank.
    constants
        Default: the shipped ones.

    Raises
    ------
    InputError
        If there is no such mode, or no token.
    """
    if mode not in MODES:
        raise InputError(f"gating {mode!r} is unknown; use {', '.join(MODES)}")
    if tokens < 1:
        raise InputError(f"tokens per rank is {tokens}; give at least 1")
    known = constants or gating_constants()
    model, system = setting.model, setting.system
    ranks, experts, k = system.ranks, model.num_experts, model.top_k
    dtype = system.weight_dtype(model)
    row_bytes = model.payload_size * DTYPE_BYTES[dtype]
    pairs = setting.share * (k * tokens * ranks)  # (experts,) of all ranks
    per_source = ceil(setting.capacity * tokens)
    if mode == "dynamic":
        served, sent = pairs, float(k * tokens)
        dropped = 0.0
    else:
        served, sent = np.full(experts, float(per_source * ranks)), float(experts * per_source)
        dropped = float(np.maximum(pairs - served, 0.0).sum() / pairs.sum())
    received = served.reshape(ranks, -1).sum(axis=1)  # (ranks,)
    fullest = float(received.max())
    mask_elements = float(tokens) * experts * per_source if mode == "static" else 0.0
    gate_flops = 2 * 2 * mask_elements * model.payload_size
    rows_out, rows_in = _crossing(sent, fullest, ranks)
    crossing = max(rows_out, rows_in) * row_bytes  # the busier direction of the busiest rank
    activation = (
        mask_elements * known.mask_bytes
        + known.live_buffers * max(sent, fullest) * row_bytes
        + float(served.max()) * model.moe_intermediate_size * DTYPE_BYTES[dtype]
    )
    gate_s = (
        gate_flops / _flops(system, dtype)
        + mask_elements * known.mask_bytes * 2 / _hbm_Bps(system)
        + known.index_passes * sent * row_bytes / _hbm_Bps(system)
        + known.gate_launches[mode] * known.launch_s
    )
    exchange_s = _exchange(setting, crossing, sizes_first=mode == "dynamic")
    expert_s = _experts(setting, served, known, certain=mode != "dynamic", tokens=tokens)
    rest_s = model.num_layers * known.layer_launches * known.launch_s + _dense_s(setting, tokens)
    return GatingCost(
        mode=mode,
        tokens=tokens,
        rows=float(served.sum()) / ranks,
        waste=float(served.sum()) / float(pairs.sum()),
        dropped_share=dropped,
        exchange_bytes=2 * rows_out * row_bytes,
        gate_flops=gate_flops,
        expert_flops=2.0 * model.expert_params * float(served.sum()) / ranks,
        activation_bytes=activation,
        memory_bytes=activation + _weight_bytes(setting, dtype),
        gate_s=gate_s,
        exchange_s=exchange_s,
        expert_s=expert_s,
        step_s=model.num_moe_layers * (gate_s + exchange_s + expert_s) + rest_s,
    )


def largest_batch(setting: Gating, mode: str, sequence: int, most: int = 4096) -> int:
    """Return the most sequences of `sequence` tokens whose step fits a rank's memory; 0 if none."""
    room = setting.system.hbm_GB * 1e9 * (1 - setting.system.reserve_fraction)
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        fits = gating_cost(setting, mode, middle * sequence).memory_bytes <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _crossing(sent: float, fullest: float, ranks: int) -> tuple[float, float]:
    """Rows that leave a rank and rows that reach the fullest one, its own left out."""
    others = 1 - 1 / ranks
    return sent * others, fullest * others


def _exchange(setting: Gating, crossing_bytes: float, *, sizes_first: bool) -> float:
    """Dispatch and combine of one layer; both directions of a port work at the same time."""
    system = setting.system
    alpha = system.alpha_us[setting.phase]
    rate = system.link_GBps * system.link_efficiency * 1e9
    seconds = crossing_bytes / rate
    if system.num_nodes > 1:
        away = (system.ranks - system.node_size) / (system.ranks - 1)
        nic = system.nic_GBps * system.nic_efficiency * 1e9
        seconds = max(crossing_bytes * (1 - away) / rate, crossing_bytes * away / nic)
    fixed = alpha["dispatch"] * (2 if sizes_first else 1) + alpha["combine"]
    return 2 * seconds + fixed * 1e-6


def _experts(
    setting: Gating,
    served: NDArray[np.float64],
    known: GatingConstants,
    *,
    certain: bool,
    tokens: int,
) -> float:
    """Seconds of the slowest rank; its experts run one after the other."""
    _, read_s, token_s = setting.system.compute_constants(setting.model, setting.phase)
    active: ArrayLike = 1.0
    if not certain:  # at least one of the tokens of all ranks
        chance = np.minimum(setting.share * setting.model.top_k, 1.0)
        active = 1.0 - (1.0 - chance) ** (tokens * setting.system.ranks)
    seconds = np.maximum(np.asarray(active) * read_s, token_s * served)
    seconds = seconds + np.asarray(active) * known.expert_launches * known.launch_s
    return float(seconds.reshape(setting.system.ranks, -1).sum(axis=1).max())


def _dense_s(setting: Gating, tokens: int) -> float:
    """Arithmetic or weight reads of everything that is no routed expert."""
    model, system = setting.model, setting.system
    dtype = system.weight_dtype(model)
    params = float(model.non_expert_params or 0.0)
    arithmetic = 2 * params * tokens / _flops(system, dtype)
    return max(arithmetic, params * DTYPE_BYTES[dtype] / _hbm_Bps(system))


def _weight_bytes(setting: Gating, dtype: str) -> float:
    model, system = setting.model, setting.system
    routed = model.routed_params / system.ranks * DTYPE_BYTES[dtype]
    return routed + system.non_expert_bytes(model, dtype)


def _flops(system: System, dtype: str) -> float:
    return system.peak_tflops[dtype] * 1e12 * system.flops_efficiency


def _hbm_Bps(system: System) -> float:
    return system.hbm_GBps * 1e9 * system.hbm_efficiency
