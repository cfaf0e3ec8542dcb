from __future__ import annotations

import os
import subprocess
import sys

import pytest

from moeplace.cli import completion
from moeplace.cli.completed_options import ELSEWHERE, OPTIONS
from moeplace.cli.completion import WORDS


def complete(line: str, shell: str = "bash", code: str = "") -> list[str]:
    """Return what `moeplace` answers a shell that completes the last word of a line."""
    words = line.split(" ")
    environment = os.environ | {
        "_MOEPLACE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
    }
    program = ["-c", code] if code else ["-m", "moeplace"]
    done = subprocess.run(
        [sys.executable, *program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "line, some",
    [
        ("moeplace solve --model deepseek-v", {"deepseek-v3", "deepseek-v2-lite"}),
        ("moeplace solve --hw wafer-s", {"wafer-sow", "wafer-sow-3x8"}),
        ("moeplace compare --solvers lpt,exact-", {"lpt,exact-cpsat", "lpt,exact-milp"}),
        ("moeplace instance solve tiny-c", {"tiny-copies", "tiny-copies-node"}),
        ("moeplace buffer --policy fif", {"fifo"}),
        ("moeplace replay --policy static,orac", {"static,oracle"}),
    ],
)
def test_bash_completes(line, some):
    """The words of a catalogue that begin as typed, and no others."""
    offered = complete(line)
    begun = line.rsplit(" ", 1)[1]
    assert some <= set(offered)
    assert all(word.startswith(begun) for word in offered)


def test_zsh_shows_what_a_solver_does():
    """The shell zsh gets the summary beside the name."""
    assert "Descent on the true objective" in " ".join(complete("moeplace solve --solver l", "zsh"))


def test_a_file_is_left_to_the_shell():
    """Nothing is offered where the word begins like no name: bash completes files then."""
    assert not any(complete("moeplace solve --model ./config"))


def test_completing_loads_nothing_heavy():
    """Names of models come without NumPy, YAML, solvers or rich."""
    code = (
        "import sys, moeplace.__main__ as m\n"
        "try:\n    m.main()\nexcept SystemExit:\n    pass\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    *offered, modules = complete("moeplace solve --model deepseek-v3", code=code)
    assert offered == ["deepseek-v3"]
    assert not {"numpy", "yaml", "scipy", "numba", "ortools", "rich"} & set(modules.split())


def test_names_are_those_of_the_catalogues():
    """What is read without importing is what the importing functions list."""
    from moeplace.formulations.instances import list_instances
    from moeplace.hwmodels import list_aliases, list_systems
    from moeplace.models import list_models
    from moeplace.traces import shipped_workloads

    assert [name for name, _ in completion.models()] == list_models()
    systems = {name for name, _ in completion.systems()}
    assert systems == {*list_systems(), *list_aliases(), "mesh:"}
    assert [name for name, _ in completion.instances()] == list_instances()
    assert [name for name, _ in completion.workloads()] == shipped_workloads()


def test_words_are_those_the_commands_take():
    """The short lists are the registries'."""
    from moeplace.formulations.bounds import EFFORTS
    from moeplace.hwmodels import DEDUP_MODES, PHASES
    from moeplace.models import DTYPE_BYTES
    from moeplace.placement import DISPATCH_POLICIES, EXECUTIONS, OBJECTIVES, RISKS
    from moeplace.placement.formats import FORMATS
    from moeplace.replay.balancing import BALANCES
    from moeplace.replay.buffering import CACHE_POLICIES, list_host_links
    from moeplace.replay.wafer.study import STRATEGIES

    assert WORDS["phase"] == tuple(PHASES)
    assert WORDS["objective"] == tuple(OBJECTIVES)
    assert WORDS["dedup"] == tuple(DEDUP_MODES)
    assert WORDS["dispatch"] == tuple(DISPATCH_POLICIES)
    assert WORDS["execution"] == tuple(EXECUTIONS)
    assert WORDS["robust"] == tuple(RISKS)
    assert WORDS["bound effort"] == tuple(EFFORTS)
    assert WORDS["weight dtype"] == tuple(DTYPE_BYTES)
    assert WORDS["strategy"] == tuple(STRATEGIES)
    assert WORDS["balance"] == tuple(BALANCES)
    assert WORDS["host link"] == tuple(list_host_links())
    assert WORDS["eviction"] == tuple(CACHE_POLICIES)
    assert WORDS["engine"] == tuple(FORMATS)


def test_every_option_named_exists():
    """No rule of completion is for an option or argument that no command has."""
    import typer.main

    from moeplace.cli.main import app

    seen: set[tuple[str, str]] = set()

    def walk(command, path):
        for parameter in getattr(command, "params", ()):
            words = [*parameter.opts, str(parameter.metavar)]
            seen.update((path, word) for word in words)
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}".strip())

    walk(typer.main.get_command(app), "")
    assert set(OPTIONS) <= {word for _, word in seen}
    assert set(ELSEWHERE) <= seen
