"""What no strategy can beat in the die model: a lower bound on the time of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from moeplace.replay.wafer.machine import Machine


def layer_bound_s(machine: Machine, counts: NDArray[np.int64]) -> float:
    """Return seconds that a layer takes at least, wherever experts and copies are.

    Every slice of an expert that has requests is read from some HBM at least once, and a read
    holds that HBM alone: some HBM is busy for ``ceil(slices / dies)`` reads after the first
    look-up. Products cost least undivided, because the utilization grows with the batch, so some
    die computes for their mean; it starts after one read.

    Parameters
    ----------
    machine
        The wafer.
    counts
        (experts,) requests.
    """
    active = counts[counts > 0]
    if not active.size:
        return 0.0
    slices = machine.constants.slices
    first = machine.miss_s + machine.hbm_slice_s + machine.write_s
    reads = -(-active.size * slices // machine.num_dies)
    hbm = machine.miss_s + reads * machine.hbm_slice_s + machine.write_s
    products = slices * float(machine.compute_s[active].sum()) / machine.num_dies
    return max(hbm, first + products)
