"""``stay`` execution counted token by token: the oracle of ``evaluate`` there.

Every token of a trace is followed through the layers, with every choice of replicas enumerated in
exact fractions. Nothing is shared with the package but its data types.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise, product
from typing import TYPE_CHECKING

from tests.reference.evaluate_loops import Path, messages, slots_of_experts, tree

if TYPE_CHECKING:
    from moeplace.placement import Placement, Problem
    from moeplace.traces import RoutingTrace


@dataclass
class StayLayer:
    """What one layer sends in a step."""

    copies: Fraction = Fraction(0)
    out: dict[int, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    back: dict[int, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    out_latency_s: float = 0.0
    back_latency_s: float = 0.0
    dispatch_s: float = 0.0
    combine_s: float = 0.0

    @property
    def hops(self) -> float:
        """Link crossings of the dispatch."""
        return float(sum(self.out.values()))


def main_expert(trace: RoutingTrace, token: int, layer: int) -> int:
    """Return the expert of the largest weight; the first listed without weights."""
    experts = [int(e) for e in trace.expert_ids[token, layer]]
    present = [k for k, e in enumerate(experts) if e != trace.missing]
    if trace.weights is None:
        return experts[present[0]]
    return experts[max(present, key=lambda k: float(trace.weights[token, layer, k]))]


def stay_loops(problem: Problem, trace: RoutingTrace, placement: Placement) -> list[StayLayer]:
    """Count what a placement sends under ``stay``, dispatch ``even``; tokens are those of a trace.

    A token without experts in a layer takes no part there and starts anew in the next.
    """
    ranks, rank_of_slot = problem.num_ranks, [int(r) for r in placement.rank_of_slot]
    layers = [StayLayer() for _ in range(problem.num_layers)]
    anywhere = {rank: Fraction(1, ranks) for rank in range(ranks)}
    held = [slots_of_experts(placement, row) for row in range(problem.num_layers)]
    active = [
        int(((trace.expert_ids[:, row] != trace.missing).any(axis=1)).sum())
        for row in range(problem.num_layers)
    ]
    for token in range(trace.num_tokens):
        where = dict(anywhere)
        for row, layer in enumerate(layers):
            experts = [int(e) for e in trace.expert_ids[token, row] if e != trace.missing]
            if not experts:
                where = dict(anywhere)
                continue
            anchor = experts.index(main_expert(trace, token, row))
            after: dict[int, Fraction] = defaultdict(Fraction)
            options = [held[row][e] for e in experts]
            for source, chance in where.items():
                for slots in product(*options):
                    each = chance
                    for choice in options:
                        each /= len(choice)
                    amount = each * problem.tokens / active[row]
                    serving = [rank_of_slot[slot] for slot in slots]
                    home = serving[anchor]
                    _send(problem, layer, source, serving, amount)
                    others = serving[:anchor] + serving[anchor + 1 :]
                    _collect(problem, layer, home, others, amount)
                    after[home] += each
            where = after
    for layer in layers:
        _time(problem, layer)
    return layers


def _legs(problem: Problem, start: int, ends: list[int]) -> list[Path]:
    nodes = [int(n) for n in problem.system.topology.node_of_rank]
    return messages(problem.dedup, start, ends, nodes)


def _latency(problem: Problem, path: Path) -> float:
    topology = problem.system.topology
    links = [link for leg in pairwise(path) for link in topology.route(*leg)]
    return sum(float(topology.latency_s[int(link)]) for link in links)


def _send(problem: Problem, layer: StayLayer, source: int, ends: list[int], w: Fraction) -> None:
    topology = problem.system.topology
    if problem.dedup == "multicast":
        links = tree(topology, source, ends)
        layer.copies += w * len(links)
        for link in links:
            layer.out[link] += w
        paths: list[Path] = [(source, end) for end in ends if end != source]
    else:
        paths = _legs(problem, source, ends)
        layer.copies += w * len(paths)
        for path in paths:
            for link in topology.route(*path[-2:]):
                layer.out[int(link)] += w
    for path in paths:
        layer.out_latency_s = max(layer.out_latency_s, _latency(problem, path))


def _collect(problem: Problem, layer: StayLayer, home: int, ends: list[int], w: Fraction) -> None:
    topology = problem.system.topology
    if problem.dedup == "multicast":
        for link in tree(topology, home, ends):
            layer.back[int(topology.reverse_link[link])] += w
        paths: list[Path] = [(home, end) for end in ends if end != home]
    else:
        paths = _legs(problem, home, ends)
        for path in paths:
            start, end = path[-2:]
            for link in topology.route(end, start):
                layer.back[int(link)] += w
    for path in paths:  # latency of the way out, as for dispatch
        layer.back_latency_s = max(layer.back_latency_s, _latency(problem, path))


def _time(problem: Problem, layer: StayLayer) -> None:
    system, bandwidth = problem.system, problem.system.topology.bandwidth_Bps
    alpha = system.alpha_us[problem.phase]
    sizes = system.copy_bytes(problem.model.payload_size)
    found = []
    for name, links, size, latency in (
        ("dispatch", layer.out, sizes[0], layer.out_latency_s),
        ("combine", layer.back, sizes[1], layer.back_latency_s),
    ):
        busiest = max(
            (float(x) * size / float(bandwidth[link]) for link, x in links.items()), default=0.0
        )
        found.append((alpha[name] * 1e-6 + latency + busiest) * system.in_situ_factor)
    layer.dispatch_s, layer.combine_s = found
