"""Run a trace through caches of experts: misses, stalls and throughput."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.replay.buffering.policies import cache_policy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec
    from moeplace.replay.buffering.host import HostLink
    from moeplace.replay.buffering.requests import Requests


@dataclass(frozen=True)
class Times:
    """Seconds of one layer's parts.

    Attributes
    ----------
    fetch_s
        One expert from the host.
    read_s, token_s
        One expert from the device's memory; one token's arithmetic.
    dispatch_s, combine_s
        The exchanges of a batch; fetches overlap the dispatch (2303.06182 §VI).
    """

    fetch_s: float
    read_s: float
    token_s: float
    dispatch_s: float
    combine_s: float


@dataclass(frozen=True, eq=False)
class Buffered:
    """What one policy does with caches of one size.

    Attributes
    ----------
    policy, capacity
        Name, and experts of a layer that a rank holds.
    accesses, misses
        (layers, ranks) experts needed, and those of them that were fetched.
    layer_s
        (batches, layers) seconds of the slowest rank, exchanges included.
    stall_s
        (layers, ranks) seconds for which a rank waited for weights.
    batch_tokens
        Tokens of a batch.
    """

    policy: str
    capacity: int
    accesses: NDArray[np.int64]
    misses: NDArray[np.int64]
    layer_s: NDArray[np.float64]
    stall_s: NDArray[np.float64]
    batch_tokens: int

    @property
    def miss_rate(self) -> float:
        """Misses over accesses, all layers and ranks together."""
        return float(self.misses.sum() / max(int(self.accesses.sum()), 1))

    @property
    def worst_miss_rate(self) -> float:
        """Miss rate of the rank that misses most often, all layers together."""
        accesses = self.accesses.sum(axis=0)
        return float((self.misses.sum(axis=0) / np.maximum(accesses, 1)).max())

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second through the MoE layers alone."""
        batches: int = self.layer_s.shape[0]
        return batches * self.batch_tokens / float(self.layer_s.sum())

    @property
    def stall_share(self) -> float:
        """Share of a rank's time in MoE layers that it waits for weights, mean over ranks."""
        return float(self.stall_s.sum(axis=0).mean() / self.layer_s.sum())


def layer_times(
    model: ModelSpec, system: System, host: HostLink, batch_tokens: int, phase: str = "decode"
) -> Times:
    """Return the times of a batch whose tokens are spread evenly.

    The exchange is one row per (token, expert), over the slowest tier of a device.

    Parameters
    ----------
    model, system, host
        What runs where, and the link to the host.
    batch_tokens
        Tokens of a batch over all ranks.
    phase
        Picks the fixed costs of an exchange.
    """
    system = system.for_phase(phase)
    _, read_s, token_s = system.compute_constants(model, phase)
    slow = system.num_nodes > 1
    rate = system.nic_GBps * system.nic_efficiency if slow else 0.0
    rate = rate or system.link_GBps * system.link_efficiency
    rows = batch_tokens * model.top_k / system.ranks * (1 - 1 / system.ranks)
    dispatch, combine = system.copy_bytes(model.payload_size)
    alpha = system.alpha_us[phase]
    return Times(
        fetch_s=host.seconds(model.expert_bytes(system.weight_dtype(model))),
        read_s=read_s,
        token_s=token_s,
        dispatch_s=alpha["dispatch"] * 1e-6 + rows * dispatch / (rate * 1e9),
        combine_s=alpha["combine"] * 1e-6 + rows * combine / (rate * 1e9),
    )


def simulate(
    requests: Requests,
    rank_of_expert: NDArray[np.int64],
    capacity: int,
    policy: str,
    times: Times,
    seed: int = 0,
) -> Buffered:
    """Run every batch in order; each layer of each rank has a cache of its own.

    A rank's experts run one after the other in increasing number (2303.06182 §VI). At the start
    its first experts are in the cache.

    Parameters
    ----------
    requests
        Tokens by batch, layer and expert.
    rank_of_expert
        (layers, experts) the rank of every expert.
    capacity
        Experts of a layer that fit on a rank.
    policy
        A name of `CACHE_POLICIES`.
    times
        Of `layer_times`.
    seed
        Of the random rule.

    Raises
    ------
    InputError
        If the policy is unknown, nothing fits, or the shapes differ.
    """
    from moeplace.replay.buffering.cache_kernels import batch_ends, run_cache

    rule = cache_policy(policy)
    if capacity < 1:
        raise InputError(f"a cache of {capacity} experts cannot run any; give at least 1")
    if rank_of_expert.shape != requests.tokens.shape[1:]:
        raise InputError(
            f"rank_of_expert has shape {rank_of_expert.shape}, (layers, experts) = "
            f"{requests.tokens.shape[1:]} expected"
        )
    batches, layers = requests.tokens.shape[:2]
    ranks = int(rank_of_expert.max()) + 1
    accesses = np.zeros((layers, ranks), np.int64)
    misses = np.zeros((layers, ranks), np.int64)
    stall_s = np.zeros((layers, ranks))
    layer_s = np.full((batches, layers), times.dispatch_s)
    rng = np.random.default_rng(seed)
    ends, stalls, counts = np.zeros(batches), np.zeros(batches), np.zeros(2, np.int64)
    for layer in range(layers):
        for rank in range(ranks):
            experts = np.flatnonzero(rank_of_expert[layer] == rank)
            tokens = np.ascontiguousarray(requests.tokens[:, layer, experts])
            need = (tokens > 0).astype(np.uint8)
            order = np.arange(experts.size)
            draws = rng.random(need.shape) if policy == "random" else np.zeros((1, 1))
            hit, victim = np.empty(need.shape, np.int8), np.empty(need.shape, np.int32)
            run_cache(need, order, capacity, rule.code, draws, hit, victim, counts)
            accesses[layer, rank], misses[layer, rank] = counts
            batch_ends(
                tokens,
                order,
                hit,
                victim,
                times.fetch_s,
                times.read_s,
                times.token_s,
                times.dispatch_s,
                ends,
                stalls,
            )
            stall_s[layer, rank] = stalls.sum()
            np.maximum(layer_s[:, layer], ends, out=layer_s[:, layer])
    return Buffered(
        policy=policy,
        capacity=capacity,
        accesses=accesses,
        misses=misses,
        layer_s=layer_s + times.combine_s,
        stall_s=stall_s,
        batch_tokens=requests.batch_tokens,
    )
