from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Score:
    """What a placement costs; lower is better for the objective.

    Scalars are for one step through all MoE layers of the workload; per-layer arrays have shape
    (layers,) unless noted.

    Attributes
    ----------
    objective_name, objective
        The quantity minimized and its value, summed over layers: seconds, pairs, copies or
        copies × links.
    step_time_s, dispatch_s, compute_s, combine_s
        Seconds of a step and its terms, summed over layers.
    balancedness
        Mean over layers of mean rank load / max rank load.
    copies_per_token, hops_per_token
        Messages and link crossings of one token in one layer's dispatch, mean over layers.
    ranks_per_token
        λ, distinct ranks that serve a token, its own included; None if only loads are known.
    max_link_bytes
        Bytes on the busiest link of any layer's dispatch.
    memory_GiB_per_rank
        Expert and non-expert weights on the fullest rank.
    moved_replicas
        Replicas, over all layers, on ranks that do not hold the expert in the problem's current
        placement; None without one.
    rank_load
        (layers, ranks) (token, expert) pairs served.
    rank_compute_s
        (layers, ranks) expert kernel time.
    link_bytes
        (layers, links) dispatch bytes.
    """

    objective_name: str
    objective: float
    step_time_s: float
    dispatch_s: float
    compute_s: float
    combine_s: float
    balancedness: float
    copies_per_token: float
    hops_per_token: float
    ranks_per_token: float | None
    max_link_bytes: float
    memory_GiB_per_rank: float
    moved_replicas: int | None
    layer_objective: NDArray[np.float64]
    layer_time_s: NDArray[np.float64]
    layer_dispatch_s: NDArray[np.float64]
    layer_compute_s: NDArray[np.float64]
    layer_combine_s: NDArray[np.float64]
    layer_balancedness: NDArray[np.float64]
    layer_copies: NDArray[np.float64]
    layer_hops: NDArray[np.float64]
    rank_load: NDArray[np.float64]
    rank_compute_s: NDArray[np.float64]
    link_bytes: NDArray[np.float64]

    def to_dict(self) -> dict[str, float | None]:
        """Return the scalars that result files show."""
        return {name: getattr(self, name) for name in SCALARS}


SCALARS = (
    "step_time_s",
    "dispatch_s",
    "compute_s",
    "combine_s",
    "balancedness",
    "copies_per_token",
    "hops_per_token",
    "ranks_per_token",
    "max_link_bytes",
    "memory_GiB_per_rank",
    "moved_replicas",
)
