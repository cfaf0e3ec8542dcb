"""The page: valid, closed in itself, and safe whatever the files are called."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from moeplace.cli.report import write_report
from moeplace.cli.report.markup import EMPTY, Html, data_block, tag
from moeplace.cli.report.page import SCRIPTS, asset
from tests.cli.report.conftest import run, write_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.cli.report.gather import Gathered

EVIL = "x</script><img src=q onerror=alert(1)>\"'&"


class Page(HTMLParser):
    """Elements, texts and identifiers of a page; elements must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        else:
            self.texts.append(data)

    def data(self) -> dict:
        """Return the JSON document inside."""
        return json.loads(next(body for attrs, body in self.scripts if "type" in attrs))


@pytest.fixture(scope="module")
def text(solved: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_report(solved, path, compare=[solved.with_name("compare.json")])
    return path.read_text(encoding="utf-8")


def test_well_formed_and_small(text: str) -> None:
    """Elements close in order, identifiers are unique and those referred to exist."""
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        for name in ("aria-labelledby", "for", "data-for"):
            assert name not in attrs or attrs[name] in ids
        if (attrs.get("href") or "").startswith("#"):
            assert attrs["href"][1:] in ids
    assert len(text) < 150_000


def test_loads_nothing(text: str) -> None:
    """No element loads or links to anything outside, and the policy forbids it."""
    page = Page(text)
    for name, attrs in page.elements:
        assert "src" not in attrs
        assert "style" not in attrs
        assert not any(key.startswith("on") for key in attrs)
        assert name not in ("link", "iframe", "object", "img", "base")
        assert (attrs.get("href") or "#").startswith("#")
    policy = next(a["content"] for n, a in page.elements if n == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    style = asset("style.css")
    assert "@import" not in style
    assert "url(" not in style
    code = "".join(asset(name) for name in SCRIPTS)
    for word in ("fetch(", "XMLHttpRequest", "innerHTML", "eval(", "document.write", "import("):
        assert word not in code
    addresses = set(re.findall(r"https?://[^\s\"'<]+", code + style))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not a place


def test_policy_names_the_script(text: str) -> None:
    """The hash in the policy is that of the script that the page carries."""
    page = Page(text)
    body = next(body for attrs, body in page.scripts if "type" not in attrs)
    digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    policy = next(a["content"] for n, a in page.elements if n == "meta" and "http-equiv" in a)
    assert f"script-src 'sha256-{digest}'" in policy


def test_tells_the_result(text: str, gathered: Gathered) -> None:
    """Step time, gap, command, sources and the rows of the comparison are on the page."""
    said = " ".join("".join(Page(text).texts).replace("\u00a0", " ").split())
    score = gathered.found.score
    assert f"{score.step_time_s * 1e6 / 3:,.1f} µs a layer" in said
    assert f"{gathered.document['objective']['gap'] * 100:.1f} %" in said
    assert "moeplace solve --model" in said
    assert "--redundant 4" in said
    assert "Which experts a token uses together is measured." in said
    assert "lpt (seed 0)" in said
    assert "random (seed 0)" in said
    for source in ("arXiv 2510.05497 Table I: 1.7 TB/s to each neighbour", "made for tests"):
        assert source in said


def test_names_cannot_leave_their_place(tmp_path: Path) -> None:
    """A model, a file and a workload with markup in their names stay text."""
    folder = tmp_path / "a<b>&'\"c"
    folder.mkdir()
    options = write_inputs(folder, name=json.dumps(EVIL))
    result = tmp_path / "result.json"
    run("solve", *options, "--hw", "mesh:1x2", "--solver", "lpt", "--result", result, "-q")
    text = write_report(result, tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [name for name, _ in page.elements].count("script") == 2
    assert not [name for name, _ in page.elements if name in ("img", "b")]
    assert any(EVIL in part for part in page.texts)
    assert "<b>" not in text
    assert page.data()["views"][-1]["label"] == "moeplace (lpt)"


def test_markup_escapes() -> None:
    """Text and attributes are escaped, markup is not; JSON cannot end its block."""
    made = tag("p", EVIL, Html("<br>"), title=EVIL, hidden=True, class_=None)
    assert made.count("<") == 3
    assert "hidden" in made
    assert Page(made).elements[0][1]["title"] == EVIL
    block = data_block("d", {"name": "</script><!--"})
    assert block.count("<") == 2
    assert Page(block).data() == {"name": "</script><!--"}


def _luminance(color: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [":root {", ':root[data-theme="dark"] {'])
def test_colors_can_be_read(theme: str) -> None:
    """Text has a contrast of 4.5 (WCAG AA); terms differ in lightness, not in hue alone."""
    block = asset("style.css").split(theme, 1)[1].split("}", 1)[0]
    colors = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block))
    for text in ("ink", "soft", "accent"):
        assert _contrast(colors[text], colors["page"]) >= 4.5
        assert _contrast(colors[text], colors["card"]) >= 4.5
    for one, other in (("dispatch", "compute"), ("compute", "combine")):
        assert _contrast(colors[one], colors[other]) >= 1.5
    assert _contrast(colors["focus"], colors["page"]) >= 3


def test_ramps_only_rise_or_fall() -> None:
    """More load is darker on light pages and brighter on dark ones, for every kind of eye."""
    script = asset("core.js")
    for name, order in (("light", -1), ("dark", 1)):
        block = script.split("const RAMPS", 1)[1].split(f"{name}: [", 1)[1].split("]", 1)[0]
        shades = [_luminance(color) for color in re.findall(r"#[0-9a-f]{6}", block)]
        assert len(shades) == 8
        assert shades == sorted(shades, reverse=order < 0)
