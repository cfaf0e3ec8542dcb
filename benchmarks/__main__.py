"""Run the benchmarks and print them as Markdown: `python -m benchmarks [--quick] [--only NAME]`."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys

import numpy as np

import moeplace
from benchmarks.registry import CASES


def machine() -> str:
    """Return one line that says where and with what the numbers were measured."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{datetime.datetime.now(datetime.UTC).date()}, {platform.machine()}, {cores} cores, "
        f"{platform.system()}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"moeplace {moeplace.__version__}"
    )


def main(arguments: list[str]) -> int:
    """Run the cases that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, for a check")
    parser.add_argument("--only", action="append", choices=CASES, help="run one case; repeatable")
    given = parser.parse_args(arguments)
    print(f"Measured with `make bench`: {machine()}.\n")
    for name in given.only or CASES:
        print(f"## {CASES[name].title}\n")
        print(CASES[name].run(given.quick), end="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
