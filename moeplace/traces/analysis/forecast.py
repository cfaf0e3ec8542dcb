"""How well the next choice can be told from this one, beside what popularity alone tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARE = 0.2  # the part of the experts that a forecast may name (arXiv 2510.05497 §III-B)


@dataclass(frozen=True)
class Coverage:
    """Shares of the next choices that a list of 20 % of the experts covers, one value a row.

    Attributes
    ----------
    top_expert
        The list of the most used expert of the row: what the paper reports.
    conditional
        The list of each expert, weighted by its load.
    popularity
        One list for all: the most used experts. What a forecast has to beat.
    held_out
        `conditional` with lists from one half of the requests, measured on the other.
    held_out_popularity
        `popularity`, in the same way.
    random
        A random list: the share of the experts it names.
    """

    top_expert: tuple[float, ...]
    conditional: tuple[float, ...]
    popularity: tuple[float, ...]
    held_out: tuple[float, ...]
    held_out_popularity: tuple[float, ...]
    random: float


def coverage(halves: NDArray[Any], share: float = SHARE) -> Coverage:
    """Measure forecasts from tables of successive choices.

    Parameters
    ----------
    halves
        (2, rows, experts, experts) [h, r, e, f]: e, then f, in half h of the requests; a row is a
        layer.
    share
        Part of the experts that a list names.
    """
    rows, experts = halves.shape[1], halves.shape[-1]
    size = max(round(share * experts), 1)
    found: dict[str, list[float]] = {
        name: [] for name in ("top", "own", "popular", "held", "held_popular")
    }
    for row in range(rows):
        first, second = (halves[h, row].astype(np.float64) for h in (0, 1))
        whole = first + second
        total = max(whole.sum(), 1.0)
        own = _listed(whole, whole, size)
        busiest = int(whole.sum(axis=1).argmax())
        found["top"].append(own[busiest] / max(whole[busiest].sum(), 1.0))
        found["own"].append(own.sum() / total)
        found["popular"].append(_popular(whole, whole, size) / total)
        crossed = _listed(first, second, size).sum() + _listed(second, first, size).sum()
        found["held"].append(crossed / total)
        crossed = _popular(first, second, size) + _popular(second, first, size)
        found["held_popular"].append(crossed / total)
    lists = {name: tuple(float(v) for v in values) for name, values in found.items()}
    return Coverage(
        top_expert=lists["top"],
        conditional=lists["own"],
        popularity=lists["popular"],
        held_out=lists["held"],
        held_out_popularity=lists["held_popular"],
        random=size / experts,
    )


def repeat_share(table: NDArray[Any], top_k: int) -> NDArray[np.float64]:
    """Return (rows,) the share of a token's experts that the next token uses again.

    Parameters
    ----------
    table
        (rows, experts, experts) [r, e, f] successive tokens that use e, then f.
    top_k
        Experts a token.
    """
    same = np.trace(table, axis1=1, axis2=2).astype(np.float64)
    # Every pair of successive tokens adds top_k² to the table.
    pairs = np.maximum(table.sum(axis=(1, 2), dtype=np.float64) / top_k**2, 1.0)
    shared: NDArray[np.float64] = same / (pairs * top_k)
    return shared


def chance_of_repeat(load: NDArray[np.float64], top_k: int) -> NDArray[np.float64]:
    """Return (rows,) what `repeat_share` would be for independent tokens of the same loads."""
    used = load / np.maximum(load.sum(axis=1, keepdims=True), 1.0)
    chance: NDArray[np.float64] = top_k * np.sum(used**2, axis=1)
    return chance


def pair_share(table: NDArray[Any], share: float) -> NDArray[np.float64]:
    """Return (rows,) the share of a table that its largest entries hold.

    Parameters
    ----------
    table
        (rows, experts, experts) counts.
    share
        Part of the entries.
    """
    flat = -np.sort(-table.reshape(table.shape[0], -1).astype(np.float64), axis=1)
    size = max(round(share * flat.shape[1]), 1)
    held: NDArray[np.float64] = flat[:, :size].sum(axis=1) / np.maximum(flat.sum(axis=1), 1.0)
    return held


def _listed(fit: NDArray[np.float64], measured: NDArray[np.float64], size: int) -> Any:
    """Return (experts,) choices of `measured` that the lists of `fit` cover."""
    lists = np.argsort(-fit, axis=1, kind="stable")[:, :size]
    return np.take_along_axis(measured, lists, axis=1).sum(axis=1)


def _popular(fit: NDArray[np.float64], measured: NDArray[np.float64], size: int) -> float:
    best = np.argsort(-fit.sum(axis=0), kind="stable")[:size]
    return float(measured[:, best].sum())
