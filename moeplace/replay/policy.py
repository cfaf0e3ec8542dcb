"""What a rebalancing policy is: asked before every window, it may hand in another map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from moeplace.placement import Problem
    from moeplace.replay.fetches import Fetches, Mover
    from moeplace.replay.scorer import Scorer


@dataclass(frozen=True, eq=False)
class Bench:
    """What all policies of a replay share.

    Attributes
    ----------
    problem
        Model, system, slots and batch; its workload holds the loads that maps were first made for.
    scorer, mover
        Prices of steps and of changes of map.
    steps
        Steps in a window.
    horizon
        Windows for which a policy expects a map to serve.
    """

    problem: Problem
    scorer: Scorer
    mover: Mover
    steps: int
    horizon: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, ranks and slots of a rank."""
        return self.problem.num_layers, self.problem.num_ranks, self.problem.slots_per_rank


@dataclass(frozen=True, eq=False)
class Situation:
    """What a policy knows before a window.

    Attributes
    ----------
    number
        Number of the window, from 0.
    load
        (layers, experts) loads estimated from the windows before; those of the window itself for
        policies that see it.
    table
        (layers, ranks, slots) the map in use, −1 empty.
    """

    number: int
    load: NDArray[np.float64]
    table: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Decision:
    """Another map.

    Attributes
    ----------
    table
        (layers, ranks, slots) experts, −1 empty.
    step_extra_s
        (layers,) seconds that every step takes longer because of it, None for none.
    free
        Whether its copies cost nothing, or are in `step_extra_s`.
    local
        (layers, experts) bool: experts that serve every token on its own rank, so that nothing
        is sent for them; they have a replica on every rank. None for none.
    fetches
        What going there takes, where the policy has worked it out; None where not.
    """

    table: NDArray[np.int32]
    step_extra_s: NDArray[np.float64] | None = None
    free: bool = False
    local: NDArray[np.bool_] | None = None
    fetches: Fetches | None = None


class Policy(Protocol):
    """The seam: everything the registry points at makes one of these."""

    def start(self, load: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the first map, (layers, ranks, slots), for loads known beforehand."""
        ...

    def decide(self, situation: Situation) -> Decision | None:
        """Return another map, or None to keep the one in use."""
        ...


class PolicyFactory(Protocol):
    """Makes a policy for one replay; parameters are those its registry entry lists."""

    def __call__(self, bench: Bench, **parameters: float | str) -> Policy:
        """Return a policy without history."""
        ...


@dataclass(frozen=True)
class PolicyInfo:
    """Static facts about a policy.

    Attributes
    ----------
    target
        ``"module:factory"``, loaded on first use.
    parameters
        Defaults by name; a text default takes text.
    sees_window
        Whether it is told the loads of the window it decides for.
    keeps_slots
        Whether its maps stay within the problem's slots.
    reference
        Paper or project that describes it.
    """

    name: str
    summary: str
    target: str
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    sees_window: bool = False
    keeps_slots: bool = True
    reference: str = ""
