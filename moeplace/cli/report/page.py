"""The page: one file with its style, its script and its data inside, and nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from moeplace.cli.report.comparison import comparison_section
from moeplace.cli.report.markup import Html, data_block, join, tag
from moeplace.cli.report.origin import again_section, origin_section
from moeplace.cli.report.panels import panels
from moeplace.cli.report.payload import payload_of
from moeplace.cli.report.sections import headline_section, help_section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.cli.report.gather import Gathered
    from moeplace.cli.report.replicas import Replicated
    from moeplace.cli.report.sensitivity import Effect

SCRIPTS = ("core.js", "map.js", "layers.js", "heat.js", "experts.js", "page.js")
CONTENTS = (
    ("short", "In short"),
    ("map", "Map"),
    ("layers", "Layers"),
    ("against", "Bound"),
    ("together", "Together"),
    ("experts", "Experts"),
    ("help", "What would help"),
    ("origin", "Sources"),
    ("again", "Reproduce"),
)


def page_of(gathered: Gathered, effects: Sequence[Effect], replicas: Sequence[Replicated]) -> str:
    """Return the whole page as text.

    Only the script and the style that this function puts in may run: the content security policy
    names their hashes, and nothing may be loaded.
    """
    style, script = asset("style.css"), "\n".join(asset(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    problem = gathered.problem
    title = f"{problem.model.name} on {problem.system.name}"
    facts = (
        f"{problem.phase} · {problem.tokens_per_rank:,} tokens a rank · {problem.num_layers} MoE "
        f"layers · {problem.num_experts} experts, top {problem.top_k} · {problem.num_ranks} ranks "
        f"· {problem.num_slots // problem.num_ranks} slots a rank"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content="moeplace"),
        tag("title", f"{title}: moeplace report"),
        Html(f"<style>{style}</style>"),
    )
    main = tag(
        "main",
        headline_section(gathered),
        *panels(gathered, comparison_section(gathered)),
        help_section(effects),
        origin_section(gathered),
        again_section(gathered),
        id="main",
    )
    body = tag(
        "body",
        tag("a", "Skip to the report", href="#main", class_="skip"),
        tag(
            "header",
            tag(
                "div",
                tag("p", "moeplace report", class_="brand"),
                tag("button", "Dark", type="button", id="theme", aria_pressed="false"),
                class_="top",
            ),
            tag("h1", title),
            tag("p", facts, class_="soft"),
            tag(
                "nav",
                *(tag("a", text, href=f"#{name}") for name, text in CONTENTS),
                aria_label="Parts of the report",
            ),
        ),
        main,
        tag("footer", tag("p", "Made with moeplace. This page loads nothing.", class_="soft")),
        tag("div", id="tip", role="presentation", hidden=True),
        data_block("report-data", payload_of(gathered, replicas)),
        Html(f"<script>{script}</script>"),
    )
    return "<!doctype html>\n" + tag("html", join(head, body), lang="en") + "\n"


def asset(name: str) -> str:
    """Return a file of the folder ``assets``."""
    folder = resources.files("moeplace.cli.report") / "assets"
    return (folder / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
