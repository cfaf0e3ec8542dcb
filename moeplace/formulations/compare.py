"""Several solvers on one problem, side by side with the bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moeplace.errors import MoeplaceError
from moeplace.formulations.registry import SOLVERS, solver_info
from moeplace.formulations.report import Beside
from moeplace.formulations.result import COMPARE_SCHEMA, Result, describe_problem, relative_gap
from moeplace.formulations.solve import solve_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moeplace.formulations.bounds import Bound
    from moeplace.parallel import Workers
    from moeplace.placement import Problem


@dataclass(frozen=True, eq=False)
class Row:
    """One solver's line: its result, or why there is none."""

    solver: str
    result: Result | None
    error: str
    duplicate_layers: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """All solvers' results on one problem and the best bound any of them proved.

    Attributes
    ----------
    limit
        ``interrupted`` if Ctrl-C ended it before every solver had run.
    """

    problem: Problem
    bound: Bound
    rows: tuple[Row, ...]
    limit: str = ""

    @property
    def lower_bound(self) -> float:
        """The best proven bound."""
        return self.bound.value

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as the JSON document of DESIGN §7."""
        rows = []
        for row in self.rows:
            result = row.result
            score = None if result is None else result.score
            rows.append(
                {
                    "solver": row.solver,
                    "value": None if score is None else score.objective,
                    "gap": None
                    if score is None
                    else relative_gap(score.objective, self.lower_bound),
                    "runtime_s": None if result is None else result.runtime_s,
                    "status": "error" if result is None else result.status,
                    "balancedness": None if score is None else score.balancedness,
                    "score": None if score is None else score.to_dict(),
                    "layers_with_duplicates": row.duplicate_layers,
                    "error": row.error or None,
                }
            )
        return {
            "schema": COMPARE_SCHEMA,
            "problem": describe_problem(self.problem),
            "lower_bound": self.lower_bound,
            "bound": {"method": self.bound.method, "terms": dict(self.bound.terms)},
            "limit": self.limit or None,
            "rows": rows,
        }


def default_solvers(problem: Problem) -> list[str]:
    """Return every baseline and heuristic that takes the problem's objective."""
    return [
        name
        for name, info in SOLVERS.items()
        if info.kind in ("baseline", "heuristic") and problem.objective in info.objectives
    ]


def compare(
    problem: Problem,
    solvers: Sequence[str] | None = None,
    *,
    time_limit_s: float | None = None,
    seed: int = 0,
    on_row: Callable[[Row], None] | None = None,
    workers: Workers | None = None,
) -> Comparison:
    """Run several solvers under one time limit each; a solver that fails gets a line saying why.

    Raises
    ------
    InputError
        If a solver is unknown.
    """
    names = list(dict.fromkeys(solvers)) if solvers else default_solvers(problem)
    for name in names:
        solver_info(name)
    beside = Beside(problem, seed)
    best = beside.bound
    rows: list[Row] = []
    limit = ""
    for name in names:
        try:
            row = _row(beside, name, time_limit_s, workers)
        except KeyboardInterrupt:
            if not rows:
                raise
            limit = "interrupted"
            break
        rows.append(row)
        if row.result is not None and row.result.bound is not None:
            proven = solver_info(name).feasible and row.result.bound.value > best.value
            best = row.result.bound if proven else best
        if on_row is not None:
            on_row(row)
        if row.result is not None and row.result.limit == "interrupted":
            limit = "interrupted"
            break
    return Comparison(problem, best, tuple(rows), limit)


def _row(beside: Beside, name: str, time_limit_s: float | None, workers: Workers | None) -> Row:
    try:
        result = solve_beside(beside, name, time_limit_s, workers=workers)
    except MoeplaceError as error:
        return Row(name, None, str(error), 0)
    duplicates = 0
    if result.placement is not None:
        duplicates = int((result.placement.duplicates() > 0).sum())
    return Row(name, result, "", duplicates)
