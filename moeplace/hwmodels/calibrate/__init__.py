"""Kernels as they were measured: models with few constants, fits, and how far they are off."""

from __future__ import annotations

from moeplace.hwmodels.calibrate.families import FAMILIES, Family
from moeplace.hwmodels.calibrate.forms import Fit, Form, fit_form, leave_out
from moeplace.hwmodels.calibrate.points import CommPoint, ExpertPoint
from moeplace.hwmodels.calibrate.statistics import ErrorSummary, kendall_tau, summarize

__all__ = [
    "FAMILIES",
    "CommPoint",
    "ErrorSummary",
    "ExpertPoint",
    "Family",
    "Fit",
    "Form",
    "fit_form",
    "kendall_tau",
    "leave_out",
    "summarize",
]
