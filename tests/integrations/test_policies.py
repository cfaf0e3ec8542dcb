"""Policies in the shapes that engines call."""

from __future__ import annotations

import hashlib
import inspect
import os
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from moeplace.errors import BackendMissingError, InputError
from moeplace.formulations.incremental import moved_slots
from moeplace.integrations import eplb, sglang, vllm
from moeplace.traces.shipped import shipped_workload

SIZE = (288, 8, 4, 32)


class FakeTensor:
    """Behaves like a tensor on another device: no NumPy before detach, double and cpu."""

    def __init__(self, values, device="cuda", attached=True):
        self.values, self.device, self.attached = np.asarray(values), device, attached

    def detach(self):
        return FakeTensor(self.values, self.device, attached=False)

    def is_floating_point(self):
        return self.values.dtype.kind == "f"

    def double(self):
        return FakeTensor(self.values.astype(np.float64), self.device, self.attached)

    def cpu(self):
        return FakeTensor(self.values, "cpu", self.attached)

    def numpy(self):
        assert self.device == "cpu"
        assert not self.attached
        return self.values

    def __array__(self, *_arguments, **_named):
        raise TypeError("cannot convert a tensor on this device")


@pytest.fixture
def library(monkeypatch):
    """Return a module that tensors belong to, in place of PyTorch."""
    module = ModuleType("faketorch")
    module.from_numpy = lambda array: FakeTensor(array, "cpu", attached=False)
    monkeypatch.setattr(FakeTensor, "__module__", "faketorch._tensor")
    monkeypatch.setitem(sys.modules, "faketorch", module)
    return module


def load_of(name):
    return shipped_workload(f"deepseek-v3/{name}").load


def twice(phy2log, ranks):
    """Return how many slots hold an expert that their rank holds already."""
    held = np.sort(phy2log.reshape(phy2log.shape[0], ranks, -1), axis=2)
    return int((held[:, :, 1:] == held[:, :, :-1]).sum())


def balancedness(load, maps, ranks):
    share = np.take_along_axis(load / maps[2], maps[0], axis=1)
    rank = share.reshape(len(load), ranks, -1).sum(axis=2)
    return (rank.mean(axis=1) / rank.max(axis=1)).mean()


def test_signatures_are_those_of_the_engines():
    """Names and order of the parameters that vLLM, SGLang and EPLB pass."""
    named = list(inspect.signature(vllm.MoeplacePolicy.rebalance_experts).parameters)
    assert named == ["weight", "num_replicas", "num_groups", "num_nodes", "num_ranks",
                     "old_global_expert_indices"]  # fmt: skip
    named = list(inspect.signature(eplb.rebalance_experts).parameters)
    assert named[:5] == ["weight", "num_replicas", "num_groups", "num_nodes", "num_gpus"]
    named = list(inspect.signature(sglang.rebalance_experts).parameters)
    assert named[:6] == ["tokens_per_expert", "num_physical_experts", "num_local_physical_experts",
                         "num_groups", "num_nodes", "algorithm"]  # fmt: skip


def test_tensors_for_tensors(library):
    """A tensor on a device gives CPU tensors, with the same maps as an array."""
    load = load_of("prefill_in4096")[:3]
    plain = eplb.rebalance_experts(load, *SIZE)
    assert all(isinstance(array, np.ndarray) for array in plain)
    found = eplb.rebalance_experts(FakeTensor(load), *SIZE, FakeTensor(plain[0]))
    again = eplb.rebalance_experts(load, *SIZE, plain[0])
    for tensor, array in zip(found, again, strict=True):
        assert isinstance(tensor, FakeTensor)
        assert tensor.device == "cpu"
        assert tensor.values.dtype == np.int64
        np.testing.assert_array_equal(tensor.values, array)
    assert isinstance(vllm.MoeplacePolicy.rebalance_experts(FakeTensor(load), *SIZE), FakeTensor)


@pytest.mark.parametrize("change", [("prefill_in4096", "decode_in2000out100"),
                                    ("decode_in2000out100", "decode_in500out1500")])  # fmt: skip
def test_few_slots_move_when_loads_change(change):
    """Within 2 % of the map from scratch, a tenth of the moves; EPLB's map in use is mended too."""
    before, after = (load_of(name) for name in change)
    for old in (eplb.rebalance_experts(before, *SIZE)[0], np.tile(np.arange(288) % 256, (58, 1))):
        scratch = eplb.rebalance_experts(after, *SIZE)
        found = eplb.rebalance_experts(after, *SIZE, old)
        assert (found[2] >= 1).all()
        assert twice(found[0], 32) == 0
        reached = balancedness(after, found, 32)
        assert reached > balancedness(after, scratch, 32) / 1.0201
        moved = moved_slots(found[0], old, 32)
        assert moved.mean() < moved_slots(scratch[0], old, 32).mean() / 3
        # Whoever stays on its rank stays in its slot.
        assert ((found[0] != old).sum(axis=1) == moved).all()


def test_nothing_moves_when_loads_stay():
    """A map that is good already is kept to the last slot."""
    load = load_of("prefill_in1024")
    old = eplb.rebalance_experts(load, *SIZE)[0]
    np.testing.assert_array_equal(eplb.rebalance_experts(load * 3, *SIZE, old)[0], old)


def test_more_slack_moves_less():
    """Moves fall as slack grows, and balancedness with them."""
    before, after = load_of("prefill_in4096"), load_of("decode_in2000out100")
    old = eplb.rebalance_experts(before, *SIZE)[0]
    moved, reached = [], []
    for slack in (0.01, 0.05, 0.2):
        found = eplb.rebalance_experts(after, *SIZE, old, slack=slack)
        moved.append(moved_slots(found[0], old, 32).sum())
        reached.append(balancedness(after, found, 32))
    assert moved[0] > moved[1] > moved[2]
    assert reached[0] > reached[1] > reached[2]


def test_ranks_of_a_fresh_map_are_renamed():
    """An old map that cannot be repaired (empty slots) still decides how ranks are called."""
    load = load_of("prefill_in4096")[:4]
    fresh = eplb.rebalance_experts(load, *SIZE)[0]
    order = np.random.default_rng(0).permutation(32)
    old = fresh.reshape(4, 32, 9)[:, order].copy()
    old[:, :, -1] = -1
    old = old.reshape(4, 288)
    found = eplb.rebalance_experts(load, *SIZE, old)[0]
    assert moved_slots(found, old, 32).max() <= 32  # the emptied slots; all others stay
    assert (found == old).sum() == (old >= 0).sum()


@pytest.mark.parametrize("seed", range(3))
def test_every_expert_survives_any_old_map(seed):
    """Random maps with doubled and missing experts, empty slots and other shapes are taken."""
    rng = np.random.default_rng(seed)
    load = rng.lognormal(sigma=1.5, size=(5, 16))
    for old in (rng.integers(-1, 16, (5, 24)), rng.integers(0, 16, (5, 32)), np.full((5, 24), -1)):
        phy2log, log2phy, logcnt = eplb.rebalance_experts(load, 24, 1, 1, 4, old)
        assert (logcnt >= 1).all()
        assert twice(phy2log, 4) == 0
        assert logcnt.sum() == 5 * 24
        for layer, expert in np.ndindex(5, 16):
            slots = log2phy[layer, expert]
            assert (phy2log[layer, slots[slots >= 0]] == expert).all()
            assert (slots >= 0).sum() == logcnt[layer, expert]


def test_never_fuller_than_promised():
    """With slack 0 the fullest rank is no fuller than that of the map from scratch."""
    rng = np.random.default_rng(7)
    for _ in range(20):
        load = rng.integers(1, 50, (1, 6)).astype(float)
        old = eplb.rebalance_experts(rng.integers(1, 50, (1, 6)), 8, 1, 1, 4)[0]
        found = eplb.rebalance_experts(load, 8, 1, 1, 4, old, slack=0.0)
        scratch = eplb.rebalance_experts(load, 8, 1, 1, 4)
        share = [np.take_along_axis(load / m[2], m[0], axis=1).reshape(4, 2).sum(axis=1).max()
                 for m in (found, scratch)]  # fmt: skip
        assert share[0] <= share[1] * (1 + 1e-9)


@pytest.mark.parametrize(
    ("old", "slack"),
    [(np.full((1, 4), 0.5), 0.02), (np.full((1, 4), 9), 0.02), (None, -1), (None, float("nan"))],
)
def test_bad_old_maps_and_slacks(old, slack):
    """Ids that are none, and a slack below 0, are input errors."""
    old = np.array([[0, 1, 2, 3]]) if old is None else old
    with pytest.raises(InputError):
        eplb.rebalance_experts([[1, 2, 3, 4]], 4, 1, 1, 2, old, slack=slack)


def test_every_process_computes_the_same_map():
    """Four processes with other hash seeds and numbers of threads give the same bytes."""
    code = (
        "import hashlib, numpy as np; from moeplace.integrations.vllm import MoeplacePolicy as P;"
        "r = np.random.default_rng(1); w = r.lognormal(size=(6, 64));"
        "old = P.rebalance_experts(w, 80, 8, 2, 8);"
        "new = P.rebalance_experts(w * r.lognormal(size=w.shape), 80, 8, 2, 8, old);"
        "print(hashlib.sha256(new.tobytes()).hexdigest())"
    )
    rng = np.random.default_rng(1)
    weight = rng.lognormal(size=(6, 64))
    policy = vllm.MoeplacePolicy.rebalance_experts
    old = policy(weight, 80, 8, 2, 8)
    new = policy(weight * rng.lognormal(size=weight.shape), 80, 8, 2, 8, old)
    for seed, threads in (("1", "1"), ("7", "2")):
        more = {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | more, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert done.stdout.strip() == hashlib.sha256(new.tobytes()).hexdigest()


def test_vllm_table_of_policies(monkeypatch):
    """Register replaces the default in vLLM's own table; without vLLM it says what is missing."""
    with pytest.raises(BackendMissingError, match="install vllm"):
        vllm.register()
    module = ModuleType(vllm.POLICIES)
    module.EPLB_POLICIES = {"default": object}
    parts = vllm.POLICIES.split(".")
    for end in range(1, len(parts)):
        name = ".".join(parts[:end])
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, vllm.POLICIES, module)
    monkeypatch.delenv(vllm.SWITCH, raising=False)
    vllm.register_plugin()
    assert module.EPLB_POLICIES["default"] is object
    monkeypatch.setenv(vllm.SWITCH, "yes")
    with pytest.raises(InputError, match="set it to 1"):
        vllm.register_plugin()
    monkeypatch.setenv(vllm.SWITCH, "1")
    vllm.register_plugin()
    assert module.EPLB_POLICIES["default"] is vllm.MoeplacePolicy


def test_vllm_releases_with_three_maps():
    """The second class gives EPLB's triple for the same map."""
    load = load_of("prefill_in4096")[:2]
    one = vllm.MoeplacePolicy.rebalance_experts(load, *SIZE)
    three = vllm.MoeplaceMapsPolicy.rebalance_experts(load, *SIZE)
    np.testing.assert_array_equal(one, three[0])
    assert len(three) == 3


def test_slack_of_a_derived_policy_counts():
    """Slack is an attribute of the class, as vLLM makes no instance."""

    class Lazy(vllm.MoeplacePolicy):
        slack = 5.0

    load = load_of("prefill_in4096")
    old = np.tile(np.arange(288) % 256, (58, 1))
    np.testing.assert_array_equal(Lazy.rebalance_experts(load, *SIZE, old), old)


def test_sglang_adds_steps_and_keeps_dense_rows_valid():
    """Steps are added up; rows without load still name every expert."""
    load = load_of("prefill_in4096")
    rows = np.concatenate([np.zeros((3, 256)), load])
    steps = np.stack([rows, rows])
    found = sglang.rebalance_experts(steps, 288, 9, 8, 4, algorithm="auto")
    assert found[0].shape == (61, 288)
    assert (found[2] >= 1).all()
    np.testing.assert_array_equal(found[0][3:], eplb.rebalance_experts(load, *SIZE)[0])
    again = sglang.rebalance_experts(rows, 288, 9, None, 4, old=found[0])
    np.testing.assert_array_equal(again[0], found[0])
    with pytest.raises(InputError, match="ep-num-redundant-experts"):
        sglang.rebalance_experts(rows, 287, 9, 8, 4)


def test_sglang_install_starts_from_the_map_in_use(monkeypatch):
    """The function in SGLang's module is replaced, and it asks SGLang for its map."""
    with pytest.raises(BackendMissingError, match="install sglang"):
        sglang.install()
    location, algorithms = ModuleType(sglang.LOCATION), ModuleType(sglang.ALGORITHMS)
    metadata = ModuleType("metadata")
    location.get_global_expert_location_metadata = lambda: None
    for end in range(1, 4):
        name = ".".join(sglang.LOCATION.split(".")[:end])
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, sglang.LOCATION, location)
    monkeypatch.setitem(sys.modules, sglang.ALGORITHMS, algorithms)
    sglang.install()
    load = load_of("prefill_in4096")[:5]
    arguments = {
        "tokens_per_expert": load * 2, "num_physical_experts": 288, "num_groups": 8,
        "num_local_physical_experts": 9, "num_nodes": 4, "algorithm": None,
    }  # fmt: skip
    first = algorithms.rebalance_experts(**arguments)[0]
    np.testing.assert_array_equal(first, eplb.rebalance_experts(load, *SIZE)[0])
    metadata.physical_to_logical_map = np.tile(np.arange(288) % 256, (5, 1))
    location.get_global_expert_location_metadata = lambda: metadata
    second = algorithms.rebalance_experts(**arguments)[0]
    moved = [moved_slots(m, metadata.physical_to_logical_map, 32).sum() for m in (first, second)]
    assert moved[1] < moved[0] / 2


def test_no_engine_and_no_tensor_library_is_imported():
    """Importing the policies loads neither PyTorch nor an engine nor SciPy."""
    code = (
        "import sys, moeplace.integrations.vllm, moeplace.integrations.sglang;"
        "print([m for m in ('torch', 'vllm', 'sglang', 'scipy', 'numba', 'typer')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
