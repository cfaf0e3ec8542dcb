from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.errors import UsageError
from moeplace.replay.wafer.bound import layer_bound_s
from moeplace.replay.wafer.simulator import Tasks, run_layer
from moeplace.replay.wafer.strategy_moeplace import ASPECTS, Static
from moeplace.replay.wafer.study import STRATEGIES, make_strategy

if TYPE_CHECKING:
    from moeplace.replay.wafer.demand import Demand
    from moeplace.replay.wafer.machine import Machine
    from moeplace.replay.wafer.strategies import Strategy


def strategy(name: str, machine: Machine, demand: Demand, enforced: bool = True) -> Strategy:
    return make_strategy(name, machine, demand, enforce_capacity=enforced)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("enforced", [True, False])
def test_every_request_once_and_only_from_holders(
    name: str, enforced: bool, tight: Machine, demand: Demand
) -> None:
    """Tasks add up to the requests; a slice is read where the expert is; the bound holds."""
    decides = strategy(name, tight, demand, enforced)
    for step in range(demand.steps):
        for layer in range(demand.num_layers):
            before = decides.residence.present[layer].copy()
            tasks = decides.plan(step, layer)
            counts = demand.counts(step, layer)
            served = np.bincount(tasks.expert, weights=tasks.tokens, minlength=counts.size)
            np.testing.assert_array_equal(served, counts)
            assert tasks.tokens.min() > 0
            pairs = tasks.expert * tight.num_dies + tasks.die
            assert np.unique(pairs).size == pairs.size
            assert before[tasks.expert[:, None], tasks.source].all()
            found = run_layer(tight, tasks)
            assert found.seconds >= layer_bound_s(tight, counts)
            assert found.busy_s[:, 1].sum() == pytest.approx(
                3 * tight.compute_s[tasks.tokens].sum()
            )


@pytest.mark.parametrize("name", STRATEGIES)
def test_same_input_same_plan(name: str, machine: Machine, demand: Demand) -> None:
    """Nothing is left to chance."""
    first, second = (strategy(name, machine, demand) for _ in range(2))
    for step in range(demand.steps):
        one, other = first.plan(step, 0), second.plan(step, 0)
        np.testing.assert_array_equal(one.die, other.die)
        np.testing.assert_array_equal(one.tokens, other.tokens)
        np.testing.assert_array_equal(one.source, other.source)


@pytest.mark.parametrize("name", STRATEGIES)
def test_hbm_is_never_overfilled(name: str, tight: Machine, demand: Demand) -> None:
    """Over both layers no die holds more than its HBM less the reserve."""
    decides = strategy(name, tight, demand)
    for step in range(demand.steps):
        for layer in range(demand.num_layers):
            decides.plan(step, layer)
            held = decides.residence.present.sum(axis=(0, 1))
            assert (held * tight.expert_bytes <= tight.usable_bytes).all()


def test_copies_are_limited_by_hbm_and_only_then(tight: Machine, demand: Demand) -> None:
    """Without the limit Pred holds more copies, and asks other dies less often."""
    limited, free = (strategy("pred", tight, demand, enforced) for enforced in (True, False))
    hops = [0, 0]
    for step in range(demand.steps):
        for layer in range(demand.num_layers):
            for i, decides in enumerate((limited, free)):
                hops[i] += run_layer(tight, decides.plan(step, layer)).hops
    assert free.residence.present.sum() > limited.residence.present.sum()
    assert hops[1] < hops[0]


def test_ep_computes_at_home_and_base_seven_dies_on(machine: Machine, demand: Demand) -> None:
    """Homes are contiguous with leftovers on the first dies; Base is placed by number."""
    assert machine.home().tolist() == [e // 3 for e in range(18)] + [0, 1]
    tasks = strategy("ep", machine, demand).plan(0, 0)
    np.testing.assert_array_equal(tasks.die, machine.home()[tasks.expert])
    assert (tasks.source == tasks.die[:, None]).all()
    tasks = strategy("base", machine, demand).plan(0, 0)
    np.testing.assert_array_equal(tasks.die, (tasks.expert + 7) % 6)
    np.testing.assert_array_equal(tasks.source[:, 0], machine.home()[tasks.expert])


def test_moeplace_holds_every_expert_and_fills_hbm(tight: Machine, demand: Demand) -> None:
    """At least one place for each expert; no die has more slots than fit."""
    held = strategy("moeplace", tight, demand).residence.present
    assert held.any(axis=2).all()
    assert (held.sum(axis=1) <= 6).all()
    assert held.sum() > 2 * 20


@pytest.mark.parametrize("aspect", ASPECTS)
def test_without_an_aspect_requests_are_still_served(
    aspect: str, tight: Machine, demand: Demand
) -> None:
    """Ablations keep the contract; without replicas every expert has one place."""
    decides = Static(tight, demand, without=(aspect,))
    tasks = decides.plan(1, 1)
    counts = demand.counts(1, 1)
    served = np.bincount(tasks.expert, weights=tasks.tokens, minlength=counts.size)
    np.testing.assert_array_equal(served, counts)
    held = decides.residence.present
    assert held[1][tasks.expert[:, None], tasks.source].all()
    assert held.any(axis=2).all()
    assert (held.sum() < 2 * 30) == (aspect == "replicas")


def test_unknown_aspect(tight: Machine, demand: Demand) -> None:
    """Refused by name."""
    with pytest.raises(UsageError, match="no aspect 'colour'"):
        Static(tight, demand, without=("colour",))


def test_slices_begin_in_the_order_given(machine: Machine) -> None:
    """Bound by reads, what is begun last decides: its product comes after all reads."""
    die = np.zeros(2, np.int64)
    plain = Tasks(
        die=die,
        expert=np.array([0, 1]),
        tokens=np.array([100, 1]),
        source=np.zeros((2, 3), np.int64),
        keep=np.zeros(2, bool),
    )
    turned = replace(plain, order=np.array([3, 4, 5, 0, 1, 2]))
    first, second = run_layer(machine, plain), run_layer(machine, turned)
    assert first.seconds != second.seconds
    assert first.hbm_read_bytes == second.hbm_read_bytes
    last = machine.compute_s[100] - machine.compute_s[1]
    assert second.seconds - first.seconds == pytest.approx(last)
