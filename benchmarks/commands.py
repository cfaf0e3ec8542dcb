"""The commands of the README as a user runs them: time, memory, and where the result lies."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.timing import moeplace_program, run_process, table

COMMANDS = (
    "--model deepseek-v3 --hw wafer",
    "--model deepseek-v3 --hw h100-sxm --ranks 32 --redundant 32",
    "--model deepseek-v3 --hw gb200-nvl72 --ranks 72",
    "--model deepseek-v2-lite --hw h100-sxm --ranks 8",
)
SLACK = 1e-9  # relative; the order is checked up to rounding


def report(quick: bool) -> str:
    """Return three tables: cost of each command, its result, and the result on the holdout."""
    commands = COMMANDS[-1:] if quick else COMMANDS
    costs, results, held = [], [], []
    for options in commands:
        arguments = [moeplace_program(), "solve", *options.split(), "--quiet", "--format", "json"]
        done = run_process(arguments)
        document = json.loads(done.stdout)
        name = f"`solve {options}`"
        costs.append([name, f"{done.wall_s:.1f}", f"{done.cpu_s:.1f}", f"{done.peak_MiB:,.0f}"])
        results.append([name, *_order(document)])
        if document["holdout"]:
            part = document["holdout"]
            held.append([name, *_times(document, part["score"], part["baselines"])])
    start = run_process([moeplace_program(), "--help"])
    costs.append(
        ["`--help`", f"{start.wall_s:.2f}", f"{start.cpu_s:.2f}", f"{start.peak_MiB:,.0f}"]
    )
    placements = ["moeplace", "EPLB", "contiguous", "random"]
    parts = [
        table(["moeplace ...", "wall s", "processor s", "peak MiB"], costs),
        "Time of a layer in µs, mean over the layers; the bound is proven:",
        table(["moeplace ...", "bound", *placements, "gap", "in order"], results),
    ]
    if held:
        parts.append("The same maps on the requests that were held out:")
        parts.append(table(["moeplace ...", *placements], held))
    return "\n\n".join(parts)


def _order(document: dict[str, Any]) -> list[str]:
    """Return bound, moeplace and baselines, the gap, and whether bound ≤ moeplace ≤ baselines."""
    layers = document["problem"]["layers"]
    objective = document["objective"]
    least = min(score["step_time_s"] for score in document["baselines"].values())
    value, bound = objective["value"], objective["lower_bound"]
    in_order = bound <= value * (1 + SLACK) and value <= least * (1 + SLACK)
    return [
        f"{1e6 * bound / layers:,.1f}",
        *_times(document, document["score"], document["baselines"]),
        f"{objective['gap']:.2%}",
        "yes" if in_order else "**no**",
    ]


def _times(document: dict[str, Any], score: dict[str, Any], baselines: dict[str, Any]) -> list[str]:
    layers = document["problem"]["layers"]
    rows = [score, baselines["eplb"], baselines["contiguous"], baselines["random"]]
    return [f"{1e6 * row['step_time_s'] / layers:,.1f}" for row in rows]
