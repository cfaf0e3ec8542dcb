"""Packets on a mesh, one event at a time: a second opinion on the closed forms."""

from __future__ import annotations

from moeplace.hwmodels.simulation.comparison import MeshCase, MeshComparison, compare_mesh
from moeplace.hwmodels.simulation.packets import Packet, simulate_mesh

__all__ = ["MeshCase", "MeshComparison", "Packet", "compare_mesh", "simulate_mesh"]
