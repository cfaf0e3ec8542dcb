"""Every rule of eviction: the same as a plain loop, never below Belady, and Belady the optimum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from moeplace.replay.buffering import CACHE_POLICIES, Requests, Times, simulate

TIMES = Times(1.0, 0.1, 0.1, 0.1, 0.1)
SEEDS = range(6)


def needs(seed: int, batches: int = 14, experts: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((batches, experts)) < rng.random(experts)


def misses(need: np.ndarray, size: int, policy: str, seed: int = 0) -> int:
    requests = Requests(need[:, None, :].astype(np.int32), 1)
    owner = np.zeros((1, need.shape[1]), np.int64)
    return int(simulate(requests, owner, size, policy, TIMES, seed).misses.sum())


def leaves(policy: str, cached: list[int], state: dict[str, dict[int, int]], now: tuple) -> int:
    """Return the expert that the rule lets go, from its words alone."""
    need, batch, turn = now
    came, used, count = state["came"], state["used"], state["count"]

    def later(expert: int) -> tuple[int, int]:
        if need[batch, expert] and expert > turn:
            return batch, expert
        rest = np.flatnonzero(need[batch + 1 :, expert])
        return (batch + 1 + int(rest[0]) if rest.size else 10**9, expert)

    unused = [e for e in cached if not need[batch, e]]
    if policy == "lifo":
        return max(cached, key=lambda e: came[e])
    if policy == "inactive-lifo":
        return max(unused or cached, key=lambda e: came[e])
    if policy == "fifo":
        return min(cached, key=lambda e: came[e])
    if policy == "lru":
        return min(cached, key=lambda e: (used.get(e, 0), e))
    if policy == "lfu":
        return min(cached, key=lambda e: (count.get(e, 0), used.get(e, 0), e))
    if policy == "least-stale":
        stale = [e for e in cached if state["batch"].get(e, -1) < batch]
        return min(stale, key=lambda e: came[e]) if stale else max(cached, key=lambda e: used[e])
    if policy == "belady":
        return max(cached, key=later)
    if policy == "batch-overlap":
        done = [e for e in cached if need[batch, e] and e < turn]
        if not (unused or done):
            return max(cached)
        return min(unused or done, key=lambda e: (count.get(e, 0), e))
    assert policy == "batch-aware"
    free = [e for e in cached if not need[batch, e] or e < turn]
    if not free:
        return max(cached)
    chance = np.full(need.shape[1], 0.5)
    for past in range(batch + 1):
        rate = max(1 / (past + 2), 1 / 32)
        chance += rate * (need[past] - chance)
    return max(free, key=lambda e: 1 / chance[e] + e / need.shape[1])


def loop(need: np.ndarray, size: int, policy: str) -> int:
    """Return the misses of a rule, one access at a time."""
    batches, experts = need.shape
    cached = list(range(min(size, experts)))
    state: dict[str, dict[int, int]] = {
        "came": {e: e - experts for e in cached},
        "used": {},
        "count": {},
        "batch": {},
    }
    clock = found = 0
    for batch, expert in itertools.product(range(batches), range(experts)):
        if not need[batch, expert]:
            continue
        clock += 1
        if expert not in cached:
            found += 1
            if len(cached) >= size:
                cached.remove(leaves(policy, cached, state, (need, batch, expert)))
            cached = sorted([*cached, expert])
            state["came"][expert] = clock
        state["used"][expert] = clock
        state["batch"][expert] = batch
        state["count"][expert] = state["count"].get(expert, 0) + 1
    return found


def fewest(need: np.ndarray, size: int) -> int:
    """Return the fewest misses of any sequence of evictions, by dynamic programming."""
    batches, experts = need.shape
    best = {frozenset(range(size)): 0}
    for batch, expert in itertools.product(range(batches), range(experts)):
        if not need[batch, expert]:
            continue
        after: dict[frozenset[int], int] = {}
        for cached, cost in best.items():
            options = [cached] if expert in cached else [cached - {e} | {expert} for e in cached]
            for option in options:
                total = cost + (expert not in cached)
                after[option] = min(after.get(option, total), total)
        best = after
    return min(best.values())


@pytest.mark.parametrize("policy", [name for name in CACHE_POLICIES if name != "random"])
def test_same_as_a_loop(policy: str) -> None:
    """Compiled and plain count the same misses, for every size."""
    for seed in SEEDS:
        need = needs(seed)
        for size in range(1, need.shape[1] + 1):
            assert misses(need, size, policy) == loop(need, size, policy), (seed, size)


@pytest.mark.parametrize("policy", list(CACHE_POLICIES))
def test_belady_is_the_floor(policy: str) -> None:
    """No rule misses less than Belady, none more than every access, and all need the first ones."""
    for seed in SEEDS:
        need = needs(seed)
        for size in range(1, need.shape[1] + 1):
            found = misses(need, size, policy)
            assert misses(need, size, "belady") <= found <= need.sum()
            assert found >= need[:, size:].any(axis=0).sum()  # never there at the start


def test_belady_is_the_optimum() -> None:
    """Belady equals the optimum over all sequences of evictions."""
    for seed in SEEDS:
        need = needs(seed, batches=8, experts=5)
        for size in (1, 2, 3, 4):
            assert misses(need, size, "belady") == fewest(need, size)


def test_random_follows_its_seed() -> None:
    """The same seed, the same misses; seeds differ; between the optimum and all."""
    need = needs(2, batches=60, experts=9)
    found = [misses(need, 4, "random", seed) for seed in range(8)]
    assert found[0] == misses(need, 4, "random", 0)
    assert len(set(found)) > 1


@pytest.mark.parametrize("policy", ["lru", "belady"])
def test_more_room_never_hurts_stack_rules(policy: str) -> None:
    """LRU and Belady are stack algorithms: a larger cache misses no more (Mattson 1970)."""
    for seed in SEEDS:
        need = needs(seed)
        found = [misses(need, size, policy) for size in range(1, need.shape[1] + 1)]
        assert found == sorted(found, reverse=True)


def test_registry() -> None:
    """Codes differ, names are keys, everything has a summary and says what it sees."""
    assert len({rule.code for rule in CACHE_POLICIES.values()}) == len(CACHE_POLICIES)
    for name, rule in CACHE_POLICIES.items():
        assert rule.name == name
        assert rule.sees in ("past", "batch", "future")
        assert len(rule.summary) > 10
