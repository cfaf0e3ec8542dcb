from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError, UsageError
from moeplace.traces import Workload, load_trace
from moeplace.traces.analysis.insights import trace_insights
from moeplace.traces.generator.fit import (
    calibrate,
    few_layers,
    figures,
    fit_loads,
    fit_trace,
    whole,
)
from moeplace.traces.generator.generate import generate
from moeplace.traces.generator.presets import preset, preset_targets, presets
from moeplace.traces.generator.report import agreement, two_sample
from moeplace.traces.generator.spec import SynthSpec


def spec(**changes):
    """Return a small specification."""
    base = SynthSpec("s", 16, 2, (1, 2, 3), prefill_tokens=20, decode_tokens=20)
    return base.replace(**changes)


def value(made, key, requests=40):
    return figures(whole(made, requests))[key]


def test_a_seed_gives_one_trace():
    """The same seed gives the same trace, another one another."""
    a, b, c = (whole(spec(), 5, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.expert_ids, b.expert_ids)
    assert not np.array_equal(a.expert_ids, c.expert_ids)
    assert a.num_tokens == 200
    assert a.num_layers == 3


def test_tokens_obey_the_router():
    """No expert twice, and no more groups than a token may use."""
    trace = whole(spec(num_experts=32, top_k=4, n_group=8, topk_group=2), 10)
    ids = np.sort(trace.expert_ids.astype(int), axis=2)
    assert (np.diff(ids, axis=2) > 0).all()
    groups = np.sort(ids // 4, axis=2)
    assert ((np.diff(groups, axis=2) > 0).sum(axis=2) <= 1).all()


def test_choice_is_the_best_of_the_best_groups():
    """The compiled choice equals sorting."""
    from moeplace.traces.generator.kernels import choose

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 24)).astype(np.float32)
    ids = np.empty((50, 3), np.uint16)
    choose(scores, 3, 4, 2, ids)
    for row, got in zip(scores, ids, strict=True):
        groups = row.reshape(4, 6)
        best = np.argsort(-np.sort(groups, axis=1)[:, -2:].sum(axis=1))[:2]
        allowed = [e for e in range(24) if e // 6 in best]
        assert got.tolist() == sorted(allowed, key=lambda e: -row[e])[:3]


@pytest.mark.parametrize(
    ("knob", "low", "high", "key"),
    [
        ("skew", 0.0, 2.0, "skew_mean"),
        ("topic_strength", 0.0, 3.0, "layer_coverage_all"),
        ("topic_strength", 0.0, 3.0, "pair_share_10"),
        ("carry", 0.0, 0.9, "repeat"),
        ("drift", 0.0, 2.0, "drift_ends"),
    ],
)
def test_parameters_do_what_they_say(knob, low, high, key):
    """More of a parameter is more of its figure."""
    assert value(spec(**{knob: high}), key) > 1.2 * value(spec(**{knob: low}), key)


def test_shifts():
    """Domains move load; decode differs from prefill."""
    still, moved = (spec(domains=3, domain_shift=s) for s in (0.0, 2.0))
    assert value(moved, "domain_variation") > value(still, "domain_variation") + 0.2
    still, moved = (spec(phase_shift=s) for s in (0.0, 3.0))
    assert value(moved, "phase_load_correlation") < value(still, "phase_load_correlation") - 0.3


def test_adversaries():
    """Each adversary is as bad as it claims."""
    hot = trace_insights(whole(spec(num_experts=64, adversarial="contiguous-hot"), 20), ranks=8)
    assert hot.windows[-1][0] > 1.5 * hot.windows[0][0]
    one = whole(spec(adversarial="one-expert"), 20)
    assert ((one.expert_ids == 0).any(axis=2)).mean() > 0.99
    pairs = Workload.from_trace(whole(spec(adversarial="far-pairs", topic_strength=4.0), 20))
    table = pairs.coactivation()[0]
    far = sum(table[e, e + 8] for e in range(8))
    assert far / (table.sum() / 2) > 3 * (8 / 120)
    turning = spec(adversarial="rotating-hot")
    assert value(turning, "drift_ends", 64) > 3 * value(spec(), "drift_ends", 64)
    with pytest.raises(UsageError, match="unknown"):
        spec(adversarial="nice")


def test_loads_are_taken_over():
    """Given loads come out, by domain and phase too."""
    rng = np.random.default_rng(0)
    load = rng.lognormal(0, 0.8, (3, 16))
    made = whole(spec(load=load, top_k=1, topic_strength=0.3), 200)
    found = Workload.from_trace(made).load
    share, wanted = (x / x.sum(axis=1, keepdims=True) for x in (found, load))
    assert np.abs(share - wanted).sum(axis=1).max() / 2 < 0.08


def test_calibration_reaches_its_figures():
    """A figure that is asked for comes out of a fresh trace."""
    start = spec(num_experts=32)
    wanted = {"layer_coverage_all": 0.5, "repeat": 0.4}
    made = calibrate(start, wanted, rounds=2)
    found = figures(whole(made, 150, seed=9))
    for key, target in wanted.items():
        assert found[key] == pytest.approx(target, abs=0.06)
    with pytest.raises(UsageError, match="no parameter"):
        calibrate(start, {"beauty": 1.0})


@pytest.mark.slow
def test_fit_to_a_trace_and_report():
    """A fitted trace has the loads and shape of its source; the report says what it lacks."""
    source = whole(spec(skew=1.0, topic_strength=2.0, domains=2, domain_shift=1.0), 40, seed=4)
    made = fit_trace(source)
    assert (made.prefill_tokens, made.decode_tokens, made.domains) == (20, 20, 2)
    rows = {row.key: row for row in two_sample(source, whole(made, 60, seed=1))}
    assert rows["layer_coverage_all"].reproduced
    assert rows["gini"].synthetic == pytest.approx(rows["gini"].source, rel=0.25)
    uniform = {r.key: r for r in two_sample(source, whole(spec(topic_strength=0.0), 60))}
    assert not uniform["layer_coverage_all"].reproduced


def test_agreement_uses_the_noise_of_the_source():
    """Twice the difference of the halves, a tenth or 0.02 are the same; more is not."""
    assert agreement("k", "t", 1.0, 1.25, 0.2).reproduced
    assert not agreement("k", "t", 1.0, 1.25, float("nan")).reproduced
    assert agreement("k", "t", 0.01, 0.025, float("nan")).reproduced


def test_loads_need_top_k():
    """Loads that do not say top_k cannot be drawn from."""
    with pytest.raises(UsageError, match="top_k"):
        fit_loads(Workload.from_loads([[1, 2]]), {})
    with pytest.raises(InputError, match="shape"):
        spec(load=np.ones((2, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", presets())
def test_presets_have_their_figures(name):
    """A preset reaches its published figures within a tenth, on some of its layers."""
    made = few_layers(preset(name))
    found = figures(whole(made, 40))
    for key, target in preset_targets(name).items():
        assert found[key] == pytest.approx(target, rel=0.12), key


def test_chunks_stream(tmp_path):
    """A synthetic trace goes to disk in parts."""
    from moeplace.traces.transforms import write_chunks

    made = spec()
    tokens = write_chunks(generate(made, 20), tmp_path / "t", name="t")
    assert tokens == 800
    np.testing.assert_array_equal(load_trace(tmp_path / "t").expert_ids, whole(made, 20).expert_ids)
