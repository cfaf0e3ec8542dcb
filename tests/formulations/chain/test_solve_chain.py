"""Mappings along a chain of layers against trying all permutations."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from moeplace.errors import InputError, LimitError
from moeplace.formulations.chain import ChainInstance, solve_chain
from moeplace.formulations.chain.instance import row_bound


def brute(flow, distance, combine, sizes=None):
    """Return the least cost over all permutations of all layers, by plain loops."""
    layers, n = len(flow) + 1, len(distance)
    best = np.inf
    for chosen in product(permutations(range(n)), repeat=layers):
        if sizes is not None:
            held = [0] * n
            for row, perm in enumerate(chosen):
                for c, g in enumerate(perm):
                    held[g] += sizes[row][c]
            if len(set(held)) > 1:
                continue
        total = 0.0
        for pair in range(layers - 1):
            parts = [
                flow[pair][c][d] * distance[chosen[pair][c]][chosen[pair + 1][d]]
                for c in range(n)
                for d in range(n)
            ]
            total += sum(parts) if combine == "sum" else max(parts)
        best = min(best, total)
    return best


def line(n):
    """Return hops on a line of dies."""
    return np.abs(np.arange(n)[:, None] - np.arange(n)[None, :]).astype(float)


def random_flow(rng, pairs, n):
    """Return flows some of which are zero and some equal."""
    return rng.integers(0, 8, (pairs, n, n)) * rng.integers(0, 2, (pairs, n, n)).astype(float)


@pytest.mark.parametrize("combine", ["sum", "max"])
@pytest.mark.parametrize("method", ["viterbi", "milp", "cp-sat"])
def test_exact_methods_find_the_optimum(method, combine):
    """Every exact method equals brute force on asymmetric distances, and proves it."""
    rng = np.random.default_rng(1)
    for n, pairs in ((1, 2), (2, 3), (3, 2), (3, 3)):
        flow, distance = random_flow(rng, pairs, n), rng.integers(0, 5, (n, n)).astype(float)
        found = solve_chain(flow, distance, combine=combine, method=method)
        assert found.cost == pytest.approx(brute(flow, distance, combine), abs=1e-9)
        assert found.lower_bound == pytest.approx(found.cost, rel=1e-5, abs=1e-6)
        assert ChainInstance(flow, distance, combine).cost(found.labels) == found.cost


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_staying_alone_is_an_assignment(combine):
    """Under 0/1 distance one assignment a pair is optimal, also beyond Viterbi's sizes."""
    rng = np.random.default_rng(2)
    for n, pairs in ((2, 3), (3, 3), (4, 1)):
        for _ in range(6):
            flow, distance = random_flow(rng, pairs, n), 1.0 - np.eye(n)
            found = solve_chain(flow, distance, combine=combine)
            assert found.method == "assignment"
            assert found.cost == pytest.approx(brute(flow, distance, combine))
    hidden = [np.eye(40)[rng.permutation(40)] for _ in range(5)]
    found = solve_chain(hidden, 3.0 - 3.0 * np.eye(40), combine=combine)
    assert found.cost == 0
    assert found.optimal


def test_assignment_needs_equal_distances():
    """Asked for by name where distances differ, it is refused; so is Viterbi at seven ranks."""
    flow = np.ones((1, 3, 3))
    with pytest.raises(InputError, match="not exact"):
        solve_chain(flow, line(3), method="assignment")
    with pytest.raises(InputError, match="at most 6"):
        solve_chain(np.ones((1, 7, 7)), line(7), method="viterbi")
    with pytest.raises(InputError, match="viterby"):
        solve_chain(flow, line(3), method="viterby")
    with pytest.raises(InputError, match="do not fit"):
        solve_chain(flow, line(4))
    with pytest.raises(InputError, match="finite"):
        solve_chain(-flow, line(3))


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_alternating_is_close_and_bounded(combine):
    """On lines of four dies it is within a tenth of Viterbi on the average; its bound holds."""
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(12):
        flow = rng.gamma(0.5, size=(6, 4, 4))
        best = solve_chain(flow, line(4), combine=combine, method="viterbi")
        good = solve_chain(flow, line(4), combine=combine, method="alternating")
        assert good.lower_bound <= best.cost * (1 + 1e-9)
        assert best.cost <= good.cost * (1 + 1e-9)
        ratios.append(good.cost / best.cost)
    assert np.mean(ratios) < 1.1


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_row_bound_is_a_theorem(combine):
    """It never exceeds the optimum, and meets it where every flow has its own direction."""
    rng = np.random.default_rng(4)
    tight = 0
    for _ in range(40):
        n = int(rng.integers(1, 5))
        flow, distance = random_flow(rng, 1, n), rng.integers(0, 4, (n, n)).astype(float)
        bound = row_bound(ChainInstance(flow, distance, combine))
        best = brute(flow, distance, combine)
        assert bound <= best * (1 + 1e-9)
        tight += bound >= best * (1 - 1e-9)
    assert tight > 10


def test_equal_totals_per_rank():
    """Clusters of unlike size: the backends obey MoETuner's rule and agree with brute force."""
    rng = np.random.default_rng(5)
    solved = 0
    for _ in range(6):
        sizes = np.stack([rng.permutation([1, 2, 3]) for _ in range(3)])
        flow, distance = random_flow(rng, 2, 3), line(3)
        best = brute(flow, distance, "max", sizes)
        for method in ("milp", "cp-sat"):
            found = solve_chain(flow, distance, combine="max", sizes=sizes, method=method)
            assert found.cost == pytest.approx(best, abs=1e-9)
            held = np.bincount(found.labels.ravel(), weights=sizes.ravel())
            assert held.tolist() == [6, 6, 6]
        solved += 1
        with pytest.raises(InputError, match="cannot obey sizes"):
            solve_chain(flow, distance, sizes=sizes, method="viterbi")
    assert solved == 6
    with pytest.raises(LimitError, match="no mapping"):
        solve_chain([np.ones((2, 2))], line(2), sizes=[[1, 4], [1, 2]], method="milp")
    with pytest.raises(InputError, match="multiple of n"):
        solve_chain([np.ones((2, 2))], line(2), sizes=[[1, 4], [1, 1]])


def test_viterbi_26_layers_of_6_clusters():
    """The published scale and more: exact, and no worse than alternating."""
    rng = np.random.default_rng(6)
    flow = rng.gamma(0.5, size=(25, 6, 6))
    distance = line(6)
    exact = solve_chain(flow, distance)
    assert exact.method == "viterbi"
    assert exact.optimal
    good = solve_chain(flow, distance, method="alternating")
    assert exact.cost <= good.cost * (1 + 1e-12)
    assert good.lower_bound <= exact.cost
