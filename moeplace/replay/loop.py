"""The event loop: windows pass, policies move experts, time and bytes are added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.replay.estimate import Estimator
from moeplace.replay.fetches import Mover
from moeplace.replay.maps import oracle_table
from moeplace.replay.outcome import Replay
from moeplace.replay.policy import Bench
from moeplace.replay.run import PolicyReplay
from moeplace.replay.scorer import Scorer
from moeplace.replay.settings import Settings
from moeplace.replay.windows import shares

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from moeplace.placement import Problem
    from moeplace.replay.windows import Window, Windows

DEFAULT_POLICIES = ("static", "eplb-every", "moeplace-every", "moeplace-triggered", "oracle")


def replay(
    problem: Problem,
    windows: Windows,
    policies: Sequence[str] = DEFAULT_POLICIES,
    settings: Settings | None = None,
    *,
    fit: NDArray[np.float64] | None = None,
    regret: bool = True,
    on_window: Callable[[int], None] | None = None,
) -> Replay:
    """Run policies side by side through windows of time.

    Before a window every policy sees loads estimated from those before it and may change its map;
    then the window is scored. One pass over the windows; memory does not grow with their number but
    for a few numbers of each. The reference is an oracle that knows every window, moves for free,
    and is at least as good as any policy's map of that window in every layer.

    Parameters
    ----------
    problem
        From :func:`~moeplace.replay.instance.replay_problem`, or any with dispatch ``even``.
    windows
        Of the problem's layers and experts.
    policies
        Names with settings, see :func:`~moeplace.replay.registry.parse_policy`.
    settings
        Steps, horizon, estimation, migration.
    fit
        (layers, experts) loads that the first maps are made for; default: the first window's.
    regret
        Whether to work out the oracle, which takes longer than scoring; without it the reference is
        the best of the policies.
    on_window
        Called with the number of windows done.

    Raises
    ------
    UsageError
        If no policy is named, or a setting is out of range.
    InputError
        If the windows are of another shape.
    """
    settings = settings or Settings()
    _check(problem, windows, policies, settings)
    scorer = Scorer(problem, training=settings.training)
    mover = Mover(problem, training=settings.training)
    bench = Bench(problem, scorer, mover, settings.steps, settings.horizon)
    first = windows.first()
    known = first.load if fit is None else fit
    runs = [PolicyReplay(text, bench, settings, known) for text in policies]
    estimator = Estimator(settings.estimate, known)
    reference: list[float] = []
    labels: list[str] = []
    for number, window in enumerate(windows):
        load = shares(window.load)
        exact = _exact(problem, window)
        layer_s = [run.window(number, load, estimator.value, exact) for run in runs]
        if regret:
            best = oracle_table(bench, load)
            layer_s.append(runs[0].score(load, best, exact).total_s)
        best_s = float(np.min(layer_s, axis=0).sum())
        reference.append(settings.steps * (best_s + 1e-3 * settings.other_ms))
        estimator.see(window.load)
        labels.append(window.label)
        if on_window is not None:
            on_window(number + 1)
    return Replay(
        problem=problem,
        name=windows.name,
        kind=windows.kind,
        settings=settings,
        labels=tuple(labels),
        runs=tuple(run.result() for run in runs),
        reference_s=np.array(reference),
        measured_sets=first.tokens is not None,
    )


def _check(problem: Problem, windows: Windows, policies: Sequence[str], settings: Settings) -> None:
    if not policies:
        raise UsageError("name at least one policy")
    if (windows.num_layers, windows.num_experts) != (problem.num_layers, problem.num_experts):
        raise InputError(
            f"windows of {windows.num_layers} layers x {windows.num_experts} experts, the problem "
            f"has {problem.num_layers} x {problem.num_experts}"
        )
    if settings.training and windows.first().tokens is not None:
        raise UsageError("training is scored from loads; leave the token sets out")


def _exact(problem: Problem, window: Window) -> Problem | None:
    """Return the problem with the window's own token sets, if they are kept."""
    if window.tokens is None:
        return None
    from moeplace.traces import Workload

    return problem.with_workload(Workload.from_trace(window.tokens))
