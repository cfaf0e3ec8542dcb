"""The linear relaxation of the exact programs: a bound, and how far the search has to go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import LimitError
from moeplace.formulations.exact.formulation import check_exact, estimated_size, formulate
from moeplace.formulations.exact.layers import MAX_ENTRIES, problem_parts
from moeplace.formulations.exact.milp.model import SAFETY
from moeplace.formulations.exact.start import quick_value
from moeplace.formulations.exact.symmetry import rank_symmetry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem

STATUS = {0: "optimal", 1: "limit", 2: "infeasible", 3: "unbounded", 4: "failed"}


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Linear programs of the parts of a problem that are solved on their own.

    Attributes
    ----------
    value
        Sum over the parts: no placement has a smaller objective; 0 for parts that failed.
    part_value
        (parts,) each layer's, or one for all layers together.
    status
        Of each part: ``optimal``, ``limit``, ``infeasible``, ``failed``.
    """

    value: float
    part_value: NDArray[np.float64]
    status: tuple[str, ...]


def linear_relaxation(problem: Problem, *, time_limit_s: float | None = None) -> Relaxation:
    """Solve the exact program of a problem without its integrality, by HiGHS.

    Parameters
    ----------
    problem
        As for ``exact-milp``.
    time_limit_s
        Seconds for each part.

    Raises
    ------
    InputError
        If the problem has something that the programs do not model.
    LimitError
        If a program would be too large.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    check_exact(problem, "the relaxation")
    scale = quick_value(problem)
    symmetry = rank_symmetry(problem)
    values, states = [], []
    for number, layers in enumerate(problem_parts(problem)):
        if estimated_size(problem, layers) > MAX_ENTRIES:
            raise LimitError(
                f"the program of layer {layers[0]} is too large; use fewer experts, ranks or "
                "token sets"
            )
        form = formulate(
            problem, layers, symmetry, upper=None, scale=float(scale[min(number, len(scale) - 1)])
        )
        model = form.model
        found = milp(
            model.objective,
            bounds=Bounds(model.lower, model.upper),
            constraints=LinearConstraint(model.matrix, model.row_lower, model.row_upper),
            options={} if time_limit_s is None else {"time_limit": time_limit_s},
        )
        states.append(STATUS[found.status])
        solved = found.status == 0
        values.append(max(0.0, float(found.fun)) * form.unit * (1 - SAFETY) if solved else 0.0)
    part_value = np.array(values)
    return Relaxation(float(part_value.sum()), part_value, tuple(states))
