from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.parallel import Workers
from moeplace.traces import Workload, load_trace, save_trace
from moeplace.traces.importers.options import ImportOptions
from moeplace.traces.importing import import_trace
from moeplace.traces.stored import open_trace

ONE = Workers(jobs=1, engine="loky")
OPTIONS = ImportOptions(num_experts=12)


def write_tree(folder, queries=9, tokens=6, seed=0):
    """Write a small tree in the format of the Chaos data set."""
    rng = np.random.default_rng(seed)

    def rows(count):
        return [rng.choice(12, 3, replace=False).tolist() for _ in range(count)]

    for number in range(queries):
        steps = [{"0": None, "1": rows(tokens), "2": rows(tokens)}]
        steps += [{"0": None, "1": rows(1), "2": rows(1)} for _ in range(4)]
        path = folder / ("law" if number % 2 else "code") / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(steps, indent=4))
    return folder


def content(folder):
    """Return the bytes of every file of a folder."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def run(tree, out, workers=ONE, **changes):
    """Import a tree in parts of three queries."""
    return import_trace([tree], out, options=OPTIONS, workers=workers, part_bytes=2500, **changes)


def test_parts_hold_what_reading_at_once_gives(tmp_path):
    """Requests, domains and ids are those of the whole tree read in memory."""
    tree = write_tree(tmp_path / "tree")
    report = run(tree, tmp_path / "out")
    assert report.parts > 2
    stored, whole = open_trace(tmp_path / "out").load(), load_trace(tree, num_experts=12)
    assert report.tokens == stored.num_tokens == whole.num_tokens
    assert report.requests == 9
    for column in ("expert_ids", "request", "position", "phase"):
        np.testing.assert_array_equal(getattr(stored, column), getattr(whole, column))
    names = [np.array(t.domains)[t.domain].tolist() for t in (stored, whole)]
    assert names[0] == names[1]
    assert not (tmp_path / "out.partial").exists()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert sum(part["tokens"] for part in manifest["parts"]) == whole.num_tokens


def test_workers_do_not_change_a_byte(tmp_path):
    """One process and two write the same files."""
    tree = write_tree(tmp_path / "tree")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    run(tree, tmp_path / "a" / "out")
    run(tree, tmp_path / "b" / "out", Workers(jobs=2, engine="threads"))
    assert content(tmp_path / "a" / "out") == content(tmp_path / "b" / "out")


def test_a_killed_import_goes_on(tmp_path):
    """After kill −9 the next run keeps finished parts and gives the same bytes."""
    tree = write_tree(tmp_path / "tree", queries=24)
    (tmp_path / "whole").mkdir()
    run(tree, tmp_path / "whole" / "out")
    out = tmp_path / "cut" / "out"
    out.parent.mkdir()
    program = (
        "import sys, time\n"
        "from moeplace.parallel import Workers\n"
        "from moeplace.traces import importing\n"
        "real = importing._import_part\n"
        "def slow(task):\n"
        "    real(task)\n"
        "    time.sleep(0.1)\n"
        "importing._import_part = slow\n"
        "from moeplace.traces.importers.options import ImportOptions\n"
        "options = ImportOptions(num_experts=12)\n"
        "importing.import_trace([sys.argv[1]], sys.argv[2], options=options,\n"
        "    workers=Workers(jobs=1, engine='loky'), part_bytes=2500)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tree), str(out)])
    partial = out.with_name("out.partial")
    for _ in range(600):
        if len(list(partial.glob("part-*.json"))) >= 2:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert partial.is_dir()
    assert not out.exists()
    report = run(tree, out)
    assert 2 <= report.resumed_parts < report.parts
    assert content(out) == content(tmp_path / "whole" / "out")


def test_another_import_starts_over(tmp_path):
    """What another plan left behind is not mixed in."""
    tree = write_tree(tmp_path / "tree")
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / "plan.json").write_text('{"fingerprint": "other"}')
    (partial / "part-00000.json").write_text("{}")
    assert run(tree, tmp_path / "out").resumed_parts == 0
    assert open_trace(tmp_path / "out").num_tokens == 90


def test_bad_files_stop_or_are_counted(tmp_path):
    """A broken query is named and nothing is left behind; with skip_bad it is counted."""
    tree = write_tree(tmp_path / "tree")
    bad = tree / "law" / "3.json"
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(InputError, match=r"3\.json"):
        run(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()
    options = ImportOptions(num_experts=12, skip_bad=True)
    report = import_trace([tree], tmp_path / "out", options=options, workers=ONE, part_bytes=2500)
    assert len(report.skipped) == 1
    assert "3.json" in report.skipped[0]
    assert report.tokens == 80
    kept = open_trace(tmp_path / "out").load()
    whole = load_trace(write_tree(tmp_path / "again"), num_experts=12)
    assert np.unique(kept.request).size == 8
    assert kept.num_tokens == whole.num_tokens - 10


def test_foreign_folders_are_kept(tmp_path):
    """A folder that is no trace is never replaced."""
    tree = write_tree(tmp_path / "tree")
    (tmp_path / "home").mkdir()
    with pytest.raises(InputError, match="exists and is no trace"):
        run(tree, tmp_path / "home")


def test_different_models_are_refused(tmp_path):
    """Two trees of other shapes do not become one trace."""
    first = write_tree(tmp_path / "a")
    other = tmp_path / "b" / "s" / "0.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps([{"1": [[1, 2]]}]))
    with pytest.raises(InputError, match="different models"):
        import_trace([first, tmp_path / "b"], tmp_path / "out", options=OPTIONS, workers=ONE)


def test_stored_traces_reduce_as_those_in_memory(tmp_path, random_trace):
    """One pass over a stored trace gives the workload of the trace in memory."""
    trace = random_trace(tokens=500)
    save_trace(trace, tmp_path / "t")
    stored = open_trace(tmp_path / "t")
    assert stored.num_tokens == 500
    for phase in (None, "prefill", "decode"):
        ours = Workload.from_trace(stored, phase=phase, anchored=True)
        theirs = Workload.from_trace(trace, phase=phase, anchored=True)
        assert ours.fingerprint(anchored=True) == theirs.fingerprint(anchored=True)
        np.testing.assert_array_equal(ours.transition_counts, theirs.transition_counts)


def test_samples_keep_exact_loads(tmp_path, random_trace):
    """Beyond max_tokens loads stay exact, sets have them, and chunks do not matter."""
    trace = random_trace(tokens=4000, experts=6)
    whole = Workload.from_trace(trace)
    some = Workload.from_trace(trace, max_tokens=300)
    np.testing.assert_array_equal(some.load, whole.load)
    for row, sets in enumerate(some.token_sets):
        np.testing.assert_allclose(sets.load(6), whole.load[row], rtol=1e-3)
    assert "300 of 4,000 tokens" in some.source
    save_trace(trace, tmp_path / "t")
    again = Workload.from_trace(open_trace(tmp_path / "t"), max_tokens=300)
    assert again.fingerprint() == some.fingerprint()
    pairs, true_pairs = some.coactivation(), whole.coactivation()
    assert np.abs(pairs - true_pairs).sum() / true_pairs.sum() < 0.2


@pytest.mark.slow
def test_a_dask_cluster_writes_the_same_bytes(tmp_path):
    """A scheduler with two worker processes gives the files of one process."""
    pytest.importorskip("distributed")
    tree = write_tree(tmp_path / "tree")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    run(tree, tmp_path / "one" / "out")
    scheduler_file = tmp_path / "scheduler.json"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
             "--port", "0", "--no-dashboard", "--scheduler-file", str(scheduler_file)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
    ]  # fmt: skip
    try:
        for _ in range(600):
            if scheduler_file.exists() and scheduler_file.stat().st_size:
                break
            time.sleep(0.1)
        address = json.loads(scheduler_file.read_text())["address"]
        started += [
            subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1",
                 "--no-dashboard", "--no-nanny", "--local-directory", str(tmp_path / f"w{i}")],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for i in range(2)
        ]  # fmt: skip
        run(tree, tmp_path / "two" / "out", Workers(engine="dask", scheduler=address))
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
    assert content(tmp_path / "one" / "out") == content(tmp_path / "two" / "out")


@pytest.mark.slow
def test_a_ray_cluster_writes_the_same_bytes(tmp_path):
    """Two Ray workers on this machine give the files of one process."""
    ray = pytest.importorskip("ray")
    tree = write_tree(tmp_path / "tree")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    run(tree, tmp_path / "one" / "out")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        run(tree, tmp_path / "two" / "out", Workers(jobs=2, engine="ray"))
    finally:
        ray.shutdown()
    assert content(tmp_path / "one" / "out") == content(tmp_path / "two" / "out")
