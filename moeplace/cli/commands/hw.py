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
    rows = [{"table": table, **row} for table in ("constants", "topology") for row in facts[table]]
    out.show(facts, rows, lambda: _draw(facts, drawing, out))


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
