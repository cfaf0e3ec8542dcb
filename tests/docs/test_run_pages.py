"""Every shell and Python block of the README and the documentation runs and prints what is shown.

Pages that take seconds run always, the others are slow. A block is left out only where it says why.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from benchmarks.registry import CASES
from tests.docs.pages import DOCS, ROOT, load_script, page_id

if TYPE_CHECKING:
    from pathlib import Path

refresh = load_script(DOCS / "refresh_outputs.py")
FAST = ("docs/tutorials/own-importer.md",)
REASONS = {
    "a benchmark",  # `make bench` runs it
    "fails, as shown",  # the block below it runs it and shows the error
    "installs",
    "make",  # make calls itself in CI
    "needs a server",
    "needs data that is not shipped",
    "passes by while a command runs",
    "takes minutes and writes the figure",
}
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
RUN = [page for page in refresh.pages() if refresh.blocks(page.read_text(encoding="utf-8"))]
SLOW = [page for page in RUN if page_id(page) not in FAST]
# Not every number is the same on every machine: seconds, and what a time limit allows to find.
SAME_SHARE, TOLERANCE = 0.8, 0.02


def words(text: str) -> list[str]:
    """Return a page without its numbers, rules of tables and line ends."""
    return re.sub(r"-{2,}", "", NUMBER.sub("#", text)).split()


def numbers(text: str) -> list[float]:
    """Return the numbers of a page."""
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def same_share(old: str, new: str) -> float:
    """Return the share of numbers that agree; 0 if there are more in one of the pages."""
    first, second = numbers(old), numbers(new)
    if len(first) != len(second):
        return 0.0
    pairs = list(zip(first, second, strict=True))
    return sum(abs(a - b) <= TOLERANCE * max(abs(a), abs(b)) for a, b in pairs) / len(pairs)


@pytest.mark.parametrize(
    "page",
    [
        *(ROOT / name for name in FAST),
        *(pytest.param(page, marks=pytest.mark.slow) for page in SLOW),
    ],
    ids=page_id,
)
def test_page_prints_what_it_shows(page: Path, tmp_path: Path) -> None:
    """From first to last block a page runs, in a folder of its own, and prints what it shows."""
    text = page.read_text(encoding="utf-8")
    fresh = refresh.refreshed(text, refresh.prepared(tmp_path))
    assert words(fresh) == words(text)
    assert same_share(text, fresh) >= SAME_SHARE


def test_other_outputs_are_noticed() -> None:
    """A changed word, a missing line and changed numbers are; seconds and widths are not."""
    page = "```text\ntime  1,000.0 µs took 2.5 s\n 1 2 3 4 5 6 7 8\n```\n"
    assert words(page) == words(page.replace("1,000.0 µs", " 999 µs"))
    assert words(page) != words(page.replace("took", "takes"))
    assert same_share(page, page.replace("2.5", "9.1")) >= SAME_SHARE
    assert same_share(page, page.replace("1 2 3", "2 4 6")) < SAME_SHARE
    assert same_share(page, page.replace(" 8\n", "\n")) < SAME_SHARE


@pytest.mark.parametrize("page", RUN, ids=page_id)
def test_blocks_left_out_say_why(page: Path) -> None:
    """A block that is not run has a reason, one of few; a benchmark's name exists."""
    for block in refresh.blocks(page.read_text(encoding="utf-8")):
        if block.comment.startswith(refresh.NOT_RUN):
            assert block.comment.removeprefix(f"{refresh.NOT_RUN}: ") in REASONS
        for name in re.findall(r"python -m benchmarks .*--only (\S+)", block.body):
            assert name in CASES


def test_every_page_is_run() -> None:
    """No page with blocks is missed but those made from the code."""
    run = {page_id(page) for page in RUN}
    assert {"README.md", "docs/index.md", "docs/tutorials/first-placement.md"} <= run
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        if refresh.blocks(text) and "Written by docs/generate_reference.py" not in text:
            assert page_id(page) in run
