"""What a workload must know beyond loads before a placement can be scored with it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from moeplace.errors import InputError
from moeplace.traces import synthesize_token_sets

if TYPE_CHECKING:
    from moeplace.models import ModelSpec
    from moeplace.traces import Workload

SYNTHETIC_SETS_PER_LAYER = 4096
SOURCE_BLIND = ("even", "lp")  # dispatch policies that do not look at where a token is


def ready(workload: Workload, model: ModelSpec, dedup: str, dispatch: str) -> Workload:
    """Return the workload with token sets where copies or the choice of replicas need them."""
    if workload.token_sets is not None or (dedup == "none" and dispatch != "cover"):
        return workload
    return _with_synthetic_sets(workload, model.n_group, model.topk_group, model.top_k)


@lru_cache(maxsize=8)
def _with_synthetic_sets(workload: Workload, n_group: int, topk_group: int, top_k: int) -> Workload:
    sets = synthesize_token_sets(
        workload.load,
        top_k,
        n_group=n_group,
        topk_group=topk_group,
        sets_per_layer=SYNTHETIC_SETS_PER_LAYER,
        seed=0,
    )
    return workload.with_token_sets(sets, "synthetic")


def check_stay(workload: Workload, dispatch: str) -> None:
    """Raise unless ``stay`` execution can be scored exactly.

    Raises
    ------
    InputError
        If the workload does not know where tokens come from, or the dispatch policy looks at it.
    """
    if workload.anchored is None:
        raise InputError(
            f"execution 'stay' couples layers, and workload {workload.name!r} does not know which "
            "expert follows which: give a token-level trace of all layers (in Python: "
            "Workload.from_trace(trace, anchored=True)), or use execution 'return'"
        )
    if dispatch not in SOURCE_BLIND:
        raise InputError(
            f"dispatch {dispatch!r} depends on the rank or the whole set of a token, which under "
            f"execution 'stay' depends on all layers before; use {' or '.join(SOURCE_BLIND)}"
        )
