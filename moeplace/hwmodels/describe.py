"""A system in rows and in a small drawing, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.hwmodels.analytic import xy_cut_links
from moeplace.hwmodels.system import NOT_CONSTANTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moeplace.hwmodels.system import System

WIDTH = 80
UNITS = {
    "_GBps": "GB/s",
    "_GB": "GB",
    "_us": "µs",
    "_tflops": "TFLOPS",
    "_bytes": "B",
    "_tokens": "tokens",
    "_block": "values",
    "_efficiency": "share",
    "_fraction": "share",
}


def describe_system(system: System) -> dict[str, Any]:
    """Return what a system is: its constants with sources, and facts of its fabric.

    Returns
    -------
    ``name``, ``kind``, ``summary``, ``ranks``, ``nodes``, ``default_dedup`` by phase, and the
    lists ``constants`` and ``topology`` of rows ``{"name", "value", "unit", "source"}``. A nested
    constant gives one row for each leaf, ``alpha_us.decode.dispatch``.
    """
    return {
        "name": system.name,
        "kind": system.kind,
        "summary": system.summary,
        "ranks": system.ranks,
        "nodes": system.num_nodes,
        "default_dedup": {phase: system.default_dedup(phase) for phase in ("prefill", "decode")},
        "constants": list(_constant_rows(system)),
        "topology": list(_topology_rows(system)),
    }


def draw_topology(system: System) -> str:
    """Return a drawing of the mesh or of the nodes, at most 80 columns wide.

    Large systems are cut in the middle, shown as ``..``.
    """
    if system.kind == "graph":
        return _draw_graph(system)
    return _draw_mesh(system) if system.kind == "mesh" else _draw_nodes(system)


def _constant_rows(system: System) -> Iterator[dict[str, Any]]:
    for field in fields(system):
        if field.name in NOT_CONSTANTS:
            continue
        if field.name in system.sources:
            source = system.sources[field.name]
        elif field.name == "in_situ_factor":
            source = "1 = stand-alone kernels; running servers were measured at 1.3 to 2.8"
        elif field.name == "ranks" and system.kind == "mesh":
            source = "rows x columns"
        else:
            continue
        for name, value in _leaves(field.name, getattr(system, field.name)):
            yield {"name": name, "value": value, "unit": _unit(field.name), "source": source}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    else:
        yield name, value


def _unit(name: str) -> str:
    return next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")


def _topology_rows(system: System) -> Iterator[dict[str, Any]]:
    topology = system.topology
    ranks = topology.num_ranks
    hops = topology.hops()
    load = np.bincount(topology.route_links, minlength=topology.num_links)
    busiest = int(load.argmax()) if load.size else -1
    routes = "counted over all routes"
    pairs = max(ranks * (ranks - 1), 1)
    rows: list[tuple[str, float, str, str]] = [
        ("directed links", topology.num_links, "", "topology"),
        ("diameter", int(hops.max()), "links", routes),
        ("mean route", float(hops.sum() / pairs), "links", routes),
        (
            "uniform all-to-all, most loaded link",
            int(load[busiest]) if busiest >= 0 else 0,
            "messages",
            f"{routes}: {topology.link_names[busiest]}" if busiest >= 0 else routes,
        ),
        (
            "uniform all-to-all, mean link",
            float(load.mean()) if load.size else 0.0,
            "messages",
            routes,
        ),
        ("bisection", _bisection_GBps(system), "GB/s", "usable, each way, across the middle"),
    ]
    for name, value, unit, source in rows:
        yield {"name": name, "value": value, "unit": unit, "source": source}


def _bisection_GBps(system: System) -> float:
    """Return the usable bandwidth across the middle of the system in one direction."""
    link = system.link_GBps * system.link_efficiency
    if system.kind == "mesh":
        return xy_cut_links(system.rows, system.columns) * link
    if system.kind == "graph":
        return _halves_GBps(system)
    if system.num_nodes == 1:
        return system.ranks // 2 * link
    half = system.num_nodes // 2 * system.node_size
    return min(half, system.ranks - half) * system.nic_GBps * system.nic_efficiency


def _halves_GBps(system: System) -> float:
    """Return the even all-to-all rate from the lower half of the ranks to the upper half.

    On a graph the cut is not known; the busiest link of the routes across decides.
    """
    topology = system.topology
    half = system.ranks // 2
    load = np.zeros(topology.num_links)
    for source in range(half):
        for destination in range(half, system.ranks):
            load[topology.route(source, destination)] += 1
    if not load.any():
        return 0.0
    rate = (topology.bandwidth_Bps[load > 0] / load[load > 0]).min()
    return float(half * (system.ranks - half) * rate / 1e9)


def _cut(count: int, most: int) -> list[int]:
    """Return the indices to show of 0..count-1; -1 stands for the ones left out."""
    if count <= most:
        return list(range(count))
    return [*range(most - 2), -1, count - 1]


def _draw_mesh(system: System) -> str:
    digits = len(str(system.ranks - 1))
    columns = _cut(system.columns, (WIDTH + 4) // (digits + 4))
    lines: list[str] = []
    for row in _cut(system.rows, 12):
        if row < 0:
            lines.append("..".rjust(digits))
        else:
            names = [
                "..".rjust(digits) if c < 0 else str(row * system.columns + c).rjust(digits)
                for c in columns
            ]
            lines.append(" -- ".join(names))
        lines.append("    ".join("|".rjust(digits) for _ in columns))
    legend = (
        f"each link {_plain(system.link_GBps)} GB/s each way, "
        f"{_plain(system.link_latency_us * 1e3)} ns a hop"
    )
    return "\n".join([*lines[:-1], legend])


def _draw_graph(system: System) -> str:
    """List what every vertex is joined to, by vertex."""
    topology = system.topology
    joined: dict[str, list[str]] = {}
    for name, rate in zip(topology.link_names, topology.bandwidth_Bps, strict=True):
        start, end = name.split("->")
        joined.setdefault(start, []).append(f"{end} ({_plain(rate / 1e9)})")
    lines = []
    names = list(joined)
    for number in _cut(len(names), 24):
        if number < 0:
            lines.append("  ..")
            continue
        shown = _cut(len(joined[names[number]]), 5)
        ends = ", ".join(".." if k < 0 else joined[names[number]][k] for k in shown)
        lines.append(f"{names[number]:>10} -- {ends}")
    lines.append(f"{system.fabric or 'graph'}: neighbors and usable GB/s each way")
    return "\n".join(lines)


def _draw_nodes(system: System) -> str:
    digits = len(str(system.ranks - 1))
    lines: list[str] = []
    for node in _cut(system.num_nodes, 12):
        if node < 0:
            lines.append("  ..")
            continue
        first = node * system.node_size
        size = min(system.node_size, system.ranks - first)
        shown = _cut(size, min(16, (WIDTH - 20) // (digits + 1)))
        names = ["..".rjust(digits) if r < 0 else str(first + r).rjust(digits) for r in shown]
        lines.append(f"node {node:<4} [ {' '.join(names)} ]")
    inside, between = _plain(system.link_GBps), _plain(system.nic_GBps)
    lines.append(f"inside a node {inside} GB/s per rank each way, through a switch")
    if system.num_nodes > 1:
        lines.append(f"between nodes {between} GB/s per rank each way, one NIC each")
    return "\n".join(lines)


def _plain(value: float) -> str:
    return f"{value:g}" if value < 1e5 else f"{value:.0f}"
