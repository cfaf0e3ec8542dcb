"""Solve every QAPLIB instance of a folder and print how far from the best known it ends.

    python -m benchmarks.qap FOLDER [--time-limit 10] [--seed 0] [--only NAME]

FOLDER holds `NAME.dat` and, with the best known value, `NAME.sln` (QAPLIB's format).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.data import data_file
from benchmarks.timing import table
from moeplace.formulations.qap import read_qaplib, read_qaplib_value, solve_qap

if TYPE_CHECKING:
    from collections.abc import Sequence

# kra32.sln says 88900, but its own permutation costs less.
CORRECTED = {"kra32": 88700.0}

TIME_LIMIT_S = 10.0
HEADERS = ("instance", "n", "best known", "found", "gap %", "bound", "below found %", "s", "cpu s")


def best_known(data: Path) -> float | None:
    """Return the best known cost of an instance, None without a file that says so."""
    if data.stem in CORRECTED:
        return CORRECTED[data.stem]
    solution = data.with_suffix(".sln")
    return read_qaplib_value(solution) if solution.exists() else None


def measure(data: Path, time_limit_s: float, seed: int) -> tuple[list[str], int, float | None]:
    """Solve one instance; return its row, its size and its gap in %."""
    flow, distance = read_qaplib(data)
    started, busy = time.perf_counter(), time.process_time()
    result = solve_qap(flow, distance, time_limit_s=time_limit_s, seed=seed)
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - busy
    known = best_known(data)
    gap = None if known is None else 100.0 * (result.cost - known) / abs(known)
    bound, certified = "-", "-"
    if result.lower_bound is not None and result.gap is not None:
        bound, certified = f"{result.lower_bound:,.0f}", f"{100.0 * result.gap:.2f}"
    row = [
        data.stem,
        str(len(flow)),
        "-" if known is None else f"{known:,.0f}",
        f"{result.cost:,.0f}",
        "-" if gap is None else f"{gap:.3f}",
        bound,
        certified,
        f"{wall_s:.1f}",
        f"{cpu_s:.1f}",
    ]
    return row, len(flow), gap


def report(quick: bool) -> str:
    """Return the table of the instances in the data folder, at TIME_LIMIT_S seconds each."""
    folder = data_file("qaplib")
    if folder is None:
        return "Without the folder qaplib of QAPLIB instances: set MOEPLACE_DATA."
    files = sorted(folder.glob("*.dat"))
    return solve_all(files[::7] if quick else files, 1.0 if quick else TIME_LIMIT_S, seed=0)


def solve_all(files: Sequence[Path], time_limit_s: float, seed: int) -> str:
    """Return the table of all instances and a line with means and the worst."""
    # Loads the compiled kernels: compiling is no instance's time.
    solve_qap(np.eye(9), np.eye(9)[::-1], time_limit_s=None, max_iterations=1)
    rows, gaps, small = [], [], []
    for file in files:
        row, size, gap = measure(file, time_limit_s, seed)
        print(" ".join(row), file=sys.stderr, flush=True)
        rows.append(row)
        if gap is not None:
            gaps.append(gap)
            if size <= 30:
                small.append(gap)
    lines = [table(HEADERS, rows)]
    if gaps:
        lines.append(
            f"Gap to the best known: mean {mean(gaps):.4f} %, worst {max(gaps):.3f} %, "
            f"none on {sum(gap <= 0.0 for gap in gaps)} of {len(gaps)}; "
            f"worst up to 30 facilities {max(small, default=0.0):.3f} %."
        )
    return "\n\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.qap", description=__doc__)
    parser.add_argument("folder", type=Path)
    limit_help = "seconds an instance"
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT_S, help=limit_help)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="name of an instance; repeatable")
    given = parser.parse_args(arguments)
    files = sorted(given.folder.glob("*.dat"))
    if given.only:
        files = [file for file in files if file.stem in given.only]
    if not files:
        print(f"{given.folder}: no QAPLIB instances (*.dat)", file=sys.stderr)
        return 3
    print(solve_all(files, given.time_limit, given.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
