"""The quantities that kernels' times are made of, for one point each.

Bytes are per rank and in kB, so that a constant in µs per kB is the inverse of GB/s (times 1e3).
"""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

import numpy as np

from moeplace.hwmodels.calibrate.copies import distinct, payload_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from moeplace.hwmodels.calibrate.points import CommPoint

RAMP_TOKENS = 256  # DeepEP normal: chunks of the ring buffers are full from about here on
LL_HEADER_BYTES = 16  # DeepEP low-latency: source index of every dispatched copy


def copy_kB(point: CommPoint) -> float:
    """Return kB of one copy; low-latency dispatch adds its header."""
    header = LL_HEADER_BYTES if point.op == "dispatch" and _low_latency(point) else 0
    return payload_bytes(point.dtype, point.hidden, header) / 1e3


def _low_latency(point: CommPoint) -> bool:
    return "low-latency" in point.family


def _shape(point: CommPoint) -> tuple[int, int, int, int]:
    return point.experts, point.top_k, point.groups, point.top_groups


def distinct_ranks(point: CommPoint) -> float:
    """Return the expected distinct ranks that serve a token."""
    return distinct(point.ranks, *_shape(point))


def distinct_nodes(point: CommPoint) -> float:
    """Return the expected distinct nodes that serve a token."""
    return distinct(point.nodes, *_shape(point))


def _off_node(point: CommPoint) -> float:
    """Return the share of ranks that lie on other nodes."""
    return max(0.0, 1 - point.node_size / point.ranks)


def _pair_nic_kB(point: CommPoint) -> float:
    """One copy per (token, expert) that leaves the node."""
    return point.tokens * point.top_k * _off_node(point) * copy_kB(point)


def _pair_fast_kB(point: CommPoint) -> float:
    """One copy per (token, expert) to another rank of the node."""
    inside = (min(point.ranks, point.node_size) - 1) / point.ranks
    return point.tokens * point.top_k * inside * copy_kB(point)


def _pair_kB_per_expert(point: CommPoint) -> float:
    """Return kB per expert: low-latency kernels give every expert its own warps."""
    return point.tokens * point.top_k * copy_kB(point) / point.experts


def _node_nic_kB(point: CommPoint) -> float:
    """One copy per distinct node besides the sender's own."""
    return point.tokens * distinct_nodes(point) * (1 - 1 / point.nodes) * copy_kB(point)


def _rank_fast_kB(point: CommPoint) -> float:
    """One copy per distinct rank, forwarded inside the node; the arriving rank keeps its own."""
    inside = 1 - 1 / min(point.ranks, point.node_size)
    return point.tokens * distinct_ranks(point) * inside * copy_kB(point)


def _rank_remote_kB(point: CommPoint) -> float:
    """One copy per distinct rank besides the sender, all inside one NVLink domain."""
    return point.tokens * distinct_ranks(point) * (1 - 1 / point.ranks) * copy_kB(point)


def _token_kB(point: CommPoint) -> float:
    """Return kB of the tokens themselves, read or written once in the device's own memory."""
    return point.tokens * copy_kB(point)


def _rank_kB(point: CommPoint) -> float:
    """One copy per distinct rank, own rank included: what a rank receives on average."""
    return point.tokens * distinct_ranks(point) * copy_kB(point)


def _node_kB(point: CommPoint) -> float:
    """One copy per distinct node, own node included."""
    return point.tokens * distinct_nodes(point) * copy_kB(point)


def _ramp_kB(point: CommPoint) -> float:
    """Bytes of the first chunks, which nothing overlaps with yet."""
    return min(point.tokens, RAMP_TOKENS) * distinct_ranks(point) * copy_kB(point)


def _per_sm(kB: Callable[[CommPoint], float]) -> Callable[[CommPoint], float]:
    return lambda point: kB(point) / point.sms if point.sms else 0.0


TERMS: dict[str, Callable[[CommPoint], float]] = {
    "fixed": lambda point: 1.0,
    "off_node_share": _off_node,
    "log2_ranks": lambda point: log2(point.ranks),
    "experts": lambda point: float(point.experts),
    "copy_kB": copy_kB,
    "tokens": lambda point: float(point.tokens),
    "tokens_upto_128": lambda point: float(min(point.tokens, 128)),
    "ramp_kB_per_sm": _per_sm(_ramp_kB),
    "torch_token_kB": lambda point: _token_kB(point) if point.api == "torch" else 0.0,
    "token_kB": _token_kB,
    "token_kB_per_sm": _per_sm(_token_kB),
    "pair_nic_kB": _pair_nic_kB,
    "pair_fast_kB": _pair_fast_kB,
    "pair_kB_per_expert": _pair_kB_per_expert,
    "node_nic_kB": _node_nic_kB,
    "node_kB_per_sm": _per_sm(_node_kB),
    "rank_fast_kB": _rank_fast_kB,
    "rank_fast_kB_per_sm": _per_sm(_rank_fast_kB),
    "rank_remote_kB": _rank_remote_kB,
    "rank_kB": _rank_kB,
    "rank_kB_per_sm": _per_sm(_rank_kB),
    "rank_tokens_per_sm": _per_sm(lambda point: float(point.tokens * point.ranks)),
    "pairs_per_sm": _per_sm(lambda point: point.tokens * distinct_ranks(point)),
    "payload_remote_kB": lambda point: point.payload * (1 - 1 / point.ranks) / 1e3,
    "payload_kB": lambda point: point.payload / 1e3,
    "payload_upto_64kB": lambda point: min(point.payload / 1e3, 64.0),
    "payload_upto_256kB": lambda point: min(point.payload / 1e3, 256.0),
    "payload_upto_4MB": lambda point: min(point.payload / 1e3, 4096.0),
}


def quantities(points: Iterable[CommPoint], names: Iterable[str]) -> NDArray[np.float64]:
    """Return (points, terms) float."""
    chosen = [TERMS[name] for name in names]
    return np.array([[term(point) for term in chosen] for point in points], float)
