"""What goes into a problem is checked, completed and fingerprinted."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace import load_model, load_system
from moeplace.errors import InfeasibleError, InputError
from moeplace.placement import make_problem
from moeplace.traces import TokenSets, Workload
from tests.reference.instances import tiny_cluster, tiny_mesh, tiny_model, workload_of_sets

LOAD = [[4.0, 3, 2, 1, 1, 1]]
SETS = TokenSets(np.array([[0, 1], [0, 2], [1, 3], [4, 5]]), np.array([3.0, 2, 1, 1]))


def tiny(**changes):
    """Return a problem of 6 experts, top 2, on a 1x3 mesh, with some choices changed."""
    parts = {
        "model": tiny_model(6, 2),
        "system": tiny_mesh(1, 3),
        "workload": Workload.from_loads(LOAD, top_k=2),
    }
    return make_problem(**{**parts, **changes})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"objective": "speed"}, InputError, "unknown objective 'speed'.*time, balance, copies"),
        ({"dispatch": "fair"}, InputError, "unknown dispatch 'fair'.*even, nearest"),
        ({"dedup": "die"}, InputError, "unknown dedup 'die'.*none, rank, node, multicast"),
        ({"phase": "training"}, InputError, "unknown phase 'training'.*prefill.*decode"),
        ({"redundant": -1}, InputError, "redundant is -1.*negative"),
        ({"redundant": 13}, InfeasibleError, "13 redundant.*3 ranks.*at most 12"),
        ({"slots_per_rank": 1}, InfeasibleError, "6 experts.*3 ranks x 1 slots = 3"),
        ({"slots_per_rank": 0}, InfeasibleError, "6 experts.*3 ranks x 0 slots"),
        ({"slots_per_rank": -2}, InfeasibleError, "6 experts"),
        ({"tokens_per_rank": 0}, InputError, "tokens_per_rank is 0.*at least 1"),
        ({"tokens_per_rank": -5}, InputError, "tokens_per_rank is -5"),
        ({"weight_dtype": "fp5"}, InputError, "unknown weight dtype 'fp5'.*bf16"),
        ({"weight_dtype": "fp8"}, InputError, "does not compute in fp8; it has bf16"),
        ({"workload": {}}, InputError, "no workload"),
        ({"workload": Workload.from_loads([[1.0, 2]])}, InputError, "2 experts.*another model"),
        ({"workload": Workload.from_loads(LOAD, top_k=3)}, InputError, "3 experts.*another model"),
        ({"workload": Workload.from_loads(LOAD * 2)}, InputError, "2 rows.*another model"),
        (
            {"workload": Workload.from_loads(LOAD, layer_ids=[7])},
            InputError,
            "layer 7.*another model",
        ),
        ({"holdout": Workload.from_loads([[1.0, 2]])}, InputError, "2 experts.*another model"),
        ({"system": tiny_mesh(1, 3, hbm_GB=1e-5)}, InfeasibleError, "does not fit.*room for 0"),
    ],
)
def test_refused(changes, error, message):
    """What cannot be is refused in one line that names the value and what to do."""
    with pytest.raises(error, match=message) as caught:
        tiny(**changes)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_too_large():
    """Kimi-K2 in bf16 does not fit on 25 dies: the need, the room and the way out are told."""
    model = load_model("kimi-k2")
    load = np.ones((model.num_moe_layers, model.num_experts))
    workload = Workload.from_loads(load, top_k=model.top_k)
    with pytest.raises(InfeasibleError) as caught:
        make_problem(model, load_system("wafer"), workload)
    text = str(caught.value)
    assert "kimi-k2 in bf16 does not fit on wafer-dojo-5x5 with 25 ranks" in text
    # 384 experts on 25 dies: 16 slots x 60 layers x 3 matrices of 7168 x 2048 x 2 bytes
    assert f"16 slots x 60 layers need {16 * 60 * 3 * 7168 * 2048 * 2 / 2**30:.1f} GiB" in text
    assert "more ranks, fewer redundant experts or a smaller weight dtype" in text


def test_memory_is_checked_at_the_edge():
    """A rank that has room for exactly the slots asked for is large enough, a byte less is not."""
    one = tiny_model(6, 2).expert_params * 2
    for room, fits in ((2 * one, True), (2 * one - 1, False)):
        system = tiny_mesh(1, 3, hbm_GB=room / 1e9)
        if fits:
            assert tiny(system=system).slots_per_rank == 2
        else:
            with pytest.raises(InfeasibleError, match="room for 1 slots"):
                tiny(system=system)


def test_defaults():
    """Prefill with 4,096 tokens a rank, time, an even split, ceil(E / R) slots, no replicas."""
    problem = tiny()
    assert (problem.phase, problem.tokens_per_rank, problem.tokens) == ("prefill", 4096, 3 * 4096)
    assert (problem.objective, problem.dispatch, problem.dedup) == ("time", "even", "rank")
    assert (problem.redundant, problem.max_replicas, problem.slots_per_rank) == (0, 6, 2)
    assert tiny(phase="decode").tokens_per_rank == 128
    assert tiny(phase="decode", tokens_per_rank=7).tokens == 21
    assert tiny(redundant=1).slots_per_rank == 3
    assert tiny(redundant=12).slots_per_rank == 6
    assert tiny(redundant=4, slots_per_rank=2).max_replicas == 10
    np.testing.assert_array_equal(tiny(redundant=1).rank_of_slot, [0, 0, 0, 1, 1, 1, 2, 2, 2])


@pytest.mark.parametrize(
    ("system", "prefill", "decode"),
    [
        (tiny_mesh(1, 3), "rank", "rank"),
        (tiny_cluster(3, 4), "rank", "rank"),
        (tiny_cluster(4, 2), "node", "none"),
    ],
)
def test_dedup_follows_phase_and_system(system, prefill, decode):
    """One node de-duplicates by rank; several by node in prefill and not in decode."""
    problem = tiny(system=system)
    assert problem.dedup == prefill
    assert problem.at_phase("decode").dedup == tiny(system=system, phase="decode").dedup == decode
    chosen = tiny(system=system, dedup="multicast")
    assert chosen.dedup == chosen.at_phase("decode").dedup == "multicast"


def test_phase_of_the_workload():
    """The phase asked for, else the workload's own, else prefill."""
    decode = Workload.from_loads(LOAD, phase="decode")
    assert tiny(workload=decode).phase == "decode"
    assert tiny(workload=decode, phase="prefill").phase == "prefill"
    assert tiny(workload={"decode": decode}).phase == "decode"
    both = {"decode": decode, "prefill": Workload.from_loads(LOAD, phase="prefill")}
    assert tiny(workload=both).phase == "prefill"


def test_at_phase():
    """Another phase has its own workload, batch and kernel; the rest stays."""
    other = [[1.0, 1, 1, 1, 1, 9]]
    workloads = {"prefill": Workload.from_loads(LOAD), "decode": Workload.from_loads(other)}
    problem = tiny(workload=workloads, system=tiny_cluster(4, 2), redundant=2, objective="hops")
    decode = problem.at_phase("decode")
    assert problem.at_phase("prefill") is problem
    np.testing.assert_array_equal(decode.workload.load, other)
    assert (decode.phase, decode.tokens_per_rank) == ("decode", 128)
    assert (decode.redundant, decode.slots_per_rank, decode.objective) == (2, 2, "hops")
    np.testing.assert_array_equal(decode.at_phase("prefill").workload.load, LOAD)
    np.testing.assert_array_equal(tiny().at_phase("decode").workload.load, LOAD)


def test_token_sets_are_generated_only_where_needed():
    """Loads alone are enough without de-duplication; else sets are made up, and said to be."""
    bare = tiny(dedup="none")
    assert bare.workload.token_sets is None
    assert not bare.is_synthetic
    made = tiny(dedup="rank")
    assert made.workload.token_sets_kind == "synthetic"
    assert made.is_synthetic
    share = made.workload.token_sets[0].load(6)
    assert share / share.sum() == pytest.approx(made.load_share[0], abs=1e-6)
    known = tiny(workload=workload_of_sets([SETS], 6))
    assert known.workload.token_sets[0] is SETS
    assert not known.is_synthetic
    assert tiny(workload=Workload.from_loads(LOAD, kind="synthetic"), dedup="none").is_synthetic


def test_load_share():
    """Shares add up to one in every layer."""
    load = np.array([[1.0, 3, 0, 0, 0, 0], [5, 5, 5, 5, 5, 5]])
    problem = tiny(model=tiny_model(6, 2, 2), workload=Workload.from_loads(load), dedup="none")
    np.testing.assert_allclose(problem.load_share, [[0.25, 0.75, 0, 0, 0, 0], [1 / 6] * 6])


def test_holdout_is_bound_like_the_workload():
    """The part to report on gets layers, and token sets where the kernel needs them."""
    problem = tiny(holdout=Workload.from_loads([[1.0, 1, 1, 1, 2, 2]]), holdout_by="request")
    assert problem.holdout.layer_ids == problem.workload.layer_ids
    assert problem.holdout.token_sets_kind == "synthetic"
    assert problem.at_phase("decode").holdout is None


INGREDIENTS = {
    "model": tiny_model(6, 2, hidden_size=128),
    "system": tiny_mesh(1, 3, link_GBps=3.0),
    "workload": Workload.from_loads([[4.0, 3, 2, 1, 1, 1.5]], top_k=2),
    "redundant": 1,
    "objective": "hops",
    "dedup": "none",
    "dispatch": "nearest",
    "phase": "decode",
    "tokens_per_rank": 4095,
    "slots_per_rank": 3,
}


def test_fingerprint_changes_with_every_ingredient():
    """No two problems that may score differently share a fingerprint."""
    changed = {name: tiny(**{name: value}).fingerprint for name, value in INGREDIENTS.items()}
    wide = tiny_mesh(1, 3, peak_tflops={"bf16": 0.05, "fp8": 0.05})
    changed["weight_dtype"] = tiny(system=wide, weight_dtype="fp8").fingerprint
    changed["peak_tflops"] = tiny(system=wide).fingerprint
    changed["token sets"] = tiny(workload=workload_of_sets([SETS], 6)).fingerprint
    assert len({tiny().fingerprint, *changed.values()}) == len(changed) + 1


def test_fingerprint_changes_with_nothing_else():
    """Names of workloads, sources and how a default was asked for do not count."""
    same = [
        tiny(),
        tiny(workload=Workload.from_loads(LOAD, top_k=2, name="other", source="elsewhere")),
        tiny(system=tiny_mesh(1, 3).replace(link_GBps=2.0)),
        tiny(model=tiny_model(6, 2, source="a paper")),
        tiny(system=tiny_mesh(1, 3, summary="in other words")),
        tiny(dedup="rank", tokens_per_rank=4096, phase="prefill", slots_per_rank=2),
        tiny(holdout=Workload.from_loads(LOAD)),
        tiny(workload={"prefill": Workload.from_loads(LOAD, top_k=2)}),
    ]
    assert {problem.fingerprint for problem in same} == {tiny().fingerprint}


def test_unknown_phase_is_refused_later_too():
    """A phase that does not exist is an input error wherever it is asked for."""
    with pytest.raises(InputError, match="unknown phase 'training'"):
        tiny().at_phase("training")


def test_other_layers_are_refused():
    """A workload of other layers cannot stand in for the problem's."""
    model = tiny_model(6, 2, 2)
    problem = tiny(model=model, workload=Workload.from_loads(LOAD * 2))
    with pytest.raises(InputError, match="use the same layers"):
        problem.with_workload(Workload.from_loads(LOAD, layer_ids=[1]))
