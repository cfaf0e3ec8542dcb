"""Token sets as a hypergraph in canonical form: same sets in any order, same arrays.

Weights are kept as integers, so that every sum in the search is exact and runs repeat bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, fsum, log2
from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.partition.nets import distinct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.partition.nets import Nets

EXACT_TOTAL = 2**53  # whole weights stay themselves below this total
SCALED_BITS = 44  # fractional weights are rounded to a total of at most 2^44 units


@dataclass(frozen=True, eq=False)
class Hypergraph:
    """Vertices (experts, or groups of them) and nets (token sets) of a partition.

    Attributes
    ----------
    net_start, pin
        Compressed rows: the vertices of each net, (nets + 1,) int64 and (pins,) int32.
    net_weight
        (nets,) int64 > 0.
    vertex_start, net
        Compressed rows: the nets of each vertex, (vertices + 1,) int64 and (pins,) int32.
    size
        (vertices,) int64 slots each vertex takes.
    load
        (vertices,) int64 weight of the nets of the vertex's experts, counted once an expert.
    """

    net_start: NDArray[np.int64]
    pin: NDArray[np.int32]
    net_weight: NDArray[np.int64]
    vertex_start: NDArray[np.int64]
    net: NDArray[np.int32]
    size: NDArray[np.int64]
    load: NDArray[np.int64]

    @property
    def num_vertices(self) -> int:
        """Vertices."""
        return int(self.size.size)

    @property
    def num_nets(self) -> int:
        """Nets."""
        return int(self.net_weight.size)


@dataclass(frozen=True, eq=False)
class Instance:
    """A hypergraph of experts, and what its integer weights stand for.

    Attributes
    ----------
    graph
        Nets of at least two experts, merged where equal.
    unit
        Weight of one integer unit.
    constant
        Integer weight of the sets that touch one rank wherever their expert is.
    """

    graph: Hypergraph
    unit: float
    constant: int


def make_instance(nets: Nets) -> Instance:
    """Bring checked sets into canonical form; an expert named twice in a set counts once."""
    whole, unit = _whole(nets.weight, np.diff(nets.start))
    used = whole[nets.set_of_pin] > 0
    key = distinct(nets.set_of_pin[used] * np.int64(nets.num_experts) + nets.expert[used])
    number, expert = key // nets.num_experts, (key % nets.num_experts).astype(np.int32)
    load = np.zeros(nets.num_experts, np.int64)
    np.add.at(load, expert, whole[number])
    length = np.bincount(number, minlength=nets.num_sets)
    constant = int(whole[length == 1].sum())
    long = length > 1
    size = np.ones(nets.num_experts, np.int64)
    graph = _merged(length[long], expert[long[number]], whole[long], size, load)
    return Instance(graph, unit, constant)


def contract(graph: Hypergraph, group: NDArray[np.int32], number: int) -> Hypergraph:
    """Return the hypergraph of the groups 0..number−1; vertices of group −1 are cut off.

    Nets keep each group once; those of one group are left out and equal ones merged.
    """
    from moeplace.formulations.partition.contract_kernels import contract_nets, nets_of_vertices

    kept = group >= 0
    # Sums of integers below 2^53 are exact in float64, and bincount is fast.
    size, load = (
        np.bincount(group[kept], weights=values[kept], minlength=number).astype(np.int64)
        for values in (graph.size, graph.load)
    )
    random = np.random.default_rng(0)
    code = random.integers(2**64, size=number, dtype=np.uint64)
    order = random.permutation(graph.num_nets)
    start = np.empty(graph.num_nets + 1, np.int64)
    pins, weight = np.empty_like(graph.pin), np.empty_like(graph.net_weight)
    slot = np.full(1 << max(1, 2 * graph.num_nets - 1).bit_length(), -1, np.int32)
    nets = contract_nets(
        graph.net_start, graph.pin, graph.net_weight, group, code, order, start, pins, weight, slot
    )
    start, pins, weight = start[: nets + 1], pins[: start[nets]].copy(), weight[:nets].copy()
    vertex_start, net = np.zeros(number + 1, np.int64), np.empty(pins.size, np.int32)
    nets_of_vertices(start, pins, vertex_start, net)
    return Hypergraph(start.copy(), pins, weight, vertex_start, net, size, load)


def thinned(graph: Hypergraph, nets: int) -> Hypergraph:
    """Return the hypergraph of a sample of nets that stand for all.

    Every n-th unit of weight is drawn, in the order of the nets: a stratified sample that needs
    no random numbers. Sizes and loads of the vertices stay.
    """
    end = np.cumsum(graph.net_weight)
    step = max(1, int(end[-1]) // nets)
    drawn = (end + step // 2) // step
    drawn[1:] -= drawn[:-1].copy()
    kept, length = drawn > 0, np.diff(graph.net_start)
    pin = graph.pin[np.repeat(kept, length)]
    return _assembled(length[kept], pin, drawn[kept] * step, graph.size, graph.load)


def _merged(
    length: NDArray[np.int64],
    pin: NDArray[np.int32],
    weight: NDArray[np.int64],
    size: NDArray[np.int64],
    load: NDArray[np.int64],
) -> Hypergraph:
    """Return the hypergraph of nets with ascending pins, equal ones merged, in order of a hash."""
    if not length.size:
        return _assembled(length, pin, weight, size, load)
    start = np.cumsum(length) - length
    code = np.random.default_rng(0).integers(2**64, size=size.size, dtype=np.uint64)
    key = np.add.reduceat(code[pin], start)
    order = np.argsort(key, kind="stable")
    one, two = order[:-1], order[1:]
    alike = np.flatnonzero((key[one] == key[two]) & (length[one] == length[two]))
    fresh = np.ones(order.size, np.bool_)
    if alike.size:  # the hash may lie, the pins do not
        many = length[one[alike]]
        step = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        differs = (
            pin[np.repeat(start[one[alike]], many) + step]
            != pin[np.repeat(start[two[alike]], many) + step]
        )
        fresh[alike + 1] = np.add.reduceat(differs, np.cumsum(many) - many, dtype=np.int64) > 0
    first = np.flatnonzero(fresh)
    kept, weight = order[first], np.add.reduceat(weight[order], first)
    many = length[kept]
    step = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    return _assembled(many, pin[np.repeat(start[kept], many) + step], weight, size, load)


def _assembled(
    length: NDArray[np.int64],
    pin: NDArray[np.int32],
    net_weight: NDArray[np.int64],
    size: NDArray[np.int64],
    load: NDArray[np.int64],
) -> Hypergraph:
    """Return the hypergraph whose nets have these lengths, pins and weights."""
    net_start, vertex_start = np.zeros(length.size + 1, np.int64), np.zeros(size.size + 1, np.int64)
    np.cumsum(length, out=net_start[1:])
    np.cumsum(np.bincount(pin, minlength=size.size), out=vertex_start[1:])
    # a stable sort of 16-bit numbers takes linear time
    key = pin.astype(np.uint16) if size.size <= 2**16 else pin
    net = np.repeat(np.arange(length.size, dtype=np.int32), length)[np.argsort(key, kind="stable")]
    return Hypergraph(net_start, pin, net_weight, vertex_start, net, size, load)


def _whole(
    weight: NDArray[np.float64], length: NDArray[np.int64]
) -> tuple[NDArray[np.int64], float]:
    """Return integer weights and what one unit is worth."""
    total = fsum((weight * np.maximum(length, 1)).tolist())  # the same in any order
    if total == 0 or (total < EXACT_TOTAL and (weight == np.round(weight)).all()):
        return weight.astype(np.int64), 1.0
    unit = 2.0 ** ceil(log2(total) - SCALED_BITS)
    whole = np.round(weight / unit).astype(np.int64)
    whole[(weight > 0) & (whole == 0)] = 1
    return whole, unit
