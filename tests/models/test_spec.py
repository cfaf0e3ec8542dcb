"""ModelSpec: derived figures, checks and what-if changes."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.models import DTYPE_BYTES, ModelSpec, format_layer_ids, parse_layer_ids

TINY = ModelSpec(
    name="tiny",
    num_layers=6,
    moe_layers=(1, 3, 5),
    num_experts=8,
    top_k=2,
    hidden_size=10,
    moe_intermediate_size=7,
    n_group=4,
    topk_group=2,
    total_params=10_000.0,
    active_params=5_000.0,
)


def test_sizes_of_gated_experts():
    """A gated expert has three matrices; totals count every MoE layer and expert."""
    assert TINY.num_moe_layers == 3
    assert TINY.payload_size == 10
    assert TINY.expert_params == 3 * 10 * 7
    assert TINY.routed_params == 3 * 8 * 210
    assert TINY.non_expert_params == 10_000 - 5_040


def test_latent_width_sets_payload_and_expert_size():
    """In latent MoE the latent width is sent and multiplied, not the hidden one."""
    latent = TINY.replace(latent_size=4, matrices_per_expert=2)
    assert latent.payload_size == 4
    assert latent.expert_params == 2 * 4 * 7


def test_expert_bytes_follow_the_served_type():
    """Without an argument the served type counts; an argument overrides it."""
    served = TINY.replace(weight_dtype="fp8")
    assert served.expert_bytes() == 210
    assert served.expert_bytes("bf16") == 420
    assert served.expert_bytes("int4") == 105
    with pytest.raises(InputError, match="fp7"):
        served.expert_bytes("fp7")


def test_dtype_table_is_in_bytes():
    """Four-bit types take half a byte."""
    assert DTYPE_BYTES == {
        "bf16": 2,
        "fp16": 2,
        "fp8": 1,
        "int8": 1,
        "fp4": 0.5,
        "int4": 0.5,
    }


def test_replace_keeps_what_lies_outside_the_experts():
    """Doubling the experts adds only routed parameters to the total, none to the active ones."""
    bigger = TINY.replace(num_experts=16)
    assert bigger.non_expert_params == TINY.non_expert_params
    assert bigger.active_params == TINY.active_params
    assert TINY.replace(top_k=3).active_params == 5_000 + 3 * 210
    assert TINY.replace(total_params=6_000.0).total_params == 6_000
    assert TINY.replace(name="other", total_params=None).non_expert_params is None


def test_replace_refuses_unknown_fields():
    """A misspelt field is named, with the fields that exist."""
    with pytest.raises(InputError, match=r"no field 'topk'.*top_k"):
        TINY.replace(topk=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 9}, "top_k 9 exceeds num_experts 8"),
        ({"num_experts": 0}, "num_experts must be a whole number from 1"),
        ({"hidden_size": 2.5}, "hidden_size must be a whole number"),
        ({"n_group": 3}, "not divisible by n_group 3"),
        ({"topk_group": 5}, "topk_group 5 exceeds n_group 4"),
        ({"top_k": 5}, "top_k 5 does not fit in 2 groups"),
        ({"moe_layers": (3, 1)}, "moe_layers must ascend"),
        ({"moe_layers": (1, 6)}, "lie outside the layers 0..5"),
        ({"moe_layers": (-1, 3)}, "lie outside the layers 0..5"),
        ({"moe_layers": ()}, "not a MoE model"),
        ({"moe_layers": ("1", "3")}, "moe_layers must be a list of layer ids"),
        ({"moe_layers": 3}, "moe_layers must be a list of layer ids"),
        ({"hash_routed_layers": (0,)}, "hash_routed_layers must be among moe_layers"),
        ({"weight_dtype": "fp7"}, "weight_dtype 'fp7' is not known"),
        ({"num_shared_experts": 1}, "must both be zero or both be positive"),
        ({"matrices_per_expert": 4}, "matrices_per_expert must be 2 or 3"),
        ({"latent_size": 0}, "latent_size must be positive"),
        ({"total_params": 5_000.0}, "less than"),
    ],
)
def test_inconsistent_figures_are_refused(changes, message):
    """Every check names the model, the field and the figure."""
    with pytest.raises(InputError, match=message) as caught:
        TINY.replace(**changes)
    assert str(caught.value).startswith("model tiny: ")
    assert "\n" not in str(caught.value)


def test_specs_are_immutable_values():
    """Two equal specs are one dictionary key; arrays become tuples."""
    same = TINY.replace(moe_layers=np.array([1, 3, 5]))
    assert same == TINY
    assert all(type(layer) is int for layer in same.moe_layers)
    assert len({same, TINY}) == 1
    with pytest.raises(AttributeError):
        TINY.top_k = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("3-6", (3, 4, 5, 6)),
        ("1-7/2", (1, 3, 5, 7)),
        ("1,3,6-8", (1, 3, 6, 7, 8)),
        ("0-1", (0, 1)),
        ("5", (5,)),
        ("", ()),
    ],
)
def test_layer_notation_round_trips(text, layers):
    """Ranges include both ends, steps count from the first, and writing reads back the same."""
    assert parse_layer_ids(text) == layers
    assert format_layer_ids(layers) == text


@pytest.mark.parametrize("text", ["3-", "a", "5-3", "1-9/0", "1;2", "-1"])
def test_broken_layer_notation_is_refused(text):
    """The message shows the text and how ranges are written, on one line."""
    with pytest.raises(InputError, match="layer ids"):
        parse_layer_ids(text)
