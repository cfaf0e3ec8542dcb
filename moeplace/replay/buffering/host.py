"""The link over which a rank fetches experts from host memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from moeplace.errors import InputError, unknown_name


@dataclass(frozen=True)
class HostLink:
    """One direction of a link between host and device, as reached and not as sold."""

    name: str
    GBps: float
    latency_us: float

    def __post_init__(self) -> None:
        if not self.GBps > 0 or self.latency_us < 0:
            raise InputError(f"host link {self.name}: GB/s must be positive, latency at least 0")

    def seconds(self, nbytes: float) -> float:
        """Return the time to copy `nbytes` alone."""
        return nbytes / (self.GBps * 1e9) + self.latency_us * 1e-6


@cache
def _catalogue() -> dict[str, HostLink]:
    import yaml

    with Path(__file__).with_name("host_links.yaml").open(encoding="utf-8") as file:
        entries: dict[str, dict[str, Any]] = yaml.safe_load(file)
    return {
        name: HostLink(name, *(float(entry[key]["value"]) for key in ("GBps", "latency_us")))
        for name, entry in entries.items()
    }


def list_host_links() -> list[str]:
    """Return the names in host_links.yaml."""
    return list(_catalogue())


def host_link(name: str) -> HostLink:
    """Return a link by name, or one of as many GB/s as the text says (latency as pcie3).

    Raises
    ------
    InputError
        If the name is unknown or the number not positive.
    """
    known = _catalogue()
    if name in known:
        return known[name]
    try:
        return HostLink(name, float(name), known["pcie3"].latency_us)
    except ValueError:
        raise unknown_name("host link", name, known, "`moeplace buffer --help`") from None
