from __future__ import annotations

import re
import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import typer

import moeplace
from moeplace.cli.main import app
from tests.docs.pages import DOCS, ROOT, all_pages, load_script, page_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

refresh = load_script(DOCS / "refresh_outputs.py")
# Pages whose Python blocks take no result of a shell block and finish at once.
QUICK = (
    "tutorials/my-own-trace.md",
    "how-to/describe-my-hardware.md",
    "how-to/import-a-trace.md",
    "how-to/partition-a-hypergraph.md",
    "reference/file-formats.md",
)


def _blocks(page: Path, kind: str) -> list[Any]:
    found = refresh.blocks(page.read_text(encoding="utf-8"))
    return [block for block in found if block.kind == kind]


def _with_code(kind: str) -> list[Path]:
    return [page for page in all_pages() if _blocks(page, kind)]


def _commands(page: Path) -> list[list[str]]:
    """Return the words of every moeplace command in a page, here-documents left out."""
    text = "".join(block.body for block in _blocks(page, "sh"))
    text += "".join(
        block.comment.removeprefix(refresh.PRINTS) + "\n"
        for block in _blocks(page, "text")
        if block.comment.startswith(refresh.PRINTS)
    )
    text = re.sub(r"<<'(\w+)'\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [words for words in lines if words and words[0] == "moeplace"]


def _check(words: list[str]) -> None:
    command = typer.main.get_command(app)
    at = 1
    while getattr(command, "commands", None) and at < len(words) and words[at][0] != "-":
        assert words[at] in command.commands, f"no command {' '.join(words[: at + 1])}"
        command, at = command.commands[words[at]], at + 1
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    for word in words[at:]:
        if word in ("2>&1", "||", "|", ">"):
            break
        if word.startswith("-"):
            assert word in options, f"{' '.join(words)}: no option {word}"


@pytest.mark.parametrize("page", _with_code("sh"), ids=page_id)
def test_shell_commands_exist(page: Path) -> None:
    """Every moeplace command of a page is one of the app, with options that it has."""
    for words in _commands(page):
        _check(words)


def test_readme_shows_commands_and_the_check_can_fail() -> None:
    """The README's commands are found; a wrong command or option is noticed."""
    assert ["moeplace", "solve", "--model", "deepseek-v3", "--hw", "wafer"] in _commands(
        ROOT / "README.md"
    )
    with pytest.raises(AssertionError, match="no command moeplace hw lists"):
        _check(["moeplace", "hw", "lists"])
    with pytest.raises(AssertionError, match="no option --modle"):
        _check(["moeplace", "solve", "--modle", "x"])


def test_make_targets_exist() -> None:
    """Every `make TARGET` of the README and CONTRIBUTING is in the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE))
        assert named, name
        assert named <= targets, sorted(named - targets)


@pytest.mark.parametrize("page", _with_code("python"), ids=page_id)
def test_python_blocks_use_public_names(page: Path) -> None:
    """Every Python block is valid; what it takes is in `moeplace` or in the reference."""
    reference = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    for block in _blocks(page, "python"):
        compile(block.body, page_id(page), "exec")
        imports = r"^from (moeplace\.[\w.]+) import (.+)$"
        for module, names in re.findall(imports, block.body, re.MULTILINE):
            for name in names.split(", "):
                assert re.search(rf"^::: {module}\.(\w+\.)*{name}$", reference, re.MULTILINE), name
        for name in re.findall(r"\bmoeplace\.(\w+)", re.sub(imports, "", block.body, flags=re.M)):
            assert name in moeplace.__all__


def _run(page: Path, show: Callable[[], str]) -> list[tuple[str, str]]:
    """Run the Python blocks of a page in one namespace; return each with what it printed."""
    names: dict[str, Any] = {"__name__": "page"}
    printed = []
    for block in _blocks(page, "python"):
        if not block.comment.startswith(refresh.NOT_RUN):
            exec(compile(block.body, page_id(page), "exec"), names)
            printed.append((block.body, show()))
    return printed


@pytest.mark.parametrize("name", QUICK)
def test_python_blocks_run(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The blocks of a page run one after the other and print what the page says."""
    monkeypatch.chdir(tmp_path)
    page = DOCS / name
    text = page.read_text(encoding="utf-8")
    for body, printed in _run(page, lambda: capsys.readouterr().out):
        if printed:
            assert f"```python\n{body}```\n\n```text\n{printed.rstrip()}\n```" in text


def test_readme_python_block_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's example, with a fast solver, prints a time and a gap and writes a map."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(moeplace, "solve", partial(moeplace.solve, solver="lpt"), raising=False)
    ((body, printed),) = _run(ROOT / "README.md", lambda: capsys.readouterr().out)
    assert re.fullmatch(r"\d+\.\d ms a step, gap \d+\.\d%\n", printed)
    written = moeplace.read_placement(
        "experts.json", "sglang", model=moeplace.load_model("deepseek-v2-lite"), num_ranks=8
    )
    assert written.num_layers == 26
    assert len(body.strip().splitlines()) <= 12


@pytest.mark.slow
def test_readme_python_block_prints_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's example, as it is, prints the line below it."""
    monkeypatch.chdir(tmp_path)
    ((_, printed),) = _run(ROOT / "README.md", lambda: capsys.readouterr().out)
    assert f"```text\n{printed}```" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_refresh_replaces_only_output(tmp_path: Path) -> None:
    """The script that fills outputs leaves text, code and marked blocks alone."""
    page = (
        "Intro\n\n```sh\necho one > file\ncat file\n```\n\n```text\nold\n```\n"
        "\n<!-- not run: fails, as shown -->\n```sh\nfalse\n```\n\n```text\nkept\n```\n"
        "\n<!-- prints: cat file -->\n```text\n```\nEnd\n"
    )
    fresh = refresh.refreshed(page, tmp_path)
    assert fresh == page.replace("old", "one").replace("```text\n```", "```text\none\n```")
