"""Many runs side by side: solvers, seeds and instances under one time limit."""

from __future__ import annotations

from moeplace.formulations.study.run import compare_instances
from moeplace.formulations.study.study import Study
from moeplace.formulations.study.trial import Trial

__all__ = ["Study", "Trial", "compare_instances"]
