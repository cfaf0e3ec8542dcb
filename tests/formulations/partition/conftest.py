from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def _touched(sets, weights, rank_of_expert) -> float:
    """Return the definition, set by set."""
    return sum(
        w * len({int(rank_of_expert[e]) for e in s}) for s, w in zip(sets, weights, strict=True)
    )


def _loads(sets, weights, rank_of_expert, ranks: int) -> np.ndarray:
    """Return (ranks,) loads, expert by expert."""
    load = np.zeros(ranks)
    for s, w in zip(sets, weights, strict=True):
        for e in set(s):
            load[rank_of_expert[e]] += w
    return load


def _optimum(sets, weights, experts: int, slots, max_load: float | None = None) -> float:
    """Return the least Σ w · λ over every partition, infinite if none is allowed."""
    best = float("inf")
    for part in product(range(len(slots)), repeat=experts):
        if (np.bincount(part, minlength=len(slots)) > slots).any():
            continue
        load = _loads(sets, weights, part, len(slots))
        if max_load is None or load.max() <= max_load * load.mean() * (1 + 1e-9):
            best = min(best, _touched(sets, weights, part))
    return best


def _random_sets(seed: int, experts: int, number: int, longest: int):
    """Return sets of different lengths, one expert named twice in some, and whole weights."""
    rng = np.random.default_rng(seed)
    sets = [
        [int(e) for e in rng.choice(experts, rng.integers(1, longest + 1), replace=False)]
        for _ in range(number)
    ]
    sets[0] = sets[0] + sets[0][:1]
    return sets, rng.integers(0, 9, number).astype(float)


@pytest.fixture(scope="session")
def touched() -> Callable[..., float]:
    """Return the objective as the definition has it: sets, weights, ranks."""
    return _touched


@pytest.fixture(scope="session")
def loads() -> Callable[..., np.ndarray]:
    """Return the load of each rank as the definition has it."""
    return _loads


@pytest.fixture(scope="session")
def optimum() -> Callable[..., float]:
    """Return the least objective by enumeration."""
    return _optimum


@pytest.fixture(scope="session")
def random_sets() -> Callable[..., tuple[list[list[int]], np.ndarray]]:
    """Return a maker of random sets: seed, experts, number, longest."""
    return _random_sets
