"""Importing traces and counting co-activation, beside the plain way to do the same.

The trees are made here, in the format of the "Patterns behind Chaos" data set.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.timing import run_process, table

if TYPE_CHECKING:
    from collections.abc import Callable

LAYERS, EXPERTS, TOP_K = 94, 128, 8  # the shape of Qwen3-235B, whose files are the largest
PROMPT, STEPS = 20, 60
FULL_MB, QUICK_MB = 5000, 120
GROWTH = (1, 3)  # sizes of tree for which the peak is shown
LINKED = 3  # times the larger tree is linked for one process against two
REPEATS = 3  # of one process against two, in turn
ROWS = 200_000
IN_PROCESS_MB = 60
IMPORT = (
    "import sys\n"
    "from moeplace.parallel import Workers\n"
    "from moeplace.traces.importing import ImportOptions, import_trace\n"
    "import_trace([sys.argv[1]], sys.argv[2], options=ImportOptions(num_experts=128),\n"
    "             workers=Workers(jobs=int(sys.argv[3]), engine='loky'))\n"
)
PLAIN = (
    "import json, pathlib, sys\n"
    "import numpy as np, pyarrow as pa, pyarrow.parquet as pq\n"
    "for n, file in enumerate(sorted(pathlib.Path(sys.argv[1]).rglob('*.json'))):\n"
    "    steps = json.loads(file.read_bytes())\n"
    "    keys = [k for k, rows in steps[0].items() if rows is not None]\n"
    "    first = np.array([steps[0][k] for k in keys]).transpose(1, 0, 2)\n"
    "    later = np.array([[step[k][0] for k in keys] for step in steps[1:]])\n"
    "    ids = np.concatenate([first, later]).astype(np.uint8)\n"
    "    columns = {f'layer_{k}': pa.FixedSizeListArray.from_arrays(\n"
    "        pa.array(ids[:, i].ravel()), ids.shape[2]) for i, k in enumerate(keys)}\n"
    "    pq.write_table(pa.table(columns), f'{sys.argv[2]}/{n}.parquet', compression='zstd')\n"
)


def import_report(quick: bool) -> str:
    """Return the import table: rate against json + NumPy, peak memory, one and two processes."""
    wanted = QUICK_MB if quick else FULL_MB
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sizes = [
            _make_tree(root / f"tree{i}", wanted * n // GROWTH[-1]) for i, n in enumerate(GROWTH)
        ]
        largest = f"tree{len(sizes) - 1}"
        for number in range(LINKED):
            shutil.copytree(root / largest, root / "linked" / str(number), copy_function=os.link)
        _run(root, "tree0", "warm", 1)
        rows, sped = [_row("moeplace, 1 process", sizes[0], _run(root, "tree0", "out", 1))], []
        for tree, size in ((largest, sizes[-1]), ("linked", LINKED * sizes[-1])):
            one, two = _in_turn(root, tree, 1 if quick else REPEATS)
            rows.append(_row("moeplace, 1 process", size, one))
            rows.append(_row("moeplace, 2 processes", size, two))
            sped.append(f"{one.wall_s / two.wall_s:.2f}× for {size:,.0f} MB")
        (root / "plain").mkdir()
        plain = run_process([sys.executable, "-c", PLAIN, str(root / "tree0"), str(root / "plain")])
        rows.append(_row("json + NumPy + pyarrow, a file a query", sizes[0], plain))
    header = ("import", "JSON, MB", "wall, s", "processor, s", "MB per processor s", "peak, MiB")
    return (
        table(header, rows) + "\n\n" + _parse_table() + "\n\nTrees of JSON queries made for the "
        f"benchmark ({LAYERS} layers, top {TOP_K} of {EXPERTS}), written as Parquet with zstd; the "
        f"largest is the one before it linked {LINKED} times. Peak is that of the first process; "
        "with two, workers are its children. One process and two ran in turn, the fastest run of "
        f"each counts: two are {' and '.join(sped)} as fast as one, starting Python included."
    )


def coactivation_report(quick: bool) -> str:
    """Return the table of co-activation counting, one core."""
    import scipy.sparse

    from moeplace.traces.coactivation_kernels import count_pairs

    rng = np.random.default_rng(0)
    tokens = ROWS // 4 if quick else ROWS
    rows = []
    for experts, top_k in ((256, 8), (128, 8), (384, 8), (64, 6)):
        draws = rng.random((tokens, experts), dtype=np.float32)
        ids = np.ascontiguousarray(
            draws.argpartition(top_k, axis=1)[:, :top_k].astype(np.uint16)[:, None]
        )
        pairs, load = np.zeros((experts, experts), np.uint32), np.zeros(experts, np.int64)
        ours = _cpu_s(lambda: count_pairs(ids, 0, pairs, load), 7)  # noqa: B023
        matrix = scipy.sparse.csr_matrix(
            (
                np.ones(tokens * top_k, np.int32),
                ids.ravel().astype(np.int32),
                np.arange(0, tokens * top_k + 1, top_k),
            ),
            shape=(tokens, experts),
        )
        theirs = _cpu_s(lambda: (matrix.T @ matrix).toarray(), 3)  # noqa: B023
        rates = [tokens / seconds / 1e6 for seconds in (ours, theirs)]
        rows.append(
            (f"top {top_k} of {experts}", *(f"{r:.1f}" for r in rates), f"{theirs / ours:.0f}×")
        )
    head = ("million (token, layer) rows per processor second", "moeplace", "SciPy AᵀA", "ratio")
    return table(head, rows)


def _parse_table() -> str:
    from moeplace.traces.importers.chaos import query_reader

    read = query_reader()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, layers, top_k in (("Qwen3's", 94, 8), ("Llama-4's", 48, 1)):
            path = Path(folder) / "q.json"
            path.write_text(json.dumps(_query(np.random.default_rng(0), layers, top_k), indent=4))
            size = path.stat().st_size / 1e6
            ours = _cpu_s(lambda: read(path, EXPERTS), 7)  # noqa: B023
            theirs = _cpu_s(lambda: _plain_read(path), 3)  # noqa: B023
            rows.append(
                (f"a query of {name} shape", f"{size / ours:,.0f}", f"{size / theirs:,.0f}",
                 f"{theirs / ours:.1f}×")
            )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        size = _make_tree(Path(folder) / "tree", IN_PROCESS_MB)
        ours = _cpu_s(lambda: _import(Path(folder)), 3)
        theirs = _cpu_s(lambda: _plain_import(Path(folder)), 2)
        rates = (f"{size / ours:,.0f}", f"{size / theirs:,.0f}", f"{theirs / ours:.1f}×")
        rows.append(("a whole import, Parquet written", *rates))
    return table(
        ("reading JSON, MB per processor second", "moeplace", "json + NumPy", "ratio"), rows
    )


def _import(folder: Path) -> None:
    from moeplace.parallel import Workers
    from moeplace.traces.importers.options import ImportOptions
    from moeplace.traces.importing import import_trace

    import_trace(
        [folder / "tree"],
        folder / "ours",
        options=ImportOptions(num_experts=EXPERTS),
        workers=Workers(jobs=1, engine="loky"),
    )


def _plain_import(folder: Path) -> None:
    """Read every query, then write one table: the plain way to the same file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = np.concatenate([_plain_read(file) for file in sorted((folder / "tree").rglob("*.json"))])
    columns = {
        f"layer_{i}": pa.FixedSizeListArray.from_arrays(pa.array(ids[:, i].ravel()), ids.shape[2])
        for i in range(ids.shape[1])
    }
    pq.write_table(pa.table(columns), folder / "plain.parquet", compression="zstd")


def _plain_read(path: Path) -> np.ndarray:
    steps = json.loads(path.read_bytes())
    keys = [key for key, rows in steps[0].items() if rows is not None]
    first = np.array([steps[0][key] for key in keys]).transpose(1, 0, 2)
    later = np.array([[step[key][0] for key in keys] for step in steps[1:]])
    return np.concatenate([first, later]).astype(np.uint16)


def _cpu_s(function: Callable[[], object], repeats: int) -> float:
    """Return the least processor time of a call; the first is not counted."""
    function()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return min(times)


def _query(rng: np.random.Generator, layers: int = LAYERS, top_k: int = TOP_K) -> list[dict]:
    steps = []
    for step in range(STEPS + 1):
        rows = PROMPT if step == 0 else 1
        ids = rng.random((layers, rows, EXPERTS)).argpartition(top_k, axis=2)[:, :, :top_k]
        dense = range(0, layers, 2) if top_k == 1 else ()
        steps.append({str(i): None if i in dense else ids[i].tolist() for i in range(layers)})
    return steps


def _make_tree(folder: Path, megabytes: int) -> float:
    """Write queries until the tree has the size; a few different ones, over and over."""
    rng = np.random.default_rng(0)
    texts = [json.dumps(_query(rng), indent=4).encode() for _ in range(4)]
    total, number = 0, 0
    while total < megabytes * 1e6:
        path = folder / f"subject{number // 200}" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(texts[number % len(texts)])
        total += len(texts[number % len(texts)])
        number += 1
    return total / 1e6


def _run(root: Path, tree: str, out: str, jobs: int):
    return run_process([sys.executable, "-c", IMPORT, str(root / tree), str(root / out), str(jobs)])


def _in_turn(root: Path, tree: str, repeats: int):
    """Return the fastest run of one process and of two, run in turn."""
    runs = {1: [], 2: []}
    for number in range(repeats):
        for jobs, done in runs.items():
            out = f"{tree}-{jobs}-{number}"
            done.append(_run(root, tree, out, jobs))
            shutil.rmtree(root / out)
    return tuple(min(done, key=lambda run: run.wall_s) for done in runs.values())


def _row(name: str, size: float, done) -> tuple[str, ...]:
    return (
        name,
        f"{size:,.0f}",
        f"{done.wall_s:.1f}",
        f"{done.cpu_s:.1f}",
        f"{size / done.cpu_s:,.0f}",
        f"{done.peak_MiB:,.0f}",
    )
