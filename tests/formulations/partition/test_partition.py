from __future__ import annotations

import doctest

import numpy as np
import pytest

import moeplace
from moeplace.errors import InfeasibleError, InputError, LimitError
from moeplace.formulations.partition import connectivity, find_partition, search, solve

BUDGET = {"time_limit_s": None, "max_iterations": 2}
SHAPES = [(4, (2, 2)), (6, (3, 3)), (6, (2, 2, 2)), (7, (3, 3, 3)), (6, (1, 3, 4)), (5, (0, 2, 3))]


@pytest.fixture(params=["annealing", "multilevel"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the search for small or the one for large hypergraphs do the work."""
    if request.param == "multilevel":
        monkeypatch.setattr(search, "MOST_ANNEALED", 0)
    return str(request.param)


@pytest.mark.parametrize(("experts", "slots"), SHAPES)
def test_brute_force(experts, slots, random_sets, touched, optimum):
    """On small instances the partition is the best of all, whatever the slots of each rank."""
    for seed in range(4):
        sets, weights = random_sets(seed, experts, 12, 4)
        part = moeplace.partition(sets, weights, experts, len(slots), slots, seed=seed, **BUDGET)
        assert (np.bincount(part, minlength=len(slots)) <= slots).all()
        assert touched(sets, weights, part) == optimum(sets, weights, experts, slots)


@pytest.mark.parametrize("max_load", [1.0, 1.1, 1.4])
def test_brute_force_under_a_load_cap(max_load, random_sets, touched, loads, optimum):
    """With a limit on the load of a rank, the best that keeps it, or a refusal if none does."""
    answers = set()
    for seed in range(12):
        sets, weights = random_sets(seed, 6, 10, 4)
        least = optimum(sets, weights, 6, (4, 4), max_load)
        if least == float("inf"):
            with pytest.raises((InfeasibleError, LimitError), match=r"max_load|mean rank loads"):
                moeplace.partition(sets, weights, 6, 2, 4, max_load=max_load, **BUDGET)
            answers.add("refused")
            continue
        part = moeplace.partition(sets, weights, 6, 2, 4, max_load=max_load, **BUDGET)
        load = loads(sets, weights, part, 2)
        assert load.max() <= max_load * load.mean() * (1 + 1e-9)
        assert touched(sets, weights, part) == least
        answers.add("solved")
    assert "solved" in answers or max_load == 1.0
    assert "refused" in answers or max_load > 1.0


def test_multilevel_on_small_instances(method, random_sets, touched, optimum):
    """Both searches keep the slots, report what they found, and come close to the best."""
    total, best = 0.0, 0.0
    for seed in range(6):
        sets, weights = random_sets(seed, 8, 20, 4)
        found = find_partition(sets, weights, 8, 2, 4, seed=seed, **BUDGET)
        assert (np.bincount(found.rank_of_expert, minlength=2) == 4).all()
        assert found.connectivity == touched(sets, weights, found.rank_of_expert)
        total += found.connectivity
        best += optimum(sets, weights, 8, (4, 4))
    assert best <= total <= 1.03 * best


def planted(experts: int, ranks: int, seed: int):
    """Return sets that each lie inside one hidden block of experts, a chain through every block."""
    rng = np.random.default_rng(seed)
    hidden = rng.permutation(experts).reshape(ranks, -1)
    chains = [block[i : i + 3] for block in hidden for i in range(len(block) - 2)]
    return np.array(chains)[rng.permutation(len(chains))]


@pytest.mark.parametrize(("experts", "ranks"), [(64, 8), (256, 4), (1200, 4)])
def test_hidden_blocks_are_found(experts, ranks):
    """Where a partition cuts no set at all, it is found, also where the search goes by levels."""
    sets = planted(experts, ranks, 1)
    found = find_partition(sets, None, experts, ranks, experts // ranks, time_limit_s=None)
    assert found.connectivity == len(sets)


def test_load_cap_on_many_experts(loads):
    """Slots and load cap hold where the search goes by levels."""
    rng = np.random.default_rng(0)
    sets = planted(1200, 4, 2)
    weights = rng.integers(1, 5, len(sets)).astype(float) * (1 + 3 * (sets.min(axis=1) < 100))
    part = moeplace.partition(sets, weights, 1200, 4, 330, max_load=1.05, **BUDGET)
    load = loads(sets, weights, part, 4)
    assert np.bincount(part, minlength=4).max() <= 330
    assert load.max() <= 1.05 * load.mean() * (1 + 1e-9)


def test_order_of_sets_does_not_matter(method, random_sets):
    """Sets in another order, with their experts in another order, give the same partition."""
    sets, weights = random_sets(3, 24, 80, 5)
    order = np.random.default_rng(0).permutation(len(sets))
    first = moeplace.partition(sets, weights, 24, 4, 6, **BUDGET)
    other = [sets[i][::-1] for i in order]
    second = moeplace.partition(other, weights[order], 24, 4, 6, **BUDGET)
    np.testing.assert_array_equal(first, second)


def test_names_do_not_matter(random_sets, touched):
    """Experts under other names, and ranks in another order, reach the same optimum."""
    slots = np.array([2, 3, 4])
    for seed in range(4):
        sets, weights = random_sets(seed, 8, 15, 4)
        name = np.random.default_rng(seed).permutation(8)
        renamed = [[int(name[e]) for e in s] for s in sets]
        one = moeplace.partition(sets, weights, 8, 3, slots, **BUDGET)
        two = moeplace.partition(renamed, weights, 8, 3, slots[::-1], **BUDGET)
        assert touched(sets, weights, one) == touched(renamed, weights, two)


def test_same_seed_same_partition(method, random_sets):
    """With a budget of iterations, a seed decides everything, and another seed is heard."""
    sets, weights = random_sets(5, 60, 300, 6)

    def run(seed: int) -> bytes:
        return moeplace.partition(sets, weights, 60, 6, 10, seed=seed, **BUDGET).tobytes()

    assert run(1) == run(1)
    assert len({run(seed) for seed in range(6)}) > 1


def test_starts_are_never_lost(method, random_sets, touched):
    """A start is not made worse, nor is the contiguous partition, with no iteration at all."""
    sets, weights = random_sets(7, 30, 90, 5)
    best = moeplace.partition(sets, weights, 30, 5, 6, time_limit_s=None)
    bad = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 6))
    part = moeplace.partition(
        sets, weights, 30, 5, 6, initial=[bad, best], time_limit_s=None, max_iterations=0
    )
    assert touched(sets, weights, part) <= touched(sets, weights, best)
    chain = [[e, e + 1] for e in range(29) if e % 6 != 5]
    part = moeplace.partition(chain, None, 30, 5, 6, time_limit_s=None, max_iterations=0)
    assert touched(chain, np.ones(len(chain)), part) == len(chain)


def test_time_limit_ends_the_search(random_sets):
    """With a time limit alone a valid partition comes back, and at once."""
    sets, weights = random_sets(9, 40, 200, 5)
    part = moeplace.partition(sets, weights, 40, 4, 10, time_limit_s=1e-6)
    assert np.bincount(part).tolist() == [10, 10, 10, 10]


def test_a_sample_stands_for_many_sets(monkeypatch, random_sets, touched):
    """Where a sample is searched first, all sets decide at the end."""
    from moeplace.formulations.partition import annealing

    sets, weights = random_sets(11, 32, 600, 5)
    whole = find_partition(sets, weights, 32, 4, 8, time_limit_s=None)
    monkeypatch.setattr(annealing, "MOST_NETS", 100)
    sampled = find_partition(sets, weights, 32, 4, 8, time_limit_s=None)
    assert sampled.connectivity == touched(sets, weights, sampled.rank_of_expert)
    assert sampled.connectivity <= 1.05 * whole.connectivity


def test_fractional_weights(random_sets, optimum):
    """Weights need not be whole numbers, nor of any size."""
    sets, weights = random_sets(13, 6, 12, 4)
    for scale in (1e-9, 0.3, 1e12):
        found = find_partition(sets, weights * scale, 6, 2, 3, **BUDGET)
        assert found.connectivity == pytest.approx(scale * optimum(sets, weights, 6, (3, 3)))


def test_small_corners():
    """One rank, one expert, weights of zero, more ranks than experts."""
    assert moeplace.partition([[0, 1]], None, 3, 1, 3, **BUDGET).tolist() == [0, 0, 0]
    assert moeplace.partition([[0]], [2.0], 1, 1, 1, **BUDGET).tolist() == [0]
    assert sorted(moeplace.partition([[0, 1]], [0.0], 2, 2, 1, **BUDGET)) == [0, 1]
    part = moeplace.partition([[0, 1]], None, 2, 5, 2, **BUDGET)
    assert part[0] == part[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_sets": np.zeros((0, 2), int)}, "no sets"),
        ({"token_sets": []}, "no sets"),
        ({"token_sets": [[0, 4]]}, "set 0 names expert 4; ids go from 0 to 3"),
        ({"token_sets": [[0, 1], [2, -2]]}, "set 1 names expert -2"),
        ({"token_sets": [[0.5, 1.0]]}, "integers expected"),
        ({"token_sets": np.zeros((2, 2))}, "integers"),
        ({"token_sets": np.zeros(3, int)}, "integers \\(sets, k\\) expected"),
        ({"token_sets": 3}, "array \\(sets, k\\)"),
        ({"weights": [1.0]}, "shape \\(1,\\) for 2 token sets"),
        ({"weights": [1.0, -1.0]}, "set 1 weighs -1.0"),
        ({"weights": [np.nan, 1.0]}, "set 0 weighs nan"),
        ({"weights": ["a", "b"]}, "numbers expected"),
        ({"num_experts": 0}, "num_experts is 0; at least 1"),
        ({"num_ranks": 2.5}, "num_ranks is 2.5; a whole number"),
        ({"slots_per_rank": [2, 2, 2]}, "shape \\(3,\\)"),
        ({"slots_per_rank": [5, -1]}, "rank 1 has -1 slots"),
        ({"slots_per_rank": 2.0}, "slots_per_rank"),
        ({"max_load": 0.9}, "max_load is 0.9; at least 1"),
        ({"max_load": np.nan}, "max_load is nan"),
        ({"time_limit_s": 0.0}, "time_limit_s is 0.0"),
        ({"max_iterations": -1}, "max_iterations is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"initial": [0, 0, 1]}, "ranks expected"),
        ({"initial": [0, 0, 1, 2]}, "ranks 0 to 2; 0 to 1 exist"),
        ({"initial": [0, 0, 0, 1]}, "3 experts on rank 0, which has 2 slots"),
    ],
)
def test_bad_input(changes, message):
    """What does not fit is refused in one line that says where."""
    good = {
        "token_sets": [[0, 1], [2, 3]],
        "weights": None,
        "num_experts": 4,
        "num_ranks": 2,
        "slots_per_rank": 2,
    }
    with pytest.raises(InputError, match=message) as refusal:
        moeplace.partition(**{**good, **changes})
    assert "\n" not in str(refusal.value)


def test_too_few_slots():
    """Experts that do not fit are an infeasible problem."""
    with pytest.raises(InfeasibleError, match="5 experts do not fit into 4 slots of 2 ranks"):
        moeplace.partition([[0, 1]], None, 5, 2, 2)
    with pytest.raises(InfeasibleError, match="5 experts do not fit into 4 slots"):
        moeplace.partition([[0, 1]], None, 5, 3, [1, 3, 0])


@pytest.mark.slow
def test_contiguous_groups_of_a_real_trace_are_kept(shared_data):
    """At 8 ranks the router's own groups are hard to beat: never worse than they are."""
    trace = moeplace.load_trace(shared_data / "small_moe_256_trace.npz")
    sets = moeplace.Workload.from_trace(trace).token_sets[5]
    part = moeplace.partition(sets.ids, sets.weight, 256, 8, 32, time_limit_s=5)
    groups = connectivity(sets.ids, sets.weight, np.arange(256) // 32)
    assert connectivity(sets.ids, sets.weight, part) <= groups


def test_example():
    """The example in the docstring prints what it says."""
    assert doctest.testmod(solve).failed == 0
