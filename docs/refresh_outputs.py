"""Run the shell and Python blocks of the documentation and paste what they print.

``python docs/refresh_outputs.py [PAGE ...]`` goes through the pages (default: all) from first to
last block, each page in a folder of its own that is empty but for links to docs/ and benchmarks/.
A ``text`` block that follows a ``sh`` or ``python`` block is replaced by what that block prints on
stdout. A comment before a block says what to do instead: ``<!-- not run: REASON -->`` leaves a
block alone, ``<!-- prints: COMMAND -->`` fills the ``text`` block below it with what COMMAND
prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(?P<mark><!-- (?P<comment>[^\n]*?) -->\n)?```(?P<kind>sh|python|text)\n(?P<body>.*?)```\n",
    re.DOTALL,
)
PRINTS = "prints: "
NOT_RUN = "not run"
LINKED = ("docs", "benchmarks")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it is, what it holds, and the comment before it."""

    start: int
    end: int
    kind: str
    body: str
    comment: str


def pages() -> list[Path]:
    """Return the pages with blocks to run: the README and everything written by hand in docs."""
    made = {"cli.md", "solvers.md", "systems.md", "models.md", "formats.md", "json.md"}
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", *(page for page in found if page.name not in made)]


def blocks(text: str) -> list[Block]:
    """Return the fenced sh, python and text blocks of a page in order."""
    return [
        Block(m.start("body"), m.end("body"), m["kind"], m["body"], m["comment"] or "")
        for m in BLOCK.finditer(text)
    ]


def prepared(folder: Path) -> Path:
    """Put links to what pages name by its path in the repository into a folder; return it."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return folder


def refreshed(text: str, folder: Path) -> str:
    """Return the page with what its blocks print now, run in `folder`."""
    output: str | None = None
    pieces, at = [], 0
    for block in blocks(text):
        if block.kind != "text":
            run = not block.comment.startswith(NOT_RUN)
            output = _run(block.kind, block.body, folder) if run else None
            continue
        if block.comment.startswith(PRINTS):
            output = _run("sh", block.comment.removeprefix(PRINTS), folder)
        if output is not None and not block.comment.startswith(NOT_RUN):
            pieces += [text[at : block.start], output]
            at = block.end
        output = None
    return "".join(pieces) + text[at:]


def _run(kind: str, body: str, folder: Path) -> str:
    programs = {"sh": ["bash", "-e", "-c", body], "python": [sys.executable, "-c", body]}
    scripts = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        programs[kind],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}:\n{body}")
    return done.stdout.strip("\n") + "\n"


def main(names: list[str]) -> None:
    """Refresh the pages named, or all."""
    for page in [Path(name).resolve() for name in names] or pages():
        with tempfile.TemporaryDirectory() as scratch:
            text = page.read_text(encoding="utf-8")
            fresh = refreshed(text, prepared(Path(scratch)))
        print(f"{page.relative_to(ROOT)}: {'changed' if fresh != text else 'as before'}")
        page.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
