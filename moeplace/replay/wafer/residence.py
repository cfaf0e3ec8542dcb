"""Which die holds which expert: homes, copies made on the way, and room for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.wafer.machine import Machine

UNLIMITED = np.iinfo(np.int64).max


def room_for_copies(machine: Machine, layers: int, homes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (dies,) experts that fit beside the homes, in the share of `layers` layers.

    A die's HBM less its reserve is shared by all MoE layers of the model alike; negative where the
    homes alone do not fit.

    Parameters
    ----------
    machine
        The wafer.
    layers
        Layers that are simulated.
    homes
        (experts,) die of each expert, in every layer.
    """
    held = np.bincount(homes, minlength=machine.num_dies)
    share = machine.usable_bytes * layers / machine.num_layers
    room: NDArray[np.int64] = np.floor(share / machine.expert_bytes - held * layers + 1e-9).astype(
        np.int64
    )
    return room


class Residence:
    """The expert distribution table: homes never move, copies come and go.

    Parameters
    ----------
    machine
        The wafer.
    homes
        (experts,) die of each expert, in every layer.
    layers
        Layers simulated.
    room
        (dies,) copies that a die may hold over these layers.
    """

    def __init__(
        self, machine: Machine, homes: NDArray[np.int64], layers: int, room: NDArray[np.int64]
    ) -> None:
        shape = (layers, machine.num_experts, machine.num_dies)
        self.hops = machine.hops
        self.present = np.zeros(shape, bool)
        self.present[:, np.arange(machine.num_experts), homes] = True
        self.home = homes
        self.room = np.array(room, np.int64)
        self.used = np.full(shape, -1, np.int64)
        self.evicted = 0

    def nearest(self, layer: int) -> NDArray[np.int64]:
        """Return (experts, dies) the nearest die that holds each expert, the first among equals."""
        far = np.where(self.present[layer][:, None, :], self.hops[None], UNLIMITED)
        return np.asarray(far.argmin(axis=2), np.int64)

    def touch(
        self, layer: int, step: int, expert: NDArray[np.int64], die: NDArray[np.int64]
    ) -> None:
        """Mark copies that are used in a step."""
        self.used[layer, expert, die] = step

    def admit(self, layer: int, step: int, expert: int, die: int) -> bool:
        """Make room for a copy and enter it; False if every copy of the die is in use.

        The least recently used copy goes, of any layer; copies used in this step stay.
        """
        if self.room[die] <= 0 and not self._evict(step, die):
            return False
        self.present[layer, expert, die] = True
        self.used[layer, expert, die] = step
        self.room[die] -= 1
        return True

    def _evict(self, step: int, die: int) -> bool:
        held = self.present[:, :, die].copy()
        held[:, self.home == die] = False
        if not held.any():
            return False
        age = np.where(held, self.used[:, :, die], UNLIMITED)
        layer, expert = np.unravel_index(int(age.argmin()), age.shape)
        if age[layer, expert] >= step:
            return False
        self.present[layer, expert, die] = False
        self.room[die] += 1
        self.evicted += 1
        return True
