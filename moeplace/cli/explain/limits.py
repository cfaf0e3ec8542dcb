"""What a placement's layer time is made of, and what faster hardware would save."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from moeplace.placement import Placement, Problem, Score

FASTER = 2.0  # what hardware is made faster by, one part at a time
EVEN = 1e-9
ENDLESS = 1e12


@dataclass(frozen=True)
class Limits:
    """Seconds of a step by cause, summed over layers; the first four make up its time.

    Attributes
    ----------
    tokens_s, weights_s
        The slowest rank's kernels, by whether a slot waits for arithmetic or for its weights.
    links_s
        Bytes on the busiest link, out and back.
    fixed_s
        What no byte and no token adds to: kernel floors, software costs, latencies.
    uneven_s
        Slowest rank minus mean rank: what an even load would save at most.
    saved_s
        Seconds saved by twice the ``arithmetic``, ``memory`` or ``link`` speed, same placement.
    hot_layers
        Layers in which one replica alone serves more than a mean rank.
    link, link_ratio
        Name of the link that is busy longest in the dispatch of the slowest layer, and its bytes
        over the mean of all links of its bandwidth.
    """

    tokens_s: float
    weights_s: float
    links_s: float
    fixed_s: float
    uneven_s: float
    saved_s: Mapping[str, float]
    hot_layers: int
    link: str
    link_ratio: float

    @property
    def total_s(self) -> float:
        """Seconds of a step."""
        return self.tokens_s + self.weights_s + self.links_s + self.fixed_s

    @property
    def kind(self) -> str:
        """The largest part: ``tokens``, ``weights``, ``links`` or ``fixed``."""
        names = ("tokens", "weights", "links", "fixed")
        return max(names, key=lambda name: getattr(self, f"{name}_s"))


def limits_of(problem: Problem, placement: Placement, score: Score) -> Limits:
    """Take a placement's time apart (DESIGN §5).

    Parameters
    ----------
    problem
        Without scenarios.
    placement, score
        A placement and what ``evaluate`` says about it.
    """
    from moeplace.placement.evaluate import slot_shares

    floor, read_s, token_s = problem.compute_constants
    layers, ranks = problem.num_layers, problem.num_ranks
    pairs = problem.tokens * problem.top_k
    tokens_s = weights_s = 0.0
    compute = {"arithmetic": 0.0, "memory": 0.0}
    hot = 0
    for layer in range(layers):
        share = slot_shares(problem, placement, layer)
        reading, working = _slot_costs(problem, share, read_s, token_s)
        slowest = int(score.rank_compute_s[layer].argmax())
        here = placement.rank_of_slot == slowest
        reads = reading >= working
        weights_s += float(reading[here & reads].sum())
        tokens_s += float(working[here & ~reads].sum())
        for name, cost in (
            ("arithmetic", np.maximum(reading, working / FASTER)),
            ("memory", np.maximum(reading / FASTER, working)),
        ):
            by_rank = np.bincount(placement.rank_of_slot, weights=cost, minlength=ranks)
            compute[name] += float(by_rank.max())
        mean = float(score.rank_load[layer].mean())
        hot += bool(float(share.max()) * pairs > mean * (1 + EVEN))
    links_s = _link_seconds(problem, placement, score)
    fixed_s = score.step_time_s - links_s - tokens_s - weights_s
    kernels = score.compute_s - layers * floor
    rates = problem.plan.topology.bandwidth_Bps
    there = score.link_bytes[int(score.layer_time_s.argmax())]
    busiest = int((there / rates).argmax()) if there.size else 0
    alike = there[rates == rates[busiest]] if there.size else there
    return Limits(
        tokens_s=tokens_s,
        weights_s=weights_s,
        links_s=links_s,
        fixed_s=max(0.0, fixed_s),
        uneven_s=score.compute_s - float(score.rank_compute_s.mean(axis=1).sum()),
        saved_s={
            **{name: kernels - seconds for name, seconds in compute.items()},
            "link": links_s * (1 - 1 / FASTER),
        },
        hot_layers=hot,
        link=problem.plan.topology.link_names[busiest] if there.size else "",
        link_ratio=float(there[busiest] / alike.mean()) if there.any() else 0.0,
    )


def _slot_costs(
    problem: Problem, share: NDArray[np.float64], read_s: float, token_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (slots,) seconds to read the weights and to work on the tokens of each slot."""
    from moeplace.placement.evaluate import TILE_SLACK

    tile = problem.system.tile_tokens
    per_token = np.minimum(problem.top_k * share, 1.0)
    with np.errstate(divide="ignore"):
        activated = -np.expm1(problem.tokens * np.log1p(-per_token))
    tiles = np.ceil(share * problem.tokens * problem.top_k / tile * (1 - TILE_SLACK))
    return read_s * activated, token_s * tile * tiles


def _link_seconds(problem: Problem, placement: Placement, score: Score) -> float:
    """Return the seconds that bytes on the busiest links take, out and back, over all layers."""
    from moeplace.placement import evaluate

    system = problem.system
    if problem.execution == "stay" and not system.edges:
        # Ways out and back differ in their routes: links without end leave what is no bytes.
        endless = system.replace(
            link_GBps=system.link_GBps * ENDLESS, nic_GBps=system.nic_GBps * ENDLESS
        )
        bare = evaluate(problem.replace(system=endless), placement)
        return max(0.0, score.step_time_s - bare.step_time_s)
    alpha, factor = system.alpha_us[problem.phase], system.in_situ_factor
    out = factor * (score.link_bytes / problem.plan.topology.bandwidth_Bps).max(axis=1, initial=0)
    # Both ways share the latency of the longest route: what dispatch has beside its bytes.
    latency = score.layer_dispatch_s - out - factor * alpha["dispatch"] * 1e-6
    back = score.layer_combine_s - factor * alpha["combine"] * 1e-6 - latency
    return float(out.sum() + np.maximum(back, 0.0).sum())
