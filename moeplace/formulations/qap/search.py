"""Memetic search: populations by annealing or from random starts, tabu search on their children.

No flavor of it is best everywhere: well annealed starts win on grids, large populations and short
searches on clustered distances with few heavy flows, long tabu searches on unstructured matrices.
So they take turns, and the winners of several turns are crossed among themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.qap.walk import Walker

PATIENCE = 30
"""A population is given up after this many children in a row that do not improve it."""

WINNERS = 12
"""So many of the best populations' winners are kept."""

ANNEAL_ENTRIES = 1e7
"""Sweeps × n² of the first annealing runs of large instances; later ones are longer."""


@dataclass(frozen=True)
class Flavor:
    """How a population is made and how its children are improved.

    Attributes
    ----------
    members
        Size of the population.
    iterations
        Tabu iterations for every member and child.
    sweeps
        Sweeps of annealing that a member starts with; 0 for a random start.
    """

    members: int
    iterations: int
    sweeps: int = 0


ANNEALED = Flavor(members=10, iterations=1000, sweeps=300)
SHORT = Flavor(members=20, iterations=200, sweeps=100)
LONG = Flavor(members=15, iterations=5000)
TURN = (ANNEALED, SHORT, ANNEALED, LONG)


def run_search(walker: Walker) -> None:
    """Search until the budget of `walker` is spent or its target reached."""
    factor = min(1.0, ANNEAL_ENTRIES / (ANNEALED.sweeps * walker.size**2))
    winners: list[NDArray[np.int64]] = []
    while not walker.over():
        for flavor in TURN:
            sweeps = int(np.ceil(flavor.sweeps * factor))
            _add_new(winners, evolve(walker, replace(flavor, sweeps=sweeps), []))
            if walker.over():
                return
        factor *= 2.0
        winners = sorted(winners, key=walker.cost)[:WINNERS]
        _add_new(winners, evolve(walker, LONG, winners))


def evolve(
    walker: Walker, flavor: Flavor, population: list[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Improve a population by children until it is stuck; return its best member.

    Parameters
    ----------
    walker
        Improves members and children.
    flavor
        How.
    population
        (n,) permutations to start from, improved ones; if empty, a new population is made.
    """
    members = list(population) or _new_population(walker, flavor)
    costs = [walker.cost(member) for member in members]
    idle = 0
    while len(members) > 1 and idle < PATIENCE and not walker.over():
        one, two = walker.random.choice(len(members), 2, replace=False)
        child = walker.cross(members[one], members[two])
        child, cost = walker.tabu(child, flavor.iterations)
        worst = int(np.argmax(costs))
        idle += 1
        if cost < costs[worst] and not _is_in(child, members):
            members[worst], costs[worst] = child, cost
            idle = 0
    return members[int(np.argmin(costs))]


def _new_population(walker: Walker, flavor: Flavor) -> list[NDArray[np.int64]]:
    """Return at least one permutation, fewer than wanted where all runs end in the same ones."""
    members: list[NDArray[np.int64]] = []
    for _ in range(3 * flavor.members):
        start = walker.random.permutation(walker.size)
        if flavor.sweeps:
            start, _ = walker.anneal(start, flavor.sweeps)
        member, _ = walker.tabu(start, flavor.iterations)
        _add_new(members, member)
        if len(members) == flavor.members or walker.over():
            break
    return members


def _add_new(members: list[NDArray[np.int64]], member: NDArray[np.int64]) -> None:
    if not _is_in(member, members):
        members.append(member)


def _is_in(member: NDArray[np.int64], members: list[NDArray[np.int64]]) -> bool:
    return any(np.array_equal(member, other) for other in members)
