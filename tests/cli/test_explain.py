from __future__ import annotations

import copy
import json

import pytest

from moeplace.cli.explain.comparison import explain_comparison, explain_pools, explain_sweep
from moeplace.cli.explain.insights import explain_insights
from moeplace.cli.explain.limits import Limits
from moeplace.cli.explain.models import explain_validation, explain_wafer
from moeplace.cli.explain.result import left_sentence, limit_sentence
from moeplace.cli.explain.serving import (
    explain_advice,
    explain_buffer,
    explain_gating,
    explain_plan,
    explain_prefill_aware,
    explain_replay,
)
from moeplace.cli.explain.words import percent, sentence


def limits(**parts):
    """Return limits of a step of one second, all of it arithmetic unless told."""
    given = {"tokens_s": 1.0, "weights_s": 0.0, "links_s": 0.0, "fixed_s": 0.0, "uneven_s": 0.0}
    saved = {"arithmetic": 0.0, "memory": 0.0, "link": 0.0} | parts.pop("saved_s", {})
    shown = {"hot_layers": 0, "link": "0->1", "link_ratio": 2.5}
    return Limits(**(given | shown | parts), saved_s=saved)


def result(gap=0.1, **changes):
    """Return what the sentences read of a result."""
    terms = {"dispatch_s": 0.1, "compute_s": 0.7, "combine_s": 0.1}
    document = {
        "problem": {"layers": 4, "redundant": 0},
        "objective": {"name": "time", "value": 1.0, "gap": gap, "bound": {"terms": terms}},
        "score": {"dispatch_s": 0.1, "compute_s": 0.8, "combine_s": 0.1},
        "violations": [],
    }
    return document | changes


@pytest.mark.parametrize(
    "share, text", [(0.123, "12%"), (0.0456, "4.6%"), (0.0012, "0.12%"), (0, "0%"), (1e-9, "0%")]
)
def test_percent(share, text):
    """Two digits, none for what is nothing."""
    assert percent(share) == text


def test_a_sentence():
    """A capital letter in front, one full stop behind."""
    assert sentence("it is so.") == "It is so."


def test_each_limit_is_named():
    """The largest part, its share, and the savings that are worth a word, largest first."""
    text = limit_sentence(limits(uneven_s=0.04, saved_s={"arithmetic": 0.45, "link": 0.001}))
    assert text == (
        "Arithmetic on tokens takes 100% of the time, and an even load would save 4% at most; "
        "twice the arithmetic would save 45%."
    )
    text = limit_sentence(limits(tokens_s=0.3, weights_s=0.7, saved_s={"memory": 0.3}))
    assert text.startswith("Reading the weights of the experts in use takes 70% of the time")
    assert text.endswith("twice the memory speed would save 30%.")
    text = limit_sentence(limits(tokens_s=0.4, links_s=0.6, saved_s={"link": 0.3}))
    assert "busiest link (0->1, 2.50 times" in text
    assert "take 60% of the time" in text
    text = limit_sentence(limits(tokens_s=0.4, fixed_s=0.6))
    assert text.startswith("Fixed costs")
    assert "a larger batch" in text
    assert "no faster part would save" in text


def test_how_far_from_optimal():
    """Optimal, a gap and where it lies, no bound, rules broken."""
    assert left_sentence(result(0.0), limits()).startswith("It is proven optimal")
    assert "more than 10% faster, all of it in compute" in left_sentence(result(), limits())
    document = result()
    document["score"]["dispatch_s"] = 0.4
    assert "75% of it in communication" in left_sentence(document, limits())
    document = result(None)
    assert "nothing is proven" in left_sentence(document, limits()).lower()
    broken = left_sentence(result(violations=["a", "b"]), limits())
    assert broken.startswith("It breaks 2 rules")


def test_whether_redundant_experts_pay():
    """From the steps that were tried; else from experts hotter than a rank, where tokens limit."""
    steps = {"steps": [{"redundant": 0, "value": 2.0}, {"redundant": 8, "value": 1.0}]}
    document = result(redundancy=steps | {"stopped": "16 would bring 0.1%"})
    document["problem"]["redundant"] = 8
    assert "8 redundant experts save 50%" in left_sentence(document, limits())
    document["problem"]["redundant"] = 0
    assert "do not pay" in left_sentence(document, limits())
    hot = left_sentence(result(), limits(hot_layers=3))
    assert "in 3 of 4 layers one replica alone serves more than a mean rank" in hot
    reading = limits(tokens_s=0.0, weights_s=1.0, hot_layers=3)
    assert "replica" not in left_sentence(result(), reading)


def run(solver, value, gap, seconds=1.0, instance="problem", rules=True):
    return {
        "solver": solver,
        "value": value,
        "gap": gap,
        "runtime_s": seconds,
        "instance": instance,
        "keeps_rules": rules,
    }


def test_comparison():
    """The best against the best baseline, the quick one near it, and what is left."""
    rows = [run("eplb", 1.1, 0.2, 0.1), run("auto", 1.0, 0.1, 30.0), run("lpt", 1.005, 0.11, 0.5)]
    first, second = explain_comparison({"instances": [1], "rows": rows})
    assert "that of auto, 9.1% below the best baseline, eplb" in first
    assert first.endswith("; within 1% of it: lpt.")
    assert "more than 10% better; eplb is last, 10% above the best" in second
    rows[1]["gap"] = 0.0
    assert (
        "proven optimal, and reached by auto"
        in explain_comparison({"instances": [1], "rows": rows})[1]
    )
    assert explain_comparison({"instances": [1], "rows": [run("a", 1.0, 0.0, rules=False)]}) == [
        "No solver found a placement that keeps the rules."
    ]


def test_comparison_of_instances():
    """Who is best on average, how many are proven, which is hardest."""
    rows = [run("auto", 1, 0.0, instance="a"), run("auto", 1, 0.3, instance="b")]
    line = {"solver": "auto", "solved": 2, "runs": 2, "wins": 1, "mean_gap": 0.15}
    document = {"instances": [1, 2], "rows": rows, "summary": [line]}
    first, second = explain_comparison(document)
    assert "auto, 15%, with 1 win in 2 runs" in first
    assert second == "1 of 2 instances are proven; the hardest is b, where the best gap is 30%."


def point(redundant, link, layer):
    base = {"model": "m", "hw": "h", "ranks": 4, "phase": "prefill", "tokens_per_rank": 1}
    times = {"layer_us": layer, "dispatch_us": layer / 4, "compute_us": layer / 2}
    varied = {"redundant": redundant, "link_GBps": link, "nic_GBps": None, "status": "ok"}
    return base | varied | times | {"combine_us": layer / 4}


def test_sweep():
    """What matters most along its axis, what limits the best point, whether redundancy pays."""
    rows = [point(0, 1.0, 400.0), point(0, 4.0, 200.0), point(8, 1.0, 360.0), point(8, 4.0, 180.0)]
    first, second = explain_sweep(rows)
    assert "most with link speed by 2.00 between its extremes" in first
    assert "then with redundant experts by 1.11" in first
    assert "50% of the time is compute; redundant experts pay everywhere (10.0% to 10.0%)" in second
    rows[2]["layer_us"] = rows[3]["layer_us"] = 500.0
    assert "redundant experts pay nowhere" in explain_sweep(rows)[1]


def test_pools():
    """What each map gains in its own phase."""
    rows = [
        {"phase": phase, "map": name, "step_ms": ms, "replicas": 9, "balancedness": 0.5}
        for phase, name, ms in [
            ("prefill", "prefill", 5.0),
            ("prefill", "decode", 10.0),
            ("decode", "decode", 4.0),
            ("decode", "prefill", 2.0),
        ]
    ]
    first = explain_pools({"rows": rows})[0]
    assert "in prefill its own map is 50% faster than the decode map" in first.lower()
    assert "in decode its own map is 100% slower than the prefill map" in first


def replayed(policy, ms, moved=0, waited=0.0):
    return {
        "policy": policy,
        "step_ms": ms,
        "moved_replicas": moved,
        "moved_GB": 2.0,
        "exposed_s": waited,
        "total_s": ms * 10,
    }


def test_replay():
    """The best policy, its distance to the oracle, and whether its moves pay."""
    document = {
        "rows": [replayed("static", 10.0), replayed("x", 8.0, 7, 0.5), replayed("oracle", 6.0)],
        "oracle_step_ms": 6.0,
        "windows": {"count": 3},
    }
    first, second = explain_replay(document)
    assert "x, 20% faster than static" in first
    assert "25% less still" in first
    assert (
        second == "Its 7 moves (2.0 GB) hold serving up for 0.5 s and save 20 s over 3 windows: "
        "they pay."
    )
    document["rows"][1]["step_ms"] = 11.0
    assert explain_replay(document)[0].startswith("No policy is faster than static")


def test_advice():
    """How fast maps age, and what changing them brings."""
    ages = [{"age": 0}, {"age": 1, "slower": 0.1, "move_s": 0.2}, {"age": 4, "slower": 0.3}]
    document = {"rows": ages, "every": 2, "loss_s": 1.0, "never_s": 3.0}
    first, second = explain_advice(document)
    assert first == "A map of 1 window ago is 10% slower than a fresh one, one of 4 ago 30%."
    assert second.startswith("Changing every 2 windows loses 1 s a window")
    assert "never changing loses 3 s" in explain_advice(document | {"every": None})[1]


def test_plan():
    """Who the schedule waits for, and buffers."""
    copies = [{"from_rank": 0, "to_rank": r, "staged": r == 1} for r in (1, 2, 2)]
    document = {"rounds": [{"copies": copies}], "staging": 1}
    first, second = explain_plan(document)
    assert first.startswith("Rank 0 sends most, 3 of 3 copies")
    assert second.startswith("33% of the copies pass through a buffer")
    assert "nothing moves" in explain_plan({"rounds": [], "staging": 1})[0]


def test_buffer():
    """Why the throughput is what it is."""
    row = {"balance": "b", "policy": "p", "miss_rate": 0.5, "stall_share": 0.8}
    advice = {"policy": "p", "balance": "b", "cache": 4, "keep": 0.95, "kept": 0.02, "enough": 8}
    document = {"rows": [row | {"cache": 4}, row | {"cache": 8}], "active_share": 0.9}
    first, second = explain_buffer(document | {"advice": advice})
    assert "4 of 8 experts misses 50%" in first
    assert "95% of the throughput takes 8" in second
    assert "as asked for" in explain_buffer(document | {"advice": advice | {"kept": 0.96}})[1]
    assert "nothing is fetched" in explain_buffer(document | {"advice": advice | {"cache": 8}})[0]


def test_prefill_aware():
    """The largest gain, where it is least, and whether a spare slot pays."""
    rows = [
        {"ranks": 8, "batch": batch, "placement": name, "fitted_on": by, "redundant": spare}
        | {"compute_gain": gain, "over_oracle": 0.1}
        for batch, name, by, spare, gain in [
            (1, "remap", "prefill", 0, 1.1),
            (1, "best", "decode", 0, 9.0),
            (64, "remap", "prefill", 0, 2.0),
            (64, "dup", "prefill", 8, 2.5),
        ]
    ]
    first, second = explain_prefill_aware({"rows": rows})
    assert "2.50 times as fast on 8 ranks at 64 tokens (dup), 10% above the oracle" in first
    assert first.endswith("least at 1 tokens on 8, 1.10.")
    assert second.startswith("A redundant expert on each rank pays there: 2.50 times instead of 2")
    rows[3]["compute_gain"] = 1.9
    assert "does not pay" in explain_prefill_aware({"rows": rows})[1]
    assert "no room" in explain_prefill_aware({"rows": rows[:3]})[1]


def test_gating():
    """What padding costs, and what is left without."""
    static = {"gating": "static", "waste": 4.0, "step_ms": 9.0, "dropped_share": 0.1}
    dynamic = {"gating": "dynamic", "step_ms": 3.0, "gate_ms": 1.0, "exchange_ms": 1.0}
    rows = [static | {"activation_MB": 8.0}, dynamic | {"expert_ms": 2.0, "activation_MB": 2.0}]
    first, second = explain_gating({"rows": rows})
    assert "4.00 rows" in first
    assert "3.00 times faster; they also drop 10%" in first
    assert second == (
        "Without padding 50% of a layer's time is the experts; activations take 75% less memory."
    )


def test_wafer():
    """The best strategy against the worst, and the bound."""
    row = {"d2d_bytes": 2e12, "hbm_bytes": 1e12, "copies": 0, "of_bound": 0.1}
    rows = [row | {"strategy": "base", "throughput_tokens_per_s": 10.0}]
    rows.append(copy.copy(rows[0]) | {"strategy": "ep", "throughput_tokens_per_s": 50.0})
    rows[1] |= {"d2d_bytes": 0.0, "of_bound": 0.5}
    first, second = explain_wafer({"rows": rows, "bound_tokens_per_s": 100.0})
    assert "ep, 5.00 times base: it moves 0 TB" in first
    assert "50% of 100 tokens/s" in second
    assert "no weight crosses a link" in second


def test_validation():
    """Unseen points before fitted ones, the worst kernel, and which way it errs."""
    rows = [
        {"role": role, "kernel": kernel, "ape": abs(bias), "bias": bias}
        for role, kernel, bias in [
            ("held out", "a", 0.02),
            ("held out", "b", 0.3),
            ("held out", "a", 0.04),
            ("fitted", "a", 0.03),
        ]
    ]
    first, second = explain_validation({"rows": rows})
    assert "4% in the median on 3 points" in first
    assert "3% where it was fitted, so that it carries over." in first
    assert "that of b (30% in the median); times come out 4% too slow" in second


def test_insights():
    """Which hold, and for how long a map stays good."""
    document = {
        "insights": [{"number": 1, "verdict": "for"}, {"number": 2, "verdict": "against"}],
        "rows": [{"measure": {"key": "skew_mean", "value": 3.0}}],
        "windows": [[1.0, 1.4], [1.4, 1.0], [1.5, 1.5]],
        "ranks": 8,
    }
    first, second = explain_insights(document)
    assert first.startswith("Insight 1 holds here; insight 2 does not")
    assert "from 1.50 to 1.00, and a map of another window keeps 20% of that: maps age" in second
    document["windows"] = [[1.0, 1.1], [1.1, 1.0], [1.5, 1.5]]
    assert explain_insights(document)[1].endswith("keeps 80% of that: one map lasts.")


def test_solve_and_evaluate_explain(moeplace, problem):
    """--explain adds a key to JSON and to the result file, lines to the table, notes beside CSV."""
    shown = moeplace("solve", *problem, "--explain", "--format", "json", "-o", "out/p.json")
    document = json.loads(shown.stdout)
    assert len(document["explain"]) == 2
    plain = json.loads(moeplace("solve", *problem, "--format", "json").stdout)
    assert document.keys() - plain.keys() == {"explain"}
    table = moeplace("evaluate", "out/p.json", "--explain").stdout
    assert " ".join(table.split()).endswith(" ".join(document["explain"]))
    csv = moeplace("evaluate", "out/p.json", "--explain", "--format", "csv")
    assert document["explain"][0] not in csv.stdout
    assert f"note: {document['explain'][0]}" in csv.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("bound", "--model", "tiny.yaml", "--hw", "mesh:2x2", "--trace", "trace.npz"),
        ("sweep", "--model", "deepseek-v2-lite", "--hw", "mesh:2x2", "--layers", "1"),
        ("gating",),
        ("gating", "--model", "mixtral-8x7b", "--capacity", "1"),
        ("hw", "validate", "mesh:2x2"),
    ],
    ids=lambda words: words[0],
)
def test_other_commands_explain(moeplace, words):
    """Two sentences under the key `explain`."""
    done = moeplace(*words, "--explain", "--format", "json")
    assert done.exit_code == 0, done.stderr
    sentences = json.loads(done.stdout)["explain"]
    assert len(sentences) == 2
    assert all(text.endswith(".") and text[0].isupper() for text in sentences)
