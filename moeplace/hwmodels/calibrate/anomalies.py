"""Measured rows that a stated rule takes out: what was measured there is not the kernel.

The rules look at measured values only, never at a model's prediction.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

from moeplace.hwmodels.calibrate.points import CommPoint, ExpertPoint

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from moeplace.hwmodels.calibrate.tables import Table

P = TypeVar("P", CommPoint, ExpertPoint)
NOTIFY_SHARE = 0.3
FALL = 0.85
RULES = {
    "notify": (
        f"in a sweep over tokens, notify took more than {NOTIFY_SHARE:.0%} of the transmit time at "
        "1,024 tokens or more: waiting for other ranks is inside both (DeepEP normal, EP64)"
    ),
    "faster with more": (
        f"the same kernel needs less than {FALL:.0%} of this time for twice the tokens or bytes or "
        "more: the row holds a hiccup or a first call"
    ),
    "rounded away": (
        "a power-law expert sweep with no more pairs than experts: its expert sizes round to 0 and "
        "the pairs land where a sort of equal numbers puts them"
    ),
    "copied": "the H200 multi-node DeepEP tables repeat the H100 values",
}
LARGE_TOKENS = 1024


def split_anomalies(
    comm: Sequence[CommPoint], notify_us: Sequence[float], expert: Sequence[ExpertPoint]
) -> Table:
    """Return a table whose anomalies are set apart, each with the rule that names it."""
    from moeplace.hwmodels.calibrate.tables import Table

    table = Table()
    waits = set()
    for point, notify in zip(comm, notify_us, strict=True):
        if point.tokens >= LARGE_TOKENS and notify > NOTIFY_SHARE * point.measured_us:
            waits.add((point.system, point.family, point.ranks))
    hiccups = _hiccups(comm, _comm_sweep, lambda p: p.payload or p.tokens)
    for number, point in enumerate(comm):
        if point.nodes > 1 and (point.system, point.family, point.ranks) in waits:
            table.anomalies.append((point, "notify"))
        elif number in hiccups:
            table.anomalies.append((point, "faster with more"))
        else:
            table.comm.append(point)
    hiccups = _hiccups(expert, _expert_sweep, lambda p: p.tokens)
    for number, row in enumerate(expert):
        if row.skew and row.tokens * row.top_k <= row.experts:
            table.anomalies.append((row, "rounded away"))
        elif number in hiccups:
            table.anomalies.append((row, "faster with more"))
        else:
            table.expert.append(row)
    return table


def are_copied(points: Sequence[CommPoint], others: Sequence[CommPoint]) -> bool:
    """Whether a table holds the times of another system's table, value for value."""
    mine = sorted(point.measured_us for point in points)
    return bool(mine) and mine == sorted(point.measured_us for point in others)


def _comm_sweep(point: CommPoint) -> Hashable:
    return (
        point.system,
        point.family,
        point.op,
        point.ranks,
        point.hidden,
        point.top_k,
        point.experts,
        point.dtype,
        point.sms,
        point.api,
    )


def _expert_sweep(point: ExpertPoint) -> Hashable:
    return (point.system, point.phase, point.ranks, point.skew, point.dtype, point.hidden)


def _hiccups(
    points: Sequence[P], sweep: Callable[[P], Hashable], amount: Callable[[P], float]
) -> set[int]:
    sweeps = defaultdict(list)
    for number, point in enumerate(points):
        sweeps[sweep(point)].append(number)
    found = set()
    for numbers in sweeps.values():
        for number in numbers:
            here = points[number]
            if any(
                amount(points[other]) >= 2 * amount(here)
                and points[other].measured_us < FALL * here.measured_us
                for other in numbers
            ):
                found.add(number)
    return found
