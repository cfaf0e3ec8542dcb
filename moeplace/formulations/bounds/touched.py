"""Proven touches of ranks and nodes for a problem's layers: which partitions they range over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from moeplace.clock import monotonic
from moeplace.formulations.bounds.contents import (
    MANY_EXPERTS,
    ContentsCertificate,
    contents_bound,
)
from moeplace.formulations.bounds.partition import Certificate, touched_parts
from moeplace.formulations.bounds.relaxation import Parts, Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from moeplace.placement import Problem

LEVELS = ("ranks", "nodes")
MOST_BYTES = 48 * 2**20  # of prices and multipliers, so that result files stay writable
FEW_EXPERTS = 32  # up to which both bounds are tried: contents of few experts say less
STEPS_PER_S = 10_000  # of branch and bound, that a time limit is turned into
PRICE_SHARE, SEARCH_SHARE = 0.4, 0.5  # of a time limit, for the two halves of a contents bound
LEAST_OF_MANY = 1_000_000  # steps without which a search among many experts is not begun
LOAD_SLACK = 1e-8  # how far a cap on loads may be exceeded by rounding


@dataclass(frozen=True, eq=False)
class Coupling:
    """What makes one bound of touches and compute time together.

    Attributes
    ----------
    least_compute_s
        (layers,) bound on the slowest rank's compute time, without the fixed cost.
    seconds_per_touch
        What one more touched part of a token costs in dispatch and combine.
    """

    least_compute_s: NDArray[np.float64]
    seconds_per_touch: float


@dataclass(frozen=True, eq=False)
class TouchProof:
    """Bounds on the parts a token touches and the numbers that prove them.

    Attributes
    ----------
    level
        ``ranks`` or ``nodes``.
    value
        (layers,) least mean number of touched parts, under every policy that the problem has;
        with `coupling`, of touched parts + compute time above the least / seconds per touch.
    certificates
        One a layer; None where the time was over, or `contents` prove more.
    coupling
        None for a bound on touches alone.
    contents
        One a layer, None where the bound of :func:`~.contents.contents_bound` was not found; of
        touches alone, also with `coupling`. Empty: none at all.
    """

    level: str
    value: NDArray[np.float64]
    certificates: tuple[Certificate | None, ...]
    coupling: Coupling | None = None
    contents: tuple[ContentsCertificate | None, ...] = ()


def prove_touches(
    problem: Problem,
    level: str,
    coupling: Coupling | None = None,
    *,
    time_limit_s: float | None = None,
    on_layer: Callable[[int], None] | None = None,
) -> TouchProof:
    """Run the partition bound for every layer.

    Theorem (replicas). Under a policy that serves each expert of a token on a replica chosen
    independently of the token's other experts and of its source (``even``, ``lp``), the mean
    number of touched parts is the mean over random partitions: put each expert on the part of one
    of its replicas, with the chances of the policy. Every part then holds at most as many experts
    as it has slots. So a bound over partitions with the slots, redundant ones included, as
    capacity is a bound with replicas. Where the choice depends on the source (``nearest``,
    ``rank_modulo``) this holds for each source. ``cover`` chooses per token: putting every expert
    on one of its replicas instead adds at most one part per replicated expert of the token, and
    at most N experts are replicated.

    Parameters
    ----------
    problem
        With token sets.
    level
        ``ranks`` or ``nodes``.
    coupling
        Bound touches and compute time together.
    time_limit_s
        Seconds for all layers; layers that get none have value 0 and no certificate.
    on_layer
        Called with the number of layers done.
    """
    sets = problem.workload.token_sets
    if sets is None:
        raise ValueError("touches are proven from token sets")
    end = None if time_limit_s is None else monotonic() + time_limit_s
    parts = parts_of(problem, level)
    value = np.zeros(problem.num_layers)
    certificates: list[Certificate | None] = []
    contents: list[ContentsCertificate | None] = []
    for layer, tokens in enumerate(sets):
        left = None if end is None else end - monotonic()
        if left is not None and left <= 0:
            certificates.append(None)
            contents.append(None)
            continue
        share = None if left is None else left / (problem.num_layers - layer)
        within = None if share is None else monotonic() + share
        proof = _contents(problem, level, layer, share)
        contents.append(proof)
        if proof is not None:
            value[layer] = max(0.0, proof.value(parts))
        if proof is None or coupling is not None or parts.experts <= FEW_EXPERTS:
            share = None if within is None else max(1e-3, within - monotonic())
            rows = rows_of(problem, level, layer, coupling)
            found = touched_parts(tokens, parts, rows, time_limit_s=share)
            value[layer] = max(value[layer], found.value - lost_to_choice(problem, layer))
            certificates.append(found.certificate)
        else:
            certificates.append(None)
        if on_layer is not None:
            on_layer(layer + 1)
    return TouchProof(level, value, tuple(certificates), coupling, tuple(contents))


def _contents(
    problem: Problem, level: str, layer: int, limit_s: float | None
) -> ContentsCertificate | None:
    """Return the bound of touches alone from the contents of parts, without replicas."""
    sets = problem.workload.token_sets
    if problem.redundant or sets is None:
        return None
    rows = rows_of(problem, level, layer, None)
    parts = parts_of(problem, level)
    if limit_s is None:
        return contents_bound(sets[layer], parts, rows)
    steps = max(1, int(SEARCH_SHARE * STEPS_PER_S * limit_s))
    if parts.experts > MANY_EXPERTS and steps < LEAST_OF_MANY:
        return None  # the time is better spent on partitions of tokens
    return contents_bound(
        sets[layer], parts, rows, time_limit_s=PRICE_SHARE * limit_s, most_steps=steps
    )


def parts_of(problem: Problem, level: str) -> Parts:
    """Return the number of parts of a level and what the largest holds."""
    count, ranks = problem.num_ranks, 1
    if level == "nodes":
        of_node = np.bincount(problem.plan.topology.node_of_rank)
        count, ranks = of_node.size, int(of_node.max())
    capacity = min(problem.slots_per_rank * ranks, problem.num_experts)
    return Parts(problem.num_experts, count, capacity)


def rows_of(
    problem: Problem, level: str, layer: int, coupling: Coupling | None
) -> tuple[Rows, ...]:
    """Return the caps that hold for what shares a part, as sizes, loads and compute times."""
    parts = parts_of(problem, level)
    experts, redundant = problem.num_experts, problem.redundant
    rows = []
    if not parts.full and parts.capacity < experts:
        rows.append(Rows(np.full(experts, 1 / parts.capacity), np.zeros(experts)))
    if redundant and problem.dispatch not in ("even", "lp"):
        return tuple(rows)
    ranks = 1
    if level == "nodes":
        ranks = int(np.bincount(problem.plan.topology.node_of_rank).max())
    limit = getattr(problem, "max_load", None)
    if limit is not None:
        cap = ranks * limit / problem.num_ranks * (1 + LOAD_SLACK)
        use = problem.load_share[layer] / cap
        rows.append(Rows(use, use / 2, redundant))
    if coupling is not None and coupling.seconds_per_touch > 0:
        least = float(coupling.least_compute_s[layer])
        if least > 0:
            use = ideal_compute_s(problem, layer) / (ranks * least) * (1 - LOAD_SLACK)
            rows.append(Rows(use, use / 2, redundant, least / coupling.seconds_per_touch))
    return tuple(rows)


def ideal_compute_s(problem: Problem, layer: int) -> NDArray[np.float64]:
    """Return (experts,) h(q) = max(b · P[activated], β · tokens), compute time without tiles.

    A slot with a share y of expert e takes at least y · h(q_e): P is concave and 0 at 0.
    """
    _, b, beta = problem.compute_constants
    share = problem.load_share[layer]
    used = np.minimum(problem.top_k * share, 1.0)
    with np.errstate(divide="ignore"):
        activated = -np.expm1(problem.tokens * np.log1p(-used))
    ideal: NDArray[np.float64] = np.maximum(
        b * activated, beta * share * float(problem.tokens * problem.top_k)
    )
    return ideal


def lost_to_choice(problem: Problem, layer: int) -> float:
    """Return by how much a choice of replicas per token can lower the mean of touched parts."""
    if problem.dispatch != "cover" or problem.redundant == 0:
        return 0.0
    chance = np.sort(problem.top_k * problem.load_share[layer])[::-1]
    return float(np.minimum(chance[: problem.redundant], 1.0).sum())


def trimmed(
    proofs: tuple[TouchProof, ...],
    most_bytes: int = MOST_BYTES,
    parts: Callable[[str], Parts] | None = None,
) -> tuple[TouchProof, ...]:
    """Return the proofs without the largest certificates, so that the others fit in a file.

    The layers left out prove nothing any more but what contents of parts do, which is small.
    """
    sizes = [
        (certificate.price.nbytes + certificate.dual.nbytes, number, layer)
        for number, proof in enumerate(proofs)
        for layer, certificate in enumerate(proof.certificates)
        if certificate is not None
    ]
    total = sum(size for size, _, _ in sizes)
    dropped: set[tuple[int, int]] = set()
    for size, number, layer in sorted(sizes, reverse=True):
        if total > most_bytes:
            total -= size
            dropped.add((number, layer))
    kept = []
    for number, proof in enumerate(proofs):
        keep = [(number, layer) not in dropped for layer in range(len(proof.certificates))]
        left = zip(proof.certificates, keep, strict=True)
        small = np.zeros(len(keep))
        for layer, contents in enumerate(proof.contents):
            if contents is not None and parts is not None:
                small[layer] = contents.value(parts(proof.level))
        kept.append(
            replace(
                proof,
                value=np.where(keep, proof.value, small),
                certificates=tuple(c if here else None for c, here in left),
            )
        )
    return tuple(kept)
