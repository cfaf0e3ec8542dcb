"""`moeplace instance`: named problems, the best placements known, and what is proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import (
    OUTPUT,
    SEARCH,
    ExplainOption,
    FormatOption,
    QuietOption,
    SolverOption,
    TimeLimitOption,
    group,
)
from moeplace.cli.output import INTERRUPTED, Format, Output
from moeplace.cli.runs.command import keeps_run
from moeplace.errors import CheckFailedError, InfeasibleError

if TYPE_CHECKING:
    from moeplace.formulations.instances import Instance

app = group("instance", "Instances: named problems, best known values and proven bounds.")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Instance, see `moeplace instance list`.")
]
BETTER = 1e-9  # share by which a value has to be below the best known


@app.command("list")
def list_(
    tag: Annotated[
        str | None, typer.Option(metavar="T", help="Only tiny, layer (one layer) or full.")
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """List the instances with their best known values and gaps.

    Example: moeplace instance list --tag tiny
    """
    from moeplace.formulations.instances import list_instances, load_instance

    out = Output(format)
    rows = [_row(load_instance(name)) for name in list_instances(tag)]

    def draw() -> None:
        out.table(
            ("instance", "objective", "best\nknown", "gap", "what"),
            [
                (
                    row["name"],
                    row["objective"],
                    "–" if row["value"] is None else f"{row['value']:.5g}",
                    _gap(row),
                    row["about"],
                )
                for row in rows
            ],
            left=(0, 1, 4),
        )

    out.show(rows, rows, draw)


@app.command()
def show(name: NameArgument, format: FormatOption = Format.table) -> None:
    """Show an instance: its problem, its best known value, and who found and proved it.

    Example: moeplace instance show tiny-copies
    """
    from moeplace.cli.result_view import draw_headline
    from moeplace.formulations.instances import load_instance
    from moeplace.formulations.result import describe_problem

    out = Output(format)
    instance = load_instance(name)
    row, described = _row(instance), describe_problem(instance.problem)
    document = {**row, "problem": described, "definition": dict(instance.definition)}

    def draw() -> None:
        out.line(f"{name}: {instance.about}", bold=True)
        draw_headline(described, out)
        out.line()
        if instance.record is None:
            out.line("nobody has solved it yet")
            return
        out.line(f"best known {row['objective']} {row['value']:.9g}, found by {row['found_by']}")
        out.line(f"lower bound {row['lower_bound']:.9g}, proven by {row['proven_by']}")
        out.line(f"  {row['method']}")
        out.line(f"gap {row['gap']:.3%}, {row['status']}")

    out.show(document, [row], draw)


@app.command()
@keeps_run
def solve(
    name: NameArgument,
    solver: SolverOption = "auto",
    time_limit: TimeLimitOption = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of every random choice.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the placement, .json or .npz.", rich_help_panel=OUTPUT
        ),
    ] = None,
    result: Annotated[
        Path | None,
        typer.Option(help="Write the whole result as JSON.", rich_help_panel=OUTPUT),
    ] = None,
    against: Annotated[
        bool,
        typer.Option(
            "--from-best", help="Start from the best placement known.", rich_help_panel=SEARCH
        ),
    ] = False,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Solve an instance and hold the value found against the best known.

    Example: moeplace instance solve tiny-copies --solver partition --time-limit 5
    """
    from moeplace.cli.compiling import reported_compilation
    from moeplace.cli.files import check_writable, write_json
    from moeplace.cli.progress import Progress
    from moeplace.cli.result_view import csv_rows, draw_result

    out = Output(format, quiet)
    check_writable(output, (".json", ".npz"))
    check_writable(result, (".json",))
    with (
        Progress("reading", quiet=quiet) as progress,
        reported_compilation(progress, out.note),
    ):
        from moeplace.formulations.instances import load_instance
        from moeplace.formulations.registry import solver_info
        from moeplace.formulations.solve import solve as run
        from moeplace.formulations.verify import certificate_of
        from moeplace.placement.formats import save_placement

        solver_info(solver)
        instance = load_instance(name)
        problem = instance.problem
        progress.search(f"{solver}, {name}", problem, time_limit)
        found = run(
            problem,
            solver,
            time_limit,
            seed,
            instance.placement if against else None,
            on_incumbent=progress.incumbent,
        )
    document = found.to_dict(placement_path=None if output is None else str(output))
    record, score = instance.record, found.score
    better = (
        record is not None
        and score is not None
        and not found.violations
        and score.objective < record.value * (1 - BETTER)
    )
    document["instance"] = {**_row(instance), "improves": better}
    if explain:
        from moeplace.cli.explain.result import explain_result

        document["explain"] = explain_result(found, document)
    if output is not None and found.placement is not None:
        save_placement(found.placement, output, metadata={"instance": name, "solver": solver})
    if result is not None:
        write_json({**document, "certificate": certificate_of(found)}, result)

    def draw() -> None:
        draw_result(document, out)
        if record is not None and score is not None:
            over = (score.objective - record.value) / record.value if record.value else 0.0
            out.line(
                f"best known {record.value:.9g} ({record.found_by}), gap {record.gap:.3%}; "
                f"this is {over:+.3%} from it"
            )

    out.show(document, csv_rows(document), draw)
    if better and score is not None:
        out.note(
            f"{score.objective!r} is better than the best known value; please report it with the "
            "placement"
        )
    if found.limit == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if found.violations:
        raise typer.Exit(InfeasibleError.exit_code)


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Instances; default: all.")
    ] = None,
    prove: Annotated[
        bool,
        typer.Option(
            "--prove", help="Also prove bounds again, exact ones by another solver: minutes."
        ),
    ] = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Score the best known placements again and hold values and bounds against each other.

    Leaves with 7 if anything does not hold.

    Example: moeplace instance check tiny-copies tiny-balance
    """
    from moeplace.cli.progress import Progress

    out = Output(format, quiet)
    rows: list[dict[str, Any]] = []
    with Progress("check", quiet=quiet) as progress:
        from moeplace.formulations.instances import (
            check_instance,
            list_instances,
            load_instance,
        )

        for name in names or list_instances():
            instance = load_instance(name)
            progress.stage(f"check {name}")
            found = check_instance(instance, prove=prove)
            row = _row(instance)
            rows.append(
                {
                    "name": name,
                    "holds": found.holds,
                    "value": found.value,
                    "fast_bound": found.fast_bound,
                    "lower_bound": row["lower_bound"],
                    "gap": row["gap"],
                    "problems": "; ".join(found.problems) or None,
                }
            )

    def draw() -> None:
        out.table(
            ("instance", "", "value", "bound", "gap"),
            [
                (
                    row["name"],
                    "holds" if row["holds"] else "FAILS",
                    "–" if row["value"] is None else f"{row['value']:.9g}",
                    "–" if row["lower_bound"] is None else f"{row['lower_bound']:.9g}",
                    "–" if row["gap"] is None else f"{row['gap']:.3%}",
                )
                for row in rows
            ],
            left=(0, 1),
        )

    out.show({"schema": "moeplace.instance-check/1", "rows": rows}, rows, draw)
    broken = [row for row in rows if not row["holds"]]
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise CheckFailedError(f"instance {broken[0]['name']}: {broken[0]['problems']}{more}")


def _gap(row: dict[str, Any]) -> str:
    if row["status"] == "optimal":
        return "optimal"
    return "–" if row["gap"] is None else f"{row['gap']:.2%}"


def _row(instance: Instance) -> dict[str, Any]:
    """Return what is known about an instance, without making its problem."""
    record = instance.record
    return {
        "name": instance.name,
        "about": instance.about,
        "tags": " ".join(instance.tags),
        "objective": instance.definition.get("objective", "time"),
        "value": None if record is None else record.value,
        "found_by": None if record is None else record.found_by,
        "lower_bound": None if record is None else record.lower_bound,
        "proven_by": None if record is None else record.proven_by,
        "method": None if record is None else record.method,
        "gap": None if record is None else record.gap,
        "status": "open" if record is None else record.status,
    }
