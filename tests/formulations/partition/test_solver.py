from __future__ import annotations

import json

import numpy as np
import pytest

from moeplace import evaluate, make_problem, solve, violations
from moeplace.errors import InputError
from moeplace.formulations.partition import connectivity
from moeplace.placement import Placement
from moeplace.traces import Workload
from tests.reference.instances import tiny_cluster, tiny_mesh, tiny_model, token_sets
from tests.reference.instances import workload_of_sets as workload


@pytest.fixture
def sets():
    """Return token sets of three layers of 12 experts."""
    rng = np.random.default_rng(0)
    return [token_sets(rng, 12, 3, 60) for _ in range(3)]


def problem_of(sets, system=None, **changes):
    layers = len(sets)
    return make_problem(
        tiny_model(12, 3, layers, **changes.pop("model", {})),
        system or tiny_mesh(2, 2),
        workload(sets, 12),
        **{"objective": "copies", "dedup": "rank", "tokens_per_rank": 16, **changes},
    )


def test_copies_are_ranks_touched(sets):
    """With one copy for each rank, the objective is T · λ · (1 − 1/R) of the partition."""
    problem = problem_of(sets)
    result = solve(problem, "partition")
    rank = result.placement.replicas_on_rank.argmax(axis=2)
    touched = [
        connectivity(s.ids, s.weight, rank[layer]) / s.total_weight for layer, s in enumerate(sets)
    ]
    assert result.score.objective == pytest.approx(problem.tokens * sum(touched) * 3 / 4)
    assert result.score.objective < solve(problem, "contiguous").score.objective
    assert (result.placement.replica_count == 1).all()


def test_redundant_slots_stay_empty(sets):
    """Room for replicas is room for other partitions, not for replicas."""
    plain = solve(problem_of(sets), "partition")
    roomy = solve(problem_of(sets, redundant=4), "partition")
    assert (roomy.placement.replica_count == 1).all()
    assert roomy.score.objective <= plain.score.objective


def test_load_cap(sets):
    """The fullest rank keeps the problem's max_load, which costs copies."""
    free = solve(problem_of(sets, redundant=4), "partition")
    capped = problem_of(sets, redundant=4, max_load=1.3)
    result = solve(capped, "partition")
    assert violations(capped, result.placement) == []
    assert violations(capped, free.placement) != []
    assert result.score.objective > free.score.objective


def test_load_cap_that_nothing_meets():
    """Where no partition keeps max_load, the answer says so and is as even as it gets."""
    rng = np.random.default_rng(0)
    sets = token_sets(rng, 12, 1, 12)
    problem = make_problem(
        tiny_model(12, 1, 1), tiny_mesh(2, 2), workload([sets], 12),
        objective="copies", dedup="rank", tokens_per_rank=16, max_load=1.0,
    )  # fmt: skip
    result = solve(problem, "partition")
    assert result.status == "infeasible"


def test_nodes_are_filled_with_ranks_used_together(sets):
    """Where a node gets one copy for its ranks, the ranks are spread over nodes accordingly."""
    system = tiny_cluster(4, 2)
    problem = problem_of(sets, system, dedup="node")
    result = solve(problem, "partition")
    rank = result.placement.replicas_on_rank.argmax(axis=2)
    values = []
    for names in ([0, 1, 2, 3], [0, 2, 1, 3], [0, 2, 3, 1]):
        other = Placement.from_rank_of_expert(np.array(names)[rank], num_ranks=4)
        values.append(evaluate(problem, other).layer_objective)
    np.testing.assert_array_less(result.score.layer_objective, np.min(values, axis=0) * (1 + 1e-9))


def test_router_groups_are_a_start():
    """Tokens that stay inside groups the contiguous map cuts are served by whole groups."""
    groups = np.arange(12).reshape(3, 4)
    rng = np.random.default_rng(1)
    ids = [np.sort(rng.choice(g, 3, replace=False)) for g in groups for _ in range(8)]
    rows, count = np.unique(np.array(ids), axis=0, return_counts=True)
    from moeplace.traces import TokenSets

    sets = [TokenSets(rows.astype(np.int32), count.astype(float))]
    problem = problem_of(
        sets, tiny_mesh(1, 3), model={"n_group": 3, "topk_group": 1}, slots_per_rank=5
    )
    result = solve(problem, "partition", time_limit_s=1e-3)
    assert result.score.objective == pytest.approx(problem.tokens * 2 / 3)


def test_loads_alone_are_refused():
    """Without token sets there is nothing to partition by."""
    bare = Workload.from_loads(np.ones((1, 12)), top_k=3)
    problem = make_problem(
        tiny_model(12, 3, 1), tiny_mesh(2, 2), bare, objective="copies", dedup="none"
    )
    with pytest.raises(InputError, match="needs token sets"):
        solve(problem, "partition")


def test_limited_moves_are_refused(sets):
    """A cap on moves is not this solver's."""
    current = solve(problem_of(sets), "contiguous").placement
    with pytest.raises(InputError, match="cannot limit moves"):
        solve(problem_of(sets, current=current, max_moves=2), "partition")


def test_free_renamings_are_found(sets):
    """From its own answer under other names of the ranks, nothing moves."""
    best = solve(problem_of(sets), "partition").placement
    rank = best.replicas_on_rank.argmax(axis=2)
    renamed = Placement.from_rank_of_expert(3 - rank, num_ranks=4)
    problem = problem_of(sets, tiny_cluster(4, 4), current=renamed)
    result = solve(problem, "partition")
    np.testing.assert_array_equal(result.placement.replicas_on_rank, renamed.replicas_on_rank)


def test_workers_do_not_matter(sets):
    """Threads or one at a time, the answer is the same."""
    from moeplace.parallel import Workers

    problem = problem_of(sets)
    tables = [
        solve(problem, "partition", workers=Workers(jobs)).placement.expert_of_slot
        for jobs in (1, 3)
    ]
    np.testing.assert_array_equal(tables[0], tables[1])


def test_from_the_command_line():
    """`moeplace solve --objective copies --solver partition` beats the contiguous map."""
    from typer.testing import CliRunner

    from moeplace.cli.main import app

    solved = CliRunner().invoke(
        app,
        ["solve", "--model", "deepseek-v2-lite", "--hw", "h100-sxm", "--ranks", "8",
         "--phase", "prefill", "--objective", "copies", "--solver", "partition",
         "--time-limit", "0.1", "--format", "json", "--quiet"],
    )  # fmt: skip
    assert solved.exit_code == 0, solved.output
    document = json.loads(solved.stdout)
    contiguous = document["baselines"]["contiguous"]["copies_per_token"]
    assert document["score"]["copies_per_token"] < 0.9 * contiguous
