"""The wafer as one GPU: every strategy, four models, two wafers, four batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.timing import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.replay.wafer.study import WaferReport

MODELS = ("deepseek-v3", "kimi-k2", "qwen3-235b-a22b", "llama-4-maverick")
WAFERS = ("wafer-dojo-5x5", "wafer-sow-3x8")
BATCHES = (1024, 4096, 8192, 16384)
PAPER = (4096, 8192, 16384)
OTHERS = ("ep", "pred", "allo", "allo+pred", "moeplace")
QUICK = (("deepseek-v3",), ("wafer-dojo-5x5",), (1024, 4096))


def report(quick: bool) -> str:
    """Return the tables with HBM enforced and, as in the paper, without limit."""
    models, wafers, batches = QUICK if quick else (MODELS, WAFERS, BATCHES)
    parts = []
    for enforced in (True, False):
        found = _reports(models, wafers, batches, enforced)
        title = "Copies within HBM" if enforced else "HBM without limit, as in the paper"
        parts.append(f"{title}; throughput over Base\n\n{_rows(found)}\n\n{_means(found)}")
    return "\n\n".join(parts)


def report_aspects(quick: bool) -> str:
    """Return what each aspect of moeplace's strategy is worth: throughput without it."""
    from moeplace import load_model, load_system
    from moeplace.replay.wafer.demand import generated_demand
    from moeplace.replay.wafer.machine import make_machine
    from moeplace.replay.wafer.strategy_moeplace import ASPECTS, Static
    from moeplace.replay.wafer.study import run_strategy

    rows = []
    for name in ("deepseek-v3", "qwen3-235b-a22b", "llama-4-maverick")[: 1 if quick else None]:
        model = load_model(name)
        for batch in (1024, 4096, 16384)[: 2 if quick else None]:
            machine = make_machine(model, load_system("wafer"), batch)
            demand = generated_demand(model, batch, layers=4, steps=8)
            whole, *others = (
                run_strategy("moeplace", Static(machine, demand, without=without), machine, demand)
                for without in ((), *((aspect,) for aspect in ASPECTS))
            )
            rows.append(
                (
                    f"{name}, batch {batch:,}",
                    f"{whole.of_bound:.3f}",
                    *(f"{whole.seconds / other.seconds:.3f}" for other in others),
                )
            )
    return table(("case", "of bound", *(f"without {aspect}" for aspect in ASPECTS)), rows)


def _reports(
    models: Sequence[str], wafers: Sequence[str], batches: Sequence[int], enforced: bool
) -> list[WaferReport]:
    from moeplace import wafer_study

    return [
        wafer_study(model, wafer, batch=batch, enforce_capacity=enforced)
        for model in models
        for wafer in wafers
        for batch in batches
    ]


def _rows(found: Sequence[WaferReport]) -> str:
    headers = ("model, wafer", "batch", "EP", "Pred", "Allo", "Allo+Pred", "moeplace",
               "Allo+Pred / EP", "moeplace / EP", "moeplace of bound",
               "fewer hops: Pred", "Allo", "Allo+Pred")  # fmt: skip
    return table(headers, [_row(report) for report in found])


def _row(report: WaferReport) -> tuple[str, ...]:
    gain = {row.strategy: row.speedup or 0.0 for row in report.rows}
    fewer = {name: _fewer(report, name) for name in ("pred", "allo", "allo+pred")}
    name = f"{report.model}, {report.system.removeprefix('wafer-')}"
    return (
        name + ("" if report.fits else " (does not fit)"),
        f"{report.batch:,}",
        *(f"{gain[name]:.2f}" for name in OTHERS),
        f"{gain['allo+pred'] / gain['ep']:.2f}",
        f"{gain['moeplace'] / gain['ep']:.2f}",
        f"{report.row('moeplace').of_bound:.2f}",
        *("none left" if ratio == float("inf") else f"{ratio:.1f}" for ratio in fewer.values()),
    )


def _fewer(report: WaferReport, strategy: str) -> float:
    hops = report.row(strategy).hops
    return report.row("base").hops / hops if hops else float("inf")


def _means(found: Sequence[WaferReport]) -> str:
    """Means over models and wafers by batch, hops in total."""
    rows = []
    groups: dict[str, list[WaferReport]] = {}
    later: dict[str, list[WaferReport]] = {}  # the paper's batches
    for report in found:
        groups.setdefault(f"{report.batch:,}", []).append(report)
        if report.batch in PAPER:
            for name in ("4,096 to 16,384", report.model, report.system.removeprefix("wafer-")):
                later.setdefault(name, []).append(report)
    for batch, some in (groups | later).items():
        gain = {name: sum(r.row(name).speedup or 0.0 for r in some) / len(some) for name in OTHERS}
        ratio = {
            name: sum((r.row(name).speedup or 0.0) / (r.row("ep").speedup or 1.0) for r in some)
            / len(some)
            for name in ("allo+pred", "moeplace")
        }
        base = sum(r.row("base").hops for r in some)
        hops = [sum(r.row(n).hops for r in some) for n in ("pred", "allo", "allo+pred")]
        rows.append(
            (
                batch,
                *(f"{gain[name]:.2f}" for name in OTHERS),
                *(f"{value:.2f}" for value in ratio.values()),
                *(f"{base / count:.0f}" if count else "none left" for count in hops),
            )
        )
    headers = ("mean, batch", "EP", "Pred", "Allo", "Allo+Pred", "moeplace", "Allo+Pred / EP",
               "moeplace / EP", "fewer hops: Pred", "Allo", "Allo+Pred")  # fmt: skip
    return table(headers, rows)
