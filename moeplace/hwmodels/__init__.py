"""Where experts can live: fabrics, devices and the constants they are scored with."""

from __future__ import annotations

from moeplace.hwmodels.catalog import list_systems, load_system, system_aliases
from moeplace.hwmodels.communication import DEDUP_MODES, CommPlan, plan_communication
from moeplace.hwmodels.system import PHASES, System
from moeplace.hwmodels.topology import Topology, cluster, mesh

__all__ = [
    "DEDUP_MODES",
    "PHASES",
    "CommPlan",
    "System",
    "Topology",
    "cluster",
    "list_systems",
    "load_system",
    "mesh",
    "plan_communication",
    "system_aliases",
]
