"""All-to-all sweeps and whole layers on two GPUs: `python -m benchmarks.gpu.two_gpus IN -o F`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import distributed

from benchmarks.gpu.layer import (
    HIDDEN,
    Experts,
    RankLayer,
    about_this_machine,
    median_us,
    random_rows,
    self_test,
)
from benchmarks.gpu.routing import assign, cases, rank_work, step_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

WORLD = 2
SIZES = tuple(2**power for power in range(10, 29))  # bytes a rank sends, own part included
HOT_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of what would stay with the others
MOST_SLOTS = 160
ROW_BYTES = 2 * HIDDEN
PORT = "29517"
SWEEP_EXPERTS = (32, 64, 128, 144)
SWEEP_TOKENS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512)


def main(arguments: list[str]) -> int:
    """Measure and write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=15, help="timings behind one figure")
    parser.add_argument("--rounds", type=int, default=3, help="figures of each case")
    parser.add_argument("--limit", type=float, default=420.0, help="seconds; what is left is said")
    given = parser.parse_args(arguments)
    mp.spawn(_rank, args=(given,), nprocs=WORLD)
    return 0


def _rank(rank: int, given: Any) -> None:
    """Take part as one rank; rank 0 writes."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": PORT}
    torch.cuda.set_device(rank)
    distributed.init_process_group("nccl", rank=rank, world_size=WORLD)
    started = time.monotonic()
    experts = Experts.random(MOST_SLOTS)
    document: dict[str, Any] = {
        "meta": {"world": WORLD, **about_this_machine()},
        "selftest": {"grouped_rel_err": self_test(experts)},
        "calib": {"grouped_uniform": _grouped(experts, rank, given.quick)},
        "a2a": {"native": _sweeps(rank, given.repeats, given.quick)},
        "ep": [],
        "left_out": [],
    }
    inputs = np.load(given.inputs)
    todo = [case for case in cases(inputs) if case[2] == WORLD]
    once = todo[:1] if given.quick else todo
    rounds = [(number, *case) for number in range(given.rounds) for case in once]
    for number, phase, layer, ranks, tokens, names in rounds:
        late = torch.tensor(float(time.monotonic() - started > given.limit), device="cuda")
        distributed.all_reduce(late)
        if late.item() > 0:
            document["left_out"].append([number, phase, layer, ranks, tokens])
            continue
        ids = step_tokens(inputs[f"{phase}.{layer}.topk_ids"], ranks * tokens, seed=tokens)
        for name in names:
            table = inputs[f"{phase}.{layer}.r{ranks}.t{tokens}.{name}"]
            record = _layer(experts, ids, table, rank, given.repeats)
            about = {"placement": name, "trace": f"{phase}.{layer}", "tokens_per_rank": tokens}
            document["ep"].append(about | record | {"repeat": number})
    document["meta"]["elapsed_s"] = round(time.monotonic() - started, 1)
    if rank == 0:
        given.output.write_text(json.dumps(document))
    distributed.destroy_process_group()


def _gathered(values: list[float]) -> list[list[float]]:
    """Return every rank's list."""
    mine = torch.tensor(values, device="cuda", dtype=torch.float64)
    everyone = [torch.empty_like(mine) for _ in range(WORLD)]
    distributed.all_gather(everyone, mine)
    return [other.tolist() for other in everyone]


def _together(work: Callable[[], list[Any]], repeats: int, parts: int) -> dict[str, Any]:
    """Return medians over repeats of `parts` consecutive steps and their total on every rank.

    `work` records and returns parts + 1 events. Ranks begin each repeat together.
    """
    times: list[list[float]] = []
    for turn in range(repeats + 3):
        distributed.barrier()
        torch.cuda.synchronize()
        marks = work()
        torch.cuda.synchronize()
        if turn >= 3:
            steps = [1e3 * a.elapsed_time(b) for a, b in pairwise(marks)]
            times.append([*steps, 1e3 * marks[0].elapsed_time(marks[-1])])
    flat = _gathered([value for row in times for value in row])
    per_rank = np.array(flat).reshape(WORLD, repeats, parts + 1)
    worst = per_rank.max(axis=0)
    return {
        "per_rank_us": np.median(per_rank, axis=1).round(3).tolist(),  # (ranks, parts + 1)
        "max_us": np.median(worst, axis=0).round(3).tolist(),
        "max_p10_us": np.quantile(worst, 0.1, axis=0).round(3).tolist(),
        "max_p90_us": np.quantile(worst, 0.9, axis=0).round(3).tolist(),
    }


def _event() -> Any:
    mark = torch.cuda.Event(enable_timing=True)
    mark.record()
    return mark


def _exchange(matrix: np.ndarray, rank: int, repeats: int) -> dict[str, Any]:
    """Time one all-to-all of (source, destination) bytes."""
    send = torch.empty(int(matrix[rank].sum()), dtype=torch.uint8, device="cuda")
    receive = torch.empty(int(matrix[:, rank].sum()), dtype=torch.uint8, device="cuda")
    into, out_of = matrix[:, rank].tolist(), matrix[rank].tolist()

    def work() -> list[Any]:
        begin = _event()
        distributed.all_to_all_single(receive, send, into, out_of)
        return [begin, _event()]

    timed = _together(work, repeats, 1)
    off_rank = matrix * (1 - np.eye(WORLD, dtype=matrix.dtype))
    return {
        "per_rank_us": [row[0] for row in timed["per_rank_us"]],
        **{key: timed[key][0] for key in ("max_us", "max_p10_us", "max_p90_us")},
        "max_in_or_out_bytes": int(max(off_rank.sum(axis=0).max(), off_rank.sum(axis=1).max())),
        "off_rank_bytes": int(off_rank.sum()),
        "self_bytes_max": int(np.diag(matrix).max()),
    }


def _sweeps(rank: int, repeats: int, quick: bool) -> dict[str, Any]:
    sizes = SIZES[::6] if quick else SIZES
    found: dict[str, Any] = {"uniform": [], "hot_destination": [], "random": []}
    for size in sizes:
        matrix = np.full((WORLD, WORLD), size // WORLD, np.int64)
        about = {"bytes_per_rank": size, "bytes_per_peer": size // WORLD}
        found["uniform"].append(about | _exchange(matrix, rank, repeats))
    for size in sizes[10::3]:
        for share in HOT_SHARES:
            matrix = np.zeros((WORLD, WORLD), np.int64)
            matrix[:, 0] = int(size * (1 + share) / WORLD)
            matrix[:, 1] = size - matrix[:, 0]
            about = {"bytes_per_rank": size, "extra_share": share, "bytes": matrix.tolist()}
            found["hot_destination"].append(about | _exchange(matrix, rank, repeats))
    rng = np.random.default_rng(0)
    for size in sizes[12:] * 2:
        matrix = rng.integers(1, size, size=(WORLD, WORLD))
        about = {"mean_bytes_per_rank": size, "bytes": matrix.tolist()}
        found["random"].append(about | _exchange(matrix, rank, repeats))
    found["empty"] = _exchange(np.zeros((WORLD, WORLD), np.int64) + 8, rank, repeats)
    return found


def _grouped(experts: Experts, rank: int, quick: bool) -> list[dict[str, Any]]:
    """Return times of the experts' work for equal tokens by expert, each rank for itself."""
    found = []
    for slots in SWEEP_EXPERTS[:1] if quick else SWEEP_EXPERTS:
        for tokens in SWEEP_TOKENS:
            counts = np.full(slots, tokens)
            pairs = slots * tokens
            layer = RankLayer(experts, np.arange(pairs), counts, pairs)
            x = random_rows(pairs)
            both = layer.gemm1(x)
            hidden = layer.swiglu(both)
            times = [
                median_us(lambda f=layer, a=x: f.gemm1(a), 7),
                median_us(lambda f=layer, a=both: f.swiglu(a), 7),
                median_us(lambda f=layer, a=hidden: f.gemm2(a), 7),
                median_us(lambda f=layer, a=x: f.gemm2(f.swiglu(f.gemm1(a))), 7),
            ]
            columns = list(zip(*_gathered(times), strict=True))
            names = ("gemm1_us", "swiglu_us", "gemm2_us", "total_us")
            record = dict(zip(names, map(list, columns), strict=True))
            shape = {"rows": pairs, "experts": slots, "active": slots}
            found.append({"tokens_per_expert": tokens, **record, **shape})
    return found


def _layer(experts: Experts, ids: Any, table: Any, rank: int, repeats: int) -> dict[str, Any]:
    """Time dispatch, compute and combine of one layer: one row for every token and rank."""
    ranks, slots = table.shape
    home = np.arange(len(ids)) * ranks // len(ids)
    rank_of_pair, slot_of_pair = assign(ids, table)
    works = [rank_work(rank_of_pair, slot_of_pair, r, slots) for r in range(ranks)]
    # rows arrive ordered by token, so by their home: what one rank sends is one block
    sent = np.array([[int((home[w.token] == s).sum()) for w in works] for s in range(ranks)])
    mine = np.flatnonzero(home == rank)
    place = np.full(len(ids), -1)
    place[mine] = np.arange(mine.size)
    leaving = [place[w.token[home[w.token] == rank]] for w in works]
    pick = torch.as_tensor(np.concatenate(leaving), device="cuda")
    x = random_rows(mine.size)
    arrived = torch.empty((int(sent[:, rank].sum()), HIDDEN), dtype=torch.bfloat16, device="cuda")
    returned = torch.empty((int(sent[rank].sum()), HIDDEN), dtype=torch.bfloat16, device="cuda")
    result = torch.zeros((mine.size, HIDDEN), dtype=torch.bfloat16, device="cuda")
    work = works[rank]
    layer = RankLayer(experts, work.row_of_pair, work.counts, len(work.token))
    into, out_of = sent[:, rank].tolist(), sent[rank].tolist()

    def step() -> list[Any]:
        marks = [_event()]
        distributed.all_to_all_single(arrived, x.index_select(0, pick), into, out_of)
        marks.append(_event())
        computed = layer(arrived)
        marks.append(_event())
        distributed.all_to_all_single(returned, computed, out_of, into)
        result.zero_().index_add_(0, pick, returned)
        marks.append(_event())
        return marks

    timed = _together(step, repeats, 3)
    off = sent * (1 - np.eye(ranks, dtype=sent.dtype))
    pairs_per_rank = [int(w.counts.sum()) for w in works]
    parts = ("dispatch", "compute", "combine", "total")
    return {
        "mode": "dedup",
        "policy": "even",
        "regime": "native",
        "world": ranks,
        "slots": int((table >= 0).sum()),
        "slots_per_rank": slots,
        "row_bytes": ROW_BYTES,
        "rows_sent": sent.tolist(),
        "off_rank_rows_max_in": int(off.sum(axis=0).max()),
        "off_rank_rows_max_out": int(off.sum(axis=1).max()),
        "pairs_per_rank": pairs_per_rank,
        "active_slots_per_rank": [int((w.counts > 0).sum()) for w in works],
        "pairs_imbalance": max(pairs_per_rank) / (sum(pairs_per_rank) / ranks),
        "pairs_per_slot": [w.counts.tolist() for w in works],
        "chained": {
            part: {
                "per_rank_us": [row[i] for row in timed["per_rank_us"]],
                **{key: timed[key][i] for key in ("max_us", "max_p10_us", "max_p90_us")},
            }
            for i, part in enumerate(parts)
        },
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
