from __future__ import annotations

import numpy as np
import pytest

from moeplace.formulations.qap import bounds
from moeplace.formulations.qap.bounds import gilmore_lawler, lower_bound, rounds_without_clock
from moeplace.formulations.qap.budget import Budget
from moeplace.formulations.qap.instance import make_instance
from moeplace.formulations.qap.qaplib import read_qaplib
from moeplace.formulations.qap.split_bound import SplitBound

SEEDS = 12


def budget(rounds: int) -> Budget:
    return Budget(np.inf, rounds)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_bounds_hold(size, kind, matrices, optimum):
    """On 360 random instances no bound is above the optimum of all permutations."""
    for seed in range(SEEDS):
        flow, distance = matrices(size, kind, seed)
        instance, best = make_instance(flow, distance), optimum(flow, distance)
        slack = 1e-12 * instance.magnitude
        assert gilmore_lawler(instance).value <= best + slack
        bound = lower_bound(instance, best, budget(60))
        assert gilmore_lawler(instance).value <= bound.value <= best + slack
        if instance.symmetric:
            for swapped in (False, True):
                ascent = SplitBound(instance, swapped)
                ascent.climb(best, 40, budget(40))
                assert ascent.value <= best + 1e-9 * ascent.size


def test_bound_holds_along_the_ascent(matrices, optimum):
    """Every point is a bound, not only where the ascent likes to go: far steps too."""
    for seed in range(20):
        flow, distance = matrices(6, "signed", seed)
        best = optimum(flow, distance)
        ascent = SplitBound(make_instance(flow, distance), swapped=bool(seed % 2))
        random = np.random.default_rng(seed)
        for _ in range(20):
            part = random.normal(0.0, 20.0, (6, 6))
            np.fill_diagonal(part, 0.0)
            value, _, _ = ascent._evaluate(part, random.normal(0.0, 20.0, 6))
            assert value <= best + 1e-6


def test_direction_of_ascent_is_a_supergradient(matrices):
    """The bound is concave: no point lies above the tangent of another one."""
    ascent = SplitBound(make_instance(*matrices(7, "symmetric", seed=1)), swapped=False)
    random = np.random.default_rng(0)

    def point():
        part = random.normal(0.0, 5.0, (7, 7))
        np.fill_diagonal(part, 0.0)
        return part, random.normal(0.0, 5.0, 7)

    for _ in range(50):
        here, there = point(), point()
        value, by_part, by_diagonal = ascent._evaluate(*here)
        tangent = (
            value + (by_part * (there[0] - here[0])).sum() + by_diagonal @ (there[1] - here[1])
        )
        assert ascent._evaluate(*there)[0] <= tangent + 1e-9


def test_values_of_the_literature(request):
    """nug12: Gilmore–Lawler 493, rounded up to the even 494; the split improves both parts."""
    flow, distance = read_qaplib(request.path.parent / "data" / "nug12.dat")
    instance = make_instance(flow, distance)
    assert gilmore_lawler(instance).value == 494.0
    bound = lower_bound(instance, 578.0, budget(1500))
    assert bound.method == "split"
    assert 520.0 <= bound.value <= 578.0


def test_values_of_larger_ones(shared_data):
    """nug30: Gilmore–Lawler 4539 as published, projection 5266, the split at most 9.4 % away."""
    instance = make_instance(*read_qaplib(shared_data / "qaplib" / "nug30.dat"))
    assert gilmore_lawler(instance).value == 4540.0
    ascent = SplitBound(instance, swapped=False)
    assert ascent.method == "projection"
    assert np.ceil(ascent.value) == 5266.0
    assert lower_bound(instance, 6124.0, budget(800)).value >= 6124.0 * 0.906


def test_no_time_no_bound(matrices):
    """With the time gone nothing is claimed."""
    instance = make_instance(*matrices(20, "symmetric", seed=1))
    assert lower_bound(instance, 1e9, Budget(0.0, None)) is None


def test_rounds_without_a_clock_fall_with_size():
    """Small instances get all rounds, large ones few, every one at least one."""
    rounds = [rounds_without_clock(size) for size in (9, 100, 300, 3000)]
    assert rounds[0] == bounds.MAX_ROUNDS
    assert rounds == sorted(rounds, reverse=True)
    assert rounds[-1] == 1


def test_bound_is_rounded_up_to_the_unit_only_for_whole_numbers(matrices):
    """Costs of whole symmetric matrices are even, and so is the bound; others are not rounded."""
    flow, distance = matrices(9, "symmetric", seed=2)
    assert make_instance(flow, distance).unit >= 2.0
    assert gilmore_lawler(make_instance(flow, distance)).value % 2.0 == 0.0
    assert make_instance(flow / 3.0, distance).unit == 0.0
    assert make_instance(flow * 2.0**50, distance).unit == 0.0
