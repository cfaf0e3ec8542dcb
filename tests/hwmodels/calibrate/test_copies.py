"""Expected copies and bytes against counting every choice."""

from __future__ import annotations

from itertools import combinations

import pytest

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.copies import distinct, payload_bytes, touch_chance


def counted(parts: int, experts: int, top_k: int, groups: int = 1, top_groups: int = 1) -> float:
    """Average the distinct parts over every choice a router can make."""
    size, part = experts // groups, experts // parts
    total = number = 0
    for chosen in combinations(range(groups), top_groups):
        allowed = [e for e in range(experts) if e // size in chosen]
        for picked in combinations(allowed, top_k):
            total += len({expert // part for expert in picked})
            number += 1
    return total / number


@pytest.mark.parametrize(
    ("parts", "experts", "top_k", "groups", "top_groups"),
    [
        (2, 8, 3, 1, 1),
        (4, 8, 2, 1, 1),
        (8, 8, 3, 1, 1),
        (2, 8, 2, 4, 2),
        (4, 8, 2, 4, 2),
        (8, 8, 2, 4, 2),
        (2, 12, 3, 4, 2),
    ],
)
def test_distinct_parts_are_those_of_all_choices(
    parts: int, experts: int, top_k: int, groups: int, top_groups: int
) -> None:
    """Hypergeometric chances equal enumeration, with and without group limits."""
    found = distinct(parts, experts, top_k, groups, top_groups)
    assert found == pytest.approx(counted(parts, experts, top_k, groups, top_groups))


@pytest.mark.parametrize(
    ("parts", "expected"), [(2, 1.99), (4, 3.61), (8, 5.30), (32, 7.27), (64, 7.68)]
)
def test_deepseek_v3(parts: int, expected: float) -> None:
    """Nodes or ranks per token for the top 8 of 256, as found by sampling."""
    assert distinct(parts, 256, 8) == pytest.approx(expected, abs=0.01)


def test_a_token_cannot_choose_more_than_there_is() -> None:
    """Top-k beyond the experts is an input error."""
    with pytest.raises(InputError, match="top 9 of 8"):
        touch_chance(8, 9, 1)


def test_bytes_of_one_copy() -> None:
    """DeepEP low-latency: 7,408 B per FP8 copy of 7,168 values, 14,336 B per BF16 copy."""
    assert payload_bytes("fp8", 7168, 16) == 7408
    assert payload_bytes("bf16", 7168) == 14336
    assert payload_bytes("nvfp4", 7168) == 4032
    with pytest.raises(InputError, match="fp7"):
        payload_bytes("fp7", 7168)
