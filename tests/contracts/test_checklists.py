"""What docs/contributing asks for and no other contract sees: nothing is left half joined."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import moeplace
from moeplace.formulations.registry import SOLVERS, is_shipped
from moeplace.formulations.solver import ALL_OBJECTIVES, KINDS
from moeplace.placement.engines import ENGINES
from moeplace.placement.formats import FORMATS
from moeplace.traces import importers
from tests.contracts.importer_samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(moeplace.__file__).parent
TESTS = Path(__file__).parents[1]
HEAVY = {"ortools", "pulp", "highspy", "scipy", "numba", "networkx", "pyarrow", "matplotlib"}
SOLVER_ARGUMENTS = ["problem", "run", "initial"]


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> dict[str, list[str]]:
    """Return the public functions of a module with the names of their arguments."""
    return {
        node.name: [argument.arg for argument in node.args.args]
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def names(path: Path) -> set[str]:
    """Return what a module defines or imports at its top level."""
    found = set(functions(path))
    for node in tree(path).body:
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def loaded(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the packages that a module loads when it is imported."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
            yield from loaded([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from loaded([*node.body, *node.orelse, *node.finalbody])


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    """Only kernels, which are imported on use, load a heavy library when they are imported."""
    found = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not path.stem.endswith("kernels")
        for name in loaded(tree(path).body)
        if name in HEAVY
    ]
    assert not found, "import it inside the function that uses it"


def test_every_solver_is_registered() -> None:
    """A function with the signature of a solver has an entry in the registry."""
    known = {tuple(info.target.split(":")) for info in SOLVERS.values()}
    left = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in sorted((PACKAGE / "formulations").rglob("*.py"))
        for name, arguments in functions(path).items()
        if arguments == SOLVER_ARGUMENTS
        and (".".join(("moeplace", *path.relative_to(PACKAGE).with_suffix("").parts)), name)
        not in known
    ]
    assert not left, "add a SolverInfo to formulations/registry.py"


@pytest.mark.parametrize("name", [name for name in SOLVERS if is_shipped(name)])
def test_facts_of_a_solver(name: str) -> None:
    """An entry says what it does; a method of others says whose it is."""
    info = SOLVERS[name]
    assert info.kind in KINDS
    assert info.summary
    assert not info.summary.endswith(".")
    assert info.objectives
    assert set(info.objectives) <= set(ALL_OBJECTIVES)
    assert info.reference or info.kind != "peer"
    assert info.backend or info.kind != "exact"


@pytest.mark.parametrize("name", [n for n, i in SOLVERS.items() if i.kind != "baseline"])
def test_a_solver_has_a_test_of_its_own(name: str) -> None:
    """Beside the contracts some test names the solver, or the module it is in."""
    info = SOLVERS[name]
    words = (f'"{name}"', info.target.split(":")[0])
    tests = (p for p in TESTS.rglob("test_*.py") if "contracts" not in p.parts)
    assert any(word in p.read_text(encoding="utf-8") for p in tests for word in words)


def test_every_importer_is_registered_and_has_a_sample() -> None:
    """A module that recognizes and reads files is in the registry; the contracts have a file."""
    folder = PACKAGE / "traces" / "importers"
    written = {
        f"moeplace.traces.importers.{path.stem}"
        for path in folder.glob("*.py")
        if {"recognizes", "read"} <= names(path) and path.stem != "registry"
    }
    shipped = {i.module for i in importers().values() if i.module.startswith("moeplace.")}
    assert written == shipped
    assert set(SAMPLES) >= {i.name for i in importers().values() if i.module in shipped}


def test_every_format_is_registered_and_checked() -> None:
    """A module that writes and reads maps is in the registry, and its engine has rules."""
    folder = PACKAGE / "placement" / "formats"
    written = {p.stem for p in folder.glob("*.py") if {"write", "read", "usage"} <= names(p)}
    assert written == {info.module for info in FORMATS.values()}
    assert {name for name, info in FORMATS.items() if not info.native} <= set(ENGINES)


def test_every_engine_is_in_the_how_to() -> None:
    """The page on exporting names every engine as `--to` does."""
    page = (TESTS.parent / "docs" / "how-to" / "export-to-an-engine.md").read_text("utf-8")
    missing = [n for n, info in FORMATS.items() if not info.native and n not in page]
    assert not missing


def test_every_engine_with_rules_is_checked() -> None:
    """A module with rules is named in engines/check.py."""
    folder = PACKAGE / "placement" / "engines"
    ruled = {p.stem for p in folder.glob("*.py") if {"RULES", "outcomes"} <= names(p)}
    assert ruled == {engine.replace("-", "_") for engine in ENGINES}


def test_files_of_systems_and_models_have_their_name() -> None:
    """A file of the catalogues is called what it defines."""
    import yaml

    files = [*PACKAGE.glob("hwmodels/systems/*.yaml"), *PACKAGE.glob("models/catalog/*.yaml")]
    assert len(files) > 30
    for path in files:
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == path.stem
