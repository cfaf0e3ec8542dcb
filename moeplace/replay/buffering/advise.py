"""How many experts of a layer a rank should hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeplace.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.models import ModelSpec
    from moeplace.replay.buffering.simulate import Buffered


@dataclass(frozen=True)
class Advice:
    """A recommended size.

    Attributes
    ----------
    capacity
        Recommended experts of a layer on a rank: the smallest cache within the budget that keeps
        the share of throughput asked for, or the largest within the budget if none does.
    memory_bytes
        What they take in all MoE layers.
    kept
        Throughput over that with every expert resident.
    fits
        Largest size within the budget.
    enough
        Smallest size that keeps the share, whatever the budget; None if even all but one do not.
    """

    capacity: int
    memory_bytes: float
    kept: float
    fits: int
    enough: int | None


def advise(
    runs: Sequence[Buffered],
    model: ModelSpec,
    budget_bytes: float,
    keep: float = 0.95,
    dtype: str | None = None,
) -> Advice:
    """Recommend a size from the runs of one policy.

    Parameters
    ----------
    runs
        One per size; the largest holds every expert.
    model
        Gives the size of an expert and the MoE layers.
    budget_bytes
        Memory of a rank for routed experts.
    keep
        Share of the full throughput that is good enough, 0 < keep ≤ 1.
    dtype
        Of the weights; default: as served.

    Raises
    ------
    InputError
        If there is no run or `keep` is out of range.
    InfeasibleError
        If not even the smallest size fits.
    """
    if not runs or not 0 < keep <= 1:
        raise InputError("advice needs runs, and a share to keep between 0 and 1")
    each = model.num_moe_layers * model.expert_bytes(dtype)
    ordered = sorted(runs, key=lambda run: run.capacity)
    full = ordered[-1].tokens_per_s
    within = [run for run in ordered if run.capacity * each <= budget_bytes]
    if not within:
        need = ordered[0].capacity * each / 2**30
        raise InfeasibleError(
            f"{ordered[0].capacity} expert(s) of every layer take {need:.2f} GiB a rank; the "
            f"budget is {budget_bytes / 2**30:.2f} GiB: use more ranks or a larger budget"
        )
    good = [run for run in ordered if run.tokens_per_s >= keep * full]
    chosen = next((run for run in within if run.tokens_per_s >= keep * full), within[-1])
    return Advice(
        capacity=chosen.capacity,
        memory_bytes=chosen.capacity * each,
        kept=chosen.tokens_per_s / full,
        fits=within[-1].capacity,
        enough=good[0].capacity if good else None,
    )
