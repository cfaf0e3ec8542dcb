"""What the page's script reads: arrays of every view and layer, and the drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.cli.report.coactivation import (
    LIMIT,
    detailed_layers,
    expert_lift,
    groups_of_ranks,
    pairs_of,
    rank_lift,
)
from moeplace.cli.report.drawing import draw_system
from moeplace.cli.report.packing import Packer
from moeplace.cli.report.words import TERMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.cli.report.gather import Gathered
    from moeplace.cli.report.replicas import Replicated

FINE = 200_000  # entries of (layers, links) that get two bytes each; larger ones get one
LAYER_ARRAYS = ("layer_balancedness", "layer_copies", "layer_hops", "layer_objective")


def payload_of(gathered: Gathered, replicas: Sequence[Replicated]) -> dict[str, Any]:
    """Return the JSON document of a report.

    Arrays are named ``VIEW.NAME`` with the names of :class:`~moeplace.placement.Score`; times
    are in seconds, ``link_s`` is dispatch bytes over usable bandwidth.
    """
    problem, packer = gathered.problem, Packer()
    for view in gathered.views:
        _add_view(gathered, packer, view.key)
    packer.add("load", problem.load_share * problem.num_experts)
    if gathered.bound_layers is not None:
        packer.add("bound", gathered.bound_layers)
    _add_replicas(packer, replicas)
    topology = problem.system.topology
    return {
        "objective": problem.objective,
        "layers": gathered.layer_ids,
        "views": [{"key": view.key, "label": view.label} for view in gathered.views],
        "ranks": problem.num_ranks,
        "experts": problem.num_experts,
        "tokens": problem.tokens,
        "nodes": topology.node_of_rank.tolist(),
        "links": list(topology.link_names),
        "bandwidth": [float(f"{rate:.6g}") for rate in topology.bandwidth_Bps],
        "drawing": draw_system(problem.system).to_dict(),
        "rankOfSlot": [view.placement.rank_of_slot.tolist() for view in gathered.views],
        "coactivation": _add_coactivation(gathered, packer),
        "replicas": len(replicas),
        "arrays": packer.to_dict(),
    }


def _add_view(gathered: Gathered, packer: Packer, key: str) -> None:
    view, score = gathered.view(key), gathered.view(key).score
    packer.add(f"{key}.rank_load", score.rank_load)
    packer.add(f"{key}.rank_compute_s", score.rank_compute_s)
    bandwidth = gathered.problem.system.topology.bandwidth_Bps
    link_s = score.link_bytes / bandwidth
    packer.add(f"{key}.link_s", link_s, "uint16" if link_s.size <= FINE else "uint8")
    for term in TERMS:
        packer.add(f"{key}.layer_{term}_s", getattr(score, f"layer_{term}_s"))
    for name in LAYER_ARRAYS:
        packer.add(f"{key}.{name}", getattr(score, name))
    packer.add(f"{key}.expert_of_slot", view.placement.expert_of_slot, "int16", exact=True)


def _add_replicas(packer: Packer, replicas: Sequence[Replicated]) -> None:
    if not replicas:
        return
    whole: dict[str, list[int]] = {
        "row": [r.row for r in replicas],
        "expert": [r.expert for r in replicas],
        "known": [int(r.dropped_s is not None) for r in replicas],
        "fullest": [-1 if r.fullest is None else r.fullest for r in replicas],
    }
    for name, numbers in whole.items():
        packer.add(f"replica.{name}", np.array(numbers), "int16", exact=True)
    packer.add("replica.dropped_s", np.array([r.dropped_s or 0.0 for r in replicas]))
    packer.add("replica.fullest_load", np.array([r.fullest_load or 0.0 for r in replicas]))


def _add_coactivation(gathered: Gathered, packer: Packer) -> dict[str, Any] | None:
    """Put heat maps in: by rank for every layer and view, by expert for some layers."""
    problem = gathered.problem
    pairs = pairs_of(problem)
    if pairs is None:
        return None
    for view in gathered.views:
        lift = rank_lift(problem, view.placement, pairs)
        packer.add(f"{view.key}.lift", _centered(lift), "uint8", exact=True)
    rows = detailed_layers(problem, int(gathered.found.score.layer_time_s.argmax()))
    upper = np.triu_indices(problem.num_experts)
    fine = np.stack([expert_lift(problem, pairs, row)[upper] for row in rows])
    packer.add("expert_lift", _centered(fine), "uint8", exact=True)
    return {
        "kind": problem.workload.token_sets_kind,
        "groups": groups_of_ranks(problem.num_ranks).tolist(),
        "rows": rows,
        "limit": LIMIT,
    }


def _centered(lift: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return lifts as whole steps 0..254 around 127, so that 0 and the limits are exact."""
    return np.asarray(np.rint(lift / LIMIT * 127) + 127)
