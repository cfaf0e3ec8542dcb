"""`moeplace qap`: a quadratic assignment problem from a file of QAPLIB."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moeplace.cli.options import OUTPUT, SEARCH, FormatOption, QuietOption
from moeplace.cli.output import Format, Output

SCHEMA = "moeplace.qap/1"


def qap(
    file: Annotated[Path, typer.Argument(metavar="FILE.dat", help="QAPLIB: n, flows, distances.")],
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Prove it, by branch and bound; to about 16.", rich_help_panel=SEARCH
        ),
    ] = False,
    time_limit: Annotated[
        float,
        typer.Option("--time-limit", metavar="S", help="Seconds.", rich_help_panel=SEARCH),
    ] = 10.0,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed.", rich_help_panel=SEARCH)
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write n, cost and permutation, .sln.", rich_help_panel=OUTPUT
        ),
    ] = None,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Assign facilities with flows between them to locations, and prove how good it is.

    Example: moeplace qap nug12.dat --exact
    """
    from moeplace.cli.files import check_writable
    from moeplace.cli.progress import Progress
    from moeplace.files import atomic_write
    from moeplace.formulations.qap import read_qaplib, solve_qap, solve_qap_exact

    out = Output(format, quiet)
    check_writable(output, (".sln",))
    flow, distance = read_qaplib(file)
    with Progress("quadratic assignment", quiet=quiet):
        solve = solve_qap_exact if exact else solve_qap
        found = solve(flow, distance, time_limit_s=time_limit, seed=seed)
    places = found.permutation.tolist()
    document = {
        "schema": SCHEMA,
        "file": str(file),
        "facilities": len(places),
        "cost": found.cost,
        "lower_bound": found.lower_bound,
        "gap": found.gap,
        "status": found.status,
        "bound_method": found.bound_method,
        "runtime_s": found.runtime_s,
        "seed": seed,
        "permutation": places,
    }
    if output is not None:
        with atomic_write(output) as target:
            target.write(f"{len(places)} {found.cost:.17g}\n")
            target.write(" ".join(str(place + 1) for place in places) + "\n")
    rows = [{"facility": i, "location": place} for i, place in enumerate(places)]

    def draw() -> None:
        bound, gap = found.lower_bound, found.gap
        out.table(
            ("facilities", "cost", "lower bound", "gap", "status", "theorem"),
            [
                (
                    str(len(places)),
                    f"{found.cost:,.10g}",
                    "none" if bound is None else f"{bound:,.10g}",
                    "" if gap is None else f"{gap:.2%}",
                    found.status,
                    found.bound_method,
                )
            ],
        )
        out.line()
        out.line("location of each facility, from 0: " + " ".join(map(str, places)))

    out.show(document, rows, draw)
