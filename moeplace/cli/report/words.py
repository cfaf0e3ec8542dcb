"""A result in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.formulations.result import OPTIMAL_GAP

if TYPE_CHECKING:
    from moeplace.cli.report.gather import Gathered

UNITS = {
    "time": "ms",
    "balance": "pairs on the fullest rank",
    "copies": "token copies",
    "hops": "link crossings",
}
NB = "\u00a0"  # between a number and its unit
TERMS = ("dispatch", "compute", "combine")
TERM_WORDS = {
    "dispatch": "sending tokens to their experts",
    "compute": "the experts' own work",
    "combine": "bringing results back",
}


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds with four digits or so."""
    ms = seconds * 1e3
    return (
        f"{ms:,.0f}{NB}ms" if ms >= 1000 else f"{ms:.1f}{NB}ms" if ms >= 10 else f"{ms:.3f}{NB}ms"
    )


def microseconds(seconds: float) -> str:
    """Return seconds as microseconds."""
    return f"{seconds * 1e6:,.1f}{NB}µs"


def percent(share: float) -> str:
    """Return a share in percent; small ones keep their first digit."""
    if share and abs(share) < 0.0005:
        return f"{share * 100:.1g}{NB}%"
    return f"{share * 100:.1f}{NB}%"


def value_text(name: str, value: float) -> str:
    """Return the value of an objective with its unit, summed over layers."""
    return milliseconds(value) if name == "time" else f"{value:,.0f} {UNITS[name]}"


def headline(gathered: Gathered) -> list[str]:
    """Return what was reached, against what, and what is left, one sentence each."""
    problem, score = gathered.problem, gathered.found.score
    layers = problem.num_layers
    said = "layer" if layers == 1 else "layers"
    first = (
        f"One {problem.phase} step through {layers} MoE {said} takes "
        f"{milliseconds(score.step_time_s)}, {microseconds(score.step_time_s / layers)} a layer."
    )
    lines = [first]
    if problem.scenarios:
        named = ", ".join(f"{one.phase} {one.workload.name}" for one in problem.scenarios)
        lines = [
            f"All figures are the {problem.risk} over the scenarios ({named}): "
            f"a step takes {milliseconds(score.step_time_s)}."
        ]
    if problem.objective != "time":
        lines.append(
            f"What was minimized is {problem.objective}: "
            f"{value_text(problem.objective, score.objective)}, summed over the layers."
        )
    lines.append(_against(gathered))
    lines.append(_left(gathered))
    if broken := gathered.document["violations"]:
        lines.append(f"The placement breaks a rule: {broken[0]}.")
    return lines


def _against(gathered: Gathered) -> str:
    """Compare with the best baseline, and with contiguous placement if that is another."""
    name, ours = gathered.problem.objective, gathered.found.score.objective
    theirs = {key: score.objective for key, score in gathered.baselines.items()}
    best = min(theirs, key=lambda key: theirs[key])
    told = f"That is {_compared(name, ours, theirs[best])} {_named(gathered, best)}"
    if best != "contiguous":
        told += (
            f", the best of the baselines, and {_compared(name, ours, theirs['contiguous'])} "
            "contiguous placement"
        )
    return told + "."


def _named(gathered: Gathered, key: str) -> str:
    from moeplace.cli.report.gather import label_of

    label = label_of(key, gathered.document)
    return label if label.startswith("EPLB") else f"{label} placement"


def _compared(name: str, ours: float, theirs: float) -> str:
    change = (theirs - ours) / theirs if theirs else 0.0
    if abs(change) < 0.0005:
        return "as good as"
    if name == "time":
        return f"{percent(abs(change))} {'faster' if change > 0 else 'slower'} than"
    return f"{percent(abs(change))} {'less' if change > 0 else 'more'} than"


def _left(gathered: Gathered) -> str:
    objective = gathered.document["objective"]
    bound, gap = objective["lower_bound"], objective["gap"]
    if bound is None or gap is None:
        return "No lower bound is known, so nobody can say how much better it could be."
    if gap <= OPTIMAL_GAP:
        return "It is optimal: a proof says that no placement is better."
    return (
        f"No placement can be better than {value_text(objective['name'], bound)}; that is proven. "
        f"At most {percent(gap)} is left to gain."
    )


def where_time_goes(gathered: Gathered) -> str:
    """Return which term takes most of the time."""
    score = gathered.found.score
    parts = {term: getattr(score, f"{term}_s") for term in TERMS}
    most = max(parts, key=lambda term: parts[term])
    total = score.step_time_s
    share = parts[most] / total if total else 0.0
    return f"{share * 100:.0f}{NB}% of the time is {most}: {TERM_WORDS[most]}."


def workload_words(gathered: Gathered) -> list[str]:
    """Return where the workload comes from, measured or synthetic."""
    workload = gathered.problem.workload
    lines = [f"Loads: {workload.kind}. Workload {workload.name}."]
    if workload.token_sets is None:
        lines.append(
            "Which experts a token uses together is not known: the workload has loads only."
        )
    elif workload.token_sets_kind == "synthetic":
        lines.append(
            "Which experts a token uses together is synthetic: generated from the loads, a model "
            "and no measurement."
        )
    else:
        lines.append("Which experts a token uses together is measured.")
    if workload.source:
        lines.append(f"Source: {workload.source}")
    return lines
