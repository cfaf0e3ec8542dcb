"""The analytic time of a dispatch on a mesh against simulated packets, case by case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.hwmodels.simulation.packets import Packet, simulate_mesh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from moeplace.hwmodels.system import System

MODES = ("none", "rank", "multicast")
# A message fills the links where sending takes this many times as long as the way itself.
FILLING = 10.0


@dataclass(frozen=True)
class MeshCase:
    """A dispatch to be timed.

    Attributes
    ----------
    dedup
        ``none`` (unicast per expert), ``rank`` (unicast per die) or ``multicast``.
    tokens_per_rank
        Tokens that start on every die.
    hot_share
        Share of the tokens whose first expert is expert 0: a hot spot.
    """

    dedup: str
    tokens_per_rank: int
    hot_share: float = 0.0


@dataclass(frozen=True)
class MeshComparison:
    """Three opinions on the time of one dispatch, in seconds.

    Attributes
    ----------
    analytic_s
        Most loaded link plus the longest way (DESIGN §5).
    simulated_s
        Packets, one per token and copy.
    wafer_formula_s
        max(C, E/N + L) + (2·T_R + 1)·D of arXiv 2404.15888, with one hop as the cycle of the
        depth term and no ramp.
    fills_links
        Whether sending takes at least ten times as long as the way itself.
    """

    case: MeshCase
    analytic_s: float
    simulated_s: float
    wafer_formula_s: float
    fills_links: bool

    @property
    def error(self) -> float:
        """Return analytic / simulated − 1."""
        return self.analytic_s / self.simulated_s - 1


def compare_mesh(
    system: System,
    case: MeshCase,
    *,
    experts: int = 256,
    top_k: int = 8,
    copy_bytes: float | None = None,
    seed: int = 0,
) -> MeshComparison:
    """Time one dispatch with both models on the same random tokens.

    Experts lie contiguously on the dies; tokens choose `top_k` different experts uniformly, but
    for the hot share.

    Raises
    ------
    InputError
        If the system is no mesh or the case has an unknown mode.
    """
    if system.kind != "mesh":
        raise InputError(f"system {system.name}: packets are simulated on meshes only")
    if case.dedup not in MODES:
        raise InputError(f"no simulation of dedup {case.dedup!r}: use one of {', '.join(MODES)}")
    size = system.copy_bytes(7168)[0] if copy_bytes is None else copy_bytes
    tokens = _tokens(system.ranks, case, experts, top_k, np.random.default_rng(seed))
    rank_of_expert = np.arange(experts) * system.ranks // experts
    bandwidth = system.link_GBps * system.link_efficiency * 1e9
    packets = list(_packets(tokens, rank_of_expert, case.dedup, size))
    simulated = simulate_mesh(
        system.rows,
        system.columns,
        packets,
        bandwidth_Bps=bandwidth,
        hop_s=system.link_latency_us * 1e-6,
    )
    return _compare(system, case, tokens, rank_of_expert, size, simulated)


def _tokens(
    ranks: int, case: MeshCase, experts: int, top_k: int, rng: np.random.Generator
) -> list[tuple[int, NDArray[np.int64]]]:
    """Return (source, experts) of every token, in an order that mixes the sources."""
    tokens = []
    for _ in range(case.tokens_per_rank):
        for source in rng.permutation(ranks):
            chosen = rng.choice(experts, top_k, replace=False)
            if rng.random() < case.hot_share and 0 not in chosen:
                chosen[0] = 0
            tokens.append((int(source), chosen))
    return tokens


def _packets(
    tokens: list[tuple[int, NDArray[np.int64]]],
    rank_of_expert: NDArray[np.int64],
    dedup: str,
    size: float,
) -> Iterator[Packet]:
    for source, chosen in tokens:
        ranks = [int(rank) for rank in rank_of_expert[chosen]]
        if dedup == "multicast":
            yield Packet(source, tuple(sorted(set(ranks))), size)
        else:
            for rank in ranks if dedup == "none" else sorted(set(ranks)):
                yield Packet(source, (rank,), size)


def _compare(
    system: System,
    case: MeshCase,
    tokens: list[tuple[int, NDArray[np.int64]]],
    rank_of_expert: NDArray[np.int64],
    size: float,
    simulated_s: float,
) -> MeshComparison:
    """Work out the analytic time of exactly these tokens from the system's message plan."""
    plan = system.plan(case.dedup)
    topology = plan.topology
    touches = np.zeros((system.ranks, plan.num_sets))
    for source, chosen in tokens:
        ranks = rank_of_expert[chosen]
        if case.dedup == "none":
            np.add.at(touches[source], ranks, 1.0)
        else:
            needed = np.zeros(system.ranks, bool)
            needed[ranks] = True
            touches[source] += (plan.members & needed).any(axis=1)
    sent = touches[plan.source, plan.set_index]
    crossings = np.bincount(
        plan.dispatch_link, weights=sent[plan.message], minlength=topology.num_links
    )
    way_s = float(plan.latency_s[sent > 0].max(initial=0.0))
    bytes_s = size / topology.bandwidth_Bps
    busiest_s = float((crossings * bytes_s).max(initial=0.0))
    spread_s = float((crossings * bytes_s).sum() / topology.num_links)
    hop_s = system.link_latency_us * 1e-6
    return MeshComparison(
        case=case,
        analytic_s=busiest_s + way_s,
        simulated_s=simulated_s,
        wafer_formula_s=max(busiest_s, spread_s + way_s) + hop_s,
        fills_links=busiest_s >= FILLING * way_s,
    )
