from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.hwmodels import System
from moeplace.models import ModelSpec
from moeplace.placement import make_problem
from moeplace.traces import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from moeplace.placement import Problem


def _problem(
    load: ArrayLike,
    ranks: int,
    *,
    redundant: int = 0,
    slots_per_rank: int | None = None,
    node_size: int | None = None,
    n_group: int = 1,
    objective: str = "balance",
    dispatch: str = "even",
) -> Problem:
    load = np.asarray(load, np.float64)
    layers, experts = load.shape
    model = ModelSpec(
        name="tiny",
        num_layers=layers,
        moe_layers=tuple(range(layers)),
        num_experts=experts,
        top_k=1,
        hidden_size=64,
        moe_intermediate_size=32,
        n_group=n_group,
        topk_group=n_group,
    )
    system = System(
        name="tiny",
        kind="cluster",
        summary="for tests",
        ranks=ranks,
        node_size=node_size or ranks,
        link_GBps=100.0,
        nic_GBps=25.0,
        hbm_GBps=1000.0,
        hbm_GB=80.0,
        peak_tflops={"bf16": 100.0},
    )
    return make_problem(
        model,
        system,
        Workload.from_loads(load, top_k=1),
        redundant=redundant,
        slots_per_rank=slots_per_rank,
        objective=objective,
        dispatch=dispatch,
        dedup="none",
        tokens_per_rank=100,
    )


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., Problem]:
    """Return a maker of small problems on one cluster, from (layers, experts) loads."""
    return _problem
