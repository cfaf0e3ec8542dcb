"""Make the routing and the placements that the GPU programs replay.

`python -m benchmarks.gpu.inputs TRACE -o inputs.npz [--layers 3,7] [--ranks 8,32,64]`

TRACE is a token trace, fitted on half of its requests and replayed on the other, or FIT,HELD: two
files of recorded loads of DeepSeek-V3, with token sets generated for each.
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
from moeplace.hwmodels.calibrate.apply import calibrate_system
from moeplace.traces import synthesize_token_sets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace import ModelSpec, RoutingTrace, System, Workload

TOKENS = 16_384  # replayed tokens of a layer and phase
FITTED = "moeplace-fitted"
BATCHES = {"prefill": (512, 4096), "decode": (16, 128)}  # tokens a rank


def main(arguments: list[str]) -> int:
    """Write the inputs; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.inputs", description=__doc__)
    parser.add_argument("trace", help="a trace, or FIT,HELD: two files of loads")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--layers", default="2,6", help="rows of the trace")
    parser.add_argument("--ranks", default="2,8,32,64")
    parser.add_argument("--system", default="h200-sxm")
    given = parser.parse_args(arguments)
    arrays: dict[str, Any] = {}
    files = given.trace.split(",")
    trace = moeplace.load_trace(files[0]) if len(files) == 1 else None
    for layer in map(int, given.layers.split(",")):
        for ranks in map(int, given.ranks.split(",")):
            if trace is not None:
                _add_layer(arrays, trace, layer, ranks, given.system)
            else:
                _add_loads(arrays, files, layer, ranks, given.system)
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
            one_each = ranks if ranks > 2 else 32
            wanted = _placements(known[phase], one_each)
            if phase == "decode":  # placed by what the same requests' prefill showed, and best
                wanted |= {
                    "remap": (later["prefill"], 0, "remap", "time"),
                    "dup": (later["prefill"], one_each, "dup", "time"),
                    "moeplace-prefill": (later["prefill"], one_each, "auto", "time"),
                    "oracle": (later["decode"], one_each, "auto", "time"),
                }
            for name, (workload, redundant, solver, objective) in wanted.items():
                key = f"{phase}.l{row}.r{ranks}.t{batch}.{name}"
                arrays[key] = _solved(
                    name == FITTED,
                    model,
                    hardware,
                    workload.replace(phase=phase),
                    redundant,
                    solver,
                    objective,
                    batch,
                )
                print(key, arrays[key].shape, file=sys.stderr)


def _add_loads(arrays: dict[str, Any], files: list[str], row: int, ranks: int, system: str) -> None:
    """Add one layer of recorded loads: placements fitted on one file, tokens of the other."""
    model = moeplace.load_model("deepseek-v3")
    hardware = moeplace.load_system(system, ranks=ranks)
    fit, held = (moeplace.load_workload(f).bind(model).select_layers([row]) for f in files)
    number = model.moe_layers[row]
    model = model.replace(num_layers=number + 1, moe_layers=(number,))
    phase = fit.phase or ("decode" if "decode" in Path(files[0]).name else "prefill")
    sets = synthesize_token_sets(
        held.load,
        model.top_k,
        n_group=model.n_group,
        topk_group=model.topk_group,
        sets_per_layer=TOKENS,
    )[0]
    rng = np.random.default_rng(row)
    pick = rng.choice(len(sets.weight), TOKENS, p=sets.weight / sets.weight.sum())
    arrays[f"{phase}.v3l{row}.topk_ids"] = sets.ids[pick].astype(np.int16)
    for batch in BATCHES[phase]:
        wanted = _placements(fit, ranks if ranks > 2 else 32)
        for name, (workload, redundant, solver, objective) in wanted.items():
            key = f"{phase}.v3l{row}.r{ranks}.t{batch}.{name}"
            arrays[key] = _solved(
                name == FITTED,
                model,
                hardware,
                workload.replace(phase=phase),
                redundant,
                solver,
                objective,
                batch,
            )
            print(key, arrays[key].shape, file=sys.stderr)


def _placements(known: Workload, one_each: int) -> dict[str, tuple[Workload, int, str, str]]:
    """Return what to compare: workload fitted on, redundant experts, solver, objective."""
    return {
        "contiguous": (known, 0, "contiguous", "time"),
        "random": (known, 0, "random", "time"),
        "eplb0": (known, 0, "eplb", "time"),
        "eplb": (known, one_each, "eplb", "time"),
        "balance": (known, one_each, "auto", "balance"),
        "moeplace": (known, one_each, "auto", "time"),
        FITTED: (known, one_each, "auto", "time"),
    }


def _solved(
    fitted: bool,
    model: ModelSpec,
    hardware: System,
    workload: Workload,
    redundant: int,
    solver: str,
    objective: str,
    batch: int,
) -> NDArray[np.int16]:
    """Return (ranks, slots) experts of the only layer; `fitted` scores with measured kernels."""
    if fitted:
        hardware, _ = calibrate_system(hardware, model, {str(workload.phase): batch})
    instance = moeplace.make_problem(
        model,
        hardware,
        workload,
        redundant=redundant,
        objective=objective,
        dedup="rank",
        phase=workload.phase,
        tokens_per_rank=batch,
    )
    found = load_solver(solver)(instance, Run(), None).placement  # no bound needed
    if found is None:
        raise SystemExit(f"{solver} found no placement for {hardware.ranks} ranks")
    return _by_rank(found.expert_of_slot[0], found.rank_of_slot, hardware.ranks)


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
