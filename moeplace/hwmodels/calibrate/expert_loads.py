"""How many tokens each expert of the fullest rank gets in the expert-kernel sweeps.

The sweeps of aiconfigurator load the experts uniformly or by a power law: expert sizes are drawn
from a bounded Pareto law of the given exponent between 1 and 0.8 · tokens, scaled to tokens ·
top_k pairs, and the rank with the most pairs is timed (collector notes of aiconfigurator). One
drawing was measured; a prediction is the median over many. In the prefill sweeps the rank is given
the rows of all tokens of the batch and leaves out those that are not its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.hwmodels.calibrate.points import ExpertPoint

DRAWINGS = 32
ALIGN_TOKENS = 128  # rows of an expert in the prefill kernel's layout
UPPER_SHARE = 0.8


def rank_loads(point: ExpertPoint) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the timed rank works on.

    Returns
    -------
    (drawings, experts of the rank) pairs of each expert, and (drawings,) rows that the kernel's
    gather and scatter touch.
    """
    if point.skew == 0:
        return _uniform(point)
    loads = _power_law(point.tokens, point.ranks, point.skew, point.experts, point.top_k)
    return loads, np.full(len(loads), _rows(point))


def _rows(point: ExpertPoint) -> float:
    """Return the rows that gather and scatter of the prefill sweep touch."""
    return float(point.tokens) if point.phase == "prefill" else 0.0


def _uniform(point: ExpertPoint) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spread pairs evenly; the prefill sweep fills whole blocks of 128 rows, expert by expert."""
    pairs = point.tokens * point.top_k / point.ranks
    experts = max(1, point.experts // point.ranks)
    block = ALIGN_TOKENS if point.phase == "prefill" else 1
    active = int(min(experts, max(1, -(-pairs // block))))
    loads = np.zeros((1, experts))
    loads[0, :active] = pairs / active
    return loads, np.array([_rows(point)])


@lru_cache(maxsize=4096)
def _power_law(
    tokens: int, ranks: int, exponent: float, experts: int, top_k: int
) -> NDArray[np.float64]:
    """Return (drawings, experts per rank) pairs on the fullest rank."""
    rng = np.random.default_rng(0)
    low, high = (1.0, UPPER_SHARE * tokens) if tokens * top_k > experts else (0.01, 2.0)
    power = 1 - exponent
    uniform = rng.random((DRAWINGS, experts))
    size = (low**power + uniform * (high**power - low**power)) ** (1 / power)
    total = tokens * top_k
    loads = np.round(size / size.sum(axis=1, keepdims=True) * total)
    for row in loads:
        _repair(row, int(total - row.sum()))
    per_rank = loads.reshape(DRAWINGS, ranks, -1)
    fullest = per_rank.sum(axis=2).argmax(axis=1)
    return np.ascontiguousarray(per_rank[np.arange(DRAWINGS), fullest])


def _repair(loads: NDArray[np.float64], missing: int) -> None:
    """Give the pairs that rounding lost to the largest experts, take surplus from the smallest."""
    order = np.argsort(-loads, kind="stable")
    if missing > 0:
        loads += missing // loads.size
        loads[order[: missing % loads.size]] += 1
        return
    position = loads.size - 1
    while missing < 0:
        if loads[order[position]] > 0:
            loads[order[position]] -= 1
            missing += 1
        position = position - 1 if position else loads.size - 1
