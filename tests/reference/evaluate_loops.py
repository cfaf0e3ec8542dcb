"""What a placement costs, counted one possibility at a time: the oracle of ``evaluate``.

Written from the mathematics alone (exact fractions, plain loops, nothing shared with the
package but its data types), so that an agreement of both says something. Every token set, every
source rank and every choice of replicas is enumerated: for tiny instances only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement.cover import even_shares
from moeplace.placement.dispatch import least_load_split

if TYPE_CHECKING:
    from moeplace.hwmodels.topology import Topology
    from moeplace.placement import Placement, Problem

SLACK = Fraction(1, 10**9)
Choice = tuple[int, ...]  # the slot that serves each expert of a token
Path = tuple[int, ...]  # ranks a copy has been on; its last leg is one message
Shares = list[tuple[int, Fraction]]  # slots that may serve an expert, with their chances
Options = Callable[[int, int], Shares]  # (expert, source) -> who may serve it
Ways = Callable[[list[int], int], Iterator[tuple[Choice, Fraction]]]  # for a token's experts
Tokens = Iterator[tuple[Fraction, int, list[int]]]  # amount, source, rank of each expert


@dataclass
class LayerCost:
    """Everything counted in one layer; loads and counts are for a whole step."""

    rank_load: list[float]
    rank_compute_s: list[float]
    link_bytes: list[float]
    combine_link_bytes: list[float]
    copies: float
    hops: float
    distinct_ranks: float | None
    dispatch_s: float
    compute_s: float
    combine_s: float

    @property
    def time_s(self) -> float:
        """T_layer without overlap."""
        return self.dispatch_s + self.compute_s + self.combine_s

    @property
    def balancedness(self) -> float:
        """Mean rank load over the largest."""
        return sum(self.rank_load) / len(self.rank_load) / max(self.rank_load)

    def objective(self, name: str) -> float:
        """Return the layer's part of an objective."""
        values = {
            "time": self.time_s,
            "balance": max(self.rank_load),
            "copies": self.copies,
            "hops": self.hops,
        }
        return values[name]


@dataclass
class StepCost:
    """The layers of a step and what is summed or averaged over them."""

    layers: list[LayerCost]
    objective: float
    step_time_s: float
    dispatch_s: float
    compute_s: float
    combine_s: float
    balancedness: float
    copies_per_token: float
    hops_per_token: float
    ranks_per_token: float | None
    max_link_bytes: float
    memory_GiB_per_rank: float


def evaluate_loops(problem: Problem, placement: Placement) -> StepCost:
    """Count what a placement costs on a problem."""
    layers = [_layer_cost(problem, placement, layer) for layer in range(problem.num_layers)]
    number = len(layers)
    distinct = [layer.distinct_ranks for layer in layers if layer.distinct_ranks is not None]
    return StepCost(
        layers=layers,
        objective=sum(layer.objective(problem.objective) for layer in layers),
        step_time_s=sum(layer.time_s for layer in layers),
        dispatch_s=sum(layer.dispatch_s for layer in layers),
        compute_s=sum(layer.compute_s for layer in layers),
        combine_s=sum(layer.combine_s for layer in layers),
        balancedness=sum(layer.balancedness for layer in layers) / number,
        copies_per_token=sum(layer.copies for layer in layers) / number / problem.tokens,
        hops_per_token=sum(layer.hops for layer in layers) / number / problem.tokens,
        ranks_per_token=sum(distinct) / number if distinct else None,
        max_link_bytes=max(max(layer.link_bytes, default=0.0) for layer in layers),
        memory_GiB_per_rank=_memory(problem, placement),
    )


def slots_of_experts(placement: Placement, layer: int) -> dict[int, list[int]]:
    """Return the slots that hold each expert, in slot order."""
    slots: dict[int, list[int]] = {expert: [] for expert in range(placement.num_experts)}
    for slot, expert in enumerate(placement.expert_of_slot[layer]):
        if expert >= 0:
            slots[int(expert)].append(slot)
    return slots


def serving_slots(
    policy: str, replicas: list[int], source: int, rank_of_slot: list[int], node_of_rank: list[int]
) -> list[int]:
    """Return the replicas, equally likely, that may serve a token of a source rank."""
    if policy == "even":
        return replicas
    if policy == "rank_modulo":
        return [replicas[source % len(replicas)]]
    if policy == "nearest":
        at_home = [s for s in replicas if rank_of_slot[s] == source]
        if at_home:
            return at_home
        in_node = [s for s in replicas if node_of_rank[rank_of_slot[s]] == node_of_rank[source]]
        return in_node or replicas
    raise ValueError(policy)


def choices(options: list[Shares]) -> Iterator[tuple[Choice, Fraction]]:
    """Yield every way to serve a token's experts, with its probability."""
    for picked in product(*options):
        yield tuple(slot for slot, _ in picked), math.prod(chance for _, chance in picked)


Served = tuple[dict[int, int], list[tuple[tuple[int, ...], list[int], bool]]]


def cover_choice(
    experts: list[int], replicas: dict[int, list[int]], rank_of_slot: list[int], ranks: int
) -> Served:
    """Return who serves a token under ``cover``, from the policy's description.

    The rank of each expert where there is one, and the choices: (ranks, experts, whether all of
    them go to the same one).
    """
    homes = {e: {rank_of_slot[s] for s in replicas[e]} for e in experts}
    certain = {e: min(homes[e]) for e in experts if len(homes[e]) == 1}
    chosen = set(certain.values())
    choices = []
    for e in experts:
        here = tuple(sorted(homes[e] & chosen))
        if len(homes[e]) > 1 and len(here) == 1:
            certain[e] = here[0]
        elif len(homes[e]) > 1 and here:
            choices.append((here, [e], False))
    left = [e for e in experts if not homes[e] & chosen]
    order = [(sum(experts) + step) % ranks for step in range(ranks)]
    while left:
        held = {rank: [e for e in left if rank in homes[e]] for rank in order}
        most = max(len(those) for those in held.values())
        best = [rank for rank in order if len(held[rank]) == most]
        if most == len(left) and len(best) > 1:
            choices.append((tuple(sorted(best)), left, True))
            break
        certain.update(dict.fromkeys(held[best[0]], best[0]))
        left = [e for e in left if best[0] not in homes[e]]
    return certain, choices


def cover_fractions(
    tokens: list[tuple[list[int], Fraction]],
    replicas: dict[int, list[int]],
    rank_of_slot: list[int],
    ranks: int,
) -> dict[tuple[int, ...], list[Fraction]]:
    """Return how each choice is split; the split itself is held to its theorem in test_dispatch."""
    base = [Fraction(0)] * ranks
    amount: dict[tuple[int, ...], Fraction] = {}
    for experts, weight in tokens:
        certain, choices = cover_choice(experts, replicas, rank_of_slot, ranks)
        for rank in certain.values():
            base[rank] += weight
        for ways, those, _ in choices:
            amount[ways] = amount.get(ways, Fraction(0)) + weight * len(those)
    start = np.cumsum([0, *(len(ways) for ways in amount)])
    share = even_shares(
        np.array([float(x) for x in base]),
        start,
        np.array([rank for ways in amount for rank in ways], np.int64),
        np.array([float(x) for x in amount.values()]),
    )
    return {
        ways: [Fraction(float(x)) for x in share[start[v] : start[v + 1]]]
        for v, ways in enumerate(amount)
    }


def cover_ways(
    experts: list[int],
    replicas: dict[int, list[int]],
    rank_of_slot: list[int],
    ranks: int,
    fractions: dict[tuple[int, ...], list[Fraction]],
) -> Iterator[tuple[Choice, Fraction]]:
    """Yield every way to serve a token under ``cover``, with its probability."""
    certain, choices = cover_choice(experts, replicas, rank_of_slot, ranks)
    options = [list(zip(ways, fractions[ways], strict=True)) for ways, _, _ in choices]
    for picked in product(*options):
        rank_of = dict(certain)
        for (rank, _), (_, those, _) in zip(picked, choices, strict=True):
            rank_of.update(dict.fromkeys(those, rank))
        slots = tuple(
            next(s for s in replicas[e] if rank_of_slot[s] == rank_of[e]) for e in experts
        )
        yield slots, math.prod((chance for _, chance in picked), start=Fraction(1))


def landing_rank(source: int, node: int, node_of_rank: list[int]) -> int:
    """Return the rank of a remote node that takes a sender's copy in from the NIC."""
    local = [r for r, n in enumerate(node_of_rank) if n == node_of_rank[source]].index(source)
    there = [r for r, n in enumerate(node_of_rank) if n == node]
    return there[local % len(there)]


def messages(
    dedup: str, source: int, destinations: list[int], node_of_rank: list[int]
) -> list[Path]:
    """Return the dispatch messages of one token whose experts are served on `destinations`.

    One destination per expert, in any order, repeats allowed; not for multicast. A message is
    the last leg of its path: a copy that a two-stage kernel forwards has come over the NIC first.
    """
    if dedup == "none":
        return [(source, rank) for rank in destinations if rank != source]
    distinct = sorted(set(destinations))
    if dedup == "rank":
        return [(source, rank) for rank in distinct if rank != source]
    if dedup == "node":
        sent: list[Path] = []
        for node in sorted({node_of_rank[rank] for rank in distinct}):
            inside = [rank for rank in distinct if node_of_rank[rank] == node]
            here: Path = (source,)
            if node != node_of_rank[source]:
                here = (source, landing_rank(source, node, node_of_rank))
                sent.append(here)
            sent.extend((*here, rank) for rank in inside if rank != here[-1])
        return sent
    raise ValueError(dedup)


def tree(topology: Topology, source: int, destinations: list[int]) -> set[int]:
    """Return the links of a multicast: the union of the routes."""
    return {int(link) for rank in set(destinations) for link in topology.route(source, rank)}


def _layer_cost(problem: Problem, placement: Placement, layer: int) -> LayerCost:
    system, topology = problem.system, problem.system.topology
    ranks, tokens, top_k = problem.num_ranks, problem.tokens, problem.top_k
    node_of_rank = [int(n) for n in topology.node_of_rank]
    rank_of_slot = [int(r) for r in placement.rank_of_slot]
    replicas = slots_of_experts(placement, layer)
    load = [Fraction(float(x)) for x in problem.workload.load[layer]]
    total = sum(load)

    split = [Fraction(0)] * placement.num_slots
    if problem.dispatch == "lp":  # the split itself is held to its theorem in test_dispatch.py
        exact = least_load_split(
            placement.expert_of_slot[layer],
            placement.rank_of_slot,
            problem.load_share[layer],
            ranks,
        )
        split = [Fraction(float(x)) for x in exact]

    def options(expert: int, source: int) -> Shares:
        if problem.dispatch == "lp":
            whole = sum(split[slot] for slot in replicas[expert])
            return [(slot, split[slot] / whole) for slot in replicas[expert] if split[slot]]
        slots = serving_slots(
            problem.dispatch, replicas[expert], source, rank_of_slot, node_of_rank
        )
        return [(slot, Fraction(1, len(slots))) for slot in slots]

    fractions: dict[tuple[int, ...], list[Fraction]] = {}
    if problem.dispatch == "cover":
        fractions = cover_fractions(_weighted_tokens(problem, layer), replicas, rank_of_slot, ranks)

    def ways(experts: list[int], source: int) -> Iterator[tuple[Choice, Fraction]]:
        if problem.dispatch == "cover":
            return cover_ways(experts, replicas, rank_of_slot, ranks, fractions)
        return choices([options(expert, source) for expert in experts])

    # Loads: the share of every slot, sources uniform.
    share = [Fraction(0)] * placement.num_slots
    if problem.dispatch == "cover":
        tokens_of = _weighted_tokens(problem, layer)
        pairs = sum(len(experts) * weight for experts, weight in tokens_of)
        for experts, weight in tokens_of:
            for slots, chance in ways(experts, 0):
                for slot in slots:
                    share[slot] += weight / pairs * chance
    else:
        for expert in range(placement.num_experts):
            for source in range(ranks):
                for slot, chance in options(expert, source):
                    share[slot] += load[expert] / total / ranks * chance
    rank_load = [Fraction(0)] * ranks
    for slot, rank in enumerate(rank_of_slot):
        rank_load[rank] += tokens * top_k * share[slot]

    # Compute: weight-bound or token-bound, slot by slot.
    floor, per_expert, per_token = problem.compute_constants
    tile = system.tile_tokens
    rank_compute = [floor] * ranks
    for slot, rank in enumerate(rank_of_slot):
        served = tokens * top_k * share[slot]
        used = min(Fraction(1), top_k * share[slot])
        activated = 1 - float(1 - used) ** tokens if used > Fraction(1, 1000) else None
        if activated is None:  # avoids cancellation, same value
            activated = -math.expm1(tokens * math.log1p(-float(used)))
        # shares of these two come rounded: no tile is opened for 1e-9 of one
        rounded = problem.dispatch in ("lp", "cover")
        tiles = math.ceil(served / tile * (1 - SLACK if rounded else 1))
        rank_compute[rank] += max(per_expert * activated, per_token * tile * tiles)

    # Copies: every token set, source and choice of replicas.
    sent: dict[Path, Fraction] = {}
    out = [Fraction(0)] * topology.num_links
    back = [Fraction(0)] * topology.num_links
    copies, hops = Fraction(0), Fraction(0)
    paths: set[Path] = set()
    distinct: Fraction | None = None
    for weight, source, destinations in _tokens(problem, layer, share, ways, options, rank_of_slot):
        if problem.dedup == "multicast":
            links = tree(topology, source, destinations)
            for link in links:
                out[link] += weight
                back[int(topology.reverse_link[link])] += weight
            copies += weight * len(links)
            hops += weight * len(links)
            paths.update((source, rank) for rank in destinations if rank != source)
        else:
            for message in messages(problem.dedup, source, destinations, node_of_rank):
                sent[message] = sent.get(message, Fraction(0)) + weight
    for path, weight in sent.items():
        start, end = path[-2:]
        paths.add(path)
        copies += weight
        for link in topology.route(start, end):
            out[int(link)] += weight
            hops += weight
        for link in topology.route(end, start):
            back[int(link)] += weight
    if problem.workload.token_sets is not None:
        distinct = Fraction(0)
        for weight, _, destinations in _set_tokens(problem, layer, ways, rank_of_slot):
            distinct += weight * len(set(destinations)) / tokens

    dispatch_bytes, combine_bytes = system.copy_bytes(problem.model.payload_size)
    link_bytes = [float(x) * dispatch_bytes for x in out]
    combine_link_bytes = [float(x) * combine_bytes for x in back]
    alpha = system.alpha_us[problem.phase]
    return LayerCost(
        rank_load=[float(x) for x in rank_load],
        rank_compute_s=rank_compute,
        link_bytes=link_bytes,
        combine_link_bytes=combine_link_bytes,
        copies=float(copies),
        hops=float(hops),
        distinct_ranks=None if distinct is None else float(distinct),
        dispatch_s=_comm_time(problem, alpha["dispatch"], paths, link_bytes),
        compute_s=max(rank_compute),
        combine_s=_comm_time(
            problem, alpha["combine"], {path[::-1] for path in paths}, combine_link_bytes
        ),
    )


def _tokens(
    problem: Problem,
    layer: int,
    share: list[Fraction],
    ways: Ways,
    options: Options,
    rank_of_slot: list[int],
) -> Tokens:
    """Yield (tokens of a step, source, serving rank of each expert) for every possibility.

    Without de-duplication every (token, expert) pair travels alone, so loads are enough.
    """
    if problem.dedup != "none":
        yield from _set_tokens(problem, layer, ways, rank_of_slot)
        return
    if problem.dispatch == "cover":
        for slot, part in enumerate(share):
            for source in range(problem.num_ranks):
                if part:
                    amount = part * problem.tokens * problem.top_k / problem.num_ranks
                    yield amount, source, [rank_of_slot[slot]]
        return
    load = [Fraction(float(x)) for x in problem.workload.load[layer]]
    pairs = Fraction(problem.tokens * problem.top_k)
    for expert, weight in enumerate(load):
        for source in range(problem.num_ranks):
            for (slot,), chance in choices([options(expert, source)]):
                amount = pairs * weight / sum(load) / problem.num_ranks * chance
                if amount:
                    yield amount, source, [rank_of_slot[slot]]


def _weighted_tokens(problem: Problem, layer: int) -> list[tuple[list[int], Fraction]]:
    sets = problem.workload.token_sets[layer]
    return [
        ([int(e) for e in ids if e >= 0], Fraction(float(w)))
        for ids, w in zip(sets.ids, sets.weight, strict=True)
    ]


def _set_tokens(problem: Problem, layer: int, ways: Ways, rank_of_slot: list[int]) -> Tokens:
    sets = problem.workload.token_sets[layer]
    weights = [Fraction(float(w)) for w in sets.weight]
    total = sum(weights)
    for ids, weight in zip(sets.ids, weights, strict=True):
        experts = [int(e) for e in ids if e >= 0]
        for source in range(problem.num_ranks):
            for choice, chance in ways(experts, source):
                amount = problem.tokens * weight / total / problem.num_ranks * chance
                yield amount, source, [rank_of_slot[slot] for slot in choice]


def _comm_time(
    problem: Problem, alpha_us: float, paths: set[Path], link_bytes: list[float]
) -> float:
    topology = problem.system.topology
    latency = 0.0
    for path in paths:
        links = [link for leg in pairwise(path) for link in topology.route(*leg)]
        latency = max(latency, sum(float(topology.latency_s[int(link)]) for link in links))
    busiest = 0.0
    for link, amount in enumerate(link_bytes):
        busiest = max(busiest, amount / float(topology.bandwidth_Bps[link]))
    return (alpha_us * 1e-6 + latency + busiest) * problem.system.in_situ_factor


def _memory(problem: Problem, placement: Placement) -> float:
    held = [0] * problem.num_ranks
    for layer in range(placement.num_layers):
        for slot, expert in enumerate(placement.expert_of_slot[layer]):
            if expert >= 0:
                held[int(placement.rank_of_slot[slot])] += 1
    weights = max(held) * problem.expert_bytes
    return (weights + problem.system.non_expert_bytes(problem.model, problem.weight_dtype)) / 2**30
