"""Layers timed on H200 GPUs: which placement is fastest, which the model picks, and redundancy."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np

import moeplace
from benchmarks.data import data_file
from benchmarks.timing import table
from moeplace.formulations.redundancy import solve_redundancy
from moeplace.hwmodels.calibrate.apply import calibrate_system
from moeplace.hwmodels.calibrate.expert_fits import fit_expert_kernels
from moeplace.hwmodels.calibrate.layers import LEAST_MARGIN, validate_layers
from moeplace.hwmodels.calibrate.store import save_kernels
from moeplace.hwmodels.calibrate.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from moeplace.hwmodels.calibrate.layers import LayerRow

OWN = Path(__file__).parent / "gpu" / "results" / "h200"
SHARED = "measured/h200_ep_layer"
REDUNDANCY = OWN.parent / "h200_redundancy" / "one_gpu.json"
OTHERS = {"moeplace-fitted", "remap", "dup", "moeplace-prefill", "oracle"}  # beyond the six
RECORDED = {"decode": "deepseek-v3/decode_in500out1500", "prefill": "deepseek-v3/prefill_in4096"}
LAYER_ROWS = (20, 45)
EXPERTS = 256
BATCHES = (("decode", (16, 64, 128)), ("prefill", (512, 4096)))

Group = tuple[str, int, int, str]  # trace, ranks, tokens a rank, links and copies


def report(quick: bool) -> str:
    """Return both tables for every set of runs that is here."""
    sets = [("own runs", OWN)]
    shared = data_file(SHARED)
    if shared is not None and not quick:
        sets.append(("measured/h200_ep_layer", shared))
    parts = []
    for name, folder in sets:
        parts += [f"{name}: {_choices(folder)}", f"{name}: {_redundancy(folder, quick)}"]
    parts.append(_redundancy_timed())
    return "\n\n".join(parts)


def _choices(folder: Path) -> str:
    """Return what measures fastest of the six and what the model picks, one comparison a row."""
    groups: dict[Group, dict[str, list[LayerRow]]] = defaultdict(lambda: defaultdict(list))
    for row in validate_layers(folder).rows:
        if row.placement not in OTHERS:
            how = f"{row.regime}, {row.mode}"
            group = (row.trace, row.ranks, row.tokens_per_rank, how)
            groups[group][row.placement].append(row)
    lines, regrets = [], []
    lost: dict[str, list[float]] = defaultdict(list)  # by who always chooses the same
    within = 0
    for group, placements in sorted(groups.items()):
        times = {name: [row.measured_us for row in rows] for name, rows in placements.items()}
        typical = {name: median(each) for name, each in times.items()}
        fastest = min(typical, key=lambda name: typical[name])
        predicted = {name: rows[0].predicted_us for name, rows in placements.items()}
        picked = min(predicted, key=lambda name: predicted[name])
        regret = typical[picked] / typical[fastest] - 1
        noise = max(LEAST_MARGIN, *(max(times[n]) / min(times[n]) - 1 for n in (fastest, picked)))
        within += regret <= noise
        regrets.append(regret)
        for name, each in typical.items():
            lost[name].append(each / typical[fastest] - 1)
        lines.append(
            [group[0], str(group[1]), str(group[2]), group[3], fastest, picked,
             f"{100 * regret:.1f}", f"{100 * noise:.1f}", "yes" if regret <= noise else "no"]
        )  # fmt: skip
    headers = ["trace", "ranks", "tokens a rank", "links, copies", "measured fastest"]
    headers += ["least predicted", "slower %", "noise %", "within"]
    always = sorted(lost.items(), key=lambda item: fmean(item[1]))
    rest = ", ".join(f"{name} {100 * fmean(each):.1f}" for name, each in always)
    said = (
        f"the least predicted of the six is the fastest measured, within noise, in {within} of "
        f"{len(lines)} comparisons; on average it is {100 * fmean(regrets):.1f} % slower than "
        f"the fastest, at most {100 * max(regrets):.1f} %. Always the same placement, slower "
        f"on average by %: {rest}."
    )
    return said + "\n\n" + table(headers, lines)


def _redundancy(folder: Path, quick: bool) -> str:
    """Return what `--redundant auto` decides, scored with expert kernels fitted to the sweeps."""
    points = [p for path in sorted(folder.glob("*.json")) for p in read_table(path).expert]
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        constants = Path(temporary) / "sweeps.yaml"
        save_kernels(constants, "h200-sxm", [], fit_expert_kernels(points, folder.name), "")
        for title, loads, sizes in _loads(folder, quick):
            for ranks in sizes[:1] if quick else sizes:
                cells = [
                    _chosen(constants, loads[phase], ranks, phase, tokens)
                    for phase, batches in BATCHES
                    for tokens in batches
                ]
                lines.append([title, str(ranks), *cells])
    tokens = [str(each) for _, batches in BATCHES for each in batches]
    said = (
        "redundant experts that `solve --redundant auto` takes by tokens a rank (decode up to "
        "128, prefill beyond), with the expert kernels of the sweeps; in brackets what they gain "
        "over none, in % of the modelled layer time."
    )
    return said + "\n\n" + table(["loads", "ranks", *tokens], lines)


def _redundancy_timed() -> str:
    """Return the times of no redundant expert, EPLB with one a rank, and what the model picked."""
    times: dict[tuple[str, int, int], dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    count: dict[tuple[str, int, int], int] = {}
    for record in json.loads(REDUNDANCY.read_text(encoding="utf-8"))["ep_emulated"]:
        case = (record["trace"], record["world"], record["tokens_per_rank"])
        times[case][record["placement"]].append(record["emulated"]["compute"]["max_us"])
        if record["placement"] == "auto":
            count[case] = record["slots"] - EXPERTS
    rows, right = [], 0
    for case, found in sorted(times.items()):
        none, one, auto = (median(found[name]) for name in ("none", "one", "auto"))
        noise = max(LEAST_MARGIN, *(max(each) / min(each) - 1 for each in found.values()))
        right += auto <= (1 + noise) * min(none, one)
        rows.append(
            [case[0], str(case[1]), str(case[2]), f"{none:,.0f}", f"{one:,.0f}", f"{auto:,.0f}",
             str(count[case]), f"{none / auto:.2f}", f"{100 * noise:.0f} %"]
        )  # fmt: skip
    said = (
        "timed (µs of the slowest of the emulated ranks, median of four rounds): no redundant "
        "expert, EPLB with one a rank, and `--redundant auto` with the expert kernels of the "
        f"sweeps, which is the fastest of the three, within noise, in {right} of {len(rows)}."
    )
    headers = ["trace", "ranks", "tokens a rank", "none", "one a rank", "auto", "auto takes"]
    return said + "\n\n" + table([*headers, "gain over none", "rounds apart"], rows)


def _loads(
    folder: Path, quick: bool
) -> Iterator[tuple[str, dict[str, NDArray[np.int64]], tuple[int, ...]]]:
    """Yield the layers timed in a folder: (experts,) loads by phase, and numbers of ranks."""
    traces = sorted(folder.glob("*_trace.npz"))
    for path in traces:
        with np.load(path) as arrays:
            for key in [name for name in arrays.files if name.endswith(".topk_ids")]:
                load = np.bincount(arrays[key].ravel(), minlength=EXPERTS)
                yield key.split(".")[0], {"decode": load, "prefill": load}, (2, 4)
    if traces:
        return
    for row in LAYER_ROWS[:1] if quick else LAYER_ROWS:
        both = {phase: recorded_load(phase, row) for phase in RECORDED}
        yield f"DeepSeek-V3, MoE layer {row}", both, (8, 32, 64)


def recorded_load(phase: str, row: int) -> NDArray[np.int64]:
    """Return (experts,) tokens of one MoE layer of DeepSeek-V3."""
    model = moeplace.load_model("deepseek-v3")
    load: NDArray[np.int64] = moeplace.load_workload(RECORDED[phase]).bind(model).load[row]
    return load


def scored_with_sweeps(
    constants: Path, load: NDArray[np.int64], ranks: int, phase: str, tokens: int
) -> moeplace.Problem:
    """Return one layer of DeepSeek-V3 in bf16 on H200s whose expert kernels are the fitted ones."""
    model = moeplace.load_model("deepseek-v3").replace(
        weight_dtype="bf16", num_layers=4, moe_layers=(3,)
    )
    system = moeplace.load_system("h200-sxm", ranks=ranks)
    system, _ = calibrate_system(system, model, {phase: tokens}, str(constants))
    workload = moeplace.Workload.from_loads(load[None], top_k=model.top_k, phase=phase).bind(model)
    return moeplace.make_problem(
        model, system, workload, phase=phase, tokens_per_rank=tokens, dedup="rank"
    )


def _chosen(constants: Path, load: NDArray[np.int64], ranks: int, phase: str, tokens: int) -> str:
    problem = scored_with_sweeps(constants, load, ranks, phase, tokens)
    found = solve_redundancy(problem)
    placement = found.result.placement
    if placement is None:
        return ""
    filled = int(np.count_nonzero(placement.expert_of_slot >= 0))
    gain = 1 - min(value for _, value in found.steps) / found.steps[0][1]
    return f"{filled - EXPERTS} ({100 * gain:.1f})"
