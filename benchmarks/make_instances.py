"""Improve what the instance library knows: best placements and bounds.

``python -m benchmarks.make_instances [NAME ...] [--seconds S] [--seeds N]`` tries every solver that
fits, exact ones on small instances, and keeps what is better than what is stored. Stored values
are scored again first, so that a change of a model or a system is followed.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

import moeplace
from moeplace.errors import MoeplaceError
from moeplace.files import atomic_write
from moeplace.formulations.instances import Record, library
from moeplace.formulations.registry import SOLVERS
from moeplace.formulations.result import OPTIMAL_GAP, relative_gap
from moeplace.parallel import Workers
from moeplace.placement import Placement, violations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moeplace.formulations.instances import Instance
    from moeplace.placement import Problem

DATA = Path(library.__file__).with_name("data")
EXACT = ("exact-milp", "exact-cpsat")
HEADER = (
    "# Best known values and proven bounds, written by benchmarks/make_instances.py. The\n"
    "# placements are in best_known.npz; `moeplace instance check` scores them again.\n"
)


def main() -> None:
    """Improve the instances named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each run")
    parser.add_argument("--bound-seconds", type=float, default=120.0, help="for strong bounds")
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    for name in asked.names or library.list_instances():
        instance = moeplace.load_instance(name)
        record, placement = improved(instance, asked.seconds, asked.bound_seconds, asked.seeds)
        store(name, record, placement)
        print(f"{name}: {record.value:.9g} ({record.found_by}), {record.status}, ", end="")
        print(f"gap {record.gap:.3%} ({record.proven_by}: {record.method})", flush=True)


def improved(
    instance: Instance, seconds: float, bound_seconds: float, seeds: int
) -> tuple[Record, Placement]:
    """Return the best record and placement found."""
    problem = instance.problem
    fast = moeplace.lower_bound(problem)
    best, placement = None, None
    bound = (fast.value, "fast", fast.method)
    old = _stored(instance)
    if instance.record is not None and old is not None:
        value = moeplace.evaluate(problem, old).objective
        best, placement = replace(instance.record, value=value), old
        if value == instance.record.value and instance.record.lower_bound > bound[0]:
            known = instance.record
            bound = (known.lower_bound, known.proven_by, known.method)
    for solver, seed in _runs(problem, instance.tags, seeds):
        if best is not None and (relative_gap(best.value, bound[0]) or 0.0) <= OPTIMAL_GAP:
            break
        try:
            found = moeplace.solve(problem, solver, seconds, seed, workers=Workers(jobs=1))
        except MoeplaceError as error:
            print(f"  {instance.name}, {solver}: {error}", flush=True)
            continue
        usable = found.placement is not None and not violations(problem, found.placement)
        if usable and (best is None or found.score.objective < best.value * (1 - 1e-12)):
            words = f"{solver}, seed {seed}, {seconds:g} s"
            best, placement = Record(found.score.objective, words, 0.0, "", ""), found.placement
        proven = found.lower_bound or 0.0
        if SOLVERS[solver].kind == "exact" and proven > bound[0] * (1 + 1e-9):
            bound = (proven, solver, f"its own proof, {seconds:g} s")
    if best is None or placement is None:
        raise SystemExit(f"{instance.name}: no solver found a placement")
    if relative_gap(best.value, bound[0]) > 1e-3 and problem.dedup != "none" and bound_seconds:
        strong = moeplace.lower_bound(problem, "strong", bound_seconds)
        if strong.value > bound[0] * (1 + 1e-9):
            bound = (strong.value, "strong", f"{strong.method}, {bound_seconds:g} s")
    lower, by, method = bound
    best = replace(best, lower_bound=float(lower), proven_by=by, method=method)
    return best, placement.canonical()


def _stored(instance: Instance) -> Placement | None:
    """Return the stored placement if it is one of the instance as it is defined now."""
    try:
        placement = instance.placement
        broken = placement is None or violations(instance.problem, placement)
    except MoeplaceError:
        return None
    return None if broken else placement


def _runs(problem: Problem, tags: tuple[str, ...], seeds: int) -> Iterator[tuple[str, int]]:
    if problem.objective == "balance":
        yield "lpt", 0
    if "full" not in tags and (problem.num_experts <= 16 or problem.dedup == "none"):
        for solver in EXACT:
            yield solver, 0
    if problem.objective == "copies" and problem.redundant == 0:
        for seed in range(seeds):
            yield "partition", seed
    for seed in range(seeds):
        yield "auto", seed


def store(name: str, record: Record, placement: Placement) -> None:
    """Put one record into the library's files."""
    records = dict(library._records())
    tables: dict[str, Any] = dict(library._placements())
    records[name] = asdict(record)
    small = np.int8 if placement.num_experts < 128 else np.int16
    tables[f"{name}/experts"] = placement.expert_of_slot.astype(small)
    tables[f"{name}/ranks"] = placement.rank_of_slot.astype(np.int16)
    order = [known for known in library.list_instances() if known in records]
    with atomic_write(DATA / library.RECORDS) as file:
        text = yaml.safe_dump({n: records[n] for n in order}, sort_keys=False, width=100)
        file.write(HEADER + text)
    with (
        atomic_write(DATA / library.PLACEMENTS, "wb") as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for key in (f"{n}/{part}" for n in order for part in ("experts", "ranks")):
            content = io.BytesIO()
            np.save(content, tables[key], allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy")  # of 1980: the same arrays make the same file
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED)
    for cached in (library._records, library._placements):
        cached.cache_clear()


if __name__ == "__main__":
    main()
