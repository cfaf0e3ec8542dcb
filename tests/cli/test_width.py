from __future__ import annotations

import re

import pytest

from moeplace.cli.output import column_widths

TINY = ("--model", "tiny.yaml", "--hw", "mesh:2x2", "--trace", "trace.npz")
LOADS = ("--model", "tiny.yaml", "--hw", "mesh:2x2", "--trace", "loads.json")
SHIPPED = "deepseek-v3/prefill_in4096"
COMMANDS = [
    ("solve", *TINY, "--solver", "lpt", "--map", "--explain"),
    ("solve", *TINY, "--solver", "lpt", "--objective", "copies"),
    ("solve", *TINY, "--solver", "lpt", "--robust", "max"),
    ("solve", *LOADS, "--redundant", "auto", "--solver", "lpt"),
    ("compare", *TINY, "--solvers", "lpt,huang-anticorrelation,eplb-hierarchical", "--explain"),
    ("compare", "--instances", "tiny-balance,tiny-time-decode", "--solvers", "lpt,eplb"),
    ("bound", *TINY, "--explain"),
    ("bound", *TINY, "--objective", "copies"),
    ("replay", *LOADS, "--policy", "static,moeplace-triggered", "--explain"),
    ("replay", "--list"),
    ("disaggregate", *LOADS, "--solver", "lpt"),
    ("buffer", *TINY, "--batch-tokens", "40"),
    ("gating",),
    ("gating", "--model", "deepseek-v3", "--capacity", "0.1", "--hw", "h100-sxm"),
    ("wafer", "--model", "deepseek-v3", "--batch", "64", "--layers", "1", "--steps", "1"),
    ("sweep", "--model", "deepseek-v2-lite", "--hw", "wafer-dojo-5x5-enhanced,wafer", "--layers",
     "1", "--redundant", "0,25"),
    ("model", "list"),
    ("model", "show", "deepseek-v3"),
    ("hw", "list"),
    ("hw", "show", "h100-sxm"),
    ("hw", "show", "wafer"),
    ("hw", "validate", "mesh:2x2"),
    ("instance", "list"),
    ("instance", "show", "dsv2lite-copies"),
    ("instance", "check", "tiny-balance-lp"),
    ("trace", "info", "trace.npz"),
    ("trace", "info", "--list"),
    ("trace", "stats", SHIPPED),
    ("trace", "stats", "trace.npz", "--by", "window"),
    ("trace", "insights", "trace.npz", "--explain"),
    ("trace", "formats"),
    ("solvers",),
    ("doctor",),
    ("config", "show"),
]  # fmt: skip


def label(words):
    return " ".join(words[:2])


@pytest.mark.parametrize("words", COMMANDS, ids=label)
def test_output_fits_80_columns(words, moeplace):
    """No line is wider, nothing is cut off with dots, no control character is piped."""
    done = moeplace(*words)
    assert done.exit_code == 0, done.stderr
    for line in (*done.stdout.splitlines(), *done.stderr.splitlines()):
        assert len(line) <= 80 or line.startswith(("note: ", "error: "))
        assert "…" not in line
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", line)


def test_columns_give_way_without_breaking_words():
    """The widest column shrinks to the room there is, never below its longest word."""
    rows = [("name", "what it is"), ("a-long-name", "several words that need some room here")]
    assert column_widths(rows, 80) == (2, [11, 38])
    assert column_widths(rows, 30) == (1, [11, 18])
    gap, widths = column_widths(rows, 19)
    assert (gap, widths) == (1, [11, 7])
    assert column_widths(rows, 18) == (1, None)


def test_headers_of_two_lines_count_line_by_line():
    """A line end in a cell is no word's width."""
    assert column_widths([("balanc-\nedness", "x y"), ("1", "z")], 80) == (2, [7, 3])
