"""Layer times from loads alone, beside evaluate and enumeration."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace import evaluate, load_model, load_system, make_problem
from moeplace.errors import InfeasibleError, InputError
from moeplace.replay.maps import balanced, contiguous_table, eplb_table, placement_of
from moeplace.replay.scorer import Scorer
from moeplace.replay.training import route_costs, sync_seconds
from moeplace.traces import TokenSets, Workload

if TYPE_CHECKING:
    from moeplace.placement import Problem

LAYERS = 3


def problem_of(
    system: str, ranks: int | None, top_k: int, *, dedup: str | None, sets: bool = True
) -> Problem:
    """Return a problem whose tokens draw their experts independently but for their number."""
    model = load_model("mixtral-8x7b").replace(num_experts=16, top_k=top_k)
    rng = np.random.default_rng(0)
    weight = rng.lognormal(0, 1.0, (LAYERS, 16))
    model = model.replace(moe_layers=tuple(range(LAYERS)), num_layers=LAYERS)
    load, drawn = [], []
    for row in weight:
        ids = np.array(list(combinations(range(16), top_k)), np.int32)
        chance = np.prod(row[ids], axis=1)  # conditional Poisson sampling: exact by enumeration
        drawn.append(TokenSets(ids, chance / chance.sum()))
        load.append(drawn[-1].load(16))
    workload = Workload.from_loads(np.array(load), top_k=top_k)
    if sets:
        workload = workload.with_token_sets(drawn, "synthetic")
    return make_problem(
        model, load_system(system, ranks), workload, redundant=8, dedup=dedup, tokens_per_rank=512
    )


@pytest.mark.parametrize(
    ("system", "ranks", "dedup"),
    [("h100-sxm", 8, "rank"), ("h100-sxm", 16, "node"), ("mesh:2x4", None, "multicast")],
)
def test_copies_near_those_of_token_sets(system: str, ranks: int | None, dedup: str) -> None:
    """Expected copies are within 3 % of exact ones for tokens that are independent."""
    problem = problem_of(system, ranks, 3, dedup=dedup)
    scorer = Scorer(problem)
    for table in (contiguous_table(problem), balanced(problem, problem.load_share, 8)):
        score = evaluate(problem, placement_of(table, problem))
        found = scorer.times(problem.load_share, table)
        np.testing.assert_allclose(found.dispatch_s, score.layer_dispatch_s, rtol=0.03)
        np.testing.assert_allclose(found.combine_s, score.layer_combine_s, rtol=0.03)
        np.testing.assert_allclose(found.compute_s, score.layer_compute_s, rtol=1e-12)


@pytest.mark.parametrize(("dedup", "top_k"), [("none", 3), ("rank", 1), ("node", 1)])
def test_exact_where_loads_say_all(dedup: str, top_k: int) -> None:
    """With one copy per expert, or one expert per token, times are those of evaluate."""
    problem = problem_of("h100-sxm", 16, top_k, dedup=dedup)
    table = eplb_table(problem, problem.load_share)  # may hold an expert twice on a rank
    score = evaluate(problem, placement_of(table, problem))
    found = Scorer(problem).times(problem.load_share, table)
    np.testing.assert_allclose(found.total_s, score.layer_time_s, rtol=1e-12)
    np.testing.assert_allclose(1 / found.ratio, score.layer_balancedness, rtol=1e-12)


def test_union_bound_holds() -> None:
    """A rank is never touched by more tokens than it serves pairs."""
    problem = problem_of("h100-sxm", 8, 2, dedup="none", sets=False)
    both = Scorer(problem), Scorer(problem.replace(dedup_choice="rank"))
    table = contiguous_table(problem)
    pairs, touches = (scorer.times(problem.load_share, table) for scorer in both)
    assert (touches.dispatch_s <= pairs.dispatch_s + 1e-15).all()


def test_some_layers_only() -> None:
    """Rows asked for come out as from scoring all."""
    problem = problem_of("h100-sxm", 8, 2, dedup="rank", sets=False)
    table = contiguous_table(problem)
    scorer = Scorer(problem, training=True)
    whole = scorer.times(problem.load_share, table)
    part = scorer.times(problem.load_share, table, np.array([2, 0]))
    np.testing.assert_array_equal(part.total_s, whole.total_s[[2, 0]])


def test_local_experts_send_nothing() -> None:
    """Where every expert serves tokens at home, only the fixed cost of messages is left."""
    problem = problem_of("h100-sxm", 8, 2, dedup="rank", sets=False)
    everywhere = np.tile(np.arange(16, dtype=np.int32), (LAYERS, 8, 1))
    local = np.ones((LAYERS, 16), np.bool_)
    found = Scorer(problem).times(problem.load_share, everywhere, local=local)
    alpha = problem.system.alpha_us["prefill"]
    np.testing.assert_allclose(found.dispatch_s, alpha["dispatch"] * 1e-6)
    np.testing.assert_allclose(found.ratio, 1)


def test_lost_expert_is_refused() -> None:
    """A loaded expert without a replica has no time."""
    problem = problem_of("h100-sxm", 8, 2, dedup="rank", sets=False)
    table = contiguous_table(problem)
    table[1, table[1] == 5] = -1
    with pytest.raises(InfeasibleError, match="row 1"):
        Scorer(problem).times(problem.load_share, table)


def test_other_dispatch_is_refused() -> None:
    """Policies that look at the source are not scored from loads."""
    problem = problem_of("h100-sxm", 8, 2, dedup="rank").replace(dispatch="nearest")
    with pytest.raises(InputError, match="nearest"):
        Scorer(problem)


def test_synchronization_by_hand() -> None:
    """A ring over two nodes waits for the NIC; a rank adds up its experts; shared slots do not."""
    problem = problem_of("h100-sxm", 16, 2, dedup="rank", sets=False)
    table = np.full((1, 16, 2), -1, np.int32)
    table[0, 0], table[0, 1], table[0, 8] = [0, 1], [0, -1], [1, -1]
    table[0, 2] = [2, 2]
    slowest, _ = route_costs(problem.plan.topology)
    expected = 1e6 * (slowest[0, 1] + slowest[0, 8])  # 2 (n − 1) / n is 1 for two
    np.testing.assert_allclose(sync_seconds(problem, table, 1e6), [expected])
