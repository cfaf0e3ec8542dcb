"""The whole program of a problem: layers, scenarios and risk, and the way back to placements."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.formulations.exact.costs import add_cost
from moeplace.formulations.exact.counts import make_choices
from moeplace.formulations.exact.layer_columns import add_layer
from moeplace.formulations.exact.linear_model import CONTINUOUS, ModelBuilder, Terms, terms, total
from moeplace.formulations.exact.touches import count_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from moeplace.formulations.exact.layer_columns import LayerColumns
    from moeplace.formulations.exact.linear_model import LinearModel
    from moeplace.formulations.exact.symmetry import Symmetry
    from moeplace.placement import Problem

UNITS = 1000.0  # a known value is this many units: solvers' tolerances are absolute
EXACT_LIMIT = 2**53  # loads · lcm of counts up to here are taken as whole numbers, exactly


@dataclass(frozen=True, eq=False)
class Formulation:
    """A program and what its columns mean.

    Attributes
    ----------
    model
        Minimizes the objective summed over `layers`.
    layers
        Variables of each layer that is decided.
    unit
        What one unit of the model's objective is, in the problem's objective.
    """

    model: LinearModel
    layers: tuple[LayerColumns, ...]
    unit: float

    def tables(self, values: NDArray[np.float64]) -> list[NDArray[np.int32]]:
        """Return a (ranks, slots) table of experts for each layer of a solution."""
        return [columns.table(values) for columns in self.layers]

    def hint(
        self, tables: Sequence[NDArray[np.int32]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return columns and values of known tables, one for each layer."""
        both = [columns.hint(table) for columns, table in zip(self.layers, tables, strict=True)]
        return np.concatenate([c for c, _ in both]), np.concatenate([v for _, v in both])


def check_exact(problem: Problem, name: str) -> None:
    """Raise where the programs would not be what ``evaluate`` computes.

    Raises
    ------
    InputError
        Naming what is not modelled.
    """
    if problem.execution != "return":
        raise InputError(
            f"{name} decides layer by layer; execution {problem.execution!r} couples them"
        )
    for one in problem.scenarios or (problem,):
        if one.dispatch == "cover":
            raise InputError(f"{name} does not model dispatch 'cover'; use even")
        if one.dispatch != "even" and problem.redundant:
            raise InputError(
                f"{name} splits the load of replicas evenly; dispatch {one.dispatch!r} with "
                "redundant experts is not modelled; use --dispatch even or --redundant 0"
            )


def estimated_size(problem: Problem, layers: Sequence[int]) -> int:
    """Return about how many entries the program of some layers has."""
    copies = min(problem.num_ranks, problem.redundant + 1)
    ranks = problem.num_ranks
    base = problem.num_experts * copies * ranks * 8
    return sum(
        base + sum(count_columns(p, layer) for p in problem.scenarios or (problem,))
        for layer in layers
    )


def formulate(
    problem: Problem,
    layers: Sequence[int],
    symmetry: Symmetry,
    *,
    upper: float | None,
    lower: float = 0.0,
    scale: float = 1.0,
) -> Formulation:
    """Return the program that places some layers.

    Parameters
    ----------
    problem
        Passed :func:`check_exact`.
    layers
        Rows of the workload; the objective counts these only. With risk ``max`` or ``cvar`` all
        layers must be decided together.
    symmetry
        Of the problem's ranks.
    upper
        Objective of a known placement, None if none is known.
    lower
        Proven bound on the objective.
    scale
        Some positive value of the objective, used where `upper` is None.
    """
    unit = (upper or scale) / UNITS
    most = np.inf if upper is None else UNITS * (1 + 1e-9)
    builder = ModelBuilder()
    peak = None
    if upper is not None and problem.objective == "balance" and not problem.scenarios:
        pairs = problem.tokens * problem.top_k
        peak = upper / pairs if len(layers) == 1 else None
    columns = []
    for layer in layers:
        choices = make_choices(problem, layer, peak)
        columns.append(add_layer(builder, problem, layer, choices, symmetry))
    if not problem.scenarios:
        cost = total([add_cost(builder, problem, one, unit, most) for one in columns])
    else:
        cost = _risk(builder, problem, columns, unit, most)
    goal = builder.at_least_each(cost, most, max(0.0, lower / unit))
    grain = _grain(problem, columns, unit)
    return Formulation(builder.build(goal, grain), tuple(columns), unit)


def _risk(
    builder: ModelBuilder,
    problem: Problem,
    columns: Sequence[LayerColumns],
    unit: float,
    most: float,
) -> Terms:
    """Return the risk measure over the scenarios' sums over layers.

    max: O ≥ v_s. mean: Σ v_s / S. cvar: τ + Σ u_s with tail · S · u_s ≥ v_s − τ, u_s ≥ 0
    (Rockafellar & Uryasev, J. Risk 2 (2000), theorem 1).
    """
    scenarios = problem.scenarios
    limit = most if problem.risk == "max" else np.inf  # else one may lie above the measure
    values = [
        total([add_cost(builder, one, layer, unit, limit) for layer in columns])
        for one in scenarios
    ]
    if problem.risk == "mean":
        return total(values).times(1 / len(scenarios))
    if problem.risk == "max":
        return builder.at_least_each(_stack(values), most)
    share = Fraction(problem.tail).limit_denominator(1000) * len(scenarios)
    above = builder.columns(1, CONTINUOUS, 0.0, most)
    excess = []
    for value in values:
        over = total([value, terms([0], above, -1.0, 1)])
        column = builder.columns(1, CONTINUOUS, 0.0, most)
        builder.constrain(
            total([over.times(float(share.denominator)),
                   terms([0], column, -float(share.numerator), 1)]),
            upper=0.0,
        )  # fmt: skip
        excess.append(terms([0], column, 1.0, 1))
    return total([terms([0], above, 1.0, 1), *excess])


def _stack(parts: Sequence[Terms]) -> Terms:
    return Terms(
        np.repeat(np.arange(len(parts)), [p.row.size for p in parts]),
        np.concatenate([p.column for p in parts]),
        np.concatenate([p.value for p in parts]),
        np.concatenate([p.constant for p in parts]),
    )


def _grain(problem: Problem, columns: Sequence[LayerColumns], unit: float) -> float:
    """Return a number of which all rank loads are multiples, in units; 0 if none is known.

    Whole-number loads over replica counts, for a single layer's ``balance``.
    """
    if problem.objective != "balance" or problem.scenarios or len(columns) != 1:
        return 0.0
    load = problem.workload.load[columns[0].layer]
    common = int(np.lcm.reduce(np.unique(columns[0].choices.copies)))
    whole = bool((load == np.rint(load)).all())
    if not whole or float(load.sum()) * common > EXACT_LIMIT or not load.any():
        return 0.0
    pairs = problem.tokens * problem.top_k
    return pairs / float(load.sum()) / common / unit
