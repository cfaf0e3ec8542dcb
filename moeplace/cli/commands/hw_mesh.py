"""`moeplace hw validate MESH`: the mesh model against simulated packets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from moeplace.cli.output import Output
    from moeplace.hwmodels.simulation import MeshComparison

TOKENS = (1, 8, 64, 256)
HOT_SHARES = (0.0, 0.5)
MOST_CROSSINGS = 1e6  # simulated in some seconds


def validate_mesh(name: str, plot: Path | None, explain: bool, out: Output) -> None:
    """Compare analytic and simulated dispatch times and print the error map."""
    from moeplace.cli.progress import Progress
    from moeplace.errors import UsageError
    from moeplace.hwmodels import load_system
    from moeplace.hwmodels.calibrate.report import ValidationReport, ValidationRow
    from moeplace.hwmodels.simulation import MeshCase, compare_mesh

    if plot is not None:
        raise UsageError("--plot draws measured points; a mesh has none")
    system = load_system(name)
    found = []
    cases = [
        MeshCase(dedup, tokens, hot)
        for hot in HOT_SHARES
        for dedup in ("none", "rank", "multicast")
        for tokens in TOKENS
    ]
    hops = (system.rows + system.columns) / 3
    with Progress("simulating packets", quiet=out.quiet) as progress:
        for number, case in enumerate(cases, 1):
            progress.stage(f"simulating packets, case {number} of {len(cases)}")
            if case.tokens_per_rank * system.ranks * 8 * hops > MOST_CROSSINGS:
                told = f"{case.tokens_per_rank} tokens a rank left out: too many packets"
                out.note(f"{told} to simulate")
                continue
            found.append(compare_mesh(system, case))
    report = ValidationReport(
        [
            ValidationRow(
                source="simulated packets",
                system=system.name,
                kernel=f"mesh, dedup {each.case.dedup}",
                phase="both",
                op=_traffic(each),
                ep=system.ranks,
                tokens=each.case.tokens_per_rank,
                unit="us",
                measured=each.simulated_s * 1e6,
                predicted=each.analytic_s * 1e6,
                role="held out" if each.fills_links else "apart",
                note="fills the links" if each.fills_links else "does not fill the links",
            )
            for each in found
        ]
    )
    document = report.to_dict()
    if explain:
        from moeplace.cli.explain.models import explain_validation

        document["explain"] = explain_validation(document)
    out.show(document, document["rows"], lambda: _draw(found, document, out))


def _traffic(each: MeshComparison) -> str:
    share = each.case.hot_share
    return "uniform" if share == 0 else f"{100 * share:.0f} % to one"


def _draw(found: Sequence[MeshComparison], document: dict[str, Any], out: Output) -> None:
    out.line("dispatch on the mesh: most loaded link against simulated packets", bold=True)
    out.table(
        (
            "traffic",
            "dedup",
            "tokens\na rank",
            "simulated\nµs",
            "analytic\nµs",
            "error\n%",
            "max(C, E/N+L)\n+(2T+1)D µs",
            "error\n%",
            "fills\nlinks",
        ),
        [
            (
                _traffic(each),
                each.case.dedup,
                str(each.case.tokens_per_rank),
                f"{each.simulated_s * 1e6:.2f}",
                f"{each.analytic_s * 1e6:.2f}",
                f"{100 * each.error:+.1f}",
                f"{each.wafer_formula_s * 1e6:.2f}",
                f"{100 * (each.wafer_formula_s / each.simulated_s - 1):+.1f}",
                "yes" if each.fills_links else "no",
            )
            for each in found
        ],
        left=(0, 1),
    )
    if document["median_ape"] is not None:
        out.line()
        out.line(
            f"where messages fill the links: median error {100 * document['median_ape']:.1f} %, "
            f"p90 {100 * document['p90_ape']:.1f} %"
        )
