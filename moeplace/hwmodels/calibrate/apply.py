"""A system scored with fitted kernels instead of the catalogue's constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.families import get_family
from moeplace.hwmodels.calibrate.points import CommPoint
from moeplace.hwmodels.calibrate.siblings import SIBLINGS, find_kernel
from moeplace.hwmodels.calibrate.store import load_kernels, shipped_kernels
from moeplace.hwmodels.calibrate.terms import quantities
from moeplace.models import DTYPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moeplace.hwmodels.calibrate.expert_fits import ExpertFit
    from moeplace.hwmodels.calibrate.kernels import CommKernel
    from moeplace.hwmodels.system import System
    from moeplace.models import ModelSpec

SHIPPED = "shipped"
FAMILIES_OF_PHASE = {
    "prefill": ("nvlink-rack", "deepep-normal"),
    "decode": ("nvlink-rack", "deepep-low-latency"),
}
# What a plan puts on the links, by dedup and tier, as terms of the kernels.
BYTES = {
    ("none", True): "pair_nic_kB",
    ("node", True): "node_nic_kB",
    ("none", False): "pair_fast_kB",
    ("rank", False): "rank_fast_kB",
}
SMS = 24


def calibrate_system(
    system: System,
    model: ModelSpec,
    tokens_per_rank: Mapping[str, int],
    calibration: str = SHIPPED,
) -> tuple[System, list[str]]:
    """Return the system with the constants of fitted kernels, by phase, and what to tell the user.

    A kernel is made into DESIGN §5's form at this model, EP size and batch: its costs become α,
    the time of its slowest resources becomes the usable rate of the NIC (several nodes) or of the
    fast tier (one node), such that uniform routing takes as long as the kernel says. Expert
    kernels give floor, weight and row rates; their rounded corner becomes a sharp one.

    Parameters
    ----------
    system, model
        What to score with; the model gives the shape.
    tokens_per_rank
        Batch by phase, for costs that depend on it.
    calibration
        ``shipped``, or a file written by ``moeplace hw calibrate -o``.

    Raises
    ------
    InputError
        If no kernel of either phase is known for the system, or the file is bad.
    """
    comm, expert = shipped_kernels() if calibration == SHIPPED else load_kernels(calibration)
    notes: list[str] = []
    phases: dict[str, dict[str, Any]] = {}
    for phase, tokens in tokens_per_rank.items():
        found = {
            **_communication(system, model, phase, tokens, comm, notes),
            **_experts(system, phase, expert, notes),
        }
        if found:
            phases[phase] = found
    if not phases:
        raise InputError(
            f"calibration {calibration}: no fitted kernel for {system.name} with {system.ranks} "
            "ranks; `moeplace hw calibrate` fits your own measurements"
        )
    told = f"fitted kernels ({calibration}); `moeplace hw validate` shows their errors"
    changed = dict.fromkeys({name for found in phases.values() for name in found}, told)
    calibrated = system.replace(phases=phases)
    return calibrated.replace(sources={**system.sources, **changed}), list(dict.fromkeys(notes))


def _communication(
    system: System,
    model: ModelSpec,
    phase: str,
    tokens: int,
    comm: Sequence[CommKernel],
    notes: list[str],
) -> dict[str, Any]:
    kernels = {kernel.identity: kernel for kernel in comm}
    for name in FAMILIES_OF_PHASE[phase]:
        alpha: dict[str, float] = {}
        kB = slow_us = 0.0
        several = system.num_nodes > 1
        dedup = get_family(name).dedup
        if not several and dedup == "node":
            dedup = "rank"
        for op, dtype in (("dispatch", "fp8"), ("combine", "bf16")):
            point = CommPoint(
                system=system.name,
                family=name,
                op=op,
                ranks=system.ranks,
                node_size=system.node_size or system.ranks,
                tokens=tokens,
                hidden=model.payload_size,
                top_k=model.top_k,
                experts=model.num_experts,
                groups=model.n_group,
                top_groups=model.topk_group,
                dtype=dtype,
                sms=SMS if name == "deepep-normal" else 0,
            )
            kernel, why = find_kernel(point, kernels)
            if kernel is None:
                break
            outside = kernel.outside(point)
            if outside is not None:
                notes.append(f"{name} {op}: {outside} of its measurements; take it with care")
            if why not in ("own fit",):
                notes.append(f"{name} {op}: constants of {why}")
            parts = quantities([point], kernel.fit.form.terms)[0]
            costs = len(kernel.fit.form.costs)
            alpha[op] = float(parts[:costs] @ kernel.fit.values[:costs])
            slow_us += kernel.predict_us(point) - alpha[op]
            kB += float(quantities([point], [BYTES[dedup, several]])[0, 0])
        if len(alpha) < 2:
            continue
        rate = system.nic_GBps if several else system.link_GBps
        tier = "nic_efficiency" if several else "link_efficiency"
        return {
            "alpha_us": {**system.alpha_us, phase: alpha},
            tier: kB / slow_us / rate if slow_us > 0 else 1.0,  # 1 kB/µs is 1 GB/s
            "dedup": {**system.dedup, phase if several else "one_node": dedup},
        }
    notes.append(f"no fitted all-to-all of {phase}: the catalogue's constants stay")
    return {}


def _experts(
    system: System, phase: str, expert: Sequence[ExpertFit], notes: list[str]
) -> dict[str, Any]:
    names = [system.name]
    while names[-1] in SIBLINGS and not any(
        fit.system == names[-1] and fit.phase == phase for fit in expert
    ):
        names.append(SIBLINGS[names[-1]][0])
    fit = next((f for f in expert if f.system == names[-1] and f.phase == phase), None)
    if fit is None or fit.dtype not in system.peak_tflops:
        notes.append(f"no fitted expert kernel of {phase}: the catalogue's constants stay")
        return {}
    if fit.system != system.name:
        notes.append(f"expert kernel of {phase}: that of {fit.system}")
    params = 3 * fit.shape[0] * fit.shape[1]
    streamed = params * DTYPE_BYTES[fit.dtype] / (fit.kernel.weight_us * 1e-6)
    computed = 2 * params / (fit.kernel.row_us * 1e-6)
    return {
        "hbm_efficiency": streamed / (system.hbm_GBps * 1e9),
        "flops_efficiency": computed / (system.peak_tflops[fit.dtype] * 1e12),
        "kernel_floor_us": {**system.kernel_floor_us, phase: fit.kernel.base_us},
        "tile_tokens": fit.kernel.tile,
    }
