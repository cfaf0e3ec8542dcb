"""Gating: counts against loops over experts, limits, and the paper's figures."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.hwmodels import load_system
from moeplace.models import load_model
from moeplace.replay.gating import MODES, Gating, gating_cost, paper_cases, paper_rows, waste
from moeplace.replay.gating.constants import PLATFORM
from moeplace.replay.gating.costs import largest_batch
from moeplace.replay.gating.paper import part_of, zipf_share


def setting(capacity: float = 1.0, skew: float = 0.0, ranks: int = 8) -> Gating:
    model = load_model("nllb-moe-54b")
    share = zipf_share(model.num_experts, skew)
    return Gating(model, load_system(PLATFORM, ranks), capacity, load_share=share)


def test_waste_of_the_paper() -> None:
    """E·C/k is 12.8 for the language model and 64 for translation, in words and in rows."""
    assert waste(load_model("fairseq-moe-lm-52b"), 0.05) == pytest.approx(12.8)
    assert waste(load_model("nllb-moe-54b"), 1.0) == 64
    for case, row in zip(paper_cases(), paper_rows(), strict=True):
        assert row.waste == pytest.approx(case.published["waste"])
        assert row.static.waste == pytest.approx(row.waste, rel=0.01)
        assert row.dynamic.waste == pytest.approx(1.0)


def test_counts_against_loops() -> None:
    """Rows, operations and bytes follow from walking over ranks and experts."""
    given, tokens = setting(0.25, 1.0), 40
    model, ranks = given.model, given.system.ranks
    rows = flops = sent = 0
    for _ in range(ranks):  # every rank sends ten rows to every expert
        for expert in range(model.num_experts):
            rows += 10
            flops += 10 * 2 * 2 * model.hidden_size * model.moe_intermediate_size
            owner = expert // (model.num_experts // ranks)
            sent += 10 * model.hidden_size * 2 * (owner != 0)  # seen from rank 0
    cost = gating_cost(given, "static", tokens)
    assert cost.rows == pytest.approx(rows / ranks)
    assert cost.expert_flops == pytest.approx(flops / ranks)
    assert cost.exchange_bytes == pytest.approx(2 * sent / ranks)
    assert cost.gate_flops == 4 * tokens * model.num_experts * 10 * model.hidden_size


def test_drops_against_a_loop() -> None:
    """With a capacity, what a popular expert cannot take is dropped; dynamic gating drops none."""
    given, tokens = setting(0.25, 1.0), 40
    pairs = given.share * tokens * 2 * given.system.ranks
    dropped = sum(max(0.0, p - 10 * given.system.ranks) for p in pairs)
    assert dropped > 0
    assert gating_cost(given, "static", tokens).dropped_share == pytest.approx(
        dropped / pairs.sum()
    )
    assert gating_cost(given, "dynamic", tokens).dropped_share == 0


@pytest.mark.parametrize("tokens", [1, 64, 4096])
@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_dynamic_is_never_slower_with_room_for_all(tokens: int, skew: float) -> None:
    """With capacity 1 no padding costs less time and memory than padding, mask or not."""
    costs = {mode: gating_cost(setting(1.0, skew), mode, tokens) for mode in MODES}
    assert costs["dynamic"].expert_s <= costs["sparse"].expert_s * (1 + 1e-12)
    assert costs["dynamic"].step_s < costs["static"].step_s
    assert costs["sparse"].step_s < costs["static"].step_s
    assert costs["dynamic"].activation_bytes <= costs["static"].activation_bytes


def test_mask_grows_with_the_square() -> None:
    """Twice the tokens, four times the mask product: O(S²·E·D·C)."""
    small, large = (gating_cost(setting(), "static", n).gate_flops for n in (512, 1024))
    assert large == 4 * small
    assert gating_cost(setting(), "sparse", 512).gate_flops == 0


def test_more_skew_more_time() -> None:
    """Dynamic gating waits for its fullest rank; fixed capacities are the same for all."""
    even, skewed = (gating_cost(setting(1.0, x), "dynamic", 4096) for x in (0.0, 1.2))
    assert skewed.expert_s > 1.1 * even.expert_s
    assert gating_cost(setting(1.0, 1.2), "static", 4096).expert_s == pytest.approx(
        gating_cost(setting(1.0, 0.0), "static", 4096).expert_s
    )


def test_published_ranges() -> None:
    """One node: speed-ups within 15 % of the paper's, memory and the largest batch near it."""
    one = {row.case.name: row for row in paper_rows(1)}
    for name in ("LM", "MT encoder"):
        said = one[name].case.published
        assert one[name].same_batch == pytest.approx(said["one_node"], rel=0.15)
        assert one[name].over_sparse == pytest.approx(said["over_tutel"], rel=0.15)
    assert 2.58 <= one["MT decoder"].best_batch <= 5.71
    extra = one["LM"].static.activation_bytes - one["LM"].dynamic.activation_bytes
    assert extra / 2**30 == pytest.approx(5.01, rel=0.15)
    assert one["LM"].memory_ratio == pytest.approx(1.36, abs=0.08)
    assert 8 <= one["LM"].static_fits < 16  # the paper's largest static batch is 8


def test_parts_add_up() -> None:
    """Encoder and decoder together have the parameters and MoE layers of the model."""
    whole = load_model("nllb-moe-54b")
    encoder, decoder = part_of(whole, 0, 24), part_of(whole, 24, 48)
    assert encoder.num_moe_layers + decoder.num_moe_layers == whole.num_moe_layers
    assert encoder.total_params + decoder.total_params == pytest.approx(whole.total_params)
    assert decoder.moe_layers == (3, 7, 11, 15, 19, 23)


def test_largest_batch_is_the_last_that_fits() -> None:
    """One sequence more does not fit."""
    given = setting()
    batch = largest_batch(given, "static", 30)
    room = given.system.hbm_GB * 1e9 * (1 - given.system.reserve_fraction)
    assert gating_cost(given, "static", batch * 30).memory_bytes <= room
    assert gating_cost(given, "static", (batch + 1) * 30).memory_bytes > room


def test_zipf_shares() -> None:
    """Shares add to 1, are equal without skew and the same for the same seed."""
    assert np.ptp(zipf_share(16, 0.0)) == 0
    assert zipf_share(16, 1.0).sum() == pytest.approx(1)
    assert (zipf_share(16, 1.0, 3) == zipf_share(16, 1.0, 3)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gating_cost(setting(), "soft", 8), "unknown"),
        (lambda: gating_cost(setting(), "static", 0), "at least 1"),
        (lambda: setting(0.0), "positive"),
        (lambda: setting(ranks=24), "do not divide"),
        (
            lambda: Gating(
                load_model("nllb-moe-54b"), load_system(PLATFORM), 1.0, load_share=np.ones(3)
            ),
            "shape",
        ),
    ],
)
def test_errors(call: object, message: str) -> None:
    """Wrong input is named."""
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
