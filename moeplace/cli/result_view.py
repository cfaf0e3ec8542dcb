"""A result as people read it; every number comes from the JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.cli.output import Output
    from moeplace.formulations.result import Result

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
BROKEN_SHOWN = 5
TIMES = ("step_time_s", "dispatch_s", "compute_s", "combine_s")
COUNTED = {
    "balance": "pairs on the fullest rank",
    "copies": "token copies",
    "hops": "link crossings",
}


def show_result(
    found: Result,
    document: dict[str, Any],
    out: Output,
    *,
    with_map: bool = False,
    map_layer: int | None = None,
) -> None:
    """Give out a result, with maps of the ranks if wanted, and the rules that it breaks."""
    maps = []
    if with_map or map_layer is not None:
        from moeplace.cli.rank_map import map_document, rank_maps, title_of

        maps = rank_maps(found, title_of(document), map_layer)
        document["map"] = map_document(maps, map_layer)

    def draw() -> None:
        draw_result(document, out)
        if maps:
            from moeplace.cli.rank_map import draw_rank_maps

            out.line()
            draw_rank_maps(maps, found.problem.plan.topology, map_layer, out)

    out.show(document, csv_rows(document), draw)
    for broken in found.violations[:BROKEN_SHOWN]:
        out.note(f"breaks a rule: {broken}")
    if (more := len(found.violations) - BROKEN_SHOWN) > 0:
        out.note(f"and {more} more; --format json lists all")


def draw_result(result: Mapping[str, Any], out: Output) -> None:
    """Print a result as tables and lines."""
    draw_headline(result["problem"], out)
    out.line()
    rows = _score_rows(result, result["score"], result["baselines"])
    out.table(HEADERS, [*rows, *_bound_row(result)], bold=(len(rows) - 1,))
    if doubled := result["layers_with_duplicates"].get("eplb"):
        layers = result["problem"]["layers"]
        out.line(f"* holds an expert twice on a rank in {doubled} of {layers} layers")
    out.line()
    for line in _verdict(result):
        out.line(line)
    if (held := result["holdout"]) is not None:
        out.line()
        out.line(f"the same maps on {_held_out(held)}, which they were not fitted on:")
        rows = _score_rows(result, held["score"], held["baselines"])
        out.table(HEADERS, rows, bold=(len(rows) - 1,))
    out.line()
    for line in (
        *_scenarios(result),
        _other_phase(result),
        _moves(result),
        _redundancy(result),
        _memory(result),
        _ending(result),
    ):
        if line:
            out.line(line)


def _scenarios(result: Mapping[str, Any]) -> list[str]:
    """Return one line for each scenario: what the map costs there."""
    problem = result["problem"]
    if not problem["scenarios"]:
        return []
    lines = [f"the {problem['risk']} over these scenarios is minimized and shown above:"]
    for scenario, score in zip(problem["scenarios"], result["scenarios"], strict=True):
        name = result["objective"]["name"]
        value = objective_text(name, score["objective"], problem["layers"])
        lines.append(
            f"  {scenario['phase']} {scenario['workload']}: {value}, "
            f"balancedness {score['balancedness']:.3f}"
        )
    return lines


def _moves(result: Mapping[str, Any]) -> str:
    score = result["score"]
    if score is None or score["moved_replicas"] is None:
        return ""
    moved, layers = score["moved_replicas"], result["problem"]["layers"]
    return f"{moved:,} replicas move, {moved / layers:.1f} a layer"


def _redundancy(result: Mapping[str, Any]) -> str:
    steps = result.get("redundancy")
    if steps is None:
        return ""
    layers, name = result["problem"]["layers"], result["objective"]["name"]
    tried = "; ".join(
        f"{step['redundant']}: {objective_text(name, step['value'], layers)}"
        for step in steps["steps"]
    )
    chosen = result["problem"]["redundant"]
    return f"redundant experts tried: {tried}. {chosen} pay; {steps['stopped']}"


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
        f"{'tokens stay, ' if problem['execution'] == 'stay' else ''}"
        f"{problem['weight_dtype']} weights"
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
    return f"{value / layers:,.1f} {COUNTED[name]}, mean over layers"


def _name(result: Mapping[str, Any]) -> str:
    solver = str(result["solver"])
    if solver == "evaluate":
        return "placement"
    return "moeplace" if solver == "auto" else f"moeplace ({solver})"


def _score_rows(
    result: Mapping[str, Any], score: Mapping[str, Any], baselines: Mapping[str, Any]
) -> list[list[str]]:
    layers = result["problem"]["layers"]
    named = {_label(result, key): value for key, value in baselines.items()}
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


def _bound_row(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the bound as a last row where it has the terms of the table."""
    bound, layers = result["objective"]["bound"], result["problem"]["layers"]
    if bound is None or not {"dispatch_s", "compute_s", "combine_s"} <= bound["terms"].keys():
        return []
    terms = [result["objective"]["lower_bound"], *(bound["terms"][term] for term in TIMES[1:])]
    return [["lower bound", *(f"{value / layers * 1e6:,.1f}" for value in terms), "", "", ""]]


def _verdict(result: Mapping[str, Any]) -> list[str]:
    """Return what was reached against the best baseline and against the bound."""
    objective, layers, name = result["objective"], result["problem"]["layers"], _name(result)
    lines = []
    if objective["name"] == "time":
        best = min(result["baselines"], key=lambda key: result["baselines"][key]["step_time_s"])
        theirs = result["baselines"][best]["step_time_s"]
        label = _label(result, best).removesuffix(" *")
        lines.append(f"{name} {_compared(result['score']['step_time_s'], theirs)} {label}")
    else:
        value = objective_text(objective["name"], objective["value"], layers)
        lines.append(f"{name}: {value}")
    if objective["lower_bound"] is None:
        return [*lines, "no lower bound is known"]
    value = objective_text(objective["name"], objective["lower_bound"], layers)
    lines.append(f"lower bound {value}; gap {gap_text(objective['gap'])}")
    lines.append(f"proven by: {objective['bound']['method']}")
    return lines


def _compared(ours: float, theirs: float) -> str:
    change = (theirs - ours) / theirs if theirs else 0.0
    if abs(change) < 0.0005:
        return "is as fast as the best of the three baselines,"
    word = "faster" if change > 0 else "slower"
    return f"is {abs(change):.1%} {word} than the best of the three baselines,"


def _other_phase(result: Mapping[str, Any]) -> str:
    phase = "decode" if result["problem"]["phase"] == "prefill" else "prefill"
    layers = result["problem"]["layers"]
    scores = {
        _label(result, name).removesuffix(" *"): score
        for name, score in result["baselines_by_phase"][phase].items()
    }
    scores[_name(result)] = result["scores_by_phase"][phase]
    times = ", ".join(
        f"{name} {score['step_time_s'] / layers * 1e6:,.1f}" for name, score in scores.items()
    )
    return f"the same maps in {phase}, µs a layer: {times}"


def _held_out(held: Mapping[str, Any]) -> str:
    if held["by"] == "file":
        return "the file held out"
    return f"{held['fraction']:.0%} of the {held['by']}s"


def _memory(result: Mapping[str, Any]) -> str:
    problem = result["problem"]
    limit = f"; at most {problem['max_load']:g} mean rank loads" if "max_load" in problem else ""
    return (
        f"{problem['slots'] // problem['ranks']} slots a rank, up to {problem['redundant']} "
        f"redundant experts; {result['score']['memory_GiB_per_rank']:.1f} GiB of weights at most"
        f"{limit}"
    )


def _ending(result: Mapping[str, Any]) -> str:
    parts = [str(result["status"])]
    if result["limit"]:
        parts.append(f"stopped by: {result['limit']}")
    if result["solver"] != "evaluate":
        parts.append(f"solver {result['solver']} took {result['runtime_s']:.1f} s")
    parts.append(f"seed {result['seed']}")
    if result["placement"]:
        parts.append(f"placement in {result['placement']}")
    return ", ".join(parts)
