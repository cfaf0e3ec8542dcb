"""What the page's script reads is what the model says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.cli.report.coactivation import (
    LIMIT,
    detailed_layers,
    expert_lift,
    pairs_of,
    rank_lift,
)
from moeplace.cli.report.packing import Packer, unpacked
from moeplace.cli.report.payload import payload_of
from moeplace.cli.report.replicas import replicated
from moeplace.placement import evaluate

if TYPE_CHECKING:
    from moeplace.cli.report.gather import Gathered

STEP = 1 / 65535


@pytest.fixture(scope="module")
def payload(gathered: Gathered) -> dict:
    return payload_of(gathered, replicated(gathered))


def _close(packed: np.ndarray, exact: np.ndarray) -> None:
    span = max(float(exact.max() - min(exact.min(), 0)), 1e-300)
    np.testing.assert_allclose(packed, exact, rtol=0, atol=0.51 * STEP * span)


@pytest.mark.parametrize("key", ["contiguous", "eplb", "result"])
def test_arrays_are_the_score(gathered: Gathered, payload: dict, key: str) -> None:
    """Loads, terms, links and slots of every view are those of evaluate, to one step."""
    view = gathered.view(key)
    score = evaluate(gathered.problem, view.placement)
    for name in (
        "rank_load",
        "rank_compute_s",
        "layer_dispatch_s",
        "layer_compute_s",
        "layer_combine_s",
        "layer_balancedness",
        "layer_copies",
        "layer_hops",
    ):
        _close(unpacked(payload["arrays"], f"{key}.{name}"), getattr(score, name))
    rates = np.array(payload["bandwidth"])
    link_bytes = unpacked(payload["arrays"], f"{key}.link_s") * rates
    np.testing.assert_allclose(
        link_bytes, score.link_bytes, rtol=0, atol=1e-4 * score.link_bytes.max()
    )
    slots = unpacked(payload["arrays"], f"{key}.expert_of_slot")
    assert np.array_equal(slots, view.placement.expert_of_slot)


def test_bound_and_load(gathered: Gathered, payload: dict) -> None:
    """The bound of the layers adds up to the result's; loads are over the mean expert's."""
    bound = unpacked(payload["arrays"], "bound")
    value = gathered.document["objective"]["lower_bound"]
    assert bound.sum() == pytest.approx(value, rel=1e-4)
    load = unpacked(payload["arrays"], "load")
    np.testing.assert_allclose(load.mean(axis=1), 1.0, atol=1e-3)


def test_lift_by_loops(gathered: Gathered) -> None:
    """By rank and by expert: pairs found over pairs expected, counted one token at a time."""
    problem, placement = gathered.problem, gathered.found.placement
    pairs = pairs_of(problem)
    assert pairs is not None
    sets = problem.workload.token_sets[1]
    experts, ranks = problem.num_experts, problem.num_ranks
    counted, token = np.zeros((experts, experts)), sets.weight.mean()
    for ids, weight in zip(sets.ids, sets.weight, strict=True):
        for one in ids:
            for other in ids:
                if one != other:
                    counted[one, other] += weight
    load = counted.sum(axis=1)
    chance = np.outer(load, load)
    np.fill_diagonal(chance, 0)
    chance *= counted.sum() / chance.sum()
    fine = expert_lift(problem, pairs, 1)
    for one in range(experts):
        for other in range(experts):
            if one != other:
                want = np.log2((counted[one, other] + token) / (chance[one, other] + token))
                assert fine[one, other] == pytest.approx(np.clip(want, -LIMIT, LIMIT))
    share = np.zeros((experts, ranks))
    for slot, expert in enumerate(placement.expert_of_slot[1]):
        if expert >= 0:
            share[expert, placement.rank_of_slot[slot]] += 1
    share /= share.sum(axis=1, keepdims=True)
    coarse = rank_lift(problem, placement, pairs)[1]
    for one in range(ranks):
        for other in range(ranks):
            weight = np.outer(share[:, one], share[:, other])
            expected = (weight * chance).sum()
            if expected > 0:
                want = np.log2(((weight * counted).sum() + token) / (expected + token))
                assert coarse[one, other] == pytest.approx(np.clip(want, -LIMIT, LIMIT))


def test_detailed_layers_hold_the_slowest(gathered: Gathered) -> None:
    """All layers of a small model are kept by expert; of a large one some, the slowest too."""
    assert detailed_layers(gathered.problem, 1) == [0, 1, 2]

    class Large:
        num_experts, num_layers = 256, 58

    for slowest in (0, 17, 57):
        rows = detailed_layers(Large(), slowest)  # type: ignore[arg-type]
        assert slowest in rows
        assert len(rows) == 300_000 // (256 * 257 // 2)
        assert rows == sorted(set(rows))


def test_packer_keeps_order_and_evenness() -> None:
    """An odd number of bytes does not move what follows; exact numbers stay exact."""
    packer = Packer()
    packer.add("odd", np.array([1, 2, 254]), "uint8", exact=True)
    packer.add("slots", np.array([-1, 300, 7]), "int16", exact=True)
    packer.add("flat", np.zeros(3))
    packer.add("below", np.array([-2.0, 1.0]))
    packed = packer.to_dict()
    assert unpacked(packed, "odd").tolist() == [1, 2, 254]
    assert unpacked(packed, "slots").tolist() == [-1, 300, 7]
    assert unpacked(packed, "flat").tolist() == [0, 0, 0]
    np.testing.assert_allclose(unpacked(packed, "below"), [-2, 1], atol=1e-12)
    assert all(entry["at"] % 2 == 0 for entry in packed["index"].values())
