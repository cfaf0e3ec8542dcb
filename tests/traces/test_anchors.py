"""Main experts, transitions between them, and token sets that remember them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.traces import AnchoredSets, RoutingTrace, Workload, transitions
from moeplace.traces.anchors import anchor_experts
from tests.reference.chains import random_trace
from tests.reference.stay_loops import main_expert


def test_largest_weight_or_first_listed():
    """The weight decides; without weights the first present id; NaN is no weight."""
    ids = [[[3, 1, 2]], [[-1, 0, 2]], [[-1, -1, -1]]]
    weights = np.array([[[0.1, 0.6, 0.3]], [[9.0, np.nan, 0.2]], [[1.0, 1.0, 1.0]]])
    bare = RoutingTrace.from_arrays(ids, 4)
    assert anchor_experts(bare)[:, 0].tolist() == [3, 0, -1]
    heavy = RoutingTrace.from_arrays(ids, 4, weights=weights)
    assert anchor_experts(heavy)[:, 0].tolist() == [1, 2, -1]


def test_counts_by_plain_loops():
    """Transitions and anchored sets equal a count of tokens one by one."""
    for seed in range(6):
        trace = random_trace(np.random.default_rng(seed), 5, 2, 4, 40)
        workload = Workload.from_trace(trace, anchored=True)
        counted = np.zeros((3, 5, 5))
        rows = [Counter() for _ in range(4)]
        for token in range(40):
            main = [main_expert(trace, token, layer) for layer in range(4)]
            for layer in range(4):
                before = main[layer - 1] if layer else -1
                held = tuple(sorted(int(e) for e in trace.expert_ids[token, layer]))
                rows[layer][before, held, main[layer]] += 1
                if layer:
                    counted[layer - 1, before, main[layer]] += 1
        np.testing.assert_array_equal(workload.transition(), counted)
        np.testing.assert_array_equal(transitions(trace, primary=True), counted)
        for layer, sets in enumerate(workload.anchored):
            found = {
                (int(b), tuple(ids.tolist()), int(a)): w
                for b, ids, a, w in zip(
                    sets.before, sets.ids, sets.anchor, sets.weight, strict=True
                )
            }
            assert found == rows[layer]


def test_dense_layers_are_stepped_over():
    """A layer without experts between two is no step, also after it is dropped."""
    ids = np.array([[[0, 1], [-1, -1], [2, 3]], [[1, 2], [-1, -1], [3, 0]]])
    workload = Workload.from_trace(RoutingTrace.from_arrays(ids, 4), anchored=True)
    assert workload.anchored[2].before.tolist() == [1, 0] or workload.anchored[
        2
    ].before.tolist() == [0, 1]
    kept = workload.select_layers([0, 2])
    assert kept.transition()[0, 0, 2] == 1
    assert kept.transition()[0, 1, 3] == 1
    assert kept.transition().sum() == 2


def test_layers_that_do_not_follow_each_other_know_no_transitions():
    """Selecting rows out of order or with gaps forgets them; neighbors keep them."""
    trace = random_trace(np.random.default_rng(0), 5, 2, 4, 30)
    workload = Workload.from_trace(trace, anchored=True)
    near = workload.select_layers([1, 2])
    np.testing.assert_array_equal(near.transition()[0], workload.transition()[1])
    for rows in ([0, 2], [2, 1], [1, 1]):
        far = workload.select_layers(rows)
        assert far.anchored is None
        with pytest.raises(InputError, match="which expert follows which"):
            far.transition()


def test_fingerprints_ignore_the_chain_unless_asked():
    """Results of return execution keep their fingerprints."""
    trace = random_trace(np.random.default_rng(0), 5, 2, 3, 30)
    bare, full = (Workload.from_trace(trace, anchored=flag) for flag in (False, True))
    assert bare.fingerprint() == full.fingerprint()
    assert bare.fingerprint(anchored=True) != full.fingerprint(anchored=True)


def test_wrong_shapes_are_refused():
    """Anchors outside their sets, counts of another shape, experts that do not exist."""
    ids, one = np.array([[0, 1]]), np.ones(1)
    with pytest.raises(InputError, match="one of the token's experts"):
        AnchoredSets(ids, np.array([0]), np.array([2]), one)
    with pytest.raises(InputError, match="only `before`"):
        AnchoredSets(ids, np.array([-2]), np.array([0]), one)
    good = AnchoredSets(ids, np.array([9]), np.array([0]), one)
    workload = Workload.from_loads([[1.0, 1.0], [1.0, 1.0]], top_k=2)
    with pytest.raises(InputError, match="name expert 9"):
        workload.replace(anchored=(good, good))
    with pytest.raises(InputError, match="for 1 layers"):
        workload.replace(anchored=(good,))
    with pytest.raises(InputError, match=r"\(1, 2, 2\)"):
        workload.replace(transition_counts=np.ones((2, 2, 2)))
