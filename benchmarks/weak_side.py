"""Which side of a gap is weak: sub-instances small enough to try every partition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gaps import INSTANCES, problem_of
from benchmarks.timing import table
from moeplace import partition
from moeplace.formulations.bounds.contents import contents_bound
from moeplace.formulations.bounds.partition import touched_parts
from moeplace.formulations.bounds.relaxation import Parts, Rows
from moeplace.formulations.partition.nets import connectivity
from moeplace.traces import TokenSets

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

HEADERS = (
    "tokens", "sub-instance", "layers", "optimum", "found", "bound", "found / optimum",
    "bound / optimum", "least",
)  # fmt: skip
LAYERS, QUICK_LAYERS = 4, 1
LARGE_LAYERS = 2
SEARCH_S, LARGE_SEARCH_S = 2.0, 20.0
LARGE_HEADERS = (
    "tokens", "sub-instance", "layers", "found", "contents", "pairs", "contents / found",
    "pairs / found",
)  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """How a sub-instance is cut out: `merged` groups of experts, or the `closest` experts."""

    kind: str
    experts: int
    parts: int
    max_load: float | None = None

    @property
    def capacity(self) -> int:
        """Experts of a part; all parts are full."""
        return self.experts // self.parts

    @property
    def name(self) -> str:
        """What the table calls it."""
        limit = "" if self.max_load is None else f", load <= {self.max_load:g} x mean"
        what = "groups" if self.kind == "merged" else "experts"
        return f"{self.kind}, {self.experts} {what}, {self.parts} parts{limit}"


SOURCES = (
    "time, h100-sxm x 32, 32 redundant, prefill",
    "copies, small MoE trace, 32 ranks",
    "copies, DeepSeek-V2-Lite trace, 8 ranks",
)  # of the instances of `gaps`
CUTS = (
    Cut("merged", 16, 4),
    Cut("merged", 16, 4, 1.1),
    Cut("merged", 16, 8),
    Cut("closest", 16, 4),
    Cut("closest", 16, 4, 1.1),
    Cut("closest", 15, 3),
)
LARGE_CUTS = (
    Cut("closest", 32, 4),
    Cut("closest", 32, 4, 1.05),
    Cut("closest", 64, 8),
    Cut("closest", 64, 8, 1.05),
    Cut("closest", 96, 12),
    Cut("closest", 96, 12, 1.05),
)  # too large to try every partition: the contents of parts prove how close the best found is


def report(quick: bool) -> str:
    """Return the tables of optimum, best found and bounds; traces not at hand are left out."""
    return f"{_small(quick)}\n\n{_large(quick)}"


def _large(quick: bool) -> str:
    rows = []
    for source in SOURCES[:2]:
        layers = tokens_of(source, 1 if quick else LARGE_LAYERS)
        for cut in LARGE_CUTS if layers is not None else ():
            if quick and cut.experts > 64:
                continue
            measured = [between(closest(sets, experts, cut.experts), cut)
                        for sets, experts in layers or ()]  # fmt: skip
            found, contents, pairs = np.array(measured).T
            figures = (found, contents, pairs, contents / found, pairs / found)
            rows.append((source, cut.name, str(len(measured)), *map(_mean, figures)))
    note = (
        "Larger sub-instances, closest experts. Contents: bound by prices on experts against the "
        "contents of parts, which proves that what was found is nearly optimal; pairs: the bound "
        "by partitions of tokens, which is the one that full instances get. A dash: the search of "
        "that proof was too long in a layer."
    )
    return f"{note}\n\n{table(LARGE_HEADERS, rows)}"


def _mean(values: NDArray[np.float64]) -> str:
    mean = float(values.mean())
    return "-" if np.isnan(mean) else f"{mean:.4f}"


def between(sets: TokenSets, cut: Cut) -> tuple[float, float, float]:
    """Return best found, contents bound (NaN if its search is too long) and bound by pairs."""
    load = sets.load(cut.experts) / sets.weight.sum()
    shape = Parts(cut.experts, cut.parts, cut.capacity)
    rows: tuple[Rows, ...] = ()
    if cut.max_load is not None:
        cap = cut.max_load * load.sum() / cut.parts
        rows = (Rows(load / cap, np.zeros(cut.experts)),)
    part = partition(
        sets.ids, sets.weight, cut.experts, cut.parts, cut.capacity,
        max_load=cut.max_load, time_limit_s=LARGE_SEARCH_S, seed=0,
    )  # fmt: skip
    found = connectivity(sets.ids, sets.weight, part) / float(sets.weight.sum())
    proof = contents_bound(sets, shape, rows)
    return (
        found,
        np.nan if proof is None else proof.value(shape),
        touched_parts(sets, shape, rows).value,
    )


def _small(quick: bool) -> str:
    rows = []
    for source in SOURCES:
        layers = tokens_of(source, QUICK_LAYERS if quick else LAYERS)
        if layers is None:
            continue
        for cut in CUTS:
            found = [
                outcome
                for sets, experts in layers
                if (outcome := compare(CUT[cut.kind](sets, experts, cut.experts), cut))
            ]
            if not found:
                continue
            least, value, bound = np.array(found).T
            means = (f"{x:.4f}" for x in (least.mean(), value.mean(), bound.mean()))
            ratios = (np.mean(value / least), np.mean(bound / least), np.min(bound / least))
            rows.append((source, cut.name, str(len(found)), *means,
                         *(f"{ratio:.4f}" for ratio in ratios)))  # fmt: skip
    note = (
        "Mean number of parts that a token touches. Optimum: every partition into full parts "
        "tried. Merged: experts that a partition puts together stay together, tokens keep all "
        "their groups. Closest: a set of experts used together, tokens restricted to them, those "
        "with fewer than two left out. A layer in which no partition keeps the limit is left out."
    )
    return f"{note}\n\n{table(HEADERS, rows)}"


def tokens_of(source: str, layers: int) -> list[tuple[TokenSets, int]] | None:
    """Return token sets and number of experts of some layers, None where the trace is missing."""
    problem = problem_of(next(one for one in INSTANCES if one.name == source), layers)
    if problem is None or problem.workload.token_sets is None:
        return None
    return [(sets, problem.num_experts) for sets in problem.workload.token_sets]


def merged(sets: TokenSets, experts: int, groups: int) -> TokenSets:
    """Return the sets of groups that tokens use, experts being grouped by a partition of them."""
    group = partition(
        sets.ids, sets.weight, experts, groups, experts // groups,
        time_limit_s=None, max_iterations=1, seed=0,
    )  # fmt: skip
    return renamed(sets, group.astype(np.int64), least=1)


def closest(sets: TokenSets, experts: int, size: int) -> TokenSets:
    """Return tokens restricted to the busiest expert and those used most together with it."""
    uses = np.zeros((sets.num_sets, experts))
    token, slot = np.nonzero(sets.ids >= 0)
    uses[token, sets.ids[token, slot]] = 1.0
    pairs = uses.T @ (uses * sets.weight[:, None])
    chosen = [int(np.diag(pairs).argmax())]
    np.fill_diagonal(pairs, 0.0)
    while len(chosen) < size:
        strength = pairs[chosen].sum(axis=0)
        strength[chosen] = -1.0
        chosen.append(int(strength.argmax()))
    name = np.full(experts, -1)
    name[chosen] = np.arange(size)
    return renamed(sets, name, least=2)


CUT: dict[str, Callable[[TokenSets, int, int], TokenSets]] = {"merged": merged, "closest": closest}


def renamed(sets: TokenSets, name: NDArray[np.int64], least: int) -> TokenSets:
    """Return sets under new names, equal ones added up, −1 left out, and sets below `least`."""
    new = np.where(sets.ids >= 0, name[sets.ids], -1)
    new = -np.sort(-new, axis=1)  # pads last
    new[:, 1:][new[:, 1:] == new[:, :-1]] = -1  # members of one group
    new = -np.sort(-new, axis=1)
    kept = (new >= 0).sum(axis=1) >= least
    rows, which = np.unique(new[kept], axis=0, return_inverse=True)
    return TokenSets(
        rows.astype(np.int32), np.bincount(which.ravel(), sets.weight[kept]).astype(float)
    )


def compare(sets: TokenSets, cut: Cut) -> tuple[float, float, float] | None:
    """Return optimum, best found and bound, None where no partition keeps the load limit."""
    load = sets.load(cut.experts) / sets.weight.sum()
    cap = np.inf if cut.max_load is None else cut.max_load * load.sum() / cut.parts
    least = least_touched(sets, load, cut.experts, cut.capacity, cap)
    if not np.isfinite(least):
        return None
    part = partition(
        sets.ids, sets.weight, cut.experts, cut.parts, cut.capacity,
        max_load=cut.max_load, time_limit_s=SEARCH_S, seed=0, max_iterations=4,
    )  # fmt: skip
    found = connectivity(sets.ids, sets.weight, part) / float(sets.weight.sum())
    rows = () if cut.max_load is None else (Rows(load / cap, np.zeros(cut.experts)),)
    bound = touched_parts(sets, Parts(cut.experts, cut.parts, cut.capacity), rows).value
    return least, found, bound


def least_touched(
    sets: TokenSets, load: NDArray[np.float64], experts: int, capacity: int, cap: float = np.inf
) -> float:
    """Return the least mean of touched parts over all partitions into full parts within `cap`."""
    token, slot = np.nonzero(sets.ids >= 0)
    mask = np.zeros(sets.num_sets, np.int64)
    np.bitwise_or.at(mask, token, np.int64(1) << sets.ids[token, slot].astype(np.int64))
    inside = np.bincount(mask, sets.weight, minlength=1 << experts)  # of subsets, in the end
    for expert in range(experts):
        view = inside.reshape(-1, 2, 1 << expert)
        view[:, 1] += view[:, 0]
    touched = inside[-1] - inside[::-1]
    carried = np.zeros(1)
    for one in load:
        carried = np.concatenate([carried, carried + one])
    touched[carried > cap * (1 + 1e-9)] = np.inf

    @cache
    def least(left: int) -> float:
        if not left:
            return 0.0
        low = left & -left
        others = [1 << e for e in range(experts) if left & ~low & (1 << e)]
        chosen = (low + sum(rest) for rest in combinations(others, capacity - 1))
        kept = (part for part in chosen if touched[part] < np.inf)
        return min((float(touched[part]) + least(left ^ part) for part in kept), default=np.inf)

    return least((1 << experts) - 1) / float(sets.weight.sum())
