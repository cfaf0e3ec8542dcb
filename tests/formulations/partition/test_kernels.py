from __future__ import annotations

import numpy as np
import pytest

from moeplace.formulations.partition.clock import Clock
from moeplace.formulations.partition.hypergraph import contract, make_instance
from moeplace.formulations.partition.kernels import count_ranks, move, shared
from moeplace.formulations.partition.multilevel import score
from moeplace.formulations.partition.nets import as_nets
from moeplace.formulations.partition.room import UNSET, Room, contiguous, group_aligned
from moeplace.formulations.partition.swap_search import SwapSearch


@pytest.fixture
def graph(random_sets):
    """Return a hypergraph of 14 experts."""
    return make_instance(as_nets(*random_sets(2, 14, 40, 5), 14)).graph


def state(graph, part, ranks):
    count = np.zeros((graph.num_nets, ranks), np.uint16)
    enter = np.zeros((graph.num_vertices, ranks), np.int64)
    leave = np.zeros(graph.num_vertices, np.int64)
    value = count_ranks(graph.net_start, graph.pin, graph.net_weight, part, count, enter, leave)
    return value, count, enter, leave


def nets_of(graph):
    return graph.net_start, graph.pin, graph.net_weight, graph.vertex_start, graph.net


def value_of(graph, part) -> int:
    nets = np.split(graph.pin, graph.net_start[1:-1])
    return sum(
        int(w) * len(set(part[net].tolist())) for net, w in zip(nets, graph.net_weight, strict=True)
    )


def test_moves_keep_the_state(graph):
    """After any moves, value, counts, and what entering and leaving cost are as counted afresh."""
    rng = np.random.default_rng(0)
    part = rng.integers(0, 4, 14).astype(np.int32)
    value, count, enter, leave = state(graph, part, 4)
    assert value == value_of(graph, part)
    for _ in range(60):
        v, rank = int(rng.integers(14)), int(rng.integers(4))
        if part[v] == rank:
            continue
        value += move(v, rank, *nets_of(graph), part, count, enter, leave)
        fresh = state(graph, part, 4)
        assert value == fresh[0] == value_of(graph, part)
        for kept, counted in zip((count, enter, leave), fresh[1:], strict=True):
            np.testing.assert_array_equal(kept, counted)


def test_a_swap_is_priced_exactly(graph):
    """Two moves and the sets that hold both experts make the price of a swap."""
    rng = np.random.default_rng(1)
    part = rng.integers(0, 3, 14).astype(np.int32)
    value, count, enter, leave = state(graph, part, 3)
    for e in range(14):
        for f in range(14):
            a, b = int(part[e]), int(part[f])
            if a == b:
                continue
            price = enter[e, b] - leave[e] + enter[f, a] - leave[f]
            price += shared(e, f, *nets_of(graph), part, count)
            swapped = part.copy()
            swapped[e], swapped[f] = b, a
            assert value + price == value_of(graph, swapped)


def test_search_keeps_its_figures(graph):
    """Annealing and descent know value and overload of where they are, and of the best."""
    room = Room(np.array([4, 6, 5]), np.full(3, int(graph.load.sum() * 0.4)))
    search = SwapSearch(graph, room, contiguous(14, room.slots), 3)
    for hot in (200.0, 20.0, 2.0):
        search.anneal(2.0, hot, hot / 2, 3000)
        load = np.bincount(search.part, weights=graph.load, minlength=3)
        assert search.value == value_of(graph, search.part)
        assert search.excess == np.maximum(0, load - room.load).sum()
        assert (np.bincount(search.part, minlength=3) <= room.slots).all()
    best = np.bincount(search.best, weights=graph.load, minlength=3)
    assert search.best_value == value_of(graph, search.best) < UNSET
    assert (best <= room.load).all()
    search.descend(2.0, Clock(None, None))
    for e in range(14):
        for f in range(e):
            swapped = search.part.copy()
            swapped[[e, f]] = swapped[[f, e]]
            load = np.bincount(swapped, weights=graph.load, minlength=3)
            over = np.maximum(0, load - room.load).sum()
            assert value_of(graph, swapped) + 2 * over >= search.value + 2 * search.excess


def test_groups_have_the_value_of_their_vertices(graph):
    """A hypergraph of groups counts what the vertices count, but for sets inside one group."""
    group = (np.arange(14) // 2).astype(np.int32)
    coarse = contract(graph, group, 7)
    rng = np.random.default_rng(2)
    differences = set()
    for _ in range(10):
        part = rng.integers(0, 3, 7).astype(np.int32)
        differences.add(value_of(graph, part[group]) - value_of(coarse, part))
    inside = [
        int(w)
        for net, w in zip(np.split(graph.pin, graph.net_start[1:-1]), graph.net_weight, strict=True)
        if len(set(group[net].tolist())) == 1
    ]
    assert differences == {sum(inside)}
    assert coarse.size.tolist() == [2] * 7
    assert coarse.load.sum() == graph.load.sum()
    nets = {tuple(net) for net in np.split(coarse.pin, coarse.net_start[1:-1])}
    assert len(nets) == coarse.num_nets


def test_a_part_can_be_cut_out(graph):
    """Vertices of group −1 leave their nets."""
    group = np.where(np.arange(14) < 9, np.arange(14), -1).astype(np.int32)
    inner = contract(graph, group, 9)
    assert inner.num_vertices == 9
    assert inner.pin.max() < 9
    np.testing.assert_array_equal(inner.load, graph.load[:9])


def test_score_says_what_is_above_the_limits(graph):
    """Slots and loads beyond the limits are counted, 0 only where all is kept."""
    room = Room(np.array([7, 7]), np.full(2, int(graph.load.sum())))
    part = contiguous(14, room.slots)
    assert score(graph, room, part).over == 0
    assert score(graph, room, np.zeros(14, np.int32)).over > 0
    tight = Room(room.slots, np.full(2, int(graph.load.max())))
    assert score(graph, tight, part).over > 0


def test_plain_starts():
    """Contiguous ranks are as equal as slots allow; whole groups stay together if they can."""
    assert contiguous(7, np.array([3, 3, 3])).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert contiguous(7, np.array([1, 5, 3])).tolist() == [0, 1, 1, 1, 2, 2, 2]
    aligned = group_aligned(12, 4, np.array([6, 6]))
    assert [len(set(aligned[i : i + 3])) for i in (0, 3, 6, 9)] == [1, 1, 1, 1]
    aligned = group_aligned(12, 3, np.array([2, 2, 2, 2, 2, 2]))
    assert [len(set(aligned[i : i + 4])) for i in (0, 4, 8)] == [2, 2, 2]
    uneven = group_aligned(12, 3, np.array([5, 5, 5]))
    assert [len(set(uneven[i : i + 4])) for i in (0, 4, 8)] == [1, 1, 1]
    assert (np.bincount(group_aligned(13, 3, np.array([4, 5, 4]))) == [4, 5, 4]).all()
