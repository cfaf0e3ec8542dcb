"""Where experts can live: fabrics, devices and the constants they are scored with."""

from __future__ import annotations

from moeplace.hwmodels.catalog import list_aliases, list_systems, load_system
from moeplace.hwmodels.communication import DEDUP_MODES, CommPlan, plan_communication
from moeplace.hwmodels.describe import describe_system, draw_topology
from moeplace.hwmodels.fabrics import edges_of_graph
from moeplace.hwmodels.system import PHASES, System
from moeplace.hwmodels.topology import Topology, cluster, mesh

__all__ = [
    "DEDUP_MODES",
    "PHASES",
    "CommPlan",
    "System",
    "Topology",
    "cluster",
    "describe_system",
    "draw_topology",
    "edges_of_graph",
    "list_aliases",
    "list_systems",
    "load_system",
    "mesh",
    "plan_communication",
]
