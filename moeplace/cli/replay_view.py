"""What `moeplace replay` prints as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moeplace.cli.output import Output


def draw_rows(document: dict[str, Any], out: Output) -> None:
    """Print the policies of a replay, and their balance by recording if there are several."""
    problem, settings = document["problem"], document["settings"]
    out.line(
        f"{problem['model']} on {problem['system']}: {problem['layers']} MoE layers, "
        f"{problem['experts']} experts, top {problem['top_k']}, {problem['ranks']} ranks x "
        f"{problem['slots'] // problem['ranks']} slots",
        bold=True,
    )
    out.line(
        f"{problem['phase']}, {problem['tokens_per_rank']:,} tokens a rank, dedup "
        f"{problem['dedup']}{', training' if settings['training'] else ''}"
    )
    windows = document["windows"]
    out.line(
        f"{windows['count']:,} windows of {settings['steps']:,} steps ({windows['kind']}): "
        f"{windows['name']}"
    )
    out.line(f"copies: {document['communication']}")
    out.line(
        f"loads estimated by {settings['estimate']}, horizon {settings['horizon']:g} windows, "
        f"migration {settings['migration']}"
    )
    out.line()
    out.table(
        [
            "policy",
            "step\nms",
            "speed-\nup",
            "regret",
            "balance\nratio",
            "changes",
            "replicas\nmoved",
            "GB\nmoved",
            "waited\ns",
        ],
        [
            [
                row["policy"],
                f"{row['step_ms']:,.2f}",
                f"{row['speedup']:.3f}",
                f"{row['regret']:.1%}",
                f"{row['balance_ratio']:.3f}",
                f"{row['rebalances']:,}",
                f"{row['moved_replicas']:,}",
                f"{row['moved_GB']:,.1f}",
                f"{row['exposed_s']:,.2f}",
            ]
            for row in document["rows"]
        ],
    )
    out.line()
    out.line(
        f"speed-up over {document['rows'][0]['policy']}; regret over an oracle that knows every "
        f"window and moves for free ({document['oracle_step_ms']:,.2f} ms a step)"
    )
    if document["labels"]:
        _draw_labels(document["labels"], out)


def _draw_labels(rows: list[dict[str, Any]], out: Output) -> None:
    labels = list(dict.fromkeys(row["label"] for row in rows))
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    value = {(row["policy"], row["label"]): row["balancedness"] for row in rows}
    out.line()
    out.line("balancedness (mean / largest rank load) by recording:")
    for number, label in enumerate(labels):
        out.line(f"  {number + 1}  {label}")
    out.table(
        ["policy", *(str(number + 1) for number in range(len(labels)))],
        [[name, *(f"{value[name, label]:.3f}" for label in labels)] for name in policies],
    )


def draw_advice(document: dict[str, Any], out: Output) -> None:
    """Print how maps age and how often to change them."""
    windows, settings = document["windows"], document["settings"]
    out.line(
        f"{windows['count']:,} windows of {settings['steps']:,} steps ({windows['kind']}): "
        f"{windows['name']}",
        bold=True,
    )
    out.line(f"copies: {document['communication']}")
    out.table(
        [
            "age,\nwindows",
            "maps\naged",
            "slower than\na fresh map",
            "worst",
            "to refresh:\nreplicas",
            "GB",
            "seconds",
        ],
        [
            [
                f"{row['age']:,}",
                f"{row['maps']}",
                f"{row['slower']:.2%}",
                f"{row['worst']:.2%}",
                f"{row['moved_replicas']:,.0f}",
                f"{row['moved_GB']:,.1f}",
                f"{row['move_s']:.3f}",
            ]
            for row in document["rows"]
        ],
    )
    out.line(document["advice"])
