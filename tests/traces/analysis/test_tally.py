from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.traces import RoutingTrace, save_trace, transitions
from moeplace.traces.analysis.forecast import chance_of_repeat, coverage, pair_share, repeat_share
from moeplace.traces.analysis.graph import (
    coactivation_graph,
    expert_clusters,
    pair_lift,
    write_graphml,
)
from moeplace.traces.analysis.insights import insights_of, trace_insights
from moeplace.traces.analysis.shift import (
    deal_evenly,
    jensen_shannon,
    rank_imbalance,
    top_overlap,
    total_variation,
    transfer_matrix,
)
from moeplace.traces.analysis.tally import half_of, tally_trace
from moeplace.traces.stored import open_trace


@pytest.fixture
def trace():
    """Return a trace with two phases and two domains."""
    rng = np.random.default_rng(1)
    order = (rng.random((240, 3, 8)) ** rng.random(8)).argsort(axis=2)
    request = np.arange(240) // 12
    return RoutingTrace.from_arrays(
        order[:, :, :2],
        8,
        [3, 4, 5],
        request=request,
        position=np.arange(240) % 12,
        phase=(np.arange(240) % 12 >= 7).astype(int),
        domain=np.where(request % 2 == 0, "law", "code"),
        name="made",
    )


def loops(trace):
    """Count the same with plain loops."""
    e = trace.num_experts
    pairs = np.zeros((trace.num_layers, e, e))
    steps = np.zeros((2, 2, trace.num_layers, e, e))
    layers = np.zeros((2, trace.num_layers - 1, e, e))
    half = half_of(trace.request)
    for t in range(trace.num_tokens):
        for row in range(trace.num_layers):
            ids = trace.expert_ids[t, row]
            for a in ids:
                for b in ids:
                    pairs[row, a, b] += a != b
                if row + 1 < trace.num_layers:
                    for b in trace.expert_ids[t, row + 1]:
                        layers[half[t], row, a, b] += 1
                if t and trace.request[t] == trace.request[t - 1]:
                    for b in trace.expert_ids[t - 1, row]:
                        steps[trace.phase[t], half[t], row, b, a] += 1
    return pairs, layers, steps


def test_tables_equal_plain_loops(trace, tmp_path):
    """Pairs, successive layers and successive tokens are counted right, in any chunks."""
    pairs, layers, steps = loops(trace)
    save_trace(trace, tmp_path / "t")
    for source in (trace, open_trace(tmp_path / "t")):
        tally = tally_trace(source, windows=4)
        np.testing.assert_array_equal(tally.pairs, pairs)
        np.testing.assert_array_equal(tally.next_layer, layers)
        np.testing.assert_array_equal(tally.next_token, steps)
        assert tally.steps == 20 * 11
    np.testing.assert_array_equal(tally.next_layer.sum(axis=0), transitions(trace))


def test_small_chunks_change_nothing(trace, monkeypatch):
    """Successive tokens across chunks are counted, requests are not mixed."""
    whole = tally_trace(trace)
    monkeypatch.setattr("moeplace.traces.stored.CHUNK_IDS", 5 * 3 * 2)
    small = tally_trace(trace)
    for table in ("pairs", "next_layer", "next_token", "window_load", "phase_load", "domain_load"):
        np.testing.assert_array_equal(getattr(whole, table), getattr(small, table))


def test_loads_add_up(trace):
    """Phases, domains and windows are parts of the same load."""
    tally = tally_trace(trace, windows=5)
    for parts in (tally.phase_load, tally.domain_load, tally.window_load):
        np.testing.assert_array_equal(parts.sum(axis=0), tally.load)
    assert tally.load.sum() == trace.expert_ids.size


def test_coverage_of_known_tables():
    """Two experts that alternate are forecast fully; popularity covers half."""
    table = np.zeros((2, 1, 10, 10))
    table[:, 0, 0, 5] = table[:, 0, 1, 6] = table[:, 0, 2, 7] = table[:, 0, 3, 8] = 25
    found = coverage(table, share=0.1)
    assert found.conditional == found.held_out == (1.0,)
    assert found.popularity == found.held_out_popularity == (0.25,)
    assert found.top_expert == (1.0,)
    assert found.random == 0.1
    assert pair_share(table.sum(axis=0), 0.02)[0] == 0.5


def test_held_out_lists_do_not_flatter():
    """Without any structure, lists of one half cover no more of the other than chance."""
    rng = np.random.default_rng(0)
    table = rng.poisson(0.5, (2, 1, 50, 50))
    found = coverage(table)
    assert found.conditional[0] > 0.4  # in sample, noise looks like a forecast
    assert abs(found.held_out[0] - 0.2) < 0.05


def test_repeats(trace):
    """The share of experts used again is that of a count by hand."""
    tally = tally_trace(trace)
    again, steps = 0, 0
    for t in range(1, trace.num_tokens):
        if trace.request[t] == trace.request[t - 1]:
            steps += 1
            again += len(set(trace.expert_ids[t, 0]) & set(trace.expert_ids[t - 1, 0]))
    found = repeat_share(tally.next_token.sum(axis=(0, 1)), 2)[0]
    assert found == pytest.approx(again / (2 * steps))
    assert chance_of_repeat(np.full((1, 8), 5.0), 2)[0] == pytest.approx(0.25)


def test_distances():
    """Equal loads are at distance 0, disjoint ones at 1."""
    a, b = np.array([[4.0, 4, 0, 0]]), np.array([[0.0, 0, 3, 3]])
    assert total_variation(a, a) == [0]
    assert total_variation(a, b) == [1]
    assert jensen_shannon(a, b) == pytest.approx([1.0])
    assert jensen_shannon(a, 7 * a) == pytest.approx([0.0])
    assert top_overlap(a, b, 2) == [0]
    assert top_overlap(a, a, 2) == [1]


def test_transfer():
    """A placement is best where it was made; experts in order come last here."""
    loads = np.array([[[8.0, 7, 1, 1]], [[1.0, 7, 8, 1]]])
    np.testing.assert_array_equal(deal_evenly(loads[0], 2), [[0, 1, 1, 0]])
    table = transfer_matrix(loads, 2)
    np.testing.assert_allclose(table[0], [9 / 8.5, 15 / 8.5])
    np.testing.assert_allclose(table[2], [15 / 8.5, 9 / 8.5])
    assert rank_imbalance(np.zeros((1, 4)), np.zeros((1, 4), int), 2).size == 0


def test_graph(trace, tmp_path):
    """Edges are the pairs above the threshold; the file is GraphML."""
    import networkx as nx

    tally = tally_trace(trace)
    graph = coactivation_graph(tally, 4, min_lift=0.0)
    assert graph.number_of_edges() == np.count_nonzero(np.triu(tally.pairs[1], 1))
    e, f, data = next(iter(graph.edges(data=True)))
    assert data["count"] == tally.pairs[1, e, f]
    write_graphml(graph, tmp_path / "g.graphml")
    again = nx.read_graphml(tmp_path / "g.graphml")
    assert again.number_of_edges() == graph.number_of_edges()
    clusters = expert_clusters(graph)
    assert sorted(e for cluster in clusters for e in cluster) == list(range(8))
    with pytest.raises(InputError, match="layer 9 is not"):
        coactivation_graph(tally, 9)


def test_lift_of_independent_experts_is_one():
    """Pairs as often as independence has them are lifted by 1; twice as often by more."""
    load = np.array([1.0, 2, 3, 4])
    pairs = np.outer(load, load)
    np.fill_diagonal(pairs, 0)
    lift = pair_lift(pairs, load)
    assert lift[~np.eye(4, dtype=bool)] == pytest.approx(np.ones(12))


def test_planted_clusters_are_found():
    """Experts 0–3 and 4–7 that only meet among themselves form two clusters."""
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, 400)
    ids = np.array([rng.choice(4, 2, replace=False) + 4 * s for s in side])[:, None]
    trace = RoutingTrace.from_arrays(ids, 8)
    assert expert_clusters(coactivation_graph(tally_trace(trace), 0)) == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


def test_insights_have_all_rows_and_sentences(trace):
    """Every observation has a row, every insight a sentence."""
    found = trace_insights(trace, ranks=4, windows=3)
    assert {row.measure.observation for row in found.rows} == {
        "Ob1",
        "Ob2",
        "Ob3",
        "Ob4",
        "Ob5",
        "",
    }
    assert [i.number for i in found.insights] == [1, 2, 3, 4, 5, 6]
    assert all(i.sentence.endswith(".") for i in found.insights)
    assert len(found.windows) == 4
    assert found.as_dict()["schema"] == "moeplace.insights/1"


def test_layers_of_one_expert_are_left_out():
    """A top-1 layer that sends everything to one expert is flagged and in no mean."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 8, (500, 3, 1))
    ids[:, 1] = 5
    trace = RoutingTrace.from_arrays(ids, 8, [1, 3, 45])
    found = insights_of(tally_trace(trace), ranks=4)
    assert found.left_out == (3,)
    assert found.value("skew") < 2
    assert found.insights[4].verdict == "not told"


def test_plots(trace, tmp_path):
    """Figures are written where matplotlib is."""
    pytest.importorskip("matplotlib")
    from moeplace.traces.analysis.plots import plot_tally

    files = plot_tally(tally_trace(trace), tmp_path / "figures")
    assert [file.stem for file in files] == [
        "loads", "coactivation", "next_layer", "next_token", "phases", "drift",
    ]  # fmt: skip
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_published_figures(shared_data):
    """DeepSeek-V2-Lite's domains differ by 0.38; Llama-4's layer 45 is flagged, layer 7 is 24."""
    from moeplace.traces import load_trace

    lite = trace_insights(load_trace(shared_data / "deepseek_v2_lite_trace.npz"))
    assert lite.value("domain_variation") == pytest.approx(0.38, abs=0.005)
    assert lite.value("repeat") == pytest.approx(0.26, abs=0.02)
    llama = load_trace(shared_data / "llama4_maverick_trace.npz")
    found = trace_insights(llama)
    assert found.left_out == (45,)
    assert found.value("phase_load_correlation") == pytest.approx(0.80, abs=0.02)
    decode = tally_trace(llama, phase="decode")
    row = decode.load[decode.layer_ids.index(7)]
    assert row.max() / row.mean() == pytest.approx(24.0, abs=0.1)
