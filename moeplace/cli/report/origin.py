"""Where every number comes from, how to make the result again, and what was proven."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from moeplace.cli.report.markup import Html, join, tag
from moeplace.cli.report.reproduce import command_of
from moeplace.cli.report.sections import section
from moeplace.cli.report.tables import Cell, Column, table
from moeplace.cli.report.words import value_text, workload_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.cli.report.gather import Gathered


def origin_section(gathered: Gathered) -> Html:
    """Return the workload's and the model's source, and every constant of the system with its."""
    from moeplace.hwmodels.describe import describe_system

    problem = gathered.problem
    described = describe_system(problem.system)
    rows = [
        [row["name"], Cell(_figure(row["value"]), _sortable(row["value"])), row["unit"],
         row["source"]]
        for row in described["constants"]
    ]  # fmt: skip
    columns = (Column("constant"), Column("value", "number"), Column("unit"), Column("source"))
    scenarios = [
        f"{one.phase}: {one.workload.name}, {one.tokens_per_rank:,} tokens a rank"
        for one in problem.scenarios
    ]
    return section(
        "origin",
        "Where the numbers come from",
        tag("h3", "Workload"),
        tag("ul", *(tag("li", line) for line in [*workload_words(gathered), *scenarios])),
        tag("h3", "Model"),
        tag("p", f"{problem.model.name}. Source: {problem.model.source or 'not said'}"),
        tag("h3", "System"),
        tag("p", f"{problem.system.name}: {described['summary']}."),
        table("Every constant of the system and its source", columns, rows, identifier="constants"),
    )


def again_section(gathered: Gathered) -> Html:
    """Return the command that makes the result again, its inputs and the proof of its bound."""
    document, (command, note) = gathered.document, command_of(gathered.document)
    shown: Html | None = None
    if command is not None:
        shown = tag(
            "div",
            tag("pre", tag("code", command, id="command"), tabindex="0"),
            tag("button", "Copy", type="button", id="copy", data_for="command"),
            tag("span", id="copied", role="status", class_="soft"),
            class_="command",
        )
    return section(
        "again",
        "Reproduce and check",
        shown,
        tag("p", note, class_="soft") if note else None,
        _files(document),
        tag("h3", "Proof"),
        tag("dl", *_facts(gathered), class_="facts"),
        tag(
            "p",
            "Check all of it without the solver: ",
            tag("code", "moeplace verify RESULT"),
            class_="soft",
        )
        if document.get("certificate")
        else None,
    )


def _files(document: Mapping[str, Any]) -> Html | None:
    """Return the hashes of the files that went in."""
    files = ((document.get("certificate") or {}).get("inputs") or {}).get("files") or {}
    if not files:
        return tag("p", "No file went in: model, system and workload come with moeplace.")
    rows = [[name, tag("code", str(digest))] for name, digest in files.items()]
    return table("Files that went in", (Column("file"), Column("SHA-256")), rows)


def _certified(proofs: list[Any]) -> int:
    return sum(
        any(c is not None for c in both)
        for proof in proofs
        for both in zip_longest(proof["layers"], proof.get("contents", ()))
    )


def _facts(gathered: Gathered) -> list[Html]:
    from moeplace import __version__

    document, problem = gathered.document, gathered.problem
    objective = document["objective"]
    bound, name = objective["bound"], objective["name"]
    proofs = (((document.get("certificate") or {}).get("bound")) or {}).get("proofs") or []
    facts: list[tuple[str, object]] = [
        ("minimized", f"{name}: {value_text(name, objective['value'])}"),
        (
            "lower bound",
            "none is known" if bound is None else value_text(name, objective["lower_bound"]),
        ),
    ]
    if bound is not None:
        facts += [
            ("proven by", bound["method"]),
            ("effort", bound["effort"]),
            (
                "certificate",
                f"multipliers for {_certified(proofs)} "
                f"layers ({', '.join(str(p['level']) for p in proofs)})"
                if proofs
                else "closed theorems on the problem's data; no multipliers needed",
            ),
        ]
    facts += [
        ("status", document["status"] + (f", stopped by {document['limit']}"
                                         if document["limit"] else "")),
        ("solver, seed", f"{document['solver']}, {document['seed']}"),
        ("copies, dispatch", f"dedup {problem.dedup}, dispatch {problem.dispatch}"),
        ("weights", f"{problem.weight_dtype}, at most "
                    f"{gathered.found.score.memory_GiB_per_rank:.1f} GiB on a rank"),
        ("problem", tag("code", document["problem"]["fingerprint"])),
        ("moeplace", f"version {__version__}"),
    ]  # fmt: skip
    return [join(tag("dt", key), tag("dd", text)) for key, text in facts]


def _figure(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _sortable(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
