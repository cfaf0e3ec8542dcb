from __future__ import annotations

import subprocess
import sys

import pytest
import typer.main

from moeplace import __version__
from moeplace.cli.command_list import OTHERS, SECTIONS, sectioned
from moeplace.cli.main import app, explain
from moeplace.errors import InfeasibleError

HEAVY = {
    "ortools", "pulp", "highspy", "scipy", "numba", "networkx", "pyarrow", "polars", "matplotlib",
    "pandas", "numpy", "pydantic", "yaml", "joblib", "rich",
}  # fmt: skip


def commands(command=None, path=()):
    """Yield every command with its words."""
    command = command or typer.main.get_command(app)
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from commands(inner, (*path, name))
        else:
            yield (*path, name), inner


COMMANDS = dict(commands())


def test_the_commands_of_this_release():
    """All rooms of the house are open."""
    alone = (
        "solve compare evaluate bound verify solvers sweep export check convert plan replay buffer "
        "gating wafer doctor init rerun"
    )
    groups = {
        "trace": "import info stats insights synth convert split merge sample window collect",
        "hw": "list show validate calibrate import",
        "model": "list show",
        "instance": "list show solve check",
        "config": "show",
    }
    wanted = {(name,) for name in alone.split()}
    wanted |= {(group, name) for group, names in groups.items() for name in names.split()}
    assert wanted <= set(COMMANDS)


def test_help_loads_nothing_heavy():
    """`moeplace --help` in a fresh process imports no solver, no data frames, not even NumPy."""
    code = (
        "import sys\nfrom moeplace.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit as left:\n    assert left.code == 0\n"
        "print('modules', *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    help_text, _, modules = done.stdout.rpartition("modules")
    assert "solve" in help_text
    assert not HEAVY & set(modules.split())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(words, moeplace):
    """Each command has a summary, an example that starts with its words, help for every option."""
    command = COMMANDS[words]
    assert f"Example: moeplace {' '.join(words)}" in command.help
    assert all(getattr(parameter, "help", None) for parameter in command.params)
    shown = moeplace(*words, "--help")
    assert shown.exit_code == 0
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())


@pytest.mark.parametrize("words", [(), ("trace",), ("hw",), ("model",), ("instance",)])
def test_a_group_alone_lists_its_commands(words, moeplace):
    """Without a command the group says which there are."""
    done = moeplace(*words)
    assert done.exit_code == 0
    assert ("Commands" if words else "Find and judge placements:") in done.stdout


def test_the_list_of_commands_is_whole(moeplace):
    """Every command is in a section of its own, and no summary is cut off."""
    shown = moeplace("--help").stdout
    assert OTHERS not in shown
    root = typer.main.get_command(app)
    listed = [name for names in SECTIONS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(root.commands) <= set(listed)
    flat = " ".join(shown.split())
    for name, command in root.commands.items():
        assert f"{name} {' '.join(command.help.split(chr(10) * 2)[0].split())}" in flat
    assert sectioned(["solve", "new"]) == {"Find and judge placements": ["solve"], OTHERS: ["new"]}


def test_version(moeplace):
    """--version prints one line."""
    assert moeplace("--version").stdout == f"moeplace {__version__}\n"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("solv",), "solve"),
        (("--bogus",), "--bogus"),
        (("solve", "--bogus"), "moeplace solve --help"),
        (("solve", "--ranks", "many"), "--ranks"),
        (("solve", "--format", "xml"), "--format"),
        (("hw", "show"), "NAME"),
    ],
)
def test_wrong_words_are_a_usage_error(words, found, moeplace):
    """The parser's own errors leave as one line and exit code 2."""
    done = moeplace(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert found in done.stderr


def test_errors_without_a_traceback():
    """Errors made on purpose keep their code; others say how to see the traceback."""
    assert explain(InfeasibleError("too\nmany")) == (4, "too many")
    assert explain(FileNotFoundError(2, "No such file", "x.json")) == (3, "x.json: No such file")
    code, message = explain(ZeroDivisionError("by zero"))
    assert code == 1
    assert "MOEPLACE_DEBUG=1" in message


def test_an_unexpected_error_is_one_line(moeplace, monkeypatch):
    """A bug shows no traceback, unless MOEPLACE_DEBUG asks for it."""
    monkeypatch.setattr("moeplace.models.load_model", lambda name: 1 / 0)
    done = moeplace("model", "show", "deepseek-v3")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: internal error, ZeroDivisionError")
    assert done.stderr.count("\n") == 1
    monkeypatch.setenv("MOEPLACE_DEBUG", "1")
    assert isinstance(moeplace("model", "show", "deepseek-v3").exception, ZeroDivisionError)


def test_interrupt_leaves_with_130(moeplace, monkeypatch):
    """Ctrl-C before anything was found leaves with 130 and one line."""

    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("moeplace.models.load_model", interrupted)
    done = moeplace("model", "show", "deepseek-v3")
    assert done.exit_code == 130
    assert done.stderr == "error: interrupted; nothing was written\n"
