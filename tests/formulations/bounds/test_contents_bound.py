"""Prices on experts: never above the least over all partitions into full parts, checked twice."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.formulations.bounds import lower_bound
from moeplace.formulations.bounds.contents import (
    ContentsCertificate,
    Incidence,
    contents_bound,
)
from moeplace.formulations.bounds.contents_kernels import least_contents
from moeplace.formulations.bounds.partition import touched_parts
from moeplace.formulations.bounds.relaxation import Parts, Rows
from moeplace.formulations.verify.contents_check import proven_contents
from moeplace.formulations.verify.contents_kernels import cheapest_set
from moeplace.placement import make_problem
from moeplace.traces import TokenSets
from tests.reference.brute_force import optimum
from tests.reference.instances import (
    tiny_cluster,
    tiny_model,
    token_sets,
    workload_of_sets,
)


def full_partitions(parts: Parts) -> np.ndarray:
    """Return (partitions, experts) the part of each expert, all parts full."""
    labels = np.array(list(product(range(parts.parts), repeat=parts.experts - 1)))
    labels = np.hstack([np.zeros((len(labels), 1), int), labels])
    sizes = np.array([np.bincount(row, minlength=parts.parts).max() for row in labels])
    return labels[sizes == parts.capacity]


def touched(labels: np.ndarray, sets: TokenSets) -> np.ndarray:
    """Return (partitions,) the mean number of parts a token touches, counted one by one."""
    counts = [[len({row[e] for e in ids if e >= 0}) for ids in sets.ids] for row in labels]
    return np.average(np.array(counts), axis=1, weights=sets.weight)


@pytest.mark.parametrize("shape", [Parts(6, 2, 3), Parts(8, 2, 4), Parts(9, 3, 3), Parts(8, 4, 2)])
def test_never_above_the_best_partition_and_close(shape):
    """On random tokens, some shorter: at most the optimum, at least 0.85 of it; checked again."""
    rng = np.random.default_rng(shape.experts + shape.parts)
    labels = full_partitions(shape)
    for _ in range(3):
        sets = token_sets(rng, shape.experts, 4, 25)
        ids = sets.ids.copy()
        ids[0, 1:] = -1
        ids[1, 0] = -1
        sets = TokenSets(ids, sets.weight)
        least = touched(labels, sets).min()
        proof = contents_bound(sets, shape)
        value = proof.value(shape)
        assert 0.85 * least <= value <= least * (1 + 1e-12)
        assert proven_contents(sets, proof, shape, ()) == pytest.approx(value, abs=1e-6)


def test_caps_are_kept_by_every_part():
    """With a cap on loads the bound is below the best partition that keeps it, and higher."""
    rng = np.random.default_rng(1)
    shape = Parts(9, 3, 3)
    labels = full_partitions(shape)
    gains = []
    for _ in range(4):
        sets = token_sets(rng, 9, 3, 30)
        load = sets.load(9) / sets.total_weight
        cap = 1.1 * load.sum() / 3
        fullest = np.array([np.bincount(row, load, 3).max() for row in labels])
        values = touched(labels, sets)
        if not (fullest <= cap).any():
            continue
        rows = (Rows(load / cap, np.zeros(9)),)
        proof = contents_bound(sets, shape, rows)
        value = proof.value(shape)
        assert value <= values[fullest <= cap].min() * (1 + 1e-12)
        assert proven_contents(sets, proof, shape, rows) == pytest.approx(value, abs=1e-6)
        gains.append(value - values.min())
    assert max(gains) > 0.0


def test_branch_and_bound_finds_the_least_set():
    """For random prices it ends at the least over all sets, or at the value asked for."""
    rng = np.random.default_rng(2)
    for size in (2, 3, 4, 5):
        sets = token_sets(rng, 11, 4, 40)
        one = Incidence(sets, 11)
        price = rng.integers(0, 1 << 38, 11)
        use = rng.uniform(0.0, 2 / size, 11)
        values = [one.touched(s) - int(price[list(s)].sum()) for s in combinations(range(11), size)
                  if use[list(s)].sum() <= 1]  # fmt: skip
        better = np.full((3, size), -1)
        arguments = *one.tables, one.lone, one.pair, 10_000, better
        found, _, ended = least_contents(price, use, size, 1 << 50, *arguments)
        assert ended
        assert found == min(values, default=1 << 50)
        if values:
            best = [s for s in better.tolist() if s[0] >= 0]
            assert found in [one.touched(s) - int(price[s].sum()) for s in best]
        assert least_contents(price, use, size, -(1 << 45), *arguments)[0] == -(1 << 45)


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_tokens_that_use_most_of_a_part(size):
    """Tokens of topics, six experts each: both searches find the least over all sets."""
    rng = np.random.default_rng(size)
    liking = 3.0 * (np.arange(14) // 7 == rng.integers(0, 2, 60)[:, None])
    ids = np.argsort(-(liking + rng.gumbel(size=(60, 14))), axis=1)[:, :6].astype(np.int32)
    sets = TokenSets(ids, rng.uniform(0.5, 2.0, 60))
    one = Incidence(sets, 14)
    price = rng.integers(0, 1 << 37, 14)
    use = rng.uniform(0.0, 1.5 / size, 14)
    values = [one.touched(s) - int(price[list(s)].sum()) for s in combinations(range(14), size)
              if use[list(s)].sum() <= 1]  # fmt: skip
    better = np.full((3, size), -1)
    found, _, ended = least_contents(
        price, use, size, 1 << 50, *one.tables, one.lone, one.pair, 10_000, better
    )
    assert ended
    assert found == min(values)
    share = sets.weight / sets.weight.sum()
    expert, token = np.nonzero((ids[:, :, None] == np.arange(14)).any(axis=1).T)
    again, done = cheapest_set(
        token.astype(np.int64),
        np.concatenate([[0], np.cumsum(np.bincount(expert, minlength=14))]).astype(np.int64),
        ids.astype(np.int64), share, price / 2.0**40, one.pair / 2.0**40, use, size, 9.0, 10_000,
    )  # fmt: skip
    assert done
    assert again == pytest.approx(min(values) / 2.0**40, abs=1e-9)


def test_a_search_that_is_too_long_proves_nothing():
    """Out of steps there is no certificate; parts that are not full have none either."""
    sets = token_sets(np.random.default_rng(3), 12, 4, 60)
    assert contents_bound(sets, Parts(12, 3, 4), most_steps=1) is None
    assert contents_bound(sets, Parts(12, 3, 5)) is None


def test_forged_prices_prove_less():
    """Higher prices, or a higher least value, do not raise what the checker finds."""
    sets = token_sets(np.random.default_rng(4), 8, 3, 40)
    shape = Parts(8, 2, 4)
    least = touched(full_partitions(shape), sets).min()
    honest = contents_bound(sets, shape)
    for forged in (
        replace(honest, least=honest.least + (1 << 38)),
        replace(honest, price=honest.price + np.int32(1 << 26)),
    ):
        assert forged.value(shape) > least
        assert proven_contents(sets, forged, shape, ()) <= least * (1 + 1e-12)
    with pytest.raises(InputError, match="prices"):
        proven_contents(sets, ContentsCertificate(honest.price[:-1], honest.least), shape, ())


def test_strong_bound_uses_it_for_copies():
    """The strong bound of `copies` is the contents bound where parts are full."""
    rng = np.random.default_rng(5)
    model = tiny_model(6, 3)
    system = tiny_cluster(3, 3)
    sets = [token_sets(rng, 6, 3, 30)]
    workload = workload_of_sets(sets, 6)
    problem = make_problem(model, system, workload, objective="copies", dedup="rank")
    bound = lower_bound(problem, "strong")
    least = optimum(problem)["copies"][0]
    assert 0.9 * least <= bound.value <= least * (1 + 1e-9)
    proof = next(p for p in bound.proofs if p.level == "ranks")
    assert proof.contents[0] is not None
    assert proof.value[0] >= touched_parts(sets[0], Parts(6, 3, 2)).value - 1e-9
