"""A result as people read it; every number comes from the JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.cli.output import Output

HEADERS = (
    "",
    "layer\ntime µs",
    "dispatch\nµs",
    "compute\nµs",
    "combine\nµs",
    "balanc-\nedness",
    "copies/\ntoken",
    "hops/\ntoken",
)
TIMES = ("step_time_s", "dispatch_s", "compute_s", "combine_s")
OBJECTIVES = {
    "time": "layer time",
    "balance": "pairs on the fullest rank",
    "copies": "copies that leave their rank",
    "hops": "link crossings",
}


def draw_result(result: Mapping[str, Any], out: Output) -> None:
    """Print a result as tables and lines."""
    problem = result["problem"]
    draw_headline(problem, out)
    out.line()
    out.table(HEADERS, _score_rows(result, result["score"], result["baselines"]), bold=(3,))
    for line in (*_duplicates(result), *_verdict(result), "", _other_phase(result)):
        out.line(line)
    if (held := result["holdout"]) is not None:
        out.line()
        out.line(f"held out ({_how_held(held)}), same maps:")
        out.table(HEADERS, _score_rows(result, held["score"], held["baselines"]), bold=(3,))
    out.line()
    for line in (_memory(result), _ending(result)):
        out.line(line)


def draw_headline(problem: Mapping[str, Any], out: Output) -> None:
    """Print what was solved: model, system, phase, workload and rules."""
    out.line(
        f"{problem['model']} on {problem['system']}: {problem['layers']} MoE layers, "
        f"{problem['experts']} experts, top {problem['top_k']}, {problem['ranks']} ranks",
        bold=True,
    )
    out.line(
        f"{problem['phase']}, {problem['tokens_per_rank']:,} tokens a rank, "
        f"dedup {problem['dedup']}, dispatch {problem['dispatch']}, "
        f"{problem['redundant']} redundant, {problem['slots']} slots, {problem['weight_dtype']}"
    )
    workload = problem["workload"]
    kinds = [f"{workload['loads']} loads"]
    if workload["token_sets"] is not None:
        kinds.append(f"{workload['token_sets']} token sets")
    out.line(f"workload {workload['name']} ({', '.join(kinds)})")


def csv_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each placement, phase and part of the workload."""
    phase = result["problem"]["phase"]
    name, objective = _name(result), result["objective"]
    rows = [
        {"placement": key, "phase": phase, "part": "fit", **score}
        for key, score in result["baselines"].items()
    ]
    rows.append(
        {"placement": name, "phase": phase, "part": "fit", **(result["score"] or {})}
        | {"objective": objective["name"], "value": objective["value"]}
        | {"lower_bound": objective["lower_bound"], "gap": objective["gap"]}
    )
    for other, scores in result["baselines_by_phase"].items():
        if other != phase:
            both = {**scores, name: result["scores_by_phase"][other]}
            rows += [
                {"placement": key, "phase": other, "part": "fit", **score}
                for key, score in both.items()
            ]
    if (held := result["holdout"]) is not None:
        both = {**held["baselines"], name: held["score"]}
        rows += [
            {"placement": key, "phase": phase, "part": "holdout", **score}
            for key, score in both.items()
        ]
    return rows


def gap_text(gap: float | None) -> str:
    """Return a gap in percent."""
    return "unknown" if gap is None else f"{gap:.2%}" if gap >= 0.0001 else f"{gap:.1g}"


def objective_text(name: str, value: float, layers: int) -> str:
    """Return the value of an objective as a mean over the layers, with its unit."""
    if name == "time":
        return f"{value / layers * 1e6:,.1f} µs a layer"
    return f"{value / layers:,.1f} {OBJECTIVES[name]} a layer"


def _name(result: Mapping[str, Any]) -> str:
    solver = str(result["solver"])
    if solver == "evaluate":
        return "placement"
    return "moeplace" if solver == "auto" else f"moeplace ({solver})"


def _score_rows(
    result: Mapping[str, Any], score: Mapping[str, Any], baselines: Mapping[str, Any]
) -> list[list[str]]:
    layers = result["problem"]["layers"]
    named = {**{_label(result, key): value for key, value in baselines.items()}}
    named[_name(result)] = score
    return [
        [
            name,
            *(f"{value[term] / layers * 1e6:,.1f}" for term in TIMES),
            f"{value['balancedness']:.3f}",
            f"{value['copies_per_token']:.2f}",
            f"{value['hops_per_token']:.2f}",
        ]
        for name, value in named.items()
    ]


def _label(result: Mapping[str, Any], baseline: str) -> str:
    if baseline != "eplb":
        return baseline
    label = "EPLB" if result["problem"]["eplb"] == "eplb" else "EPLB (uneven)"
    return label + (" *" if result["layers_with_duplicates"].get("eplb") else "")


def _duplicates(result: Mapping[str, Any]) -> list[str]:
    doubled = result["layers_with_duplicates"].get("eplb", 0)
    if not doubled:
        return []
    return [
        f"* holds an expert twice on a rank in {doubled} of {result['problem']['layers']} layers"
    ]


def _verdict(result: Mapping[str, Any]) -> list[str]:
    """Return what was reached against the best baseline and against the bound."""
    objective, layers = result["objective"], result["problem"]["layers"]
    name = objective["name"]
    lines = [""]
    if name == "time":
        best = min(result["baselines"], key=lambda key: result["baselines"][key]["step_time_s"])
        theirs = result["baselines"][best]["step_time_s"]
        ours = result["score"]["step_time_s"]
        change = (theirs - ours) / theirs if theirs else 0.0
        word = "faster" if change >= 0 else "slower"
        lines.append(
            f"{_name(result)}: {objective_text(name, objective['value'], layers)}, "
            f"{abs(change):.1%} {word} than {_label(result, best).removesuffix(' *')}, the best of "
            "the three"
        )
    else:
        lines.append(f"{_name(result)}: {objective_text(name, objective['value'], layers)}")
    if objective["lower_bound"] is None:
        return [*lines, "no lower bound is known"]
    return [
        *lines,
        f"lower bound {objective_text(name, objective['lower_bound'], layers)}, "
        f"gap {gap_text(objective['gap'])} ({objective['bound']['method']})",
    ]


def _other_phase(result: Mapping[str, Any]) -> str:
    phase = "decode" if result["problem"]["phase"] == "prefill" else "prefill"
    layers = result["problem"]["layers"]

    def time_us(score: Mapping[str, Any]) -> str:
        return f"{score['step_time_s'] / layers * 1e6:,.1f}"

    theirs = ", ".join(
        f"{_label(result, name).removesuffix(' *')} {time_us(score)}"
        for name, score in result["baselines_by_phase"][phase].items()
    )
    ours = time_us(result["scores_by_phase"][phase])
    return f"the same maps in {phase}, µs a layer: {_name(result)} {ours}; {theirs}"


def _how_held(held: Mapping[str, Any]) -> str:
    if held["by"] == "file":
        return "another file"
    return f"{held['fraction']:.0%} of the {held['by']}s"


def _memory(result: Mapping[str, Any]) -> str:
    return f"weights on the fullest rank: {result['score']['memory_GiB_per_rank']:.1f} GiB"


def _ending(result: Mapping[str, Any]) -> str:
    parts = [f"status {result['status']}"]
    if result["limit"]:
        parts.append(f"stopped by: {result['limit']}")
    parts += [f"{result['runtime_s']:.1f} s", f"seed {result['seed']}"]
    if result["placement"]:
        parts.append(f"placement in {result['placement']}")
    return ", ".join(parts)
