"""Measured tables: the CSV files of aiconfigurator's systems data, and files of your own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.csv_rows import columns, read_rows
from moeplace.hwmodels.calibrate.families import get_family
from moeplace.hwmodels.calibrate.points import CommPoint, ExpertPoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from moeplace.hwmodels.calibrate.csv_rows import Row

# Words in a device's name, most special first, and the system they stand for.
DEVICES = (
    ("GB300", "gb300-nvl72"),
    ("GB200", "gb200-nvl72"),
    ("B300", "b300-sxm"),
    ("B200", "b200-sxm"),
    ("H200", "h200-sxm"),
    ("H800", "h800-sxm"),
    ("H100", "h100-sxm"),
    ("A100", "a100-sxm"),
    ("MI300X", "mi300x"),
    ("MI355X", "mi355x"),
    ("910C", "ascend-910c"),
    ("ASCEND A3", "ascend-910c"),
)
NODE_SIZES = {"gb200-nvl72": 72, "gb300-nvl72": 72, "ascend-910c": 384}
DEFAULT_NODE_SIZE = 8
OWN_COMM = ("family", "op", "ranks", "tokens_per_rank", "time_us")
OWN_EXPERT = ("phase", "ranks", "tokens", "time_us")


@dataclass(frozen=True)
class Table:
    """What a file holds.

    Attributes
    ----------
    comm, expert
        Points of all-to-all and of expert kernels.
    anomalies
        (point, rule) of points that a named rule of
        :mod:`moeplace.hwmodels.calibrate.anomalies` takes out.
    """

    comm: list[CommPoint] = field(default_factory=list)
    expert: list[ExpertPoint] = field(default_factory=list)
    anomalies: list[tuple[CommPoint | ExpertPoint, str]] = field(default_factory=list)


def system_of_device(name: str) -> str | None:
    """Return the system that a device's name stands for, None if no name is known."""
    upper = name.upper()
    return next((system for word, system in DEVICES if word in upper), None)


def node_size_of(system: str) -> int:
    """Return the ranks that share a system's fast tier."""
    return NODE_SIZES.get(system, DEFAULT_NODE_SIZE)


def read_table(path: str | Path, system: str | None = None) -> Table:
    """Read a table of any known form and take out its anomalies.

    Parameters
    ----------
    path
        CSV. Known are the DeepEP, NCCL, TensorRT-LLM all-to-all and SGLang expert tables of
        aiconfigurator, told apart by their columns, and files of your own with the columns
        ``family, op, ranks, tokens_per_rank, time_us`` (and ``hidden, top_k, experts, groups,
        top_groups, dtype, sms, api, node_size, system, bytes``) or ``phase, ranks, tokens,
        time_us`` (and ``skew, hidden, inter, top_k, experts, dtype, system``). A ``.json`` file is
        one of ``hw validate --layers``: its even sweeps of expert kernels are read.
    system
        Catalogue name; default: from the column ``device`` or ``system``.

    Raises
    ------
    InputError
        If the columns are those of no known table or a row is wrong; with the line.
    """
    from moeplace.hwmodels.calibrate.anomalies import split_anomalies

    if str(path).endswith(".json"):
        from moeplace.hwmodels.calibrate.layer_tables import read_layer_sweeps

        return Table(expert=read_layer_sweeps(path, system))
    rows = read_rows(path)
    have = columns(rows)
    reader = next((read for needs, read in READERS if set(needs) <= have), None)
    if reader is None:
        raise InputError(
            f"{path}: columns of no known table; own measurements need {', '.join(OWN_COMM)} "
            f"or {', '.join(OWN_EXPERT)}"
        )
    comm: list[CommPoint] = []
    expert: list[ExpertPoint] = []
    notify: list[float] = []
    for row in rows:
        for point, extra in reader(row, system):
            if isinstance(point, CommPoint):
                comm.append(point)
                notify.append(extra)
            else:
                expert.append(point)
    return split_anomalies(comm, notify, expert)


def _system(row: Row, given: str | None) -> str:
    if given is not None:
        return given
    if "system" in row.fields:
        return row.text("system")
    name = row.text("device", "")
    known = system_of_device(name)
    if known is None:
        raise InputError(f"{row.where}: device {name!r} is no known one; give the system")
    return known


Points = list[tuple[CommPoint | ExpertPoint, float]]


def _deepep(row: Row, system: str, suffix: str, family: str) -> Points:
    nodes = row.whole("node_num")
    size = DEFAULT_NODE_SIZE
    points: Points = []
    for op, dtype in (("dispatch", "fp8"), ("combine", "bf16")):
        notify = f"{op}_notify_us"
        points.append(
            (
                CommPoint(
                    system=system,
                    family=family,
                    op=op,
                    ranks=nodes * size,
                    node_size=max(size, node_size_of(system)),
                    tokens=row.whole("num_token"),
                    hidden=row.whole("hidden_size"),
                    top_k=row.whole("num_topk"),
                    experts=row.whole("num_experts"),
                    dtype=dtype,
                    sms=row.whole(f"{op}_sms", 0, least=0),
                    measured_us=row.positive(f"{op}{suffix}"),
                    source=row.where,
                ),
                row.number(notify, 0.0),
            )
        )
    return points


def _low_latency(row: Row, system: str | None) -> Points:
    return _deepep(row, _system(row, system), "_avg_t_us", "deepep-low-latency")


def _normal(row: Row, system: str | None) -> Points:
    return _deepep(row, _system(row, system), "_transmit_us", "deepep-normal")


def _nccl(row: Row, system: str | None) -> Points:
    if row.text("op_name") != "alltoall":
        return []
    name = _system(row, system)
    width = 2 if row.text("nccl_dtype") == "half" else 1
    point = CommPoint(
        system=name,
        family="nccl",
        op="alltoall",
        ranks=row.whole("num_gpus"),
        node_size=node_size_of(name),
        tokens=1,
        payload=row.whole("message_size") * float(width),
        measured_us=row.positive("latency") * 1e3,
        source=row.where,
    )
    return [(point, 0.0)]


TRTLLM_DTYPES = {"fp8": "fp8", "nvfp4": "nvfp4", "bfloat16": "bf16"}


def _trtllm(row: Row, system: str | None) -> Points:
    op = row.text("op_name").removeprefix("alltoall_")
    name = _system(row, system)
    dtype = row.text("moe_dtype")
    if dtype not in TRTLLM_DTYPES:
        raise InputError(f"{row.where}: moe_dtype {dtype!r} is none of {', '.join(TRTLLM_DTYPES)}")
    payload = TRTLLM_DTYPES[dtype]
    if op == "combine_low_precision":
        op = "combine-fp4"
    elif op == "combine":
        payload = "bf16"
    sided = row.text("kernel_source")
    point = CommPoint(
        system=name,
        family="nvlink-rack" if sided == "NVLinkTwoSided" else "nvlink-rack-one-sided",
        op=op,
        ranks=row.whole("moe_ep_size"),
        node_size=node_size_of(name),
        tokens=row.whole("num_tokens"),
        hidden=row.whole("hidden_size"),
        top_k=row.whole("topk"),
        experts=row.whole("num_experts"),
        dtype=payload,
        measured_us=row.positive("latency") * 1e3,
        source=row.where,
    )
    return [(point, 0.0)]


def _experts(row: Row, system: str | None) -> Points:
    law = row.text("distribution")
    match = re.fullmatch(r"uniform|power_law_([0-9.]+)", law)
    if match is None:
        raise InputError(f"{row.where}: distribution {law!r} is neither uniform nor power_law_X")
    op = row.text("op_name")
    if op not in ("moe_context", "moe_generation"):
        raise InputError(f"{row.where}: op_name {op!r} is neither moe_context nor moe_generation")
    point = ExpertPoint(
        system=_system(row, system),
        phase="prefill" if op == "moe_context" else "decode",
        ranks=row.whole("moe_ep_size"),
        tokens=row.whole("num_tokens"),
        skew=float(match[1] or 0),
        hidden=row.whole("hidden_size"),
        inter=row.whole("inter_size"),
        top_k=row.whole("topk"),
        experts=row.whole("num_experts"),
        dtype="fp8" if row.text("moe_dtype").startswith("fp8") else row.text("moe_dtype"),
        measured_us=row.positive("latency") * 1e3,
        source=row.where,
    )
    return [(point, 0.0)]


def _own_comm(row: Row, system: str | None) -> Points:
    name = _system(row, system)
    ranks, top_k, experts = row.whole("ranks"), row.whole("top_k", 8), row.whole("experts", 256)
    if top_k > experts:
        raise InputError(f"{row.where}: top_k {top_k} of {experts} experts")
    op = row.text("op")
    if op not in ("dispatch", "combine", "alltoall", "prepare"):
        raise InputError(f"{row.where}: op {op!r} is none of dispatch, combine, alltoall, prepare")
    point = CommPoint(
        system=name,
        family=get_family(row.text("family")).name,
        op=op,
        ranks=ranks,
        node_size=row.whole("node_size", node_size_of(name)),
        tokens=row.whole("tokens_per_rank"),
        hidden=row.whole("hidden", 7168),
        top_k=top_k,
        experts=experts,
        groups=row.whole("groups", 1),
        top_groups=row.whole("top_groups", 1),
        dtype=row.text("dtype", "fp8" if op == "dispatch" else "bf16"),
        sms=row.whole("sms", 0, least=0),
        api=row.text("api", "kernel"),
        payload=row.number("bytes", 0.0),
        measured_us=row.positive("time_us"),
        source=row.where,
    )
    return [(point, 0.0)]


def _own_expert(row: Row, system: str | None) -> Points:
    phase = row.text("phase")
    if phase not in ("prefill", "decode"):
        raise InputError(f"{row.where}: phase {phase!r} is neither prefill nor decode")
    ranks, experts = row.whole("ranks"), row.whole("experts", 256)
    if ranks > experts:
        raise InputError(f"{row.where}: {ranks} ranks share {experts} experts; at most one each")
    point = ExpertPoint(
        system=_system(row, system),
        phase=phase,
        ranks=ranks,
        tokens=row.whole("tokens"),
        skew=row.number("skew", 0.0),
        hidden=row.whole("hidden", 7168),
        inter=row.whole("inter", 2048),
        top_k=row.whole("top_k", 8),
        experts=experts,
        dtype=row.text("dtype", "bf16"),
        measured_us=row.positive("time_us"),
        source=row.where,
    )
    return [(point, 0.0)]


READERS: Sequence[tuple[tuple[str, ...], Callable[[Row, str | None], Points]]] = (
    (("dispatch_transmit_us", "combine_transmit_us", "dispatch_sms"), _normal),
    (("dispatch_avg_t_us", "combine_avg_t_us"), _low_latency),
    (("nccl_dtype", "num_gpus", "message_size", "latency"), _nccl),
    (("op_name", "kernel_source", "moe_dtype", "moe_tp_size", "latency"), _experts),
    (("op_name", "kernel_source", "moe_dtype", "latency"), _trtllm),
    (OWN_COMM, _own_comm),
    (OWN_EXPERT, _own_expert),
)
