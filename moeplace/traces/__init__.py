"""How experts are used: routing traces, workloads, importers, statistics, synthetic token sets."""

from __future__ import annotations

from moeplace.traces.analysis.insights import Insights, trace_insights
from moeplace.traces.analysis.tally import Tally, tally_trace
from moeplace.traces.anchors import AnchoredSets
from moeplace.traces.importers.options import ImportOptions
from moeplace.traces.importers.registry import (
    Importer,
    detect_format,
    importers,
    register_importer,
)
from moeplace.traces.importing import ImportReport, import_trace
from moeplace.traces.io import load_trace, load_workload, save_trace
from moeplace.traces.shipped import default_trace, default_workloads, shipped_workloads
from moeplace.traces.stats import (
    TraceInfo,
    WorkloadStats,
    trace_info,
    transitions,
    workload_stats,
)
from moeplace.traces.stored import StoredTrace, open_trace
from moeplace.traces.synthetic import Synthesis, synthesize, synthesize_token_sets
from moeplace.traces.token_sets import TokenSets
from moeplace.traces.trace import PHASES, RoutingTrace
from moeplace.traces.workload import Workload

__all__ = [
    "PHASES",
    "AnchoredSets",
    "ImportOptions",
    "ImportReport",
    "Importer",
    "Insights",
    "RoutingTrace",
    "StoredTrace",
    "Synthesis",
    "Tally",
    "TokenSets",
    "TraceInfo",
    "Workload",
    "WorkloadStats",
    "default_trace",
    "default_workloads",
    "detect_format",
    "import_trace",
    "importers",
    "load_trace",
    "load_workload",
    "open_trace",
    "register_importer",
    "save_trace",
    "shipped_workloads",
    "synthesize",
    "synthesize_token_sets",
    "tally_trace",
    "trace_info",
    "trace_insights",
    "transitions",
    "workload_stats",
]
