"""Sentences about time: rebalancing, moving, buffering, gating."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from moeplace.cli.explain.words import counted, percent, sentence, times

if TYPE_CHECKING:
    from collections.abc import Mapping

SAME = 0.0005
ORACLE = "oracle"


def explain_replay(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about policies: which is best, and whether its moves pay."""
    rows = document["rows"]
    real = [row for row in rows if not row["policy"].startswith(ORACLE)] or rows
    first_row, best = rows[0], min(real, key=lambda row: row["step_ms"])
    if best is first_row:
        first = f"no policy is faster than {first_row['policy']}"
    else:
        saved = 1 - best["step_ms"] / first_row["step_ms"]
        first = f"the best policy is {best['policy']}, {percent(saved)} faster than "
        first += first_row["policy"]
    first += (
        f"; knowing every window and moving for free would take {percent(_less(best, document))} "
        "less still"
    )
    if not best["moved_replicas"]:
        return [sentence(first), sentence("it moves nothing, so that nothing has to pay")]
    gained = first_row["total_s"] - best["total_s"]
    second = (
        f"its {counted(best['moved_replicas'], 'move')} ({best['moved_GB']:,.1f} GB) hold serving "
        f"up for {best['exposed_s']:.2g} s and save {gained:,.3g} s over "
        f"{counted(document['windows']['count'], 'window')}"
    )
    return [
        sentence(first),
        sentence(f"{second}: they {'pay' if gained > 0 else 'do not pay'}"),
    ]


def _less(best: Mapping[str, Any], document: Mapping[str, Any]) -> float:
    return max(0.0, 1 - document["oracle_step_ms"] / best["step_ms"]) if best["step_ms"] else 0.0


def explain_advice(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about how maps age: how fast, and what changing them saves."""
    aged = [row for row in document["rows"] if row["age"] > 0]
    if not aged:
        return ["One window alone does not tell how maps age."]
    soon, old = aged[0], aged[-1]
    first = f"a map of {counted(soon['age'], 'window')} ago is {percent(soon['slower'])} slower"
    first += " than a fresh one"
    if old is not soon:
        first += f", one of {old['age']} ago {percent(old['slower'])}"
    never, cost = document["never_s"], soon["move_s"]
    if document["every"] is None:
        second = (
            f"loads drift too fast or too little for a newer map to help: changing costs "
            f"{cost:.2g} s each time, and never changing loses {never:.2g} s a window"
        )
    else:
        second = (
            f"changing every {counted(document['every'], 'window')} loses "
            f"{document['loss_s']:.2g} s a window with its copies, never changing {never:.2g} s"
        )
    return [sentence(first), sentence(second)]


def explain_plan(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about a schedule: what it waits for, what shortens it."""
    rounds = document["rounds"]
    copies = [copy for part in rounds for copy in part["copies"]]
    if not copies:
        return ["The placements hold the same experts on the same ranks; nothing moves."]
    received = Counter(copy["to_rank"] for copy in copies)
    sent = Counter(copy["from_rank"] for copy in copies)
    (to, most), (source, out) = received.most_common(1)[0], sent.most_common(1)[0]
    mean = len(copies) / max(1, len(received))
    what, rank, number = ("receives", to, most) if most >= out else ("sends", source, out)
    first = (
        f"rank {rank} {what} most, {number:,} of {len(copies):,} "
        f"copies; a rank that receives any gets {mean:,.1f} on average"
    )
    staged = sum(copy["staged"] for copy in copies)
    if staged:
        second = (
            f"{percent(staged / len(copies))} of the copies pass through a buffer because ranks "
            f"are full; more buffers (--staging, now {document['staging']}) allow fewer rounds"
        )
    else:
        second = "no copy needs a buffer: every rank has room for what it receives"
    return [sentence(first), sentence(second)]


def explain_buffer(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about buffering: why that throughput, what would raise it."""
    advice, active = document["advice"], document["active_share"]
    rows = [
        row
        for row in document["rows"]
        if (row["balance"], row["policy"]) == (advice["balance"], advice["policy"])
    ]
    full = max(row["cache"] for row in rows)
    here = next(row for row in rows if row["cache"] == advice["cache"])
    if here["cache"] == full:
        first = f"all {full} experts of a layer fit on a rank, so that nothing is fetched"
    else:
        first = (
            f"holding {here['cache']} of {full} experts misses {percent(here['miss_rate'])} of the "
            f"requests, and waiting for the host takes {percent(here['stall_share'])} of the time"
        )
    if advice["kept"] >= advice["keep"]:
        second = f"that keeps {percent(advice['kept'])} of the throughput, as asked for"
    else:
        second = (
            f"a batch needs {percent(active)} of all experts, so that few can be left out: "
            f"{percent(advice['keep'])} of the throughput takes {advice['enough']}; smaller "
            "batches need fewer"
        )
    return [sentence(first), sentence(second)]


def explain_prefill_aware(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about placing by the prefill: what it gains, where, and spare slots."""
    cases: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for row in document["rows"]:
        cases.setdefault((row["ranks"], row["batch"]), []).append(row)
    gains = {}
    for case, rows in cases.items():
        known = [row for row in rows if row["fitted_on"] == "prefill"]
        gains[case] = max(known, key=lambda row: (row["compute_gain"], -row["redundant"]))
    best = max(gains, key=lambda case: gains[case]["compute_gain"])
    least = min(gains, key=lambda case: gains[case]["compute_gain"])
    ranks, batch = best
    row = gains[best]
    first = (
        f"knowing the prefill makes the expert kernels {times(row['compute_gain'])} times as fast "
        f"on {ranks} ranks at {batch:,} tokens ({row['placement']}), "
        f"{percent(max(0.0, row['over_oracle']))} above the oracle"
    )
    if least != best:
        first += (
            f"; least at {least[1]:,} tokens on {least[0]}, {times(gains[least]['compute_gain'])}"
        )
    spare = [r for r in cases[best] if r["fitted_on"] == "prefill" and r["redundant"]]
    none = [r for r in cases[best] if r["fitted_on"] == "prefill" and not r["redundant"]]
    if not spare or not none:
        second = "there is no room for a redundant expert on each rank"
    else:
        with_spare, without = (max(r["compute_gain"] for r in rows) for rows in (spare, none))
        more = with_spare / without - 1
        verb = "pays" if more > SAME else "does not pay"
        second = f"a redundant expert on each rank {verb} there: {times(with_spare)} times"
        second += f" instead of {times(without)}"
    return [sentence(first), sentence(second)]


def explain_gating(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about gating: what padding costs, what the step then waits for."""
    rows = {row["gating"]: row for row in document["rows"]}
    static, dynamic = rows["static"], rows["dynamic"]
    speedup = static["step_ms"] / dynamic["step_ms"]
    first = (
        f"fixed capacities send and compute {times(static['waste'])} rows for every one that is "
        f"used, and without padding a step is {times(speedup)} times faster"
    )
    if static["dropped_share"] > 0:
        first += f"; they also drop {percent(static['dropped_share'])} of the choices"
    parts = {
        "the gate": dynamic["gate_ms"],
        "the exchange": dynamic["exchange_ms"],
        "the experts": dynamic["expert_ms"],
    }
    most = max(parts, key=lambda name: parts[name])
    total = sum(parts.values()) or 1.0
    second = f"without padding {percent(parts[most] / total)} of a layer's time is {most}"
    saved = 1 - dynamic["activation_MB"] / static["activation_MB"]
    return [sentence(first), sentence(f"{second}; activations take {percent(saved)} less memory")]


def explain_gating_paper(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about the paper's workloads: where dynamic gating gains, against it."""
    rows = document["rows"]
    best = max(rows, key=lambda row: row["best_batch"])
    first = (
        f"the gain follows the padding: {best['workload']} on {counted(best['nodes'], 'node')}, "
        f"with {times(best['waste'])} rows for every one used, gains most, "
        f"{times(best['best_batch'])} times"
    )
    told = [row for row in rows if row["nodes"] == 1 and row["paper_speedup"]]
    errors = [row["best_batch"] / row["paper_speedup"] for row in told]
    low, high = min(errors), max(errors)
    second = (
        f"on one node the model gives {times(low)} to {times(high)} times what the paper measured"
    )
    return [sentence(first), sentence(second)]
