from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

KINDS = ("symmetric", "flow asymmetric", "distance asymmetric", "asymmetric", "float", "signed")


def _matrices(size: int, kind: str, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng([size, KINDS.index(kind), seed])
    flow = random.integers(0, 10, (size, size)).astype(np.float64)
    distance = random.integers(0, 10, (size, size)).astype(np.float64)
    if kind == "float":
        flow, distance = random.random((size, size)), random.random((size, size))
    if kind == "signed":
        flow, distance = flow - 5.0, distance - 4.0
    if kind in ("symmetric", "distance asymmetric", "signed"):
        flow = flow + flow.T
    if kind in ("symmetric", "flow asymmetric", "signed"):
        distance = distance + distance.T
    if seed % 3 == 0:
        flow[random.random((size, size)) < 0.6] = 0.0
    if seed % 2 == 0:
        np.fill_diagonal(flow, 0.0)
        np.fill_diagonal(distance, 0.0)
    return flow, distance


def _cost(
    flow: NDArray[np.float64], distance: NDArray[np.float64], permutation: NDArray[np.int64]
) -> float:
    """Return the definition, term by term."""
    size = len(flow)
    return sum(
        flow[i, j] * distance[permutation[i], permutation[j]]
        for i in range(size)
        for j in range(size)
    )


def _optimum(flow: NDArray[np.float64], distance: NDArray[np.float64]) -> float:
    every = np.array(list(permutations(range(len(flow)))))
    return float(min((flow * distance[np.ix_(p, p)]).sum() for p in every))


@pytest.fixture
def matrices() -> Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return a maker of random flows and distances: size, kind, seed."""
    return _matrices


@pytest.fixture
def definition() -> Callable[..., float]:
    """Return the cost as the definition has it."""
    return _cost


@pytest.fixture
def optimum() -> Callable[..., float]:
    """Return the least cost over all permutations."""
    return _optimum


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Return each kind of matrices in turn."""
    return str(request.param)
