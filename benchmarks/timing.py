"""Times of a function, and time and memory of a whole process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# ru_maxrss is in KiB on Linux, in bytes on macOS.
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Finished:
    """A process that ended: its output, wall time, processor time and peak resident memory."""

    stdout: str
    wall_s: float
    cpu_s: float
    peak_MiB: float


def run_process(arguments: Sequence[str]) -> Finished:
    """Run a command and measure it alone, not its siblings.

    A child counts its parent's memory until it runs its own program, so peaks below that of the
    measuring process itself are not seen.

    Raises
    ------
    SystemExit
        If it fails; with what it said on stderr.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen(arguments, stdout=out, stderr=err, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            err.seek(0)
            raise SystemExit(f"{' '.join(arguments)}: {err.read().strip()}")
        out.seek(0)
        return Finished(
            out.read(),
            wall_s,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss * RSS_UNIT_BYTES / 2**20,
        )


def moeplace_program() -> str:
    """Return the path of the `moeplace` command of this environment."""
    return str(Path(sys.executable).with_name("moeplace"))


def median_ms(function: Callable[[], object], repeats: int) -> float:
    """Return the median wall time of a call in ms; of several, the first is not counted."""
    if repeats > 1:
        function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return 1e3 * median(times)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column aligned left and the others right."""
    lines = [headers, ["---", *["--:"] * (len(headers) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
