"""How close the fullest rank comes to its lower bound on measured loads, beside EPLB and LPT."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.load_data import NOT_THERE, measured_loads
from benchmarks.timing import table
from moeplace.formulations.bounds.load import max_rank_pairs_bound
from moeplace.formulations.heuristics.balance import balanced_table, max_rank_load
from moeplace.formulations.heuristics.eplb import eplb_maps
from moeplace.formulations.heuristics.lpt import greedy_replicas, lpt_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANKS, REDUNDANT = (16, 32, 64), (0, 32, 64)
GROUPS, NODE_SIZE = 8, 8
ROUNDING = 1 + 1e-12


def report(quick: bool) -> str:
    """Return a table: for every size the mean over all files and layers of value / bound."""
    loads = measured_loads()
    if not loads:
        return NOT_THERE
    if quick:
        loads = dict(list(loads.items())[:1])
    rows, everything = [], []
    for ranks in RANKS[1:2] if quick else RANKS:
        for redundant in REDUNDANT:
            if (256 + redundant) % ranks == 0:
                found = [_one(load, ranks, redundant) for load in loads.values()]
                joined = [np.concatenate(part) for part in zip(*found, strict=True)]
                everything.append(joined)
                rows.append([f"EP{ranks}, {redundant} redundant", *_cells(joined)])
    total = [np.concatenate(part) for part in zip(*everything, strict=True)]
    rows.append(["all", *_cells(total)])
    headers = ["", "value / bound", "worst layer", "/ simple bound", "ms a layer"]
    headers += ["EPLB", "EPLB global", "LPT", "layers above a peer"]
    text = (
        f"Load of the fullest rank over its lower bound, mean over {len(loads)} files of 58 "
        "layers; the simple bound is the larger of the mean and, without redundancy, the largest "
        "expert with the smallest others. Peers are over the same bound."
    )
    return f"{text}\n\n{table(headers, rows)}"


def _one(load: NDArray[np.float64], ranks: int, redundant: int) -> list[NDArray[np.float64]]:
    """Return (layers,) value, bound, simple bound, ms, and the values of the three peers."""
    total = load.shape[1] + redundant
    slots = total // ranks
    balanced_table(load[:1], ranks, slots, total)  # compiled, or read from the cache, before
    started = time.process_time()
    ours = max_rank_load(load, balanced_table(load, ranks, slots, total), ranks)
    spent = 1e3 * (time.process_time() - started) / len(load)
    bound = max_rank_pairs_bound(load, ranks, slots, total)
    ascending = np.sort(load, axis=1)
    simple = np.maximum(bound.by_name["mean"], bound.by_name["replica"])
    if not redundant:
        simple = np.maximum(simple, ascending[:, -1] + ascending[:, : slots - 1].sum(axis=1))
    peers = [eplb_maps(load, total, GROUPS, ranks // NODE_SIZE, ranks, "hierarchical")[0]]
    peers.append(eplb_maps(load, total, 1, 1, ranks, "global")[0])
    peers.append(lpt_table(load, greedy_replicas(load, total, ranks), ranks, slots))
    values = [max_rank_load(load, peer.astype(np.int32), ranks) for peer in peers]
    return [ours, bound.value, simple, np.full(len(load), spent), *values]


def _cells(parts: list[NDArray[np.float64]]) -> list[str]:
    ours, bound, simple, spent, *peers = parts
    over = ours / bound
    above = np.any([ours > peer * ROUNDING for peer in peers], axis=0)
    return [
        f"{over.mean():.5f}",
        f"{over.max():.4f}",
        f"{(ours / simple).mean():.5f}",
        f"{spent.mean():.2f}",
        *(f"{(peer / bound).mean():.4f}" for peer in peers),
        str(int(above.sum())),
    ]
