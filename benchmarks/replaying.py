"""Replays of many windows: time and memory of a process."""

from __future__ import annotations

import json
import os

from benchmarks.timing import moeplace_program, run_process, table

WINDOWS, FEW = 10_000, 100
POLICIES = ("static", "eplb-every:every=1:rule=global", "moeplace-triggered")
DRIFT = "hot_share=0.4,hot_experts=40,memory=200"


def report(quick: bool) -> str:
    """Return a table: policy, windows, wall and processor seconds, peak memory, balancedness."""
    rows = []
    for policy in POLICIES:
        for windows in (FEW,) if quick else (FEW, WINDOWS):
            command = [
                moeplace_program(),
                *("replay", "--model", "deepseek-v3", "--hw", "h100-sxm", "--redundant", "32"),
                *("--drift", DRIFT, "--windows", str(windows), "--policy", policy),
                *("--no-regret", "--quiet", "--format", "json"),
            ]
            done = run_process(command)
            (row,) = json.loads(done.stdout)["rows"]
            rows.append(
                [
                    f"`{policy}`",
                    f"{windows:,}",
                    f"{done.wall_s:.1f}",
                    f"{done.cpu_s:.1f}",
                    f"{done.peak_MiB:,.0f}",
                    f"{row['balancedness']:.3f}",
                    f"{row['moved_replicas']:,}",
                ]
            )
    headers = ["policy", "windows", "wall s", "processor s", "peak MiB", "balancedness", "moved"]
    text = (
        "Windows of 58 layers x 256 experts with generated drifting loads, 32 ranks x 9 slots; "
        f"every policy is asked before every window. {os.cpu_count()} cores. The process as a "
        "whole, start and compiled code included."
    )
    return f"{text}\n\n{table(headers, rows)}"
