"""`verify` accepts what was written and nothing that was changed afterwards."""

from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import pytest
from typer.testing import CliRunner

from moeplace import RoutingTrace, evaluate, lower_bound, make_robust, save_trace, solve
from moeplace.cli.main import app
from moeplace.cli.verification import verify
from moeplace.errors import CheckFailedError, InputError
from moeplace.formulations.result import relative_gap
from moeplace.formulations.verify import certificate_of, verify_document
from moeplace.formulations.verify.arrays import pack, unpack
from moeplace.placement import make_problem
from tests.reference.instances import (
    tiny_cluster,
    tiny_mesh,
    tiny_model,
    token_sets,
    workload_of_sets,
)


def small_problem(**changes):
    """Return two layers of twelve experts on four ranks of two nodes."""
    rng = np.random.default_rng(1)
    workload = workload_of_sets([token_sets(rng, 12, 3, 30) for _ in range(2)], 12)
    options = {"dedup": "node", "objective": "time", **changes}
    return make_problem(tiny_model(12, 3, 2), tiny_cluster(4, 2), workload, **options)


def written(problem, solver="lpt", effort="strong"):
    """Return a result as its file holds it."""
    result = solve(problem, solver, bound=lower_bound(problem, effort))
    document = {**result.to_dict(), "certificate": certificate_of(result)}
    return json.loads(json.dumps(document))


@pytest.fixture(scope="module")
def problem():
    """Return the problem of the tests that tamper with its result."""
    return small_problem(objective="copies")


@pytest.fixture(scope="module")
def document(problem):
    """Return a result with a strong bound."""
    return written(problem)


@pytest.mark.parametrize("objective", ["time", "copies", "hops", "balance"])
@pytest.mark.parametrize("dispatch", ["even", "nearest", "cover"])
def test_accepts_what_was_written(objective, dispatch):
    """Every objective and policy, with replicas; the bound is the one worked out anew."""
    instance = small_problem(objective=objective, dispatch=dispatch, redundant=3)
    found = verify_document(written(instance), instance)
    assert found.holds, [check for check in found.checks if not check.holds]
    assert found.lower_bound == pytest.approx(lower_bound(instance, "strong").value, rel=1e-6)
    assert found.gap == pytest.approx(relative_gap(found.value, found.lower_bound))


def test_accepts_scenarios_and_a_mesh():
    """A robust problem carries a certificate for each scenario."""
    robust = make_robust([small_problem(), small_problem(phase="decode")], "max")
    assert verify_document(written(robust), robust).holds
    rng = np.random.default_rng(2)
    workload = workload_of_sets([token_sets(rng, 8, 2, 20)], 8)
    mesh = make_problem(tiny_model(8, 2), tiny_mesh(2, 2), workload, dedup="multicast")
    assert verify_document(written(mesh), mesh).holds


def change_value(document):
    document["objective"]["value"] *= 0.99


def change_bound(document):
    document["objective"]["lower_bound"] *= 1.01


def change_both_bounds(document):
    document["objective"]["lower_bound"] *= 1.01
    document["certificate"]["bound"]["value"] *= 1.01


def change_gap(document):
    document["objective"]["gap"] = 0.0


def claim_optimal(document):
    document["status"] = "optimal"


def change_score(document):
    document["score"]["balancedness"] = 1.0


def change_fingerprint(document):
    document["problem"]["fingerprint"] = "0" * 64


def change_placement(document):
    packed = document["certificate"]["placement"]["expert_of_slot"]
    slots = unpack(packed, "test").copy()
    slots[0, [0, 3]] = slots[0, [3, 0]]  # between ranks
    slots[0, [1, 6]] = slots[0, [6, 1]]
    document["certificate"]["placement"]["expert_of_slot"] = pack(slots)


def hold_twice(document):
    packed = document["certificate"]["placement"]["expert_of_slot"]
    slots = unpack(packed, "test").copy()
    slots[0, 0] = slots[0, 1]
    document["certificate"]["placement"]["expert_of_slot"] = pack(slots)


def change_dual(document):
    layer = document["certificate"]["bound"]["proofs"][0]["layers"][0]
    layer["dual"] = pack(unpack(layer["dual"], "test") // 3)
    change_contents(document)


def change_contents(document):
    contents = document["certificate"]["bound"]["proofs"][0]["contents"][0]
    contents["price"] = pack(unpack(contents["price"], "test") // 2)


def change_prices(document):
    layer = document["certificate"]["bound"]["proofs"][0]["layers"][1]
    layer["price"] = pack(unpack(layer["price"], "test") // 2)


def drop_proofs(document):
    document["certificate"]["bound"]["proofs"] = []


@pytest.mark.parametrize(
    "tamper",
    [
        change_value,
        change_bound,
        change_both_bounds,
        change_gap,
        claim_optimal,
        change_score,
        change_fingerprint,
        change_placement,
        hold_twice,
        change_dual,
        change_prices,
        drop_proofs,
    ],
)
def test_refuses_what_was_changed(problem, document, tamper):
    """One number, multiplier, price, slot or name changed, and a check fails."""
    changed = deepcopy(document)
    tamper(changed)
    found = verify_document(changed, problem)
    assert not found.holds
    with pytest.raises(CheckFailedError, match=r"result\.json"):
        found.raise_if_broken("result.json")


def test_another_problem(document):
    """The result of one problem does not pass for another."""
    other = small_problem(objective="hops")
    found = verify_document(document, other)
    assert [check.name for check in found.checks if not check.holds] == ["problem"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("certificate"),
        lambda d: d.update(schema="other"),
        lambda d: d["certificate"].pop("bound"),
        lambda d: d["certificate"]["placement"]["expert_of_slot"].update(zlib="!"),
        lambda d: d["certificate"]["placement"]["expert_of_slot"].update(shape=[2, 1000000]),
        lambda d: d["certificate"]["bound"]["proofs"][0]["layers"].pop(),
        lambda d: d["certificate"]["bound"]["proofs"][0]["layers"][0].update(
            row_dual=pack(np.full((3, 12), -1.0, np.float32))
        ),
    ],
)
def test_damage_is_an_input_error(problem, document, damage):
    """A file that is not a whole result says so."""
    changed = deepcopy(document)
    damage(changed)
    with pytest.raises(InputError):
        verify_document(changed, problem)


def test_a_solvers_own_proof_needs_another_solver():
    """A bound that only a solver's search gave is searched again by another backend."""
    rng = np.random.default_rng(3)
    workload = workload_of_sets([token_sets(rng, 6, 2, 12)], 6)
    instance = make_problem(
        tiny_model(6, 2), tiny_mesh(1, 2), workload, dedup="rank", objective="balance"
    )
    document = written(instance, "exact-cpsat", "fast")
    packed = document["certificate"]["bound"]
    found = verify_document(document, instance)
    assert found.holds, found.checks
    packed["method"] = "solver"
    packed["value"] = document["objective"]["lower_bound"] = 1.05 * packed["value"]
    broken = verify_document(document, instance)
    assert "bound" in [check.name for check in broken.checks if not check.holds]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float32", "float64"])
def test_arrays_survive(dtype):
    """What is packed comes back."""
    array = (np.arange(12).reshape(3, 4) - 5).astype(dtype)
    back = unpack(json.loads(json.dumps(pack(array))), "test")
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def save_some_trace(path, seed):
    """Write 40 random tokens of DeepSeek-V2-Lite."""
    rng = np.random.default_rng(seed)
    ids = np.argsort(rng.random((40, 26, 64)), axis=2)[:, :, :6]
    save_trace(RoutingTrace.from_arrays(ids.astype(np.uint8), num_experts=64), path)


def test_command(tmp_path):
    """From solve to verify; a changed value leaves with 7, a changed or missing trace is told."""
    runner, path, trace = CliRunner(), tmp_path / "r.json", tmp_path / "trace.npz"
    save_some_trace(trace, 1)
    call = ["--model", "deepseek-v2-lite", "--hw", "mesh:2x2", "--trace", str(trace), "-q"]
    call += ["--dedup", "none", "--objective", "balance", "--solver", "lpt"]
    assert runner.invoke(app, ["solve", *call, "--result", str(path)]).exit_code == 0
    seen = runner.invoke(app, ["verify", str(path), "-q", "--format", "json"])
    assert seen.exit_code == 0
    assert json.loads(seen.stdout)["holds"]
    assert verify(path).value > 0
    document = json.loads(path.read_text())
    document["objective"]["value"] += 1.0
    path.write_text(json.dumps(document))
    with pytest.raises(CheckFailedError, match="value"):
        verify(path)
    assert runner.invoke(app, ["verify", str(path), "-q"]).exit_code == 7
    save_some_trace(trace, 2)
    with pytest.raises(CheckFailedError, match="has changed"):
        verify(path)
    trace.unlink()
    with pytest.raises(InputError, match=r"trace.npz, which is not here"):
        verify(path)


def test_python_results_need_their_problem(problem, document, tmp_path):
    """A result made in Python does not say its inputs; with the problem it verifies."""
    path = tmp_path / "r.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="give the problem"):
        verify(path)
    found = verify(path, problem)
    assert found.value == pytest.approx(
        evaluate(problem, solve(problem, "lpt").placement).objective
    )
