"""What a report is about: a result, its problem, and the placements shown beside each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import CheckFailedError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from moeplace.formulations.result import Result
    from moeplace.placement import Placement, Problem, Score

SHOWN = ("contiguous", "eplb")  # baselines that are drawn beside the placement
SAME = 1e-9  # relative difference of two evaluations of one placement
COMPARE_SCHEMA = "moeplace.compare/1"


@dataclass(frozen=True, eq=False)
class View:
    """One placement that is shown.

    Attributes
    ----------
    key, label
        ``contiguous``, ``eplb`` or ``result``, and what people read.
    """

    key: str
    label: str
    placement: Placement
    score: Score


@dataclass(frozen=True, eq=False)
class Gathered:
    """Everything that the figures and tables of a report are made of.

    Attributes
    ----------
    document
        The result as in a result file; ``certificate`` may be missing.
    views
        Contiguous, EPLB and, last, the placement of the result.
    baselines
        Scores of contiguous, random and EPLB.
    bound_layers
        (layers,) lower bound of each layer in the objective's unit, None without a bound.
    comparisons
        Of ``moeplace compare``: ``file`` and the ``rows`` that are about the problem.
    """

    document: Mapping[str, Any]
    problem: Problem
    views: tuple[View, ...]
    baselines: Mapping[str, Score]
    bound_layers: NDArray[np.float64] | None = None
    comparisons: tuple[Mapping[str, Any], ...] = ()

    @property
    def found(self) -> View:
        """The placement that the report is about."""
        return self.views[-1]

    @property
    def layer_ids(self) -> list[int]:
        """Absolute id of each layer."""
        ids = self.problem.workload.layer_ids
        return list(range(self.problem.num_layers)) if ids is None else list(ids)

    def view(self, key: str) -> View:
        """Return a view by its key.

        Raises
        ------
        InputError
            If there is none of this key.
        """
        for one in self.views:
            if one.key == key:
                return one
        raise InputError(f"view {key!r}: use {', '.join(one.key for one in self.views)}")

    def row_of(self, layer: int | None) -> int | None:
        """Return the row of an absolute layer id; None stays None, all layers.

        Raises
        ------
        InputError
            If the result does not have the layer.
        """
        if layer is None:
            return None
        if layer not in self.layer_ids:
            first, last = self.layer_ids[0], self.layer_ids[-1]
            raise InputError(f"layer {layer}: the result has layers {first} to {last}")
        return self.layer_ids.index(layer)


def gather(result: Path | str | Result, compare: Sequence[Path | str] = ()) -> Gathered:
    """Read a result and make its problem again, from the names and files that it names.

    Parameters
    ----------
    result
        A file of ``moeplace solve --result``, or a result in memory.
    compare
        Files of ``moeplace compare`` to show beside it.

    Raises
    ------
    InputError
        If a file is not what it should be, is damaged, or was made from files that are not here.
    CheckFailedError
        If the inputs have changed, or the placement does not have the value that the file says.
    """
    comparisons = tuple(_comparison(path) for path in compare)
    if isinstance(result, (str, Path)):
        return _from_file(result, comparisons)
    if result.placement is None:
        raise InputError("the result has no placement to report on")
    layers = None if result.bound is None else result.bound.layer_value
    document = result.to_dict()
    return _gathered(document, result.problem, result.placement, layers, comparisons, "the result")


def _from_file(path: Path | str, comparisons: tuple[Mapping[str, Any], ...]) -> Gathered:
    from moeplace.cli.verification import read_result, rebuilt_problem
    from moeplace.formulations.result import RESULT_SCHEMA

    document = read_result(path)
    if document.get("schema") != RESULT_SCHEMA:
        hint = "; give it after the result" if document.get("schema") == COMPARE_SCHEMA else ""
        raise InputError(f"{path}: not a result file, schema {document.get('schema')!r}{hint}")
    try:
        problem = rebuilt_problem(document, path)
        if document["problem"]["fingerprint"] != problem.fingerprint:
            raise CheckFailedError(
                f"{path}: its inputs now make another problem; solve it again with this version"
            )
        placement, layers = _proven(document["certificate"], problem, path)
        return _gathered(document, problem, placement, layers, comparisons, str(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: the result is damaged ({error!r}); write it again") from error


def _proven(
    certificate: Mapping[str, Any], problem: Problem, path: Path | str
) -> tuple[Placement, NDArray[np.float64] | None]:
    """Return the placement and the bound of each layer in a certificate."""
    from moeplace.formulations.verify.arrays import unpack
    from moeplace.placement import Placement

    packed, bound = certificate["placement"], certificate["bound"]
    if packed is None:
        raise InputError(f"{path}: no placement was found, so there is nothing to report on")
    placement = Placement(
        unpack(packed["expert_of_slot"], str(path)).astype(np.int32),
        unpack(packed["rank_of_slot"], str(path)).astype(np.int32),
        problem.num_experts,
        problem.num_ranks,
        problem.workload.layer_ids,
    )
    layers = None if bound is None else np.asarray(bound["layer_value"], np.float64)
    if layers is not None and layers.shape != (problem.num_layers,):
        raise InputError(f"{path}: the bound does not have one value a layer; write it again")
    return placement, layers


def _gathered(
    document: Mapping[str, Any],
    problem: Problem,
    placement: Placement,
    layers: NDArray[np.float64] | None,
    comparisons: tuple[Mapping[str, Any], ...],
    where: str,
) -> Gathered:
    from moeplace.formulations.report import Beside
    from moeplace.placement import evaluate

    score = evaluate(problem, placement)
    said = float(document["objective"]["value"])
    if not math.isclose(said, score.objective, rel_tol=SAME):
        raise CheckFailedError(
            f"{where}: the file says {said!r}, its placement is worth {score.objective!r}; "
            "see `moeplace verify`"
        )
    beside = Beside(problem, int(document["seed"])).placements
    scores = {key: evaluate(problem, one) for key, one in beside.items()}
    views = [View(key, label_of(key, document), beside[key], scores[key]) for key in SHOWN]
    views.append(View("result", label_of("result", document), placement, score))
    rows = tuple(_same_problem(one, problem) for one in comparisons)
    return Gathered(document, problem, tuple(views), scores, layers, rows)


def label_of(key: str, document: Mapping[str, Any]) -> str:
    """Return what people read for a baseline or for the result itself."""
    if key == "eplb":
        return "EPLB" if document["problem"]["eplb"] == "eplb" else "EPLB (uneven)"
    if key == "result":
        solver = str(document["solver"])
        if solver == "evaluate":
            return "given placement"
        return "moeplace" if solver == "auto" else f"moeplace ({solver})"
    return key


def _comparison(path: Path | str) -> dict[str, Any]:
    from moeplace.cli.verification import read_result

    document = read_result(path)
    if document.get("schema") != COMPARE_SCHEMA:
        raise InputError(
            f"{path}: not a comparison, schema {document.get('schema')!r}; write one with "
            "`moeplace compare -o FILE.json` or `--format json`"
        )
    return {**document, "file": str(path)}


def _same_problem(document: Mapping[str, Any], problem: Problem) -> Mapping[str, Any]:
    """Return a comparison with the rows that are about the problem."""
    where = document["file"]
    try:
        cases = [
            case["name"]
            for case in document["instances"]
            if case["problem"]["fingerprint"] == problem.fingerprint
        ]
        rows = [dict(row) for row in document["rows"] if row["instance"] in cases]
    except (KeyError, TypeError) as error:
        raise InputError(f"{where}: the comparison is damaged ({error!r}); write it again") from (
            error
        )
    if not cases:
        raise InputError(
            f"{where}: compares solvers on another problem; give `moeplace compare` the options "
            "of the result"
        )
    return {"file": where, "rows": rows}
