"""Hypothesis strategies for tiny instances, and how often a law is tried."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moeplace.placement import Placement, Problem, make_problem
from moeplace.traces import TokenSets, Workload
from tests.reference.instances import (
    CLUSTERS,
    DEDUPS,
    DISPATCHES,
    MESHES,
    OBJECTIVES,
    random_placement,
    tiny_cluster,
    tiny_mesh,
    tiny_model,
    workload_of_sets,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec
    from moeplace.placement import Score

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("long", parent=settings.get_profile("ci"), max_examples=1000)


def law(**drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[str], None]]:
    """Make a function of drawn arguments a test: quick always, at length where marked slow."""

    def decorate(check: Callable[..., None]) -> Callable[[str], None]:
        @pytest.mark.parametrize("profile", ["ci", pytest.param("long", marks=pytest.mark.slow)])
        def test(profile: str) -> None:
            settings.get_profile(profile)(given(**drawn)(check))()

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate


@cache
def models(experts: int, top_k: int, layers: int) -> st.SearchStrategy[ModelSpec]:
    """Draw models of given counts, wide and narrow."""
    return st.sampled_from(
        [tiny_model(experts, top_k, layers, hidden_size=width) for width in (16, 64, 256)]
    )


def meshes(min_ranks: int = 1, max_ranks: int = 6) -> st.SearchStrategy[System]:
    """Draw a mesh."""
    shapes = [m for m in MESHES if min_ranks <= m[0] * m[1] <= max_ranks]
    return st.builds(_system, st.just(tiny_mesh), st.sampled_from(shapes), *CONSTANTS)


def clusters(min_ranks: int = 1, max_ranks: int = 6) -> st.SearchStrategy[System]:
    """Draw nodes behind switches; the last one may be partly filled."""
    shapes = [c for c in CLUSTERS if min_ranks <= c[0] <= max_ranks]
    return st.builds(_system, st.just(tiny_cluster), st.sampled_from(shapes), *CONSTANTS)


def systems(min_ranks: int = 1, max_ranks: int = 6) -> st.SearchStrategy[System]:
    """Draw a mesh or a cluster."""
    return meshes(min_ranks, max_ranks) | clusters(min_ranks, max_ranks)


CONSTANTS = (
    st.sampled_from([1, 4, 16]),
    st.sampled_from([0.05, 0.005, 0.5]),
    st.sampled_from([2.0, 0.5, 20.0]),
)


@cache
def _system(
    make: Callable[..., System], shape: tuple[int, int], tile: int, tflops: float, link_GBps: float
) -> System:
    """Return a system, made once: routes take longer than a score."""
    return make(*shape, tile_tokens=tile, peak_tflops={"bf16": tflops}, link_GBps=link_GBps)


@cache
def token_sets(experts: int, top_k: int) -> st.SearchStrategy[TokenSets]:
    """Draw distinct full sets of one layer with whole weights."""
    full = st.sampled_from(list(combinations(range(experts), top_k)))
    weights = st.dictionaries(full, st.integers(1, 50), min_size=1, max_size=6)
    return weights.map(
        lambda drawn: TokenSets(np.array(list(drawn), np.int32), np.array([*drawn.values()], float))
    )


@cache
def workloads(experts: int, top_k: int, layers: int) -> st.SearchStrategy[Workload]:
    """Draw the workload of some token sets."""
    sets = st.lists(token_sets(experts, top_k), min_size=layers, max_size=layers)
    return sets.map(lambda drawn: workload_of_sets(drawn, experts))


CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "objective": st.sampled_from(OBJECTIVES),
    "dedup": st.sampled_from(DEDUPS),
    "dispatch": st.sampled_from(DISPATCHES),
    "phase": st.sampled_from(["prefill", "decode"]),
    "tokens_per_rank": st.sampled_from([1, 2, 7, 64, 500]),
}
ANY_SYSTEM = systems()
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def problems(
    draw: st.DrawFn,
    system: st.SearchStrategy[System] = ANY_SYSTEM,
    min_experts: int = 1,
    max_experts: int = 8,
    max_layers: int = 3,
    max_redundant: int = 6,
    **fixed: Any,
) -> Problem:
    """Draw an instance; `fixed` goes to ``make_problem`` (a strategy there is drawn from)."""
    experts = draw(st.integers(min_experts, max_experts))
    top_k = draw(st.integers(1, min(3, experts)))
    layers = draw(st.integers(1, max_layers))
    where = draw(system)
    most = min(max_redundant, experts * (where.ranks - 1))
    options = {"redundant": st.integers(0, most), **CHOICES, **fixed}
    chosen = {
        name: draw(value) if isinstance(value, st.SearchStrategy) else value
        for name, value in options.items()
    }
    model = draw(models(experts, top_k, layers))
    return make_problem(model, where, draw(workloads(experts, top_k, layers)), **chosen)


@st.composite
def placements(draw: st.DrawFn, problem: Problem, *, duplicates: bool = False) -> Placement:
    """Draw a placement of a problem's experts, with replicas and empty slots."""
    return random_placement(np.random.default_rng(draw(SEEDS)), problem, duplicates=duplicates)


@st.composite
def placed(draw: st.DrawFn, duplicates: bool = False, **kinds: Any) -> tuple[Problem, Placement]:
    """Draw a problem and a placement of it."""
    problem = draw(problems(**kinds))
    return problem, draw(placements(problem, duplicates=duplicates))


def permutations(size: int) -> st.SearchStrategy[np.ndarray]:
    """Draw an order of ``range(size)``."""
    return st.permutations(range(size)).map(lambda order: np.array(order, np.int64))


def scalars(score: Score) -> dict[str, float]:
    """Return what a score says in single numbers, without what is not known."""
    return {name: value for name, value in score.to_dict().items() if value is not None}
