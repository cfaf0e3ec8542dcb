"""Expert buffering: counting batches, times of a batch, memory of the paper, advice."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.errors import InfeasibleError, InputError
from moeplace.hwmodels import load_system
from moeplace.models import load_model
from moeplace.replay.buffering import (
    CACHE_POLICIES,
    Requests,
    Times,
    advise,
    batch_requests,
    cache_policy,
    host_link,
    layer_times,
    list_host_links,
    simulate,
    static_memory,
)
from moeplace.traces import RoutingTrace, load_trace

if TYPE_CHECKING:
    from pathlib import Path

TIMES = Times(fetch_s=10.0, read_s=2.0, token_s=1.0, dispatch_s=5.0, combine_s=3.0)


def one_rank(tokens: list[list[int]]) -> tuple[Requests, np.ndarray]:
    """Return requests of one layer and a map with every expert on one rank."""
    counts = np.array(tokens, np.int32)[:, None, :]
    return Requests(counts, int(counts[0].sum())), np.zeros(counts.shape[1:], np.int64)


def random_requests(seed: int, batches: int = 12, layers: int = 2, experts: int = 8) -> Requests:
    rng = np.random.default_rng(seed)
    chance = rng.random((1, layers, experts))
    tokens = rng.integers(1, 9, (batches, layers, experts))
    return Requests((tokens * (rng.random(tokens.shape) < chance)).astype(np.int32), 16)


def test_batches_against_a_loop() -> None:
    """Counts of every batch follow from walking over tokens; absent ids count nowhere."""
    rng = np.random.default_rng(0)
    ids = np.argsort(rng.random((23, 2, 6)), axis=2)[:, :, :2]
    ids[3, 1] = -1
    trace = RoutingTrace.from_arrays(ids, 6)
    found = batch_requests(trace, 5)
    expected = np.zeros((4, 2, 6), int)
    for token, layer in itertools.product(range(20), range(2)):
        for expert in ids[token, layer]:
            if expert >= 0:
                expected[token // 5, layer, expert] += 1
    assert (found.tokens == expected).all()
    first, second = found.halves()
    assert (first.num_batches, second.num_batches) == (2, 2)


def test_example_of_the_paper() -> None:
    """Four experts, room for two, 1, 2, 3 needed: LIFO evicts 2 and keeps 1 (2303.06182)."""
    requests, owner = one_rank([[0, 1, 1, 1]] * 2)
    misses = {
        name: int(simulate(requests, owner, 2, name, TIMES).misses.sum())
        for name in ("inactive-lifo", "fifo")
    }
    # Start {0, 1}. LIFO: 2 for 0, 3 for 2; then 2 for 3, 3 for 2. FIFO misses 2, 3, 1, 2, 3.
    assert misses == {"inactive-lifo": 4, "fifo": 5}


def test_times_of_a_batch_by_hand() -> None:
    """Fetches overlap the dispatch and wait for the link and for the expert they replace."""
    requests, owner = one_rank([[1, 0, 4]])
    run = simulate(requests, owner, 1, "inactive-lifo", TIMES)
    # 0 is there: runs 5..7. 2 replaces it: fetched 7..17, runs 17..21. Combine 3.
    assert run.layer_s[0, 0] == 24
    assert run.stall_s[0, 0] == 10
    run = simulate(requests, owner, 2, "inactive-lifo", TIMES)
    # 1 is not needed: fetched 0..10, runs 10..14.
    assert run.layer_s[0, 0] == 17
    assert run.stall_s[0, 0] == 3
    assert simulate(requests, owner, 3, "lru", TIMES).layer_s[0, 0] == 5 + 2 + 4 + 3


def test_slowest_rank_decides() -> None:
    """A layer ends with its slowest rank; a rank without work waits for the dispatch."""
    requests = Requests(np.array([[[7, 0, 1, 1]]], np.int32), 9)
    owner = np.array([[0, 0, 1, 1]])
    run = simulate(requests, owner, 2, "lru", TIMES)
    assert run.layer_s[0, 0] == 5 + 7 + 3
    assert run.tokens_per_s == pytest.approx(9 / 15)


def test_all_resident_never_misses() -> None:
    """With room for all there is no miss and no stall, whatever the rule."""
    requests = random_requests(1)
    owner = np.tile(np.arange(8) % 2, (2, 1))
    for name in CACHE_POLICIES:
        run = simulate(requests, owner, 4, name, TIMES)
        assert run.misses.sum() == 0
        assert run.stall_s.sum() == 0
        assert run.accesses.sum() == (requests.tokens > 0).sum()


def test_memory_of_the_paper() -> None:
    """Ten of sixteen decoder experts save 2.25 GiB; one saves 32.2 %, 1.47 times less."""
    model = load_model("nllb-moe-54b")
    decoder = [layer for layer in model.moe_layers if layer >= 24]
    ten = static_memory(model, 8, 10, layers=decoder)
    assert ten.saved_bytes / 2**30 == pytest.approx(2.25, abs=0.005)
    one = static_memory(model, 8, 1, layers=decoder)
    assert one.saved_share == pytest.approx(0.322, abs=0.002)
    assert one.ratio == pytest.approx(1.47, abs=0.01)
    assert static_memory(model, 8, 16).saved_bytes == 0


def test_layer_times_follow_the_constants() -> None:
    """A fetch is the expert over the link; more tokens take longer to exchange."""
    model, system = load_model("deepseek-v2-lite"), load_system("h100-sxm", 8)
    small, large = (layer_times(model, system, host_link("pcie4"), n) for n in (64, 4096))
    assert small.fetch_s == pytest.approx(model.expert_bytes() / 24e9 + 10e-6)
    assert large.dispatch_s > small.dispatch_s
    assert host_link("100").seconds(1e9) == pytest.approx(0.01001)
    assert [host_link(name).name for name in list_host_links()] == list_host_links()


def test_advice() -> None:
    """The smallest size that keeps the share within the budget, else the largest that fits."""
    model = load_model("deepseek-v2-lite")
    requests = random_requests(3, batches=30)
    owner = np.zeros((2, 8), np.int64)
    runs = [simulate(requests, owner, size, "batch-aware", TIMES) for size in range(1, 9)]
    each = model.num_moe_layers * model.expert_bytes()
    found = advise(runs, model, 8 * each, keep=0.5)
    kept = [run.tokens_per_s / runs[-1].tokens_per_s for run in runs]
    assert found.capacity == next(i + 1 for i, share in enumerate(kept) if share >= 0.5)
    assert found.enough == found.capacity
    tight = advise(runs, model, 2.5 * each, keep=1.0)
    assert (tight.capacity, tight.fits) == (2, 2)
    assert tight.memory_bytes == 2 * each
    assert tight.enough is not None
    assert tight.enough > 2
    with pytest.raises(InfeasibleError, match="budget"):
        advise(runs, model, each / 2)


def test_measured_trace(shared_data: Path) -> None:
    """On DeepSeek-V2-Lite's routing LIFO beats FIFO by far where batches use most experts."""
    trace = load_trace(shared_data / "deepseek_v2_lite_trace.npz")
    requests = batch_requests(trace.select(slice(0, 4096)), 64)
    owner = np.tile(np.repeat(np.arange(8), 8), (trace.num_layers, 1))
    rate = {
        name: simulate(requests, owner, 4, name, TIMES).miss_rate
        for name in ("inactive-lifo", "lifo", "fifo", "lru", "belady", "batch-aware")
    }
    assert rate["belady"] <= rate["batch-aware"] <= rate["inactive-lifo"] <= rate["lifo"]
    assert rate["lifo"] < 0.75 * rate["fifo"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cache_policy("lifoo"), "lifo"),
        (lambda: host_link("pcie9"), "pcie"),
        (lambda: host_link("-1"), "positive"),
        (lambda: simulate(random_requests(0), np.zeros((2, 8), int), 0, "lru", TIMES), "at least"),
        (lambda: simulate(random_requests(0), np.zeros((1, 8), int), 1, "lru", TIMES), "shape"),
        (lambda: random_requests(0, batches=1).halves(), "halves"),
        (lambda: batch_requests(RoutingTrace.from_arrays([[[0]]], 2), 9), "fewer"),
        (lambda: batch_requests(RoutingTrace.from_arrays([[[0]]], 2), 0), "at least 1"),
        (lambda: static_memory(load_model("nllb-moe-54b"), 8, 0), "at least 1"),
        (lambda: static_memory(load_model("nllb-moe-54b"), 8, 1, layers=[0]), "no MoE layer"),
        (lambda: advise([], load_model("nllb-moe-54b"), 1e9), "runs"),
    ],
)
def test_errors(call: object, message: str) -> None:
    """Wrong input is named."""
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
