"""Which figures of a source a synthetic trace reproduces, and which not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.traces.analysis.measures import measure
from moeplace.traces.analysis.tally import tally_trace
from moeplace.traces.reduce import mixed
from moeplace.traces.stored import concatenated, records, trace_chunks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.traces.stored import Trace

TOLERANCE = 0.1  # relative difference that counts as the same
FLOOR = 0.02  # absolute difference that counts as the same
HALVES_NOISE = 2.0  # times the difference of the two halves of the source


@dataclass(frozen=True)
class Agreement:
    """One figure in both traces.

    Attributes
    ----------
    key, text
        Which.
    source, synthetic
        Its values.
    noise
        Its difference between the two halves of the source's requests, or NaN.
    reproduced
        Whether they differ by less than 10 %, 0.02, or twice the noise.
    """

    key: str
    text: str
    source: float
    synthetic: float
    noise: float
    reproduced: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, fit for JSON."""
        return asdict(self)


def two_sample(source: Trace, synthetic: Trace) -> list[Agreement]:
    """Compare the figures of two traces.

    Parameters
    ----------
    source
        The real one; also cut into two halves by request, to see how much a figure varies.
    synthetic
        The other.
    """
    ours = {m.key: m for m in measure(tally_trace(source))}
    theirs = {m.key: m.value for m in measure(tally_trace(synthetic))}
    noise = _noise(source)
    return [
        agreement(m.key, m.text, m.value, theirs[m.key], noise.get(m.key, float("nan")))
        for m in ours.values()
        if m.key in theirs
    ]


def against_targets(targets: Mapping[str, float], synthetic: Trace) -> list[Agreement]:
    """Compare a synthetic trace with published figures.

    Parameters
    ----------
    targets
        Wanted values by key.
    synthetic
        The trace.
    """
    found = {m.key: m for m in measure(tally_trace(synthetic))}
    return [
        agreement(key, found[key].text, value, found[key].value, float("nan"))
        for key, value in targets.items()
        if key in found
    ]


def agreement(key: str, text: str, source: float, synthetic: float, noise: float) -> Agreement:
    """Return whether two values of a figure are the same."""
    allowed = max(FLOOR, TOLERANCE * abs(source), HALVES_NOISE * noise if noise == noise else 0.0)
    return Agreement(key, text, source, synthetic, noise, bool(abs(synthetic - source) <= allowed))


def _noise(source: Trace) -> dict[str, float]:
    """Return the difference of every figure between halves of the source."""
    if not records(source, "request"):
        return {}
    halves: list[list[Any]] = [[], []]
    for chunk in trace_chunks(source):
        # Another bit than that which cuts the halves of `Tally`.
        numbers = np.asarray(chunk.request).astype(np.uint64)
        half = (mixed(numbers) >> np.uint64(1)) & np.uint64(1)
        for h in range(2):
            part = chunk.select(half == h)
            if part.num_tokens:
                halves[h].append(part)
    if not all(halves):
        return {}
    first, second = (
        {m.key: m.value for m in measure(tally_trace(concatenated(parts)))} for parts in halves
    )
    return {key: abs(first[key] - second[key]) for key in first if key in second}
