"""Published figures: what each row asks for, and the prediction in the row's own unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.csv_rows import read_rows
from moeplace.hwmodels.calibrate.points import CommPoint
from moeplace.hwmodels.calibrate.tables import node_size_of, system_of_device
from moeplace.hwmodels.calibrate.terms import copy_kB, distinct_nodes, distinct_ranks

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.hwmodels.calibrate.csv_rows import Row

COLUMNS = ("source", "hw", "system", "phase", "op", "ep", "tokens_per_rank", "metric", "value")
BANDWIDTHS = ("bw", "algo_bw", "logical_bw", "bottleneck_bw")
LATENCIES = ("latency", "median_kernel_us")
END_TO_END = ("throughput",)
APART = ("imbalance",)
DEFAULT_SMS = 24  # DeepEP's own tests

NOT_STATED = ("", "-", "?", "not stated")
DTYPES = (
    ("fp8", "fp8"),
    ("e4m3", "fp8"),
    ("int8", "int8"),
    ("fp4", "nvfp4"),
    ("bf16", "bf16"),
    ("bfloat16", "bf16"),
    ("fp16", "bf16"),
)

# Words of the column `system` and the kernel family they name; the phase decides where None.
KERNELS = (
    ("hybrid", "hybrid-ep"),
    ("uccl", "uccl-ep"),
    ("mori", "mori-ep"),
    ("ascend", "deepep-ascend"),
    ("cann", "cann-ep"),
    ("ibgda", "pplx"),
    ("ibrc", "pplx"),
    ("pplx", "pplx"),
    ("torch", "torch-alltoall"),
    ("nccl ep", "low-latency-or-normal"),
    ("nccl-ep", "low-latency-or-normal"),
    ("deepep v2", "deepep-v2"),
    ("trt", "nvlink-rack"),
    ("deepep", "low-latency-or-normal"),
)
WHY_NOT = {
    "uccl-ep": "UCCL-EP: no measured table of this kernel",
    "mori-ep": "MORI-EP: no measured table of this kernel",
    "deepep-ascend": "DeepEP for Ascend: no measured table of this kernel",
    "cann-ep": "CANN EP: no measured table of this kernel",
    "pplx": "pplx kernels: no measured table of this kernel, and GPU and NIC are not stated",
    "torch-alltoall": "torch all_to_all: no measured table of uneven parts between nodes",
}
# Fabrics between nodes other than the InfiniBand that the systems were measured with.
OTHER_NICS = ("EFA", "POLLARA", "THOR", "ROCE")


@dataclass(frozen=True)
class PublishedRow:
    """A published figure.

    Attributes
    ----------
    source, where
        Publication; file and line.
    kind
        ``comm``, ``end-to-end`` or ``imbalance``.
    metric, value, unit
        The figure.
    point
        What it is the time or bandwidth of, None if it is not modelled.
    counted_kB
        Bytes that the publication divides by the time, kB per rank; 0 for times.
    reason
        Why it is not modelled, or what had to be assumed.
    """

    source: str
    where: str
    kind: str
    metric: str
    value: float
    unit: str
    label: str
    point: CommPoint | None
    counted_kB: float
    reason: str

    def measured_us(self) -> float:
        """Return the time that the figure stands for."""
        return self.value if not self.counted_kB else self.counted_kB / self.value

    def in_unit(self, time_us: float) -> float:
        """Return a time as the figure is published: itself or a bandwidth."""
        return time_us if not self.counted_kB else self.counted_kB / time_us


def read_published(path: str | Path) -> list[PublishedRow]:
    """Read a file with the columns of ``published_points.csv``.

    Raises
    ------
    InputError
        If the file or a row is wrong; with the line.
    """
    return [_read(row) for row in read_rows(path, required=COLUMNS)]


def _read(row: Row) -> PublishedRow:
    metric, value = row.text("metric"), row.positive("value")
    kind = "comm"
    if metric in END_TO_END:
        kind = "end-to-end"
    elif metric in APART:
        kind = "imbalance"
    point: CommPoint | None
    if kind != "comm":
        point, reason = None, kind
    elif metric not in (*BANDWIDTHS, *LATENCIES):
        point, reason = None, f"metric {metric!r} has no model"
    else:
        point, reason = _point(row)
    counted = _counted_kB(row, point) if point is not None and metric in BANDWIDTHS else 0.0
    return PublishedRow(
        source=row.text("source"),
        where=row.where,
        kind=kind,
        metric=metric,
        value=value,
        unit=row.text("unit", ""),
        label=f"{row.text('hw')}, {row.text('system')}, {row.text('phase')} {row.text('op')}",
        point=None if point is None else point.replace(measured_us=_us(value, counted)),
        counted_kB=counted,
        reason=reason,
    )


def _us(value: float, counted_kB: float) -> float:
    return counted_kB / value if counted_kB else value


def _point(row: Row) -> tuple[CommPoint | None, str]:
    system, assumed = _system(row)
    name, phase, note = row.text("system").lower(), row.text("phase").lower(), row.text("note", "")
    family = next((family for word, family in KERNELS if word in name), None)
    if family is None:
        return None, f"kernel {row.text('system')!r} is not known"
    if family in WHY_NOT:
        return None, WHY_NOT[family]
    if system is None:
        return None, f"hardware {row.text('hw')!r} is not known"
    if "in-situ" in phase:
        return None, "measured inside a run that overlaps it with compute: see in_situ_factor"
    op = row.text("op")
    if op not in ("dispatch", "combine"):
        return None, f"operation {op!r} has no model"
    if {row.text("ep", "-"), row.text("tokens_per_rank", "-")} & set(NOT_STATED):
        return None, "EP size or tokens are not stated"
    ranks, tokens = row.whole("ep"), row.whole("tokens_per_rank")
    if family == "low-latency-or-normal":
        low = phase in ("low_latency", "decode") or (phase not in ("normal", "prefill"))
        family = "deepep-low-latency" if low else "deepep-normal"
        if not low and "nccl" in name:
            return None, "NCCL EP, high throughput: no measured table of this kernel"
    node_size = node_size_of(system)
    if family == "deepep-v2" and ranks > node_size and "CX7" in row.text("hw").upper():
        system, assumed = "h100-sxm", "bound by the NIC: the ConnectX-7 of the H100 systems"
    if family == "deepep-low-latency" and "pplx-kernels" in row.text("source"):
        node_size = 1  # DeepEP before it used NVLink in low-latency kernels: EP8 goes over the NIC
        assumed = "every copy over the NIC: figures from before low-latency kernels used NVLink"
    if ranks > node_size and any(nic in row.text("hw").upper() for nic in OTHER_NICS):
        return None, f"network of {row.text('hw')!r}: no measured table of this kernel on it"
    said = row.text("dispatch_dtype" if op == "dispatch" else "combine_dtype", "-").lower()
    if said in NOT_STATED:
        said = "fp8" if op == "dispatch" else "bf16"
    dtype = next((name for word, name in DTYPES if word in said), None)
    if dtype is None:
        return None, f"payload type {said!r} has no model"
    experts, top_k = row.whole("experts", 256), row.whole("topk", 8)
    if top_k > experts:
        raise InputError(f"{row.where}: topk {top_k} of {experts} experts")
    if "local experts" in note and (match := re.search(r"(\d+) local experts", note)):
        experts = ranks * int(match[1])
    groups = re.search(r"top-(\d+) groups", note)
    sms = re.search(r"(\d+) SMs?", note)
    point = CommPoint(
        system=system,
        family=family,
        op=op,
        ranks=ranks,
        node_size=node_size,
        tokens=tokens,
        hidden=row.whole("hidden", 7168),
        top_k=top_k,
        experts=experts,
        groups=8 if groups else 1,
        top_groups=int(groups[1]) if groups else 1,
        dtype=dtype,
        sms=0 if family == "deepep-low-latency" else int(sms[1]) if sms else DEFAULT_SMS,
        api="torch" if "torch" in note.lower() else "kernel",
        source=row.where,
    )
    return point, assumed


def _system(row: Row) -> tuple[str | None, str]:
    """Return the catalogue name, and what had to be assumed."""
    hardware = row.text("hw")
    known = system_of_device(hardware)
    if known is not None:
        return known, ""
    upper = hardware.upper()
    if "SM100" in upper:
        return "b200-sxm", "SM100 taken as B200"
    if "SM90" in upper:
        return "h100-sxm", "SM90 taken as H100"
    if "CX7" in upper or "NOT STATED" in upper:
        return "h100-sxm", "GPU not stated: taken as H100 with ConnectX-7"
    return None, ""


def _counted_kB(row: Row, point: CommPoint) -> float:
    """Return the bytes that the publication counts.

    Low-latency: one copy per (token, expert), local ones too. Otherwise, between nodes, one copy
    per distinct node, and inside one NVLink domain one per distinct rank, the own one included.
    """
    if point.family == "deepep-low-latency":
        return point.tokens * point.top_k * copy_kB(point)
    if point.nodes > 1:
        return point.tokens * distinct_nodes(point) * copy_kB(point)
    return point.tokens * distinct_ranks(point) * copy_kB(point)
