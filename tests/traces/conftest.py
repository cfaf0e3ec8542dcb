from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.traces import RoutingTrace

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def random_trace() -> Callable[..., RoutingTrace]:
    """Return a maker of valid traces with every column filled."""

    def make(
        tokens: int = 60,
        layers: int = 3,
        top_k: int = 2,
        experts: int = 8,
        seed: int = 0,
        first_layer: int = 1,
    ) -> RoutingTrace:
        rng = np.random.default_rng(seed)
        order = rng.random((tokens, layers, experts)).argsort(axis=2)
        request = np.arange(tokens) // 6
        return RoutingTrace.from_arrays(
            order[:, :, :top_k],
            experts,
            range(first_layer, first_layer + layers),
            request=request,
            position=np.arange(tokens) % 6,
            phase=(np.arange(tokens) % 6 >= 4).astype(int),
            domain=np.where(request % 2 == 0, "law", "code"),
            weights=rng.random((tokens, layers, top_k)),
            name="random",
            meta={"source": "test"},
        )

    return make
