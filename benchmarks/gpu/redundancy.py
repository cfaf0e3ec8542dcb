"""Inputs that tell what redundant experts bring: none, EPLB's one a rank, what the model picks.

`python -m benchmarks.gpu.redundancy SWEEPS.json -o inputs.npz`: DeepSeek-V3's recorded loads,
placements scored with the expert kernels that are fitted to the sweeps of SWEEPS.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import moeplace
from benchmarks.gpu.inputs import TOKENS, _by_rank
from benchmarks.measured import BATCHES, LAYER_ROWS, recorded_load, scored_with_sweeps
from moeplace.files import atomic_write
from moeplace.formulations.redundancy import solve_redundancy
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run
from moeplace.hwmodels.calibrate.expert_fits import fit_expert_kernels
from moeplace.hwmodels.calibrate.store import save_kernels
from moeplace.hwmodels.calibrate.tables import read_table
from moeplace.traces import synthesize_token_sets

if TYPE_CHECKING:
    from moeplace import Placement

RANKS = (8, 32, 64)


def main(arguments: list[str]) -> int:
    """Write the inputs; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweeps", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    arrays: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        constants = Path(temporary) / "sweeps.yaml"
        points = read_table(given.sweeps).expert
        save_kernels(constants, "h200-sxm", [], fit_expert_kernels(points, "sweeps"), "")
        for row in LAYER_ROWS:
            for phase, batches in BATCHES:
                load = recorded_load(phase, row)
                arrays[f"{phase}.v3l{row}.topk_ids"] = _tokens(load, row)
                for ranks in RANKS:
                    for tokens in batches:
                        key = f"{phase}.v3l{row}.r{ranks}.t{tokens}"
                        problem = scored_with_sweeps(constants, load, ranks, phase, tokens)
                        auto = solve_redundancy(problem).result.placement
                        found = {"auto": auto}
                        for name, solver, redundant in (
                            ("none", "auto", 0),
                            ("one", "eplb", ranks),
                        ):
                            trial = problem.with_redundancy(redundant)
                            found[name] = load_solver(solver)(trial, Run(), None).placement
                        for name, placement in found.items():
                            arrays[f"{key}.{name}"] = _table(placement, ranks)
                        print(key, {n: arrays[f"{key}.{n}"].shape for n in found}, file=sys.stderr)
    with atomic_write(given.output, "wb") as file:
        np.savez_compressed(file, **arrays)
    return 0


def _tokens(load: Any, row: int) -> Any:
    """Return (tokens, top_k) experts of tokens generated for the loads of one layer."""
    model = moeplace.load_model("deepseek-v3")
    sets = synthesize_token_sets(
        load[None],
        model.top_k,
        n_group=model.n_group,
        topk_group=model.topk_group,
        sets_per_layer=TOKENS,
    )[0]
    rng = np.random.default_rng(row)
    pick = rng.choice(len(sets.weight), TOKENS, p=sets.weight / sets.weight.sum())
    return sets.ids[pick].astype(np.int16)


def _table(placement: Placement | None, ranks: int) -> Any:
    if placement is None:
        raise SystemExit(f"no placement for {ranks} ranks")
    return _by_rank(placement.expert_of_slot[0], placement.rank_of_slot, ranks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
