"""`moeplace model`: the models whose experts can be placed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import FormatOption, group
from moeplace.cli.output import Format, Output

if TYPE_CHECKING:
    from moeplace.models import ModelSpec

app = group("model", "Models: the catalogue, and any config.json.")
HEADERS = (
    "model", "MoE\nlayers", "experts", "top k", "hidden", "expert\nwidth", "total\nB", "dtype"
)  # fmt: skip


@app.command("list")
def list_(format: FormatOption = Format.table) -> None:
    """List the models by name; any Hugging Face config.json works as well.

    Example: moeplace model list
    """
    from moeplace.models import list_models, load_model

    out = Output(format)
    rows = [_row(load_model(name)) for name in list_models()]

    def draw() -> None:
        out.table(
            HEADERS,
            [
                (
                    row["name"],
                    str(row["moe_layers"]),
                    str(row["experts"]),
                    str(row["top_k"]),
                    str(row["hidden_size"]),
                    str(row["moe_intermediate_size"]),
                    "" if row["total_params"] is None else f"{row['total_params'] / 1e9:,.1f}",
                    row["weight_dtype"],
                )
                for row in rows
            ],
            left=(0, 7),
        )

    out.show(rows, rows, draw)


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name, Hugging Face id, config.json or YAML file."),
    ],
    format: FormatOption = Format.table,
) -> None:
    """Show the figures of one model and where they come from.

    Example: moeplace model show deepseek-v3
    """
    from moeplace.models import format_layer_ids, load_model

    out = Output(format)
    spec = load_model(name)
    facts = asdict(spec) | {
        "num_moe_layers": spec.num_moe_layers,
        "expert_params": spec.expert_params,
        "routed_params": spec.routed_params,
        "expert_bytes": spec.expert_bytes(),
    }
    text = facts | {
        "moe_layers": format_layer_ids(spec.moe_layers),
        "hash_routed_layers": format_layer_ids(spec.hash_routed_layers),
    }

    def draw() -> None:
        shown = {key: value for key, value in text.items() if value not in (None, "", ())}
        out.table(
            ("figure", "value"),
            [(key, _value(value)) for key, value in shown.items()],
            left=(0, 1),
        )

    out.show(facts, [{"figure": key, "value": value} for key, value in text.items()], draw)


def _row(spec: ModelSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "moe_layers": spec.num_moe_layers,
        "experts": spec.num_experts,
        "top_k": spec.top_k,
        "hidden_size": spec.hidden_size,
        "moe_intermediate_size": spec.moe_intermediate_size,
        "total_params": spec.total_params,
        "weight_dtype": spec.weight_dtype,
    }


def _value(value: Any) -> str:
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return f"{int(value):,}"
    return str(value)
