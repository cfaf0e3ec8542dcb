"""`moeplace hw`: the systems that experts can live on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.commands import hw_estimate, hw_import, hw_validate
from moeplace.cli.options import FormatOption, group
from moeplace.cli.output import Format, Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

app = group("hw", "Systems: wafers, meshes and GPU clusters.")
app.command()(hw_validate.validate)
app.command()(hw_validate.calibrate)
app.command()(hw_estimate.estimate)
app.command("import")(hw_import.import_)


@app.command("list")
def list_(format: FormatOption = Format.table) -> None:
    """List the systems by name; mesh:RxC and YAML files work as well.

    Example: moeplace hw list
    """
    from moeplace.hwmodels import list_aliases, list_systems, load_system

    out = Output(format)
    aliases = list_aliases()
    rows: list[dict[str, Any]] = []
    for name in list_systems():
        system = load_system(name)
        rows.append(
            {
                "name": name,
                "kind": system.kind,
                "ranks": system.ranks,
                "nodes": system.num_nodes,
                "hbm_GB": system.hbm_GB,
                "link_GBps": system.link_GBps,
                "aliases": [alias for alias, target in aliases.items() if target == name],
                "summary": system.summary,
            }
        )

    def draw() -> None:
        out.table(
            ("system", "ranks", "nodes", "HBM\nGB", "link\nGB/s", "what it is"),
            [
                (
                    ", ".join([row["name"], *row["aliases"]]),
                    str(row["ranks"]),
                    str(row["nodes"]),
                    f"{row['hbm_GB']:g}",
                    f"{row['link_GBps']:g}",
                    row["summary"],
                )
                for row in rows
            ],
            left=(0, 5),
        )
        out.line()
        out.line("ranks of clusters are defaults, --ranks changes them; mesh:RxC makes any mesh")

    out.show(rows, [{**row, "aliases": " ".join(row["aliases"])} for row in rows], draw)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name, mesh:RxC or YAML file.")],
    ranks: Annotated[int | None, typer.Option(metavar="N", help="EP size.")] = None,
    format: FormatOption = Format.table,
) -> None:
    """Show a system: its fabric, and every constant with its source.

    Example: moeplace hw show h100-sxm --ranks 32
    """
    from moeplace.hwmodels import describe_system, draw_topology, load_system

    out = Output(format)
    system = load_system(name, ranks)
    facts = describe_system(system)
    drawing = draw_topology(system)
    facts["kernels"] = _kernels(system.name)
    rows = [
        {"table": table, **row}
        for table in ("constants", "topology", "kernels")
        for row in facts[table]
    ]
    out.show(facts, rows, lambda: _draw(facts, drawing, out))


def _kernels(name: str) -> list[dict[str, Any]]:
    """Return the kernels fitted for a system: constants, range and errors."""
    from moeplace.hwmodels.calibrate.store import comm_to_dict, expert_to_dict, shipped_kernels

    comm, expert = shipped_kernels()
    found = [comm_to_dict(kernel) for kernel in comm if kernel.system == name]
    found += [expert_to_dict(fit) for fit in expert if fit.system == name]
    rows = []
    for each in found:
        values = {**each.get("costs", {}), **each.get("resources", {}), **each.get("constants", {})}
        named = (
            f"{each['family']} {each['op']} {each['where']}"
            if "family" in each
            else (f"expert kernel, {each['phase']}, {each['dtype']}")
        )
        rows.append(
            {
                "name": named,
                "value": ", ".join(f"{key} {value:.4g}" for key, value in values.items()),
                "unit": "µs per unit",
                "range": ", ".join(f"{k} {v[0]:g}-{v[1]:g}" for k, v in each["range"].items()),
                "median_ape": each["error"]["median"],
                "held_out_median_ape": each["held_out"]["median"],
                "held_out_by": each["held_out_by"],
                "source": each["source"],
            }
        )
    return rows


def _draw(facts: Mapping[str, Any], drawing: str, out: Output) -> None:
    out.line(f"{facts['name']}: {facts['summary']}", bold=True)
    dedup = ", ".join(f"{phase} {mode}" for phase, mode in facts["default_dedup"].items())
    nodes = f"{facts['nodes']} node{'s' if facts['nodes'] != 1 else ''}"
    out.line(f"{facts['ranks']} ranks, {nodes}; dedup by default: {dedup}")
    out.line()
    for line in drawing.splitlines():
        out.line(line)
    for title, table in (("fabric", "topology"), ("constant", "constants")):
        out.line()
        out.table(
            (title, "value", "unit", "source"),
            _cells(facts[table]),
            left=(0, 2, 3),
        )
    if facts["kernels"]:
        _draw_kernels(facts["kernels"], out)


def _draw_kernels(rows: Sequence[Mapping[str, Any]], out: Output) -> None:
    def percent(value: float) -> str:
        return "-" if value != value else f"{100 * value:.1f}"

    out.line()
    out.table(
        ("fitted kernel (--calibration shipped)", "µs per unit", "range", "held out\nmedian %"),
        [
            (row["name"], row["value"], row["range"], percent(row["held_out_median_ape"]))
            for row in rows
        ],
        left=(0, 1, 2),
    )
    out.line(f"source: {', '.join(dict.fromkeys(row['source'] for row in rows))}")


def _cells(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows with a source that is that of the row before left out."""
    before = ""
    for row in rows:
        source = "as above" if row["source"] == before else row["source"]
        yield row["name"], _value(row["value"]), row["unit"], source
        before = row["source"]


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.6g}"
