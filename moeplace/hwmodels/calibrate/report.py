"""What ``hw validate`` says: predicted and measured, fitted and held out apart."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.hwmodels.calibrate.statistics import ErrorSummary, summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

ROLES = ("held out", "fitted", "apart")


@dataclass(frozen=True)
class ValidationRow:
    """One figure.

    Attributes
    ----------
    source
        Table or publication.
    system, kernel, phase, op
        What was timed.
    ep, tokens
        EP size; tokens per rank (all tokens for expert kernels), 0 if not stated.
    unit, measured, predicted
        The figure and its prediction, in the figure's own unit.
    ape
        |predicted / measured − 1| of the time, as a share; for bandwidths that of the bandwidth.
    bias
        The same with its sign.
    role
        ``held out``: no fit behind the prediction saw this point or its group. ``fitted``: the
        prediction on points that went into the constants. ``apart``: end-to-end and imbalance
        figures, which do not count.
    note
        What had to be assumed, how it was held out, or that it is outside the fitted range.
    """

    source: str
    system: str
    kernel: str
    phase: str
    op: str
    ep: int
    tokens: int
    unit: str
    measured: float
    predicted: float
    role: str
    note: str = ""

    @property
    def bias(self) -> float:
        """Return predicted / measured − 1."""
        return self.predicted / self.measured - 1

    @property
    def ape(self) -> float:
        """Return the absolute relative error."""
        return abs(self.bias)

    def to_dict(self) -> dict[str, Any]:
        """Return the row for JSON and CSV."""
        names = "source system kernel phase op ep tokens unit measured predicted ape bias role note"
        return {name: getattr(self, name) for name in names.split()}


@dataclass(frozen=True)
class ValidationReport:
    """Rows, what is not modelled, and the agreement of rankings.

    Attributes
    ----------
    rows
        Every predicted figure.
    not_modelled
        ``{"what", "reason", "count"}``.
    kendall_tau
        Mean τ over the comparisons of placements, None where nothing was ranked.
    """

    rows: Sequence[ValidationRow]
    not_modelled: Sequence[dict[str, Any]] = field(default_factory=list)
    kendall_tau: float | None = None

    def of_role(self, role: str) -> list[ValidationRow]:
        """Return the rows of a role."""
        return [row for row in self.rows if row.role == role]

    def to_dict(self) -> dict[str, Any]:
        """Return the document of ``hw validate --format json``.

        ``median_ape`` and ``p90_ape`` are shares over the held-out rows.
        """
        errors = [row.ape for row in self.of_role("held out")]
        return {
            "median_ape": float(np.median(errors)) if errors else None,
            "p90_ape": float(np.quantile(errors, 0.9)) if errors else None,
            "kendall_tau": self.kendall_tau,
            "rows": [row.to_dict() for row in self.rows],
            "not_modelled": list(self.not_modelled),
        }


def token_range(tokens: int) -> str:
    """Return the class of token counts that a row is summed up in."""
    if tokens <= 0:
        return "not stated"
    for limit, name in ((16, "1-16"), (128, "17-128"), (1024, "129-1024"), (8192, "1025-8192")):
        if tokens <= limit:
            return name
    return "above 8192"


def break_down(rows: Sequence[ValidationRow]) -> list[tuple[str, str, ErrorSummary]]:
    """Return (by, group, errors) by kernel, EP size, tokens, phase and source."""
    views = (
        ("kernel", lambda row: f"{row.system} {row.kernel}"),
        ("EP size", lambda row: f"{row.ep}"),
        ("tokens", lambda row: token_range(row.tokens)),
        ("phase", lambda row: row.phase),
        ("source", lambda row: row.source),
    )
    found = []
    for by, name in views:
        groups: dict[str, list[ValidationRow]] = defaultdict(list)
        for row in rows:
            groups[name(row)].append(row)
        for group in sorted(groups, key=_natural):
            chosen = groups[group]
            errors = summarize([row.predicted for row in chosen], [row.measured for row in chosen])
            found.append((by, group, errors))
    return found


def _natural(text: str) -> tuple[int, str]:
    if text.startswith(("above", "not stated")):
        return sys.maxsize, text
    digits = "".join(c for c in text.split("-")[0] if c.isdigit())
    return (int(digits) if text[:1].isdigit() else 0, text)
