"""`moeplace hw validate` and `moeplace hw calibrate`: models against measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import ExplainOption, FormatOption, QuietOption
from moeplace.cli.output import Format, Output
from moeplace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.hwmodels.calibrate.report import ValidationReport
    from moeplace.hwmodels.calibrate.statistics import ErrorSummary

HEADERS = ("points", "median\n%", "p90\n%", "max\n%", "bias\n%")


def validate(
    system: Annotated[
        str | None,
        typer.Argument(
            metavar="[SYSTEM]",
            help="Measured tables of one GPU system, or a mesh (wafer, mesh:RxC) against packets.",
        ),
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Published figures, one a row."),
    ] = None,
    layers: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Timed layers with the sweeps to calibrate on."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Draw predicted against measured."),
    ] = None,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Predict measured times and show how far off the models are.

    Without options: the measured tables and published figures that ship, every constant fitted
    and, apart from that, fitted without the EP size (or shape) that is predicted.

    Example: moeplace hw validate h100-sxm
    """
    from moeplace.cli.progress import Progress
    from moeplace.hwmodels.calibrate.validation import (
        validate_layer_folder,
        validate_points,
        validate_tables,
    )

    out = Output(format, quiet)
    if sum(choice is not None for choice in (system, points, layers)) > 1:
        raise UsageError("give a system, --points or --layers; they are different checks")
    if points is not None:
        report = validate_points(points)
    elif layers is not None:
        with Progress("fitting the sweeps", quiet=quiet):
            report = validate_layer_folder(layers)
    else:
        name = None if system is None else _resolve(system)
        if name is not None and name.startswith(("mesh:", "wafer")):
            _validate_mesh(name, plot, explain, out)
            return
        with Progress("predicting what was measured", quiet=quiet):
            report = validate_tables(name)
    if plot is not None:
        from moeplace.hwmodels.calibrate.plot import plot_report

        plot_report(report, plot)
        out.note(f"wrote {plot}")
    document = report.to_dict()
    if explain:
        from moeplace.cli.explain.models import explain_validation

        document["explain"] = explain_validation(document)
    out.show(document, document["rows"], lambda: _draw(report, out))


def _resolve(name: str) -> str:
    """Return the catalogue name; the same errors as everywhere for unknown ones."""
    from moeplace.hwmodels import load_system

    return load_system(name).name


def _draw(report: ValidationReport, out: Output) -> None:
    from moeplace.hwmodels.calibrate.report import break_down

    for role, title in (
        ("held out", "held out: predicted by constants that never saw the point or its group"),
        ("fitted", "fitted: the same points, predicted by the constants that ship"),
    ):
        rows = report.of_role(role)
        if not rows:
            continue
        out.line(title, bold=True)
        lines: list[tuple[str, ...]] = []
        last = ""
        for by, group, errors in [("all", "", _summary(rows)), *break_down(rows)]:
            if role == "fitted" and by not in ("all", "kernel"):
                continue
            lines.append(("" if by == last else by, group, *_percent(errors)))
            last = by
        out.table(("", "", *HEADERS), lines, left=(0, 1))
        out.line()
    if report.kendall_tau is not None:
        out.line(
            f"Kendall's tau {report.kendall_tau:.3f}: mean over (trace, tokens per rank), pairs of "
            "placements that differ by more than the spread of repeats and by 2 %"
        )
    _draw_apart(report, out)
    if report.not_modelled:
        out.line("not modelled", bold=True)
        out.table(
            ("what", "rows", "reason"),
            [(each["what"], str(each["count"]), each["reason"]) for each in report.not_modelled],
            left=(0, 2),
        )


def _draw_apart(report: ValidationReport, out: Output) -> None:
    apart = report.of_role("apart")
    if not apart:
        return
    out.line("whole deployments, reported apart: they do not count above", bold=True)
    out.table(
        ("figure", "published", "estimate", "error\n%", "settings"),
        [
            (
                f"{row.op}, {row.unit}",
                f"{row.measured:,.0f}",
                f"{row.predicted:,.0f}",
                f"{100 * row.bias:+.0f}",
                row.note,
            )
            for row in apart
        ],
        left=(0, 4),
    )
    out.line()


def _summary(rows: Sequence[Any]) -> ErrorSummary:
    from moeplace.hwmodels.calibrate.statistics import summarize

    return summarize([row.predicted for row in rows], [row.measured for row in rows])


def _percent(errors: ErrorSummary) -> tuple[str, ...]:
    return (
        f"{errors.count:,}",
        f"{100 * errors.median:.1f}",
        f"{100 * errors.p90:.1f}",
        f"{100 * errors.largest:.0f}",
        f"{100 * errors.bias:+.1f}",
    )


def _validate_mesh(name: str, plot: Path | None, explain: bool, out: Output) -> None:
    from moeplace.cli.commands.hw_mesh import validate_mesh

    validate_mesh(name, plot, explain, out)


def calibrate(
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLE...", help="Measured times, one a row.")
    ],
    system: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="System they were measured on, if no column says so."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.yaml", help="Write the fitted constants."),
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Fit the constants of kernels to your own measurements.

    Columns: family, op, ranks, tokens_per_rank, time_us for all-to-all (optional: hidden, top_k,
    experts, groups, top_groups, dtype, sms, api, node_size, bytes, system); phase, ranks, tokens,
    time_us for expert kernels (optional: skew, hidden, inter, top_k, experts, dtype, system).
    The tables of aiconfigurator are read as they are, and of a JSON file as `hw validate --layers`
    reads it the sweeps of expert kernels.

    Example: moeplace hw calibrate my-sweep.csv --system h100-sxm -o my-cluster.yaml
    """
    from moeplace.hwmodels.calibrate.expert_fits import fit_expert_kernels
    from moeplace.hwmodels.calibrate.kernels import fit_comm_kernels
    from moeplace.hwmodels.calibrate.store import comm_to_dict, expert_to_dict, save_kernels
    from moeplace.hwmodels.calibrate.tables import read_table

    out = Output(format)
    read = [read_table(path, system) for path in tables]
    source = ", ".join(path.name for path in tables)
    comm = fit_comm_kernels([point for table in read for point in table.comm], source)
    expert = fit_expert_kernels([point for table in read for point in table.expert], source)
    anomalies = [rule for table in read for _, rule in table.anomalies]
    for rule in dict.fromkeys(anomalies):
        out.note(f"{anomalies.count(rule)} rows taken out by the rule {rule!r}")
    systems = {kernel.system for kernel in comm} | {fit.system for fit in expert}
    if output is not None:
        if len(systems) != 1:
            raise UsageError(
                "one file holds one system, these tables hold "
                f"{', '.join(sorted(systems)) or 'no kernel'}"
            )
        note = f"fitted by moeplace hw calibrate to {source}"
        save_kernels(output, systems.pop(), comm, expert, note)
        out.note(f"wrote {output}")
    rows = [
        *({"system": kernel.system, **comm_to_dict(kernel)} for kernel in comm),
        *({"system": fit.system, **expert_to_dict(fit)} for fit in expert),
    ]
    out.show(rows, [_flat(row) for row in rows], lambda: _draw_fits(rows, out))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return one line of CSV: constants by name, errors, no nested values."""
    constants = {**row.get("costs", {}), **row.get("resources", {}), **row.get("constants", {})}
    return {
        "system": row["system"],
        "kernel": _kernel_name(row),
        **constants,
        "points": row["points"],
        "median_ape": row["error"]["median"],
        "held_out_by": row["held_out_by"],
        "held_out_median_ape": row["held_out"]["median"],
        "held_out_p90_ape": row["held_out"]["p90"],
    }


def _kernel_name(row: dict[str, Any]) -> str:
    if "family" in row:
        return f"{row['family']} {row['op']} {row['where']}"
    return f"expert kernel, {row['phase']}, {row['dtype']}"


def _draw_fits(rows: Sequence[dict[str, Any]], out: Output) -> None:
    if not rows:
        out.line("no kernel in these tables")
        return
    lines = []
    for row in rows:
        constants = {**row.get("costs", {}), **row.get("resources", {}), **row.get("constants", {})}
        lines.append(
            (
                f"{row['system']} {_kernel_name(row)}",
                "\n".join(f"{name} {value:.4g}" for name, value in constants.items()),
                "\n".join(f"{k} {v[0]:g}-{v[1]:g}" for k, v in row["range"].items()),
                f"{row['points']}",
                _share(row["error"]["median"]),
                _share(row["held_out"]["median"]),
                _share(row["held_out"]["p90"]),
            )
        )
    out.table(
        ("kernel", "µs per unit", "range", "points", "median\n%", "held out\nmedian %", "p90 %"),
        lines,
        left=(0, 1, 2),
    )


def _share(value: float) -> str:
    return "-" if value != value else f"{100 * value:.1f}"
