"""Tokens per second of a whole model: layer times plus plain models of attention and dense parts.

What is not modelled: sampling, scheduling, KV transfer, multi-token prediction, cache hits, CPU
launches. Communication inside a running server is slower than alone by `in_situ_factor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.points import CommPoint
from moeplace.hwmodels.calibrate.siblings import SIBLINGS, find_kernel
from moeplace.models import DTYPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moeplace.hwmodels.calibrate.expert_fits import ExpertFit
    from moeplace.hwmodels.calibrate.kernels import CommKernel, Key
    from moeplace.hwmodels.system import System
    from moeplace.models import ModelSpec

DENSE_EFFICIENCY = 0.6  # share of the dense peak that large GEMMs reach; 0.73-0.81 on an H200
ATTENTION_EFFICIENCY = 0.4  # share of the bf16 peak that attention kernels reach
# Multi-head latent attention of DeepSeek-V3 (config.json): 128 heads; queries and keys of 192,
# values of 128; the cache holds 512 + 64 values per token and layer.
HEADS = 128
QK_WIDTH, V_WIDTH = 192, 128
LATENT_QK, LATENT_V = 576, 512
CACHE_VALUES = 576


@dataclass(frozen=True)
class Estimate:
    """Seconds of one step of one GPU's tokens, summed over layers, and the throughput.

    Attributes
    ----------
    tokens_per_s
        Per GPU.
    step_s
        Whole step.
    attention_s, dense_s, expert_s, communication_s
        Terms; communication with the in-situ factor in it.
    notes
        What was assumed.
    """

    tokens_per_s: float
    step_s: float
    attention_s: float
    dense_s: float
    expert_s: float
    communication_s: float
    notes: tuple[str, ...]


def estimate(
    model: ModelSpec,
    system: System,
    phase: str,
    tokens_per_rank: int,
    context_tokens: int,
    *,
    redundant: int = 0,
    imbalance: float = 1.0,
    in_situ_factor: float = 1.0,
    overlap: bool = False,
    expert_dtype: str | None = None,
    kernels: Mapping[Key, CommKernel] | None = None,
    experts: Sequence[ExpertFit] | None = None,
) -> Estimate:
    """Estimate the throughput of one GPU.

    Parameters
    ----------
    model, system
        `system.ranks` is the EP size; attention is data parallel.
    phase
        ``prefill`` or ``decode``.
    tokens_per_rank
        Tokens of a step on each GPU; in decode the batch.
    context_tokens
        Prompt length in prefill, length of the cache in decode.
    redundant
        Redundant experts; replicas of all experts share the tokens evenly.
    imbalance
        Pairs of the fullest rank over the mean.
    in_situ_factor
        Communication in a running server over the kernel alone; 1.3 to 2.8 were measured.
    overlap
        Two micro-batches: a layer takes the longer of compute and communication.
    expert_dtype
        Of the experts; default: the model's where the device has it.
    kernels, experts
        Fitted constants; default: those that ship.

    Raises
    ------
    InputError
        If no kernel is known for the system, or a figure is out of range.
    """
    if phase not in ("prefill", "decode"):
        raise InputError(f"unknown phase {phase!r}: use prefill or decode")
    if min(tokens_per_rank, context_tokens) < 1 or min(imbalance, in_situ_factor) < 1:
        raise InputError("tokens, context, imbalance and in-situ factor must be at least 1")
    if model.active_params is None:
        raise InputError(f"model {model.name}: the parameters per token are not known")
    notes: list[str] = []
    comm = _communication_s(model, system, phase, tokens_per_rank, kernels, notes)
    dtype = expert_dtype or system.weight_dtype(model)
    pairs = tokens_per_rank * model.top_k * imbalance
    slots = (model.num_experts + redundant) / system.ranks
    expert = _expert_s(model, system, phase, dtype, pairs, slots, experts, notes)
    attention = _attention_s(model, system, phase, tokens_per_rank, context_tokens, notes)
    dense = _dense_s(model, system, phase, tokens_per_rank)
    layers, every = model.num_moe_layers, model.num_layers
    comm_s, expert_s = comm * in_situ_factor * layers, expert * layers
    compute_s = expert_s + attention * every + dense
    step = max(compute_s, comm_s) if overlap else compute_s + comm_s
    return Estimate(
        tokens_per_s=tokens_per_rank / step,
        step_s=step,
        attention_s=attention * every,
        dense_s=dense,
        expert_s=expert_s,
        communication_s=comm_s,
        notes=tuple(dict.fromkeys(notes)),
    )


def _communication_s(
    model: ModelSpec,
    system: System,
    phase: str,
    tokens: int,
    kernels: Mapping[Key, CommKernel] | None,
    notes: list[str],
) -> float:
    """Return dispatch and combine of one layer, the kernels alone."""
    if kernels is None:
        from moeplace.hwmodels.calibrate.store import shipped_kernels

        kernels = {kernel.identity: kernel for kernel in shipped_kernels()[0]}
    family = "deepep-normal" if phase == "prefill" else "deepep-low-latency"
    rack = system.num_nodes == 1 and system.node_size > 8
    total = 0.0
    for op, dtype in (("dispatch", "fp8"), ("combine", "bf16")):
        point = CommPoint(
            system=system.name,
            family="nvlink-rack" if rack else family,
            op=op,
            ranks=system.ranks,
            node_size=system.node_size,
            tokens=tokens,
            hidden=model.payload_size,
            top_k=model.top_k,
            experts=model.num_experts,
            groups=model.n_group,
            top_groups=model.topk_group,
            dtype=dtype,
            sms=24 if phase == "prefill" and not rack else 0,
        )
        kernel, why = find_kernel(point, kernels)
        if kernel is None:
            raise InputError(f"no estimate: {why}")
        if why != "own fit":
            notes.append(why)
        if (outside := kernel.outside(point)) is not None:
            notes.append(f"{point.family}: {outside}")
        total += kernel.predict_us(point) * 1e-6
    return total


def _expert_s(
    model: ModelSpec,
    system: System,
    phase: str,
    dtype: str,
    pairs: float,
    slots: float,
    experts: Sequence[ExpertFit] | None,
    notes: list[str],
) -> float:
    """Return the expert kernels of the fullest rank, its pairs spread evenly over its slots."""
    if experts is None:
        from moeplace.hwmodels.calibrate.store import shipped_kernels

        experts = shipped_kernels()[1]
    names = [system.name]
    while names[-1] in SIBLINGS:
        names.append(SIBLINGS[names[-1]][0])
    found = [fit for name in names for fit in experts if (fit.system, fit.phase) == (name, phase)]
    if not found:
        raise InputError(f"no estimate: no fitted expert kernel of {phase} on {system.name}")
    fit = found[0]
    params = 3 * fit.shape[0] * fit.shape[1]
    streamed = model.expert_params * DTYPE_BYTES[dtype] / (params * DTYPE_BYTES[fit.dtype])
    if dtype not in system.peak_tflops or fit.dtype not in system.peak_tflops:
        raise InputError(f"no estimate: {system.name} does not compute in {dtype}")
    computed = model.expert_params / params
    computed *= system.peak_tflops[fit.dtype] / system.peak_tflops[dtype]
    if fit.system != system.name:
        notes.append(f"expert kernel of {fit.system}")
    if dtype != fit.dtype:
        notes.append(f"expert kernel in {fit.dtype} scaled to {dtype}")
    kernel = fit.kernel
    active = slots * (1 - (1 - 1 / slots) ** pairs) if slots > 1 else 1.0
    rows = np.ceil(pairs / slots / kernel.tile) * kernel.tile
    each = ((kernel.weight_us * streamed) ** 3 + (kernel.row_us * computed * rows) ** 3) ** (1 / 3)
    return float(kernel.base_us + active * each + kernel.gather_us * pairs) * 1e-6


def _attention_s(
    model: ModelSpec, system: System, phase: str, tokens: int, context: int, notes: list[str]
) -> float:
    """Return scores and values of one layer; weights are in the dense part."""
    notes.append("attention as DeepSeek-V3's latent attention")
    rate = system.peak_tflops["bf16"] * 1e12 * ATTENTION_EFFICIENCY
    if phase == "prefill":
        return 2 * HEADS * (QK_WIDTH + V_WIDTH) * context / 2 * tokens / rate
    flops = 2 * HEADS * (LATENT_QK + LATENT_V) * context * tokens
    read = 2 * CACHE_VALUES * context * tokens / (system.hbm_GBps * 1e9 * system.hbm_efficiency)
    return max(flops / rate, read)


def _dense_s(model: ModelSpec, system: System, phase: str, tokens: int) -> float:
    """Return all weights that every token uses: attention, dense layers, shared experts."""
    active = float(model.active_params or 0.0)
    params = max(active - model.num_moe_layers * model.top_k * model.expert_params, 0.0)
    dtype = system.weight_dtype(model)
    compute = 2 * params * tokens / (system.peak_tflops[dtype] * 1e12 * DENSE_EFFICIENCY)
    stream = params * DTYPE_BYTES[dtype] / (system.hbm_GBps * 1e9 * system.hbm_efficiency)
    return max(compute, stream)
