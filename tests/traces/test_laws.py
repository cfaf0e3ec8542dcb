from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moeplace.traces import RoutingTrace, Workload, load_trace, save_trace

COLUMNS = ("expert_ids", "request", "position", "phase", "domain", "weights")


@st.composite
def traces(draw):
    """Draw a valid trace of any shape, with any columns, some ids absent."""
    experts = draw(st.sampled_from([1, 2, 7, 60, 127, 255, 256, 300]))
    top_k = draw(st.integers(1, min(experts, 9)))
    layers = draw(st.integers(1, 3))
    tokens = draw(st.integers(0, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = rng.random((tokens, layers, experts)).argsort(axis=2)[:, :, :top_k]
    if draw(st.booleans()):
        ids[rng.random(ids.shape[:2]) < 0.3] = -1
    ids[rng.random(ids.shape) < draw(st.sampled_from([0.0, 0.2]))] = -1
    columns = {
        "request": rng.integers(0, 5, tokens),
        "position": np.arange(tokens),
        "phase": rng.integers(0, 2, tokens),
        "domain": np.array(["ä", "日本", "law"])[rng.integers(0, 3, tokens)],
        "weights": rng.random(ids.shape, dtype=np.float32),
        "layer_ids": [int(i) for i in rng.permutation(90)[:layers]],
        "meta": {"source": "law", "warnings": ["ü"]},
    }
    kept = draw(st.sets(st.sampled_from(sorted(columns))))
    return RoutingTrace.from_arrays(ids, experts, name="x y", **{key: columns[key] for key in kept})


@pytest.mark.parametrize("name", ["t.npz", "t.parquet", "folder"])
@given(trace=traces())
@settings(max_examples=40, deadline=None)
def test_read_inverts_write(name, trace):
    """What is read is what was written, column by column, in every format."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        save_trace(trace, path)
        back = load_trace(path)
        assert [p.name for p in Path(scratch).iterdir()] == [name]
    for column in COLUMNS:
        before, after = getattr(trace, column), getattr(back, column)
        assert (before is None) == (after is None), column
        if before is not None:
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before, after)
    for attribute in ("num_experts", "layer_ids", "domains", "name", "meta", "missing"):
        assert getattr(trace, attribute) == getattr(back, attribute), attribute


@given(trace=traces().filter(lambda t: t.num_tokens and t.valid.any()))
@settings(max_examples=60, deadline=None)
def test_workload_counts_what_a_loop_counts(trace):
    """Loads, unique sets, their weights and co-activation equal a plain count."""
    workload = Workload.from_trace(trace)
    experts = trace.num_experts
    for row, sets in enumerate(workload.token_sets):
        tokens = [
            frozenset(int(e) for e, ok in zip(ids, valid, strict=True) if ok)
            for ids, valid in zip(trace.expert_ids[:, row], trace.valid[:, row], strict=True)
        ]
        counted = Counter(token for token in tokens if token)
        load = Counter(itertools.chain.from_iterable(tokens))
        assert workload.load[row].tolist() == [load[e] for e in range(experts)]
        found = {
            frozenset(int(e) for e in ids if e >= 0): weight
            for ids, weight in zip(sets.ids, sets.weight, strict=True)
        }
        assert found == counted
        assert sets.total_weight == sum(counted.values())
        pairs = Counter(p for token in tokens for p in itertools.permutations(token, 2))
        together = sets.coactivation(experts)
        assert {(e, f): together[e, f] for e, f in np.argwhere(together).tolist()} == pairs
