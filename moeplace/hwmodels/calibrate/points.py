"""One measured time of a kernel, and the circumstances it was measured in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class CommPoint:
    """A dispatch, combine or all-to-all whose time was measured or is asked for.

    Attributes
    ----------
    system
        Catalogue name, ``h100-sxm``.
    family
        Kernel family, a key of :data:`moeplace.hwmodels.calibrate.families.FAMILIES`.
    op
        ``dispatch``, ``combine``, ``prepare`` or ``alltoall``.
    ranks, node_size
        EP size and ranks that share the fast tier.
    tokens
        Tokens per rank.
    hidden, top_k, experts, groups, top_groups
        Shape of the layer; `top_groups` of `groups` expert groups are chosen first.
    dtype
        Of the payload: fp8, nvfp4, bf16, int8.
    sms
        Streaming multiprocessors the kernel may use, 0 where it has no such choice.
    api
        ``kernel`` or ``torch``, where the source tells them apart.
    payload
        Bytes per rank of a plain all-to-all, own part included; 0 elsewhere.
    measured_us
        The time, NaN if it is only asked for.
    source
        File and line, or publication.
    """

    system: str
    family: str
    op: str
    ranks: int
    node_size: int
    tokens: int
    hidden: int = 7168
    top_k: int = 8
    experts: int = 256
    groups: int = 1
    top_groups: int = 1
    dtype: str = "bf16"
    sms: int = 0
    api: str = "kernel"
    payload: float = 0.0
    measured_us: float = float("nan")
    source: str = ""

    @property
    def nodes(self) -> int:
        """Nodes in use."""
        return -(-self.ranks // self.node_size)

    def replace(self, **changes: Any) -> CommPoint:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class ExpertPoint:
    """The time of the expert kernels of one layer on the fullest rank.

    Attributes
    ----------
    system, phase
        Catalogue name; ``prefill`` ("context" kernel) or ``decode`` ("generation" kernel).
    ranks
        EP size.
    tokens
        Tokens of all ranks together.
    skew
        Exponent of the power law that the experts' loads follow, 0 = uniform.
    hidden, inter, top_k, experts, dtype
        Shape of the layer and type of its weights.
    measured_us, source
        As in :class:`CommPoint`.
    """

    system: str
    phase: str
    ranks: int
    tokens: int
    skew: float
    hidden: int
    inter: int
    top_k: int
    experts: int
    dtype: str
    measured_us: float = float("nan")
    source: str = ""
