from __future__ import annotations

import pytest

from moeplace.hwmodels import load_system
from moeplace.models import ModelSpec
from moeplace.replay.wafer.demand import Demand, generated_demand
from moeplace.replay.wafer.machine import Machine, make_machine

SMALL = ModelSpec(
    name="small",
    num_layers=2,
    moe_layers=(0, 1),
    num_experts=20,
    top_k=2,
    hidden_size=2048,
    moe_intermediate_size=2048,
)
BATCH = 600


@pytest.fixture(scope="session")
def demand() -> Demand:
    """Return a synthetic batch of a small model."""
    return generated_demand(SMALL, BATCH, layers=2, steps=3)


@pytest.fixture(scope="session")
def machine() -> Machine:
    """Return six dies with plenty of memory."""
    return make_machine(SMALL, load_system("mesh:2x3"), BATCH)


@pytest.fixture(scope="session")
def tight() -> Machine:
    """Return six dies with room for six experts a layer each, 36 for 20 experts."""
    hbm_GB = 2 * 6.2 * SMALL.expert_bytes("bf16") / 0.9 / 1e9
    return make_machine(SMALL, load_system("mesh:2x3").replace(hbm_GB=hbm_GB), BATCH)
