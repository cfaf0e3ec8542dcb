"""Sweeps: every point once, the same figures as scoring it alone."""

from __future__ import annotations

import pytest

import moeplace
from moeplace.errors import InputError
from moeplace.formulations.sweep import Sweep, run_sweep


def test_points_are_those_of_single_scores() -> None:
    """Each row equals placing and scoring its point by itself."""
    sweep = Sweep(["deepseek-v2-lite"], ["h100-sxm"], ranks=[8, 16], redundant=[0, 8],
                  nic_GBps=[None, 25.0], layers=None)  # fmt: skip
    rows = run_sweep(sweep)
    assert len(rows) == sweep.num_points == 8
    assert len({(r["ranks"], r["redundant"], r["nic_GBps"]) for r in rows}) == 8
    row = next(r for r in rows if (r["ranks"], r["redundant"], r["nic_GBps"]) == (16, 8, 25.0))
    problem = moeplace.make_problem(
        moeplace.load_model("deepseek-v2-lite"),
        moeplace.load_system("h100-sxm", 16).replace(nic_GBps=25.0),
        moeplace.default_workloads("deepseek-v2-lite"),
        8,
        phase="prefill",
    )
    score = moeplace.solve(problem, "eplb").score
    assert row["layer_us"] * problem.num_layers == pytest.approx(score.step_time_s * 1e6)
    slow = next(r for r in rows if (r["ranks"], r["redundant"], r["nic_GBps"]) == (16, 8, 50.0))
    assert slow["dispatch_us"] < row["dispatch_us"]


def test_what_does_not_fit_stays_in_the_table() -> None:
    """A point without a placement has a reason instead of figures."""
    (row,) = run_sweep(Sweep(["deepseek-v3"], ["h100-sxm"], ranks=[8]))
    assert row["status"] == "infeasible"
    assert "does not fit" in row["reason"]
    assert "layer_us" not in row


def test_bad_sweeps() -> None:
    """Too many points, no layers and models without routing are input errors."""
    with pytest.raises(InputError, match="points"):
        run_sweep(Sweep(["deepseek-v3"], ["wafer"], redundant=list(range(30_000))))
    with pytest.raises(InputError, match="layers is 0"):
        run_sweep(Sweep(["deepseek-v3"], ["wafer"], layers=0))
    with pytest.raises(InputError, match="no measured routing"):
        run_sweep(Sweep(["mixtral-8x7b"], ["wafer"]))


def test_interrupt_ends_the_sweep(monkeypatch):
    """Ctrl-C inside a point's search ends the sweep; finished points were told before."""
    from moeplace.formulations.heuristics.simple import contiguous

    calls = []

    def second_interrupts(problem, run, initial):
        calls.append(problem)
        if len(calls) > 1:
            run.report(contiguous(problem, run, None).placement)
            raise KeyboardInterrupt
        return contiguous(problem, run, None)

    monkeypatch.setattr("moeplace.formulations.solve.load_solver", lambda name: second_interrupts)
    told = []
    sweep = Sweep(["deepseek-v2-lite"], ["mesh:2x2"], redundant=[0, 4, 8], layers=1, solver="lpt")
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, told.append)
    assert [row["redundant"] for row in told] == [0]
