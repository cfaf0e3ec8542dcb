"""Expert groups that must stay on one node."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace import make_problem, solve
from moeplace.errors import InfeasibleError, InputError
from moeplace.placement import Placement, violations
from moeplace.traces import Workload
from tests.reference.instances import tiny_cluster, tiny_model


def grouped(**changes):
    """Return eight experts in four groups on two nodes of two ranks."""
    model = tiny_model(8, 2, n_group=4, topk_group=2)
    load = Workload.from_loads(np.arange(1.0, 9.0)[None], top_k=2)
    options = {"objective": "balance", "dedup": "none", "groups_on_nodes": True, **changes}
    return make_problem(model, tiny_cluster(4, 2), load, **options)


def test_split_groups_are_named():
    """A group on two nodes is a violation; inside a node it may spread."""
    problem = grouped()
    inside = Placement.from_rank_of_expert([[0, 1, 0, 1, 2, 3, 2, 3]], num_ranks=4)
    assert violations(problem, inside) == []
    across = Placement.from_rank_of_expert([[0, 2, 0, 1, 1, 3, 2, 3]], num_ranks=4)
    broken = violations(problem, across)
    assert len(broken) == 2
    assert "expert group 0 lies on nodes 0, 1" in broken[0]
    assert violations(problem.replace(groups_on_nodes=False), across) == []


def test_only_exact_solvers_take_it():
    """A heuristic that would ignore the rule is refused; an exact solver keeps it."""
    with pytest.raises(InputError, match="exact-milp"):
        solve(grouped(), "auto")
    result = solve(grouped(), "exact-milp")
    assert result.status == "optimal"
    assert violations(result.problem, result.placement) == []


def test_the_fingerprint_tells():
    """The rule is part of the problem."""
    assert grouped().fingerprint != grouped(groups_on_nodes=False).fingerprint


def test_what_cannot_be_kept_is_refused():
    """No groups, or groups larger than a node."""
    with pytest.raises(InputError, match="no expert groups"):
        make_problem(
            tiny_model(8, 2), tiny_cluster(4, 2),
            Workload.from_loads(np.ones((1, 8)), top_k=2), groups_on_nodes=True,
        )  # fmt: skip
    with pytest.raises(InfeasibleError, match="largest node"):
        make_problem(
            tiny_model(8, 2, n_group=2, topk_group=1), tiny_cluster(4, 1),
            Workload.from_loads(np.ones((1, 8)), top_k=2), groups_on_nodes=True,
        )  # fmt: skip
