"""Make the routing and the placements that the GPU programs replay.

`python -m benchmarks.gpu.inputs TRACE -o inputs.npz [--layers 3,7] [--ranks 8,32,64]`
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import moeplace
from moeplace.files import atomic_write
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace import Problem, RoutingTrace, Workload

TOKENS = 16_384  # replayed tokens of a layer and phase
BATCHES = {"prefill": (512, 4096), "decode": (16, 128)}  # tokens a rank


def main(arguments: list[str]) -> int:
    """Write the inputs; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.inputs", description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--layers", default="2,6", help="rows of the trace")
    parser.add_argument("--ranks", default="2,8,32,64")
    parser.add_argument("--system", default="h200-sxm")
    given = parser.parse_args(arguments)
    trace = moeplace.load_trace(given.trace)
    arrays: dict[str, Any] = {}
    for layer in map(int, given.layers.split(",")):
        for ranks in map(int, given.ranks.split(",")):
            _add_layer(arrays, trace, layer, ranks, given.system)
    with atomic_write(given.output, "wb") as file:
        np.savez_compressed(file, **arrays)
    return 0


def _add_layer(
    arrays: dict[str, Any], trace: RoutingTrace, row: int, ranks: int, system: str
) -> None:
    """Add one layer of the trace: tokens by phase, and placements for so many ranks."""
    chosen = np.arange(trace.num_layers) == row
    one = moeplace.RoutingTrace.from_arrays(
        trace.expert_ids[:, chosen],
        num_experts=trace.num_experts,
        layer_ids=(3,),
        request=trace.request,
        phase=trace.phase,
    )
    fit, held = one.split(0.5, by="request", seed=0)
    model = moeplace.load_model("deepseek-v3").replace(num_layers=4, moe_layers=(3,))
    hardware = moeplace.load_system(system, ranks=ranks)
    known = {phase: _workload(fit, phase) for phase in BATCHES}
    later = {phase: _workload(held, phase) for phase in BATCHES}
    for phase, batches in BATCHES.items():
        ids = held.select_phase(phase).expert_ids[:, 0]
        pick = np.random.default_rng([row, len(phase)]).permutation(len(ids))[:TOKENS]
        arrays[f"{phase}.l{row}.topk_ids"] = ids[pick].astype(np.int16)
        for batch in batches:

            def problem(
                workload: Workload,
                redundant: int,
                objective: str = "time",
                phase: str = phase,
                batch: int = batch,
            ) -> Problem:
                return moeplace.make_problem(
                    model,
                    hardware,
                    workload.replace(phase=phase),
                    redundant=redundant,
                    objective=objective,
                    dedup="rank",
                    phase=phase,
                    tokens_per_rank=batch,
                )

            one_each = ranks if ranks > 2 else 32
            wanted = {
                "contiguous": (known[phase], 0, "contiguous", "time"),
                "random": (known[phase], 0, "random", "time"),
                "eplb0": (known[phase], 0, "eplb", "time"),
                "eplb": (known[phase], one_each, "eplb", "time"),
                "balance": (known[phase], one_each, "auto", "balance"),
                "moeplace": (known[phase], one_each, "auto", "time"),
            }
            if phase == "decode":  # placed by what the same requests' prefill showed, and best
                wanted |= {
                    "remap": (later["prefill"], 0, "remap", "time"),
                    "dup": (later["prefill"], one_each, "dup", "time"),
                    "moeplace-prefill": (later["prefill"], one_each, "auto", "time"),
                    "oracle": (later["decode"], one_each, "auto", "time"),
                }
            for name, (workload, redundant, solver, objective) in wanted.items():
                instance = problem(workload, redundant, objective)
                found = load_solver(solver)(instance, Run(), None).placement  # no bound needed
                if found is None:
                    raise SystemExit(f"{solver} found no placement for {ranks} ranks")
                key = f"{phase}.l{row}.r{ranks}.t{batch}.{name}"
                arrays[key] = _by_rank(found.expert_of_slot[0], found.rank_of_slot, ranks)
                print(key, arrays[key].shape, file=sys.stderr)


def _workload(trace: RoutingTrace, phase: str) -> Workload:
    return moeplace.Workload.from_trace(trace.select_phase(phase))


def _by_rank(
    expert_of_slot: NDArray[np.int32], rank_of_slot: NDArray[np.int32], ranks: int
) -> NDArray[np.int16]:
    """Return (ranks, most slots) the experts of every rank, −1 at the end of short rows."""
    rows = [expert_of_slot[(rank_of_slot == r) & (expert_of_slot >= 0)] for r in range(ranks)]
    table = np.full((ranks, max(map(len, rows))), -1, np.int16)
    for rank, experts in enumerate(rows):
        table[rank, : len(experts)] = experts
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
