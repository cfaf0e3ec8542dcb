"""Decide where the experts of a Mixture-of-Experts model live."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from moeplace.cli.explain.result import explain_result
    from moeplace.cli.report import write_report
    from moeplace.cli.verification import verify
    from moeplace.errors import (
        BackendMissingError,
        CheckFailedError,
        InfeasibleError,
        InputError,
        LimitError,
        MoeplaceError,
        UsageError,
    )
    from moeplace.formulations.bounds import Bound, lower_bound
    from moeplace.formulations.compare import Comparison, compare
    from moeplace.formulations.instances import (
        Instance,
        check_instance,
        list_instances,
        load_instance,
    )
    from moeplace.formulations.partition import partition
    from moeplace.formulations.qap import QapResult, solve_qap
    from moeplace.formulations.rebalance import rebalance_experts
    from moeplace.formulations.registry import register_solver
    from moeplace.formulations.result import Incumbent, Result
    from moeplace.formulations.solve import solve
    from moeplace.formulations.solver import Run, Solved
    from moeplace.formulations.study import Study, compare_instances
    from moeplace.hwmodels import System, load_system
    from moeplace.models import ModelSpec, load_model
    from moeplace.parallel import Workers
    from moeplace.placement import (
        Placement,
        Problem,
        Score,
        evaluate,
        make_problem,
        make_robust,
        violations,
    )
    from moeplace.placement.formats import export_placement, read_placement
    from moeplace.replay.wafer.study import WaferReport, wafer_study
    from moeplace.traces import (
        RoutingTrace,
        Workload,
        default_workloads,
        load_trace,
        load_workload,
        register_importer,
        save_trace,
    )

_HOME = {
    "BackendMissingError": "moeplace.errors",
    "Bound": "moeplace.formulations.bounds",
    "CheckFailedError": "moeplace.errors",
    "Comparison": "moeplace.formulations.compare",
    "Incumbent": "moeplace.formulations.result",
    "Instance": "moeplace.formulations.instances",
    "InfeasibleError": "moeplace.errors",
    "InputError": "moeplace.errors",
    "LimitError": "moeplace.errors",
    "ModelSpec": "moeplace.models",
    "MoeplaceError": "moeplace.errors",
    "Placement": "moeplace.placement",
    "Problem": "moeplace.placement",
    "QapResult": "moeplace.formulations.qap",
    "Result": "moeplace.formulations.result",
    "RoutingTrace": "moeplace.traces",
    "Run": "moeplace.formulations.solver",
    "Score": "moeplace.placement",
    "Solved": "moeplace.formulations.solver",
    "Study": "moeplace.formulations.study",
    "System": "moeplace.hwmodels",
    "UsageError": "moeplace.errors",
    "WaferReport": "moeplace.replay.wafer.study",
    "Workers": "moeplace.parallel",
    "Workload": "moeplace.traces",
    "check_instance": "moeplace.formulations.instances",
    "compare": "moeplace.formulations.compare",
    "compare_instances": "moeplace.formulations.study",
    "default_workloads": "moeplace.traces",
    "evaluate": "moeplace.placement",
    "explain_result": "moeplace.cli.explain.result",
    "export_placement": "moeplace.placement.formats",
    "list_instances": "moeplace.formulations.instances",
    "load_instance": "moeplace.formulations.instances",
    "load_model": "moeplace.models",
    "load_system": "moeplace.hwmodels",
    "load_trace": "moeplace.traces",
    "load_workload": "moeplace.traces",
    "lower_bound": "moeplace.formulations.bounds",
    "make_problem": "moeplace.placement",
    "make_robust": "moeplace.placement",
    "partition": "moeplace.formulations.partition",
    "read_placement": "moeplace.placement.formats",
    "rebalance_experts": "moeplace.formulations.rebalance",
    "register_importer": "moeplace.traces",
    "register_solver": "moeplace.formulations.registry",
    "save_trace": "moeplace.traces",
    "solve": "moeplace.formulations.solve",
    "solve_qap": "moeplace.formulations.qap",
    "verify": "moeplace.cli.verification",
    "violations": "moeplace.placement",
    "wafer_study": "moeplace.replay.wafer.study",
    "write_report": "moeplace.cli.report",
}

__all__ = [
    "BackendMissingError",
    "Bound",
    "CheckFailedError",
    "Comparison",
    "Incumbent",
    "InfeasibleError",
    "InputError",
    "Instance",
    "LimitError",
    "ModelSpec",
    "MoeplaceError",
    "Placement",
    "Problem",
    "QapResult",
    "Result",
    "RoutingTrace",
    "Run",
    "Score",
    "Solved",
    "Study",
    "System",
    "UsageError",
    "WaferReport",
    "Workers",
    "Workload",
    "__version__",
    "check_instance",
    "compare",
    "compare_instances",
    "default_workloads",
    "evaluate",
    "explain_result",
    "export_placement",
    "list_instances",
    "load_instance",
    "load_model",
    "load_system",
    "load_trace",
    "load_workload",
    "lower_bound",
    "make_problem",
    "make_robust",
    "partition",
    "read_placement",
    "rebalance_experts",
    "register_importer",
    "register_solver",
    "save_trace",
    "solve",
    "solve_qap",
    "verify",
    "violations",
    "wafer_study",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import moeplace`` loads nothing heavy."""
    if name not in _HOME:
        raise AttributeError(f"module 'moeplace' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
