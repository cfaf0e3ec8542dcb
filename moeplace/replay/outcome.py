"""What a replay found: totals, series over windows, and regret."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem
    from moeplace.replay.settings import Settings

SCHEMA = "moeplace.replay/1"
TERMS = ("dispatch_s", "compute_s", "combine_s", "sync_s")


@dataclass
class Series:
    """Numbers of one policy, one a window.

    Attributes
    ----------
    window_s
        Seconds of the window: its steps and what it waited for copies.
    exposed_s
        Seconds waited for copies.
    ratio
        Balance ratio, largest over mean rank load, mean over layers.
    balancedness
        Mean over layers of mean over largest rank load.
    moved
        Replicas copied.
    nbytes
        Bytes copied.
    terms
        Seconds of the steps by term of :data:`TERMS`, summed over windows.
    """

    window_s: list[float] = field(default_factory=list)
    exposed_s: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    balancedness: list[float] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    nbytes: list[float] = field(default_factory=list)
    terms: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(TERMS)))


@dataclass(frozen=True, eq=False)
class PolicyRun:
    """One policy's way through the windows; arrays as in :class:`Series`.

    Attributes
    ----------
    policy
        Name with settings as asked for.
    final
        (layers, ranks, slots) the last map.
    """

    policy: str
    window_s: NDArray[np.float64]
    exposed_s: NDArray[np.float64]
    ratio: NDArray[np.float64]
    balancedness: NDArray[np.float64]
    moved: NDArray[np.int64]
    nbytes: NDArray[np.float64]
    terms_s: NDArray[np.float64]
    final: NDArray[np.int32]

    @property
    def total_s(self) -> float:
        """Seconds of all windows."""
        return float(self.window_s.sum())


@dataclass(frozen=True, eq=False)
class Replay:
    """Policies side by side.

    Attributes
    ----------
    problem
        What was replayed on.
    name, kind
        Of the windows.
    settings
        How.
    labels
        (windows,) where each window comes from.
    runs
        One a policy.
    reference_s
        (windows,) seconds of the oracle that moves for free.
    measured_sets
        Whether copies come from the windows' own token sets.
    """

    problem: Problem
    name: str
    kind: str
    settings: Settings
    labels: tuple[str, ...]
    runs: tuple[PolicyRun, ...]
    reference_s: NDArray[np.float64]
    measured_sets: bool

    @property
    def communication(self) -> str:
        """How copies were counted, in words."""
        if self.measured_sets:
            return "measured token sets"
        if self.problem.dedup == "none":
            return "exact from loads (one copy per token and expert)"
        return "expected, a token's experts independent but for their number"

    def regret(self, run: PolicyRun) -> float:
        """Return what a policy's total lies above the oracle's, as a fraction."""
        return run.total_s / float(self.reference_s.sum()) - 1.0

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary a policy; speed-ups are over the first."""
        steps = self.settings.steps * max(1, len(self.labels))
        first = self.runs[0].total_s
        return [
            {
                "policy": run.policy,
                "step_ms": 1e3 * run.total_s / steps,
                "speedup": first / run.total_s,
                "regret": self.regret(run),
                "balance_ratio": float(run.ratio.mean()),
                "balance_ratio_p95": float(np.quantile(run.ratio, 0.95)),
                "balancedness": float(run.balancedness.mean()),
                "rebalances": int((run.moved > 0).sum()),
                "moved_replicas": int(run.moved.sum()),
                "moved_GB": float(run.nbytes.sum()) / 1e9,
                "exposed_s": float(run.exposed_s.sum()),
                "total_s": run.total_s,
                **dict(zip(TERMS, run.terms_s.tolist(), strict=True)),
            }
            for run in self.runs
        ]

    def by_label(self) -> list[dict[str, Any]]:
        """Return one dictionary a policy and label: balancedness and milliseconds of a step."""
        names = list(dict.fromkeys(self.labels))
        if len(names) < 2:
            return []
        label = np.array([names.index(name) for name in self.labels])
        rows = []
        for run in self.runs:
            for number, name in enumerate(names):
                here = label == number
                seconds = run.window_s[here].mean() / self.settings.steps
                rows.append(
                    {
                        "policy": run.policy,
                        "label": name,
                        "balancedness": float(run.balancedness[here].mean()),
                        "step_ms": 1e3 * float(seconds),
                        "moved_replicas": int(run.moved[here].sum()),
                    }
                )
        return rows

    def to_dict(self, *, series: bool = False) -> dict[str, Any]:
        """Return what JSON shows, with the numbers of every window on request."""
        problem, settings = self.problem, self.settings
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "problem": {
                "model": problem.model.name,
                "system": problem.system.name,
                "phase": problem.phase,
                "tokens_per_rank": problem.tokens_per_rank,
                "layers": problem.num_layers,
                "experts": problem.num_experts,
                "top_k": problem.top_k,
                "ranks": problem.num_ranks,
                "slots": problem.num_slots,
                "redundant": problem.redundant,
                "dedup": problem.dedup,
            },
            "windows": {"name": self.name, "kind": self.kind, "count": len(self.labels)},
            "settings": {
                "steps": settings.steps,
                "horizon": settings.horizon,
                "estimate": settings.estimate,
                "migration": settings.migration,
                "training": settings.training,
                "other_ms": settings.other_ms,
            },
            "communication": self.communication,
            "oracle_step_ms": 1e3
            * float(self.reference_s.sum())
            / (settings.steps * max(1, len(self.labels))),
            "rows": self.rows(),
            "labels": self.by_label(),
        }
        if series:
            document["series"] = {
                run.policy: {
                    "step_ms": (1e3 * run.window_s / settings.steps).tolist(),
                    "balance_ratio": run.ratio.tolist(),
                    "moved_replicas": run.moved.tolist(),
                }
                for run in self.runs
            }
        return document
