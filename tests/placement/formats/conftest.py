from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class SmallModel:
    """The part of a ModelSpec that formats look at."""

    num_layers: int = 5
    moe_layers: tuple[int, ...] = (1, 2, 4)
    num_experts: int = 8


def build_placement(
    seed: int = 0,
    *,
    ranks: int = 4,
    slots_per_rank: int = 3,
    experts: int = 8,
    layer_ids: tuple[int, ...] = (1, 2, 4),
) -> Placement:
    """Return a full placement without duplicates on a rank, drawn from a seed."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in layer_ids:
        held: list[list[int]] = [[] for _ in range(ranks)]
        for position, expert in enumerate(rng.permutation(experts)):
            held[position % ranks].append(int(expert))
        for mine in held:
            free = [expert for expert in range(experts) if expert not in mine]
            mine.extend(int(e) for e in rng.permutation(free)[: slots_per_rank - len(mine)])
            rng.shuffle(mine)
        rows.append(np.concatenate(held))
    return Placement(
        np.array(rows, np.int32),
        np.repeat(np.arange(ranks, dtype=np.int32), slots_per_rank),
        experts,
        ranks,
        layer_ids,
    )


@pytest.fixture(scope="session")
def model() -> SmallModel:
    """Return five hidden layers of which 1, 2 and 4 have 8 experts."""
    return SmallModel()


@pytest.fixture(scope="session")
def deepseek_v3() -> SmallModel:
    """Return the layer structure of DeepSeek-V3."""
    return SmallModel(61, tuple(range(3, 61)), 256)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., SmallModel]:
    """Return the constructor of a model."""
    return SmallModel


@pytest.fixture(scope="session")
def make_placement() -> Callable[..., Placement]:
    """Return the constructor of a full placement."""
    return build_placement


@pytest.fixture(scope="session")
def same() -> Callable[[Placement, Placement], bool]:
    """Return a test of equality in every attribute."""

    def equal(one: Placement, other: Placement) -> bool:
        return (
            np.array_equal(one.expert_of_slot, other.expert_of_slot)
            and np.array_equal(one.rank_of_slot, other.rank_of_slot)
            and (one.num_experts, one.num_ranks) == (other.num_experts, other.num_ranks)
            and one.layer_ids == other.layer_ids
        )

    return equal
