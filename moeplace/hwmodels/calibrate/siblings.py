"""Systems whose kernels are known from another system with the same fabric."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from moeplace.hwmodels.calibrate.families import get_family
from moeplace.hwmodels.calibrate.forms import Fit
from moeplace.hwmodels.calibrate.kernels import kernel_key, scaled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.hwmodels.calibrate.kernels import CommKernel, Key
    from moeplace.hwmodels.calibrate.points import CommPoint

FAST_TERMS = (
    "pair_fast_kB",
    "rank_fast_kB",
    "rank_kB",
    "rank_remote_kB",
)
# system → (sibling, bytes over the fast tier take this many times as long, why)
SIBLINGS: dict[str, tuple[str, float, str]] = {
    "h800-sxm": (
        "h100-sxm",
        450 / 200,
        "H100: same GPU and NIC, NVLink cut from 450 to 200 GB/s each way",
    ),
    "h200-sxm": ("h100-sxm", 1.0, "H100: same NVLink, NIC and streaming multiprocessors"),
    "b300-sxm": ("b200-sxm", 1.0, "B200: same NVLink 5"),
    "gb300-nvl72": ("gb200-nvl72", 1.0, "GB200: same NVLink 5 rack"),
    "b200-sxm": ("gb200-nvl72", 1.0, "GB200: same NVLink 5 and GPU generation"),
}


def find_kernel(
    point: CommPoint, kernels: Mapping[Key, CommKernel]
) -> tuple[CommKernel | None, str]:
    """Return the kernel for a point and where it comes from, or None and why there is none."""
    key = kernel_key(point)
    if key is None:
        where = "between nodes" if point.nodes > 1 else "inside a node"
        return None, f"{point.family} has no model of {point.op} {where}"
    if key in kernels:
        return kernels[key], "own fit"
    if point.system in SIBLINGS:
        other, factor, why = SIBLINGS[point.system]
        sibling = kernels.get((other, *key[1:]))
        if sibling is not None:
            factors = dict.fromkeys(FAST_TERMS, factor)
            return scaled(sibling, point.system, factors), f"sibling {why}"
    derived = _from_shared(point, key, kernels)
    if derived is not None:
        return derived, "derived from the NIC's rate in another kernel"
    where = "between nodes" if point.nodes > 1 else "inside a node"
    return None, f"no fitted constants of {point.family} {point.op} {where} on {point.system}"


def _from_shared(
    point: CommPoint, key: Key, kernels: Mapping[Key, CommKernel]
) -> CommKernel | None:
    """Return a kernel all of whose constants are those of other kernels on the same fabric."""
    family = get_family(point.family)
    form = family.form(point)
    if form is None or point.nodes == 1 or set(form.terms) != set(family.shared):
        return None
    values = []
    base = None
    for term in form.terms:
        name, between, theirs = family.shared[term]
        base = kernels.get((point.system, name, between, point.op))
        if base is None:
            return None
        values.append(base.fit.values[base.fit.form.terms.index(theirs)])
    if base is None:
        return None
    return replace(
        base,
        family=point.family,
        key=key[3],
        fit=Fit(form, tuple(values), 1.0),
        ranges={"ranks": base.ranges["ranks"]},
        without={},
    )
