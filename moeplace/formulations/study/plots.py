"""A comparison as a picture: gap against time, and performance profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import BackendMissingError, InputError
from moeplace.files import atomic_write
from moeplace.formulations.result import relative_gap
from moeplace.formulations.study.profile import LEAST_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.study.study import Study
    from moeplace.formulations.study.trial import Trial

SIZE = (6.4, 4.0)  # inches
STYLES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX*<>"
AXIS = {
    "value": "objective within this factor of the best solver's",
    "time": "seconds to within 1 % of the best value, as a factor of the fastest's",
}


def plot_gaps(study: Study, path: str | Path) -> None:
    """Draw each solver's gap against time, the mean over instances and seeds.

    A line starts where every run of the solver has a placement and ends where the last run ended;
    a solver that reports only one placement is a point.

    Raises
    ------
    BackendMissingError
        If matplotlib is not installed.
    InputError
        If no run found a placement, or the file type is unknown.
    """
    figure, axes = _figure()
    drawn = 0
    for number, solver in enumerate(study.solvers):
        runs = [
            trial
            for trial in study.trials
            if trial.solver == solver and trial.keeps_rules and trial.history
        ]
        if not runs:
            continue
        at, gap = mean_course(study, runs)
        color = f"C{number % 10}"
        style = STYLES[number // 10 % len(STYLES)]
        axes.step(at, 100 * gap, style, where="post", color=color, lw=1.4)
        marker = MARKERS[number % len(MARKERS)]
        last = {"color": color, "ms": 5, "label": solver, "clip_on": False, "zorder": 3}
        axes.plot(at[-1:], 100 * gap[-1:], marker, **last)
        drawn += 1
    if not drawn:
        raise InputError("no run found a placement: nothing to draw")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set(xlabel="seconds", ylabel="gap to the proven bound, %", title=_title(study))
    _save(figure, axes, Path(path))


def plot_profile(study: Study, path: str | Path, measure: str = "value") -> None:
    """Draw the performance profile.

    Parameters
    ----------
    study
        From :func:`~moeplace.formulations.study.run.compare_instances`.
    path
        Picture; its ending says the type.
    measure
        ``value`` or ``time``.

    Raises
    ------
    BackendMissingError
        If matplotlib is not installed.
    InputError
        If no run found a placement, or the file type is unknown.
    """
    figure, axes = _figure()
    profile = study.profile(measure)
    finite = [r[np.isfinite(r)] for r in profile.ratio.values()]
    largest = max((float(r.max()) for r in finite if r.size), default=0.0)
    if not largest:
        raise InputError("no run found a placement: nothing to draw")
    end = max(largest * 1.02, 1.01)
    for number, (solver, ratio) in enumerate(profile.ratio.items()):
        steps = np.sort(ratio[np.isfinite(ratio)])
        at = np.concatenate([[1.0], steps, [end]])
        share = np.concatenate([[0.0], np.arange(1, steps.size + 1), [steps.size]])
        style = STYLES[number // 10 % len(STYLES)]
        axes.step(at, share / max(1, ratio.size), style, where="post", color=f"C{number % 10}",
                  lw=1.4, label=solver)  # fmt: skip
    axes.set_xscale("log" if measure == "time" else "linear")
    axes.set_ylim(0, 1.02)
    axes.set(xlabel=AXIS[measure], ylabel="share of instances and seeds", title=_title(study))
    _save(figure, axes, Path(path))


def mean_course(study: Study, runs: list[Trial]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (times,) seconds and the mean gap from then on, over the runs."""
    start = max(trial.history[0][0] for trial in runs)
    end = max(max(trial.runtime_s or 0.0, trial.history[-1][0]) for trial in runs)
    inner = {at for trial in runs for at, _ in trial.history if at > start}
    at = np.array(sorted({start, end, *inner}))
    total = np.zeros(at.size)
    for trial in runs:
        bound = study.bound_of(trial.instance)
        when = np.array([point for point, _ in trial.history])
        gaps = np.array([relative_gap(value, bound) or 0.0 for _, value in trial.history])
        total += gaps[np.searchsorted(when, at, side="right") - 1]
    return np.maximum(at, LEAST_S), total / len(runs)


def _figure() -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendMissingError(
            "drawing needs matplotlib: pip install 'moeplace[plot]'"
        ) from error
    figure = Figure(figsize=SIZE, layout="constrained")
    return figure, figure.subplots()


def _title(study: Study) -> str:
    cases, seeds = len(study.cases), len(study.seeds)
    what = study.cases[0].name if cases == 1 else f"{cases} instances"
    limit = "" if study.time_limit_s is None else f", {study.time_limit_s:g} s a run"
    return f"{what}, {seeds} seed{'s' if seeds > 1 else ''}{limit}"


def _save(figure: Any, axes: Any, path: Path) -> None:
    import matplotlib as mpl

    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, frameon=False)
    kind = path.suffix.lstrip(".") or "png"
    fixed = {"metadata": {"Date": None}} if kind == "svg" else {}
    try:
        with (
            mpl.rc_context({"svg.hashsalt": "moeplace", "svg.fonttype": "none"}),
            atomic_write(path, "wb") as file,
        ):
            figure.savefig(file, format=kind, dpi=150, **fixed)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
