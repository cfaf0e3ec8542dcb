"""Constants of the die model, each with its source in constants.yaml."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Constants:
    """What the system catalogue does not say about a die; sources are in ``constants.yaml``.

    Attributes
    ----------
    llc_MiB, llc_hit_ns, llc_miss_ns, llc_write_ns
        Last-level cache of a die.
    hbm_access_ns
        Latency of one access to HBM.
    slices
        Parts in which an expert's weights are read and moved.
    slices_in_flight
        Slices a die may have asked for and not yet computed with.
    full_duplex
        Whether the two directions of a mesh edge are separate.
    utilization_tokens, utilization
        Share of the peak by tokens of one expert on one die, linear in their logarithm.
    base_offset
        Base runs expert e on die (e + offset) mod dies.
    block_requests, min_candidates, split_requests
        Algorithm 1.
    predicted_share
        Share of a heat-map row that counts as predicted.
    """

    llc_MiB: float
    llc_hit_ns: float
    llc_miss_ns: float
    llc_write_ns: float
    hbm_access_ns: float
    slices: int
    slices_in_flight: int
    full_duplex: bool
    utilization_tokens: tuple[float, ...]
    utilization: tuple[float, ...]
    base_offset: int
    block_requests: int
    min_candidates: int
    split_requests: int
    predicted_share: float

    def replace(self, **changes: Any) -> Constants:
        """Return a copy with some constants changed."""
        return replace(self, **changes)


@cache
def load_constants() -> Constants:
    """Return the shipped constants."""
    values = {name: entry["value"] for name, entry in _entries().items()}
    for name in ("utilization_tokens", "utilization"):
        values[name] = tuple(float(value) for value in values[name])
    return Constants(**values)


def constant_sources() -> dict[str, str]:
    """Return where each constant is from."""
    return {name: str(entry["source"]) for name, entry in _entries().items()}


@cache
def _entries() -> dict[str, dict[str, Any]]:
    import yaml

    text = (Path(__file__).parent / "constants.yaml").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return entries
