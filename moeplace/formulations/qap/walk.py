"""One walk from one permutation: annealing or tabu search, in slices that keep to a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.qap import kernels
from moeplace.formulations.qap.random_kernels import cross

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.qap.budget import Budget
    from moeplace.formulations.qap.instance import Instance

HOT, COLD = 1.0, 0.003
"""First and last temperature of annealing; 1 is the size of the change by a random swap."""

TENURE, SPREAD = 0.2, 0.8
"""A facility stays away from a location for TENURE to TENURE + SPREAD times n iterations."""

LEAST_SPREAD = 20
"""Shorter spreads let small instances run in circles."""

PROVEN = 1e-9
"""A gap to the bound that ends the search."""

SLICE = 2e7
"""Matrix entries that a kernel may touch before the clock is read again: about 20 ms."""

SWEEP_COST = 0.25
"""Tabu iterations, divided by n, that take as long as a sweep of annealing."""

TABLE_PAYS = 5.0
"""Below this many accepted swaps in n trials, O(1) trials with O(n²) swaps are faster."""


class Walker:
    """Improves permutations of one instance; remembers the best of all.

    Attributes
    ----------
    best, best_cost
        The best permutation met and its cost.
    target
        A cost that cannot be beaten: the search ends there.
    """

    def __init__(self, instance: Instance, budget: Budget, seed: int) -> None:
        self.size = instance.size
        self.budget = budget
        self.random = np.random.default_rng(seed)
        self.matrices = matrices_of(instance)
        self.state = empty_state(self.size, self.random)
        self.best = np.arange(self.size)
        self.best_cost = self.cost(self.best)
        self.target = -np.inf
        self.scale = _swap_size(instance)

    def cost(self, permutation: NDArray[np.int64]) -> float:
        """Return the cost, computed from scratch."""
        return float(kernels.total_cost(self.matrices, permutation))

    def over(self) -> bool:
        """Return whether the budget is spent or the best is proven optimal."""
        return self.proven() or not self.budget.left()

    def proven(self) -> bool:
        """Return whether nothing can be better than the best."""
        return self.best_cost - self.target <= PROVEN * abs(self.best_cost)

    def quench(self, permutation: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a permutation that hardly any swap improves, found in a few sweeps."""
        return self.anneal(permutation, 4, COLD, COLD)[0]

    def anneal(
        self, permutation: NDArray[np.int64], sweeps: int, hot: float = HOT, cold: float = COLD
    ) -> tuple[NDArray[np.int64], float]:
        """Return the best permutation of one annealing run, and its cost."""
        state = self.state
        state.perm[:] = permutation
        state.best_perm[:] = permutation
        state.value[:] = self.cost(permutation)
        cooling = (cold / hot) ** (1.0 / max(1, sweeps - 1))
        tabled = False
        for sweep in range(sweeps):
            if self.over():
                break
            accepted = self._sweep(hot * cooling**sweep * self.scale, tabled)
            if not tabled and accepted < TABLE_PAYS * (self.size - 1) / 2:
                tabled = True
                self._prepare_keeping_best()
        return self._keep()

    def tabu(
        self, permutation: NDArray[np.int64], iterations: int
    ) -> tuple[NDArray[np.int64], float]:
        """Return the best permutation of one tabu search, and its cost."""
        self.state.perm[:] = permutation
        kernels.prepare(self.matrices, self.state)
        tenure, spread = int(TENURE * self.size) + 1, max(LEAST_SPREAD, int(SPREAD * self.size))
        done, slice_ = 0, max(1, int(SLICE / self.size**2))
        while done < iterations and not self.over():
            count = self.budget.at_most(min(slice_, iterations - done))
            kernels.tabu_search(self.matrices, self.state, done + 1, count, tenure, spread)
            self.budget.spend(count)
            done += count
        return self._keep()

    def cross(self, one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a child that keeps what its parents share."""
        child: NDArray[np.int64] = cross(one, two, self.state.random)
        return child

    def _sweep(self, temperature: float, tabled: bool) -> int:
        rows = max(1, int(SLICE / self.size**2))
        accepted = 0
        for first in range(0, self.size - 1, rows):
            last = min(first + rows, self.size - 1)
            accepted += kernels.anneal_rows(
                self.matrices, self.state, first, last, temperature, tabled
            )
            if self.budget.seconds() <= 0.0:
                break
        self.budget.spend(max(1, int(SWEEP_COST * self.size)))
        return accepted

    def _prepare_keeping_best(self) -> None:
        state = self.state
        best, best_cost = state.best_perm.copy(), state.value[1]
        kernels.prepare(self.matrices, state)
        if best_cost < state.value[1]:
            state.best_perm[:] = best
            state.value[1] = best_cost

    def _keep(self) -> tuple[NDArray[np.int64], float]:
        found = self.state.best_perm.copy()
        cost = self.cost(found)  # not the running value, which rounding may have moved
        if cost < self.best_cost:
            self.best, self.best_cost = found, cost
        return found, cost


def matrices_of(instance: Instance) -> kernels.Matrices:
    """Return an instance as the kernels read it."""
    flow, distance = instance.flow, instance.distance
    if instance.symmetric:
        pair_flow, pair_distance = 2.0 * flow, distance
    else:
        pair_flow, pair_distance = flow + flow.T, distance + distance.T
    return kernels.Matrices(
        flow=flow,
        flow_t=np.ascontiguousarray(flow.T),
        distance=distance,
        distance_t=np.ascontiguousarray(distance.T),
        pair_flow=pair_flow,
        pair_distance=pair_distance,
        linear=instance.linear,
        symmetric=instance.symmetric,
    )


def empty_state(size: int, random: np.random.Generator) -> kernels.State:
    """Return a search state whose permutation is the identity, tables not yet built."""
    return kernels.State(
        perm=np.arange(size),
        best_perm=np.arange(size),
        price=np.zeros((size, size)),
        paid=np.zeros(size),
        delta=np.zeros((size, size)),
        until=np.zeros((size, size), np.int64),
        closed=np.zeros((size, size), np.int64),
        value=np.zeros(2),
        random=random.integers(1, 2**62, 1).astype(np.uint64),
    )


def compile_kernels() -> None:
    """Load the kernels, compiling them where no compiled ones are stored: some seconds, once."""
    random = np.random.default_rng(0)
    state = empty_state(2, random)
    zero = np.zeros((2, 2))
    matrices = kernels.Matrices(zero, zero, zero, zero, zero, zero, zero, True)
    kernels.total_cost(matrices, state.perm)
    kernels.prepare(matrices, state)
    kernels.tabu_search(matrices, state, 1, 1, 1, 1)
    kernels.anneal_rows(matrices, state, 0, 1, 1.0, True)
    cross(state.perm, state.perm, state.random)


def _swap_size(instance: Instance) -> float:
    """Return about how much a random swap changes the cost."""
    above = np.triu_indices(instance.size, 1)
    flow, distance = instance.flow + instance.flow.T, instance.distance + instance.distance.T
    spread = float(np.std(flow[above]) * np.std(distance[above])) / 4.0
    return spread * float(np.sqrt(instance.size)) + float(np.std(instance.linear))
