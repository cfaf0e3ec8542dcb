"""Time and memory of `solve` against experts, ranks and tokens, each in its own process.

python -m benchmarks.scaling OBJECTIVE EXPERTS RANKS SETS     one point, in this process
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from benchmarks.timing import run_process, table

EXPERTS, RANKS, SETS, TOP_K = 256, 32, 2048, 8
SWEEPS = {
    "experts": (64, 128, 256, 512, 1024),
    "ranks": (8, 16, 32, 64, 128, 256, 512),
    "token sets": (1024, 4096, 16384),
}
WIDE = 1024  # experts of the sweep over ranks: every rank then has some
LIMIT_S = 60.0


def report(quick: bool) -> str:
    """Return a table of all points and the exponents fitted to them."""
    rows, fits = [], []
    for objective in ("balance", "time"):
        for name, values in SWEEPS.items():
            if objective == "balance" and name == "token sets":
                continue  # loads are all it looks at
            points = [_point(objective, name, value) for value in (values[:2] if quick else values)]
            for value, point in zip(values, points, strict=False):
                cells = [f"{point[key]:,.2f}" for key in ("first_s", "solve_s", "peak_MiB")]
                gap = f"{100 * point['gap']:.2f}"
                rows.append([f"{objective}, {value:,} {name}", *cells, gap])
            xs = np.log(values[: len(points)])
            for key in ("solve_s", "peak_MiB"):
                slope = np.polyfit(xs, np.log([point[key] for point in points]), 1)[0]
                fits.append([f"{objective}: {key.split('_')[0]} against {name}", f"{slope:.2f}"])
    text = (
        f"Two layers, {EXPERTS} experts ({WIDE} against ranks), {RANKS} ranks, top {TOP_K}, "
        f"{SETS:,} token sets a layer where nothing else is said, one NVLink node, prefill. First: "
        "with loading or compiling the kernels; solve: processor seconds of a second problem in "
        "the same process."
    )
    points_table = table(["", "first s", "solve s", "peak MiB", "gap %"], rows)
    return f"{text}\n\n{points_table}\n\n{table(['log-log fit', 'exponent'], fits)}"


def _point(objective: str, name: str, value: int) -> dict[str, float]:
    experts = WIDE if name == "ranks" else EXPERTS
    at = {"experts": experts, "ranks": RANKS, "token sets": SETS, name: value}
    numbers = [str(at[key]) for key in ("experts", "ranks", "token sets")]
    done = run_process([sys.executable, "-m", "benchmarks.scaling", objective, *numbers])
    return {**json.loads(done.stdout), "peak_MiB": done.peak_MiB}


def measure(objective: str, experts: int, ranks: int, sets: int) -> dict[str, float]:
    """Solve two random problems of a size; return seconds of each and the gap of the second."""
    import moeplace
    from moeplace.models import ModelSpec
    from moeplace.traces.synthetic import synthesize_token_sets

    model = ModelSpec(
        name="synthetic",
        num_layers=2,
        moe_layers=(0, 1),
        num_experts=experts,
        top_k=TOP_K,
        hidden_size=2048,
        moe_intermediate_size=512,
    )
    system = moeplace.load_system("h100-sxm", ranks=8).replace(ranks=ranks, node_size=ranks)
    spent = {}
    for seed, key in enumerate(("first_s", "solve_s")):
        load = np.random.default_rng(seed).lognormal(sigma=0.7, size=(2, experts))
        load = np.minimum(load, load.sum(axis=1, keepdims=True) / (2 * TOP_K))
        drawn = synthesize_token_sets(load, TOP_K, sets_per_layer=sets, seed=seed)
        workload = moeplace.Workload.from_loads(load, top_k=TOP_K).with_token_sets(
            drawn, "synthetic"
        )
        problem = moeplace.make_problem(model, system, workload, 0, objective, phase="prefill")
        started = time.process_time()
        result = moeplace.solve(problem, time_limit_s=LIMIT_S)
        spent[key] = time.process_time() - started
    return {**spent, "gap": float(result.gap or 0.0)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], *(int(number) for number in sys.argv[2:]))))
