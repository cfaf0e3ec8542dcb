"""The problem and the windows of a replay, from a model, a system and loads over time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.placement import make_problem
from moeplace.traces import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec
    from moeplace.placement import Problem
    from moeplace.replay.windows import Window, Windows


def replay_problem(
    model: ModelSpec, system: System, windows: Windows, **settings: Any
) -> tuple[Problem, Windows]:
    """Return the problem that a replay needs and the windows of its layers.

    No token sets are made up: copies are expected ones, see
    :class:`~moeplace.replay.scorer.Scorer`.

    Parameters
    ----------
    model, system
        What is placed and where.
    windows
        Rows of dense layers are left out.
    settings
        Of :func:`moeplace.make_problem`: `redundant`, `phase`, `tokens_per_rank`, `dedup`, ….

    Raises
    ------
    InputError
        If the windows are of another model.
    """
    first = windows.first()
    given = Workload.from_loads(
        first.load,
        top_k=windows.top_k,
        layer_ids=windows.layer_ids,
        name=windows.name,
        kind="measured" if windows.kind == "measured" else "synthetic",
    )
    bound = given.bind(model)
    dedup = settings.pop("dedup", None)
    problem = make_problem(model, system, bound, dedup="none", **settings)
    problem = problem.replace(dedup_choice=dedup)
    problem.plan  # noqa: B018  refuses an unknown dedup mode
    if bound.num_layers == windows.num_layers:
        return problem, replace(windows, layer_ids=bound.layer_ids)
    return problem, _rows(windows, np.flatnonzero(first.load.any(axis=1)), bound)


def _rows(windows: Windows, keep: np.ndarray[Any, np.dtype[np.int64]], bound: Workload) -> Windows:
    def make() -> Iterator[Window]:
        for window in windows:
            yield replace(window, load=np.ascontiguousarray(window.load[keep]))

    return replace(windows, make=make, num_layers=keep.size, layer_ids=bound.layer_ids)
