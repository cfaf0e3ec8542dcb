"""Expert GEMMs and emulated ranks on one GPU: `python -m benchmarks.gpu.one_gpu IN -o F`."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.layer import (
    Experts,
    RankLayer,
    about_this_machine,
    random_rows,
    self_test,
    times_us,
)
from benchmarks.gpu.routing import RankWork, assign, cases, rank_work, step_tokens
from benchmarks.gpu.sweeps import all_sweeps

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SLOTS = 40
SMALLEST = 2  # ranks; these are for two_gpus
LONG_US = 1500.0  # layers that take longer are timed fewer times
LONG_REPEATS = 5
WORKERS = 8

Job = tuple[str, str, int, int, str]  # phase, layer, ranks, tokens a rank, placement


@dataclass(frozen=True)
class Prepared:
    """A layer's step: the work of every rank, and how many slots hold an expert."""

    ranks: list[RankWork]
    filled: int


def main(arguments: list[str]) -> int:
    """Measure and write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=11, help="timings behind one figure")
    parser.add_argument("--rounds", type=int, default=2, help="figures of each case")
    parser.add_argument("--largest", type=int, default=64, help="ranks")
    parser.add_argument("--seed", type=int, default=0, help="order of the measurements")
    parser.add_argument("--limit", type=float, default=480.0, help="seconds; what is left is said")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    document: dict[str, Any] = {"meta": {}, "ep_emulated": [], "left_out": []}
    jobs = _jobs(given.inputs, given.largest)[: 3 if given.quick else None]
    fork = multiprocessing.get_context("fork")  # before CUDA starts
    with ProcessPoolExecutor(WORKERS, mp_context=fork) as pool:
        coming = {job: pool.submit(_prepare, given.inputs, job) for job in jobs}
        experts = Experts.random(MOST_SLOTS)
        document["meta"] = {"world": 1, **about_this_machine()}
        document["selftest"] = {"grouped_rel_err": self_test(experts)}
        document["calib"] = all_sweeps(experts, given.repeats, given.quick)
        print(f"{time.monotonic() - started:.0f} s: sweeps", flush=True)
        works = {job: each.result() for job, each in coming.items()}
    print(f"{time.monotonic() - started:.0f} s: layers prepared", flush=True)
    for number in range(given.rounds):
        # Every round in another order: a placement does not always follow the same one.
        order = np.random.default_rng([given.seed, number]).permutation(len(jobs))
        for job in (jobs[i] for i in order):
            if time.monotonic() - started > given.limit:
                document["left_out"].append([number, *job])
                continue
            record = _emulate(experts, works[job].ranks, given.repeats)
            phase, layer, ranks, tokens, name = job
            about = {"placement": name, "trace": f"{phase}.{layer}", "tokens_per_rank": tokens}
            about |= {"world": ranks, "slots": works[job].filled}
            if number == 0:  # the same in every round
                about["pairs_per_slot"] = [work.counts.tolist() for work in works[job].ranks]
            document["ep_emulated"].append(about | record | {"repeat": number})
        print(f"{time.monotonic() - started:.0f} s: round {number}", flush=True)
    document["meta"]["elapsed_s"] = round(time.monotonic() - started, 1)
    given.output.write_text(json.dumps(document, separators=(",", ":")))
    return 0


def _jobs(inputs: Path, largest: int) -> list[Job]:
    with np.load(inputs) as arrays:
        found: Iterator[tuple[str, str, int, int, list[str]]] = cases(arrays)
        return [(*case[:4], name) for case in found if SMALLEST < case[2] <= largest
                for name in case[4]]  # fmt: skip


def _prepare(inputs: Path, job: Job) -> Prepared:
    phase, layer, ranks, tokens, name = job
    with np.load(inputs) as arrays:
        ids = step_tokens(arrays[f"{phase}.{layer}.topk_ids"], ranks * tokens, seed=tokens)
        table = arrays[f"{phase}.{layer}.r{ranks}.t{tokens}.{name}"]
    rank_of_pair, slot_of_pair = assign(ids, table)
    slots = table.shape[1]
    works = [rank_work(rank_of_pair, slot_of_pair, rank, slots) for rank in range(ranks)]
    return Prepared(works, int((table >= 0).sum()))


def _emulate(experts: Experts, works: list[RankWork], repeats: int) -> dict[str, Any]:
    """Return the compute time of every rank, one after another."""
    compute = []
    for work in works:
        layer = RankLayer(experts, work.row_of_pair, work.counts, len(work.token))
        x = random_rows(len(work.token))
        once = times_us(lambda f=layer, a=x: f(a), 1, warm_up=1)[0]
        often = repeats if once < LONG_US else LONG_REPEATS
        times = times_us(lambda f=layer, a=x: f(a), often, warm_up=1)
        compute.append(round(median(times), 3))
        del layer, x
    pairs = [int(work.counts.sum()) for work in works]
    return {
        "mode": "dedup",
        "policy": "even",
        "regime": "emulated",
        "slots_per_rank": len(works[0].counts),
        "pairs_per_rank": pairs,
        "rows_per_rank": [len(work.token) for work in works],
        "active_slots_per_rank": [int((work.counts > 0).sum()) for work in works],
        "emulated": {"compute": {"per_rank_us": compute, "max_us": max(compute)}},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
