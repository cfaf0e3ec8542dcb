"""Fitted on one recording of DeepSeek-V3, run through the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.load_data import measured_loads
from benchmarks.timing import table
from moeplace import load_model, load_system
from moeplace.replay.instance import replay_problem
from moeplace.replay.loop import replay
from moeplace.replay.settings import Settings
from moeplace.replay.windows import load_windows, shares
from moeplace.traces import Workload, shipped_workloads
from moeplace.traces.shipped import shipped_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from moeplace.replay.outcome import Replay

PREFIX = "deepseek-v3/"
EACH = 10  # windows of a recording
POLICIES = (
    "static",
    "static:start=eplb",
    "static:start=eplb-global",
    "static:start=moeplace",
    "eplb-every:every=10",
    "moeplace-triggered",
)
STATIC = ("static:start=eplb", "static:start=eplb-global", "static:start=moeplace")


def recordings() -> dict[str, Workload]:
    """Return loads of DeepSeek-V3's MoE layers by name: the folder's, else the shipped ones."""
    model = load_model("deepseek-v3")
    found = {name: Workload.from_loads(load, name=name) for name, load in measured_loads().items()}
    shipped = {
        name.removeprefix(PREFIX): shipped_workload(name)
        for name in shipped_workloads()
        if name.startswith(PREFIX)
    }
    return {name: load.bind(model) for name, load in (found or shipped).items()}


def report(quick: bool) -> str:
    """Return two tables: fitted on one recording, and static maps fitted on all but one."""
    loads = recordings()
    rows = []
    for name in list(loads)[: 1 if quick else None]:
        order = [name, *(other for other in loads if other != name)]
        found = through([loads[other] for other in order], POLICIES, loads[name].load)
        for run in found.runs:
            mine = [row for row in found.by_label() if row["policy"] == run.policy]
            away = [row for row in mine if row["label"] != name]
            rows.append(
                [
                    name,
                    f"`{run.policy}`",
                    f"{mine[0]['balancedness']:.3f}",
                    f"{np.mean([row['balancedness'] for row in away]):.3f}",
                    f"{min(row['balancedness'] for row in away):.3f}",
                    f"{np.mean([row['step_ms'] for row in away]):.1f}",
                    f"{run.nbytes.sum() / 1e9:,.0f}",
                ]
            )
    headers = ["fitted on", "policy", "there", "elsewhere", "worst", "ms a step elsewhere", "GB"]
    text = (
        "Balancedness (mean over largest rank load, mean of 58 layers) of maps with 32 redundant "
        f"experts on 32 H100, on the recording they were fitted on and on the others, {EACH} "
        "windows of 1,000 prefill steps each, one after the other; copies stop the steps."
    )
    held = (
        "Static maps on a recording (balancedness): fitted on one other, on the mean of the four "
        "others, and on the mean of all five, so that the map knows what comes:"
    )
    return f"{text}\n\n{table(headers, rows)}\n\n{held}\n\n{_held_out(loads)}"


def _held_out(loads: dict[str, Workload]) -> str:
    rows = []
    every = np.mean([shares(load.load) for load in loads.values()], axis=0)
    for name, load in loads.items():
        others = [other for other in loads if other != name]
        mean = np.mean([shares(loads[other].load) for other in others], axis=0)
        single = [_static(load, loads[other].load) for other in others]
        rows.append(
            [
                name,
                *(f"{np.mean([one[i] for one in single]):.3f}" for i in range(len(STATIC))),
                *(f"{value:.3f}" for value in _static(load, mean)),
                *(f"{value:.3f}" for value in _static(load, every)[1:]),
            ]
        )
    rows.append(
        ["mean", *(f"{np.mean([float(r[i]) for r in rows]):.3f}" for i in range(1, len(rows[0])))]
    )
    names = [policy.removeprefix("static:start=") for policy in STATIC]
    headers = [
        "on",
        *(f"{name}, fitted on one other (mean)" for name in names),
        *(f"{name}, fitted on all others" for name in names),
        *(f"{name}, fitted on all, this one too" for name in names[1:]),
    ]
    return table(headers, rows)


def _static(load: Workload, fit: NDArray[np.float64]) -> list[float]:
    found = through([load], STATIC, fit, each=1)
    return [float(run.balancedness.mean()) for run in found.runs]


def through(
    order: Sequence[Workload],
    policies: Sequence[str],
    fit: NDArray[np.float64],
    *,
    each: int = EACH,
) -> Replay:
    """Replay recordings one after the other, first maps fitted on given loads."""
    windows = load_windows(order, windows=each * len(order))
    system = load_system("h100-sxm", 32)
    problem, bound = replay_problem(load_model("deepseek-v3"), system, windows, redundant=32)
    settings = Settings(steps=1000, estimate="ema:0.5", horizon=10)
    return replay(problem, bound, policies, settings, fit=fit, regret=False)
