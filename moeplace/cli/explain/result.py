"""Sentences about a placement: what takes its time, how far from optimal it can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moeplace.cli.explain.words import counted, percent, sentence, times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.cli.explain.limits import Limits
    from moeplace.formulations.result import Result

OPTIMAL_GAP = 1e-6
EVEN = 0.005  # an unevenness below this share of the time is not worth a word
WORTH = 0.005  # a saving below this share is not worth a word
SPEEDS = {
    "arithmetic": "twice the arithmetic",
    "memory": "twice the memory speed",
    "link": "links twice as fast",
}
COUNTED = {"balance": "pairs on the fullest rank", "copies": "copies", "hops": "link crossings"}


def explain_result(found: Result, document: Mapping[str, Any] | None = None) -> list[str]:
    """Return two sentences about what ``solve`` or ``evaluate`` found.

    The first says what its time waits for and what faster hardware would save with the same
    placement, the second how far from optimal it can be and whether redundant experts pay.

    Parameters
    ----------
    found
        The result; of a robust problem the scenario that is slowest is taken apart.
    document
        The same as a document, with ``redundancy`` where it was searched for; made if not given.
    """
    from moeplace.cli.explain.limits import limits_of

    problem, score, placement = found.problem, found.score, found.placement
    if score is None or placement is None:
        return ["No placement was found, so that there is nothing to explain."]
    if found.scenarios:
        worst = max(range(len(found.scenarios)), key=lambda i: found.scenarios[i].step_time_s)
        problem, score = problem.scenarios[worst], found.scenarios[worst]
    limits = limits_of(problem, placement, score)
    document = found.to_dict() if document is None else document
    if document["objective"]["name"] == "time":
        first = limit_sentence(limits)
    else:
        first = tradeoff_sentence(document, limits)
    return [first, left_sentence(document, limits)]


def limit_sentence(limits: Limits) -> str:
    """Say which part of the layer time is largest, and which faster hardware would save most."""
    total = limits.total_s or 1.0
    share, uneven = percent(getattr(limits, f"{limits.kind}_s") / total), limits.uneven_s / total
    balance = (
        f"and an even load would save {percent(uneven)} at most"
        if uneven >= EVEN
        else "and the ranks are even"
    )
    text = {
        "tokens": f"arithmetic on tokens takes {share} of the time, {balance}",
        "weights": f"reading the weights of the experts in use takes {share} of the time, not "
        f"arithmetic on tokens, {balance}",
        "links": f"bytes on the busiest link ({limits.link}, {times(limits.link_ratio)} times the "
        f"mean of its kind in the slowest layer) take {share} of the time, {balance}",
        "fixed": f"fixed costs of kernels and messages take {share} of the time, which no "
        "placement changes and a larger batch spreads",
    }[limits.kind]
    return sentence(f"{text}; {savings(limits)}")


def savings(limits: Limits) -> str:
    """Say what faster parts would save with the same placement, the best two."""
    total = limits.total_s or 1.0
    found = sorted(limits.saved_s.items(), key=lambda item: -item[1])
    worth = [(name, saved / total) for name, saved in found if saved / total >= WORTH][:2]
    if not worth:
        return "no faster part would save 0.5%"
    (name, saved), *others = worth
    text = f"{SPEEDS[name]} would save {percent(saved)}"
    return text + "".join(f", {SPEEDS[other]} {percent(share)}" for other, share in others)


def tradeoff_sentence(document: Mapping[str, Any], limits: Limits) -> str:
    """Say what another objective than time cost in time, against the fastest baseline."""
    name, score = document["objective"]["name"], document["score"]
    value = document["objective"]["value"]
    layers = document["problem"]["layers"]
    best = min(document["baselines"], key=lambda key: document["baselines"][key]["step_time_s"])
    theirs = document["baselines"][best]
    slower = score["step_time_s"] / theirs["step_time_s"] - 1 if theirs["step_time_s"] else 0.0
    verb = "longer" if slower >= 0 else "shorter"
    text = f"{value / layers:,.1f} {COUNTED[name]} a layer"
    if abs(slower) < WORTH:
        return sentence(f"{text}, and a step takes as long as with {_label(best)}")
    return sentence(
        f"{text}, and a step is {percent(abs(slower))} {verb} than with {_label(best)}: the "
        f"fullest rank serves {times(1 / score['balancedness'])} mean loads instead of "
        f"{times(1 / theirs['balancedness'])}, a token makes {score['copies_per_token']:.2f} "
        f"copies instead of {theirs['copies_per_token']:.2f}"
    )


def left_sentence(document: Mapping[str, Any], limits: Limits) -> str:
    """Say how far from optimal it can be, and whether redundant experts pay or may help."""
    return sentence(f"{_gap(document)}{_redundancy(document, limits)}")


def _gap(document: Mapping[str, Any]) -> str:
    objective = document["objective"]
    gap, bound = objective["gap"], objective["bound"]
    verb = "faster" if objective["name"] == "time" else "lower"
    if document["violations"]:
        return f"it breaks {counted(len(document['violations']), 'rule')} of the problem"
    if gap is None:
        return "nothing is proven about how far from optimal it is"
    if gap <= OPTIMAL_GAP:
        return f"it is proven optimal: no placement of this problem is {verb}"
    text = f"no placement can be more than {percent(gap)} {verb}"
    terms = {} if bound is None else bound["terms"]
    if objective["name"] != "time" or not {"dispatch_s", "compute_s", "combine_s"} <= terms.keys():
        return text
    room = {
        "communication": sum(document["score"][t] - terms[t] for t in ("dispatch_s", "combine_s")),
        "compute": document["score"]["compute_s"] - terms["compute_s"],
    }
    most = max(room, key=lambda name: room[name])
    share = room[most] / (sum(room.values()) or 1.0)
    if share >= 0.995:
        return f"{text}, all of it in {most}"
    return f"{text}, {percent(share)} of it in {most}"


def _redundancy(document: Mapping[str, Any], limits: Limits) -> str:
    """Say what redundant experts brought, or whether single hot experts ask for them."""
    layers, redundant = document["problem"]["layers"], document["problem"]["redundant"]
    tried = document.get("redundancy")
    if tried is not None:
        steps = {step["redundant"]: step["value"] for step in tried["steps"]}
        if redundant == 0:
            return f"; redundant experts do not pay: {tried['stopped']}"
        saved = 1 - steps[redundant] / steps[0]
        return f"; {redundant} redundant experts save {percent(saved)}, {tried['stopped']}"
    name = document["objective"]["name"]
    counts = name == "balance" or (name == "time" and limits.kind == "tokens")
    if limits.hot_layers and counts:
        more = "more redundant experts" if redundant else "redundant experts"
        return (
            f"; in {limits.hot_layers} of {counted(layers, 'layer')} one replica alone serves more "
            f"than a mean rank, which only {more} can share out"
        )
    return ""


def explain_bound(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about a bound: what makes it up, what would make it tighter."""
    name, terms = document["objective"], document["terms"]
    theorems = document["theorems"] or terms
    first = "any placement of this problem keeps the bound"
    part = ""
    if name == "time" and {"dispatch_s", "compute_s", "combine_s"} <= terms.keys():
        total = sum(terms.values()) or 1.0
        compute = terms["compute_s"] / total
        part = "compute" if compute >= 0.5 else "dispatch"
        kind, share = ("compute", compute) if compute >= 0.5 else ("communication", 1 - compute)
        first += f"; {percent(share)} of it is {kind}"
    tried = {
        theorem.removeprefix(f"{part}: "): value
        for theorem, value in theorems.items()
        if theorem.startswith(part) and not theorem.startswith("touched")
    }
    ordered = sorted(tried, key=lambda theorem: -tried[theorem])
    if len(ordered) > 1 and tried[ordered[0]] > 0:
        less = 1 - tried[ordered[1]] / tried[ordered[0]]
        than = "as much" if less < WORTH else f"{percent(less)} less"
        of = f" of {part}" if part else ""
        first += f"; the strongest theorem{of} is '{ordered[0]}', '{ordered[1]}' gives {than}"
    by_layer = document["layer_lower_bound"]
    mean = sum(by_layer) / len(by_layer)
    ids = document["problem"]["layer_ids"] or range(len(by_layer))
    highest = max(range(len(by_layer)), key=lambda i: by_layer[i])
    second = f"layer {list(ids)[highest]} has the highest bound"
    if mean > 0 and by_layer[highest] / mean - 1 < WORTH:
        second = "the bounds of all layers are alike"
    elif mean > 0:
        second += f", {times(by_layer[highest] / mean)} times the mean layer"
    if document["effort"] == "fast" and name in ("time", "copies", "hops"):
        second += "; --bound-effort strong can raise what communication adds"
    return [sentence(first), sentence(second)]


def _label(baseline: str) -> str:
    return {"eplb": "EPLB"}.get(baseline, f"{baseline} placement")
