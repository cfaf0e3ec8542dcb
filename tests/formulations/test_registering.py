"""Solvers registered from outside the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import moeplace
from moeplace import plugins
from moeplace.errors import CheckFailedError, InputError, UsageError
from moeplace.formulations.registry import all_solvers, unregister_solver
from tests.reference.instances import tiny_mesh, tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def problem() -> moeplace.Problem:
    """Return 6 experts in 2 layers on 3 ranks."""
    load = np.array([[6.0, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6]])
    return moeplace.make_problem(
        tiny_model(6, 1, 2),
        tiny_mesh(1, 3),
        moeplace.Workload.from_loads(load, top_k=1),
        objective="balance",
        tokens_per_rank=7,
    )


@pytest.fixture
def mine() -> Iterator[str]:
    """Return a name that is forgotten afterwards."""
    yield "mine"
    unregister_solver("mine")


def folded(problem: moeplace.Problem, run: moeplace.Run, initial: object) -> moeplace.Solved:
    """Deal experts by load, forwards and backwards."""
    rank = np.empty((problem.num_layers, problem.num_experts), int)
    order = np.argsort(-problem.workload.load, axis=1)
    np.put_along_axis(rank, order, np.array([[0, 1, 2, 2, 1, 0]] * problem.num_layers), axis=1)
    return moeplace.Solved(
        moeplace.Placement.from_rank_of_expert(rank, num_ranks=problem.num_ranks)
    )


def crowded(problem: moeplace.Problem, run: moeplace.Run, initial: object) -> moeplace.Solved:
    """Put every expert on the first rank."""
    rank = np.zeros((problem.num_layers, problem.num_experts), int)
    return moeplace.Solved(
        moeplace.Placement.from_rank_of_expert(rank, num_ranks=problem.num_ranks)
    )


def test_a_registered_solver_is_one(problem: moeplace.Problem, mine: str) -> None:
    """It is found by name, scored by evaluate, listed and compared with the others."""
    moeplace.register_solver(mine, folded, objectives=("balance",))
    result = moeplace.solve(problem, mine)
    assert result.score.balancedness == pytest.approx(1)
    assert (result.solver, result.status) == (mine, "optimal")
    assert all_solvers()[mine].summary == "Deal experts by load, forwards and backwards."
    rows = moeplace.compare(problem).rows
    assert {"lpt", mine} <= {row.solver for row in rows}
    with pytest.raises(InputError, match="not 'time'"):
        moeplace.solve(problem.replace(objective="time"), mine)


def test_a_registered_solver_is_not_believed(problem: moeplace.Problem, mine: str) -> None:
    """A placement that breaks a rule is refused with the rule."""
    moeplace.register_solver(mine, crowded)
    with pytest.raises(CheckFailedError, match="'mine' broke a rule of the problem: layer"):
        moeplace.solve(problem, mine)
    moeplace.register_solver(mine, folded)  # again: the later one counts
    assert moeplace.solve(problem, mine).status == "optimal"


def test_what_cannot_be_registered() -> None:
    """Names of the package, kinds and objectives that do not exist are refused."""
    with pytest.raises(UsageError, match="'lpt' comes with moeplace"):
        moeplace.register_solver("lpt", folded)
    with pytest.raises(UsageError, match="kind is 'magic'"):
        moeplace.register_solver("mine", folded, kind="magic")
    with pytest.raises(UsageError, match="no objective 'cost'"):
        moeplace.register_solver("mine", folded, objectives=("time", "cost"))
    with pytest.raises(UsageError, match="'mine' was not registered"):
        unregister_solver("mine")
    with pytest.raises(UsageError, match="'lpt' was not registered"):
        unregister_solver("lpt")


def test_plugins_are_imported_when_a_name_is_missing(
    problem: moeplace.Problem, mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module named in MOEPLACE_PLUGINS registers a solver by the name of its function."""
    (tmp_path / "plugged.py").write_text(
        "import moeplace\n"
        "from moeplace.formulations.heuristics.lpt import lpt as found\n"
        "moeplace.register_solver('mine', 'plugged:found', summary='LPT again')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, "plugged")
    monkeypatch.setattr(plugins, "_loaded", [])
    with pytest.raises(InputError, match="unknown solver 'nine': did you mean 'mine'"):
        moeplace.solve(problem, "nine")
    assert moeplace.solve(problem, mine).placement is not None
    assert plugins.load_plugins() == ("plugged",)


@pytest.mark.parametrize("text", ["raise OSError('no\\n  luck')", "import nowhere_at_all"])
def test_a_broken_plugin_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that cannot be imported is one line that names it and where it was named."""
    (tmp_path / "broken_plugin.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, "broken_plugin")
    monkeypatch.setattr(plugins, "_loaded", [])
    for _ in range(2):
        with pytest.raises(InputError, match=r"'broken_plugin' \(MOEPLACE_PLUGINS\)") as caught:
            all_solvers()
        assert "\n" not in str(caught.value)
