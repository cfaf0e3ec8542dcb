"""Traces and their statistics as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moeplace.cli.output import Output
    from moeplace.traces import RoutingTrace, Workload


def facts_of(found: RoutingTrace | Workload) -> dict[str, Any]:
    """Return what a trace or a table of loads holds, fit for JSON."""
    from moeplace.traces import RoutingTrace, trace_info

    if isinstance(found, RoutingTrace):
        return {"holds": "tokens", **trace_info(found).as_dict()}
    return {
        "holds": "loads",
        "name": found.name,
        "kind": found.kind,
        "tokens": found.num_tokens or None,
        "layers": found.num_layers,
        "top_k": found.top_k,
        "experts": found.num_experts,
        "layer_ids": found.layer_ids,
        "phases": {} if found.phase is None else {found.phase: found.num_tokens},
        "source": found.source,
    }


def draw_facts(facts: Mapping[str, Any], out: Output) -> None:
    """Print the facts as a table of names and values."""
    from moeplace.models import format_layer_ids

    text = dict(facts)
    if text["layer_ids"] is not None:
        text["layer_ids"] = format_layer_ids(text["layer_ids"])
    if text.get("phase_spearman"):
        values = text.pop("phase_spearman")
        text["prefill and decode, rank correlation"] = f"{_mean(values):.3f} (mean over layers)"
    if text.get("tokens_per_request"):
        low, median, high = text["tokens_per_request"]
        text["tokens_per_request"] = f"{low:,} to {high:,}, median {median:,.0f}"
    out.table(
        ("what", "value"),
        [
            (name.replace("_", " "), _value(value))
            for name, value in text.items()
            if value not in (None, "", (), {})
        ],
        left=(0, 1),
    )


def stats_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each layer."""
    layers = document["layers"]
    ids = document["layer_ids"] or range(layers)
    rows = []
    for row in range(layers):
        line: dict[str, Any] = {"layer": ids[row]}
        for key in ("imbalance", "gini", "effective_experts", "top_expert", "top_share"):
            line[key] = document[key][row]
        for key in ("pair_share", "pair_lift", "contiguous_ranks"):
            for part, values in (document[key] or {}).items():
                line[f"{key} {part}"] = values[row]
        rows.append(line)
    return rows


def draw_stats(document: Mapping[str, Any], out: Output) -> None:
    """Print the statistics of all layers, and what they come to."""
    sets = document["token_sets_kind"]
    kinds = f"{document['kind']} loads" + (f", {sets} token sets" if sets else "")
    out.line(f"{document['name']} ({kinds})", bold=True)
    known = [f"{document['layers']} layers", f"{document['experts']} experts"]
    if document["tokens"]:  # loads without top_k do not tell the tokens
        known.insert(0, f"{document['tokens']:,} tokens")
    if document["top_k"] is not None:
        known.append(f"top {document['top_k']}")
    out.line(", ".join([*known, document["phase"] or "phase not said"]))
    out.line()
    pairs = document["pair_lift"] is not None
    headers = ["layer", "max/\nmean", "Gini", "effective\nexperts", "top\nexpert", "top\nshare"]
    if pairs:
        headers += ["top 1 % of\npairs hold", "lift over\nchance"]
    table = []
    for row in stats_rows(document):
        cells = [
            str(row["layer"]),
            f"{row['imbalance']:.2f}",
            f"{row['gini']:.3f}",
            f"{row['effective_experts']:.1f}",
            str(row["top_expert"]),
            f"{row['top_share']:.2%}",
        ]
        if pairs:
            cells += [f"{row['pair_share 1%']:.1%}", f"{row['pair_lift 1%']:.2f}"]
        table.append(cells)
    out.table(headers, table, left=())
    if document["contiguous_ranks"] is not None:
        out.line()
        out.table(
            ("ranks", "a token touches\nin order", "dealt\nat random"),
            [
                (str(ranks), f"{_mean(values):.2f}", f"{document['random_ranks'][ranks]:.2f}")
                for ranks, values in document["contiguous_ranks"].items()
            ],
            left=(),
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(_value(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
