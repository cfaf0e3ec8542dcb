"""Tokens drawn from a specification, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import UsageError
from moeplace.traces.arrays import id_dtype
from moeplace.traces.trace import PHASES, RoutingTrace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from moeplace.traces.generator.spec import SynthSpec

BATCH = 16  # requests drawn together
ROTATIONS = 8
HOT = 3.0  # what an adversary adds to the popularity of hot experts
ALWAYS = 12.0
PILOT_TOKENS = 4096
CORRECTIONS = 12
STEP = 0.7
LARGEST = 12.0
PRIOR = 0.5
LEAST = 1e-3  # of the mean load, for experts without any


@dataclass(frozen=True, eq=False)
class Router:
    """The fixed part of a synthetic model.

    Attributes
    ----------
    popularity
        (domains, phases, layers, experts) float32.
    topic
        (topics, layers, experts) float32 what a unit of a topic adds.
    drift
        (layers, experts) float32 what is added at the end of the trace, in part before.
    """

    popularity: NDArray[np.float32]
    topic: NDArray[np.float32]
    drift: NDArray[np.float32]


def generate(
    spec: SynthSpec, requests: int, *, seed: int = 0, router: Router | None = None
) -> Iterator[RoutingTrace]:
    """Yield a synthetic trace, some requests at a time.

    Parameters
    ----------
    spec
        What it is made to be.
    requests
        How many.
    seed
        Seed of everything.
    router
        As `make_router` returns it; made from the seed by default.

    Raises
    ------
    UsageError
        If there are no requests.
    """
    if requests < 1:
        raise UsageError(f"{requests} requests; at least 1 expected")
    made = router or make_router(spec, seed=seed)
    for first in range(0, requests, BATCH):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, first)))
        numbers = np.arange(first, min(first + BATCH, requests))
        yield _batch(spec, made, numbers, requests, rng)


def make_router(spec: SynthSpec, *, seed: int = 0) -> Router:
    """Draw the fixed part of a synthetic model, and correct its popularity to given loads.

    Parameters
    ----------
    spec
        What it is made to be.
    seed
        Seed; the same as that of `generate`.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    layers, experts = spec.num_layers, spec.num_experts
    shape = (spec.domains, len(PHASES), layers, experts)
    base = spec.skew * rng.standard_normal((layers, experts))
    domain = spec.domain_shift * rng.standard_normal((spec.domains, layers, experts))
    phase = spec.phase_shift * rng.standard_normal((layers, experts))
    topic = rng.standard_normal((spec.topics, layers, experts))
    topic *= spec.topic_strength / np.sqrt(spec.topics)
    drift = spec.drift * rng.standard_normal((layers, experts))
    target = _target(spec)
    if target is not None:
        base = np.zeros_like(base)
    popularity = np.zeros(shape)
    popularity += base + domain[:, None] + np.stack([np.zeros_like(phase), phase])[None]
    popularity += _adversary(spec, popularity)
    if spec.adversarial == "far-pairs":
        half = experts // 2
        topic[:, :, half : 2 * half] = topic[:, :, :half]
    router = Router(
        popularity.astype(np.float32),
        topic.astype(np.float32),
        drift.astype(np.float32),
    )
    return router if target is None else _corrected(spec, router, target, seed)


def _target(spec: SynthSpec) -> NDArray[np.float64] | None:
    """Return (domains, phases, layers, experts) wanted shares, or None."""
    if spec.group_load is not None:
        table = spec.group_load
    elif spec.load is not None:
        table = np.broadcast_to(spec.load, (spec.domains, len(PHASES), *spec.load.shape))
    else:
        return None
    whole = table.sum(axis=(0, 1), keepdims=True)
    some = table.sum(axis=3, keepdims=True) > 0
    filled = np.where(some, table, whole)
    filled = filled + LEAST * filled.mean(axis=3, keepdims=True)
    wanted: NDArray[np.float64] = filled / filled.sum(axis=3, keepdims=True)
    return wanted


def _corrected(spec: SynthSpec, router: Router, wanted: NDArray[np.float64], seed: int) -> Router:
    """Change the popularity until a pilot has the wanted loads."""
    popularity = np.log(wanted)
    popularity -= popularity.mean(axis=3, keepdims=True)
    share = np.minimum(wanted * spec.top_k, 1.0)
    length = spec.prefill_tokens + spec.decode_tokens
    pilots = max(PILOT_TOKENS // (length * spec.domains), 1) * spec.domains
    bare = spec.replace(drift=0.0, adversarial="none", domain_blocks=False)
    for step in range(CORRECTIONS):
        current = Router(
            popularity.astype(np.float32), router.topic, np.zeros_like(router.drift),
        )  # fmt: skip
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, step)))
        counts = np.zeros(wanted.shape)
        tokens = np.zeros(wanted.shape[:2])
        for first in range(0, pilots, BATCH):
            numbers = np.arange(first, min(first + BATCH, pilots))
            trace = _batch(bare, current, numbers, pilots, rng)
            for d in range(spec.domains):
                for p in range(len(PHASES)):
                    ids = trace.expert_ids[(trace.domain == d) & (trace.phase == p)]
                    tokens[d, p] += len(ids)
                    for layer in range(spec.num_layers):
                        found = np.bincount(ids[:, layer].ravel(), minlength=spec.num_experts)
                        counts[d, p, layer] += found
        expected = share * tokens[:, :, None, None]
        popularity += STEP / (1 + step / 4) * np.log((expected + PRIOR) / (counts + PRIOR))
        np.clip(popularity, -LARGEST, LARGEST, out=popularity)
    popularity += _adversary(spec, popularity)
    return Router(popularity.astype(np.float32), router.topic, router.drift)


def _adversary(spec: SynthSpec, popularity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the adversary adds to the popularity."""
    added = np.zeros_like(popularity)
    if spec.adversarial == "contiguous-hot":
        added[..., : max(spec.num_experts // 10, 1)] = HOT
    elif spec.adversarial == "one-expert":
        added[..., 0] = ALWAYS
    return added


def _batch(
    spec: SynthSpec,
    router: Router,
    numbers: NDArray[np.int64],
    requests: int,
    rng: np.random.Generator,
) -> RoutingTrace:
    from moeplace.traces.generator.kernels import choose

    count, length = numbers.size, spec.prefill_tokens + spec.decode_tokens
    domain = numbers % spec.domains
    if spec.domain_blocks:
        domain = numbers * spec.domains // requests
    about = _latent(spec, count, length, rng)
    phase = (np.arange(length) >= spec.prefill_tokens).astype(np.uint8)
    ids = np.empty((count * length, spec.num_layers, spec.top_k), np.uint16)
    time = (numbers / max(requests - 1, 1)).astype(np.float32)
    for layer in range(spec.num_layers):
        scores = _noise(spec, count, length, rng)
        scores += about @ router.topic[:, layer]
        popularity = router.popularity[domain, :, layer]
        scores += popularity[:, phase]
        if spec.drift:
            scores += (time[:, None] * router.drift[layer])[:, None]
        if spec.adversarial == "rotating-hot":
            hot = _rotating(spec, np.minimum(time * ROTATIONS, ROTATIONS - 1).astype(int), layer)
            scores += hot[:, None]
        chosen = np.empty((count * length, spec.top_k), np.uint16)
        flat = scores.reshape(count * length, spec.num_experts)
        choose(flat, spec.top_k, spec.n_group, spec.topk_group, chosen)
        ids[:, layer] = chosen
    return RoutingTrace(
        expert_ids=ids.astype(id_dtype(spec.num_experts, with_missing=False)),
        num_experts=spec.num_experts,
        layer_ids=spec.layer_ids,
        request=np.repeat(numbers, length).astype(np.int32),
        position=np.tile(np.arange(length), count).astype(np.int32),
        phase=np.tile(phase, count),
        domain=np.repeat(domain, length).astype(np.int16),
        domains=spec.names,
        name=spec.name,
        meta={"source": "synthetic, moeplace trace synth", "synthetic": spec.numbers()},
    )


def _noise(
    spec: SynthSpec, count: int, length: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return (requests, tokens, experts) normal noise, correlated from token to token."""
    noise = rng.standard_normal((count, length, spec.num_experts), dtype=np.float32)
    if spec.carry:
        keep, fresh = np.float32(spec.carry), np.float32(np.sqrt(1.0 - spec.carry**2))
        for token in range(1, length):
            noise[:, token] = keep * noise[:, token - 1] + fresh * noise[:, token]
    return noise


def _latent(
    spec: SynthSpec, count: int, length: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return (requests, tokens, topics) what every token is about; it changes step by step."""
    about = rng.standard_normal((count, length, spec.topics), dtype=np.float32)
    keep = np.float32(spec.topic_stay)
    fresh = np.float32(np.sqrt(1.0 - spec.topic_stay**2))
    for token in range(1, length):
        about[:, token] = keep * about[:, token - 1] + fresh * about[:, token]
    return about


def _rotating(spec: SynthSpec, turn: NDArray[np.int64], layer: int) -> NDArray[np.float32]:
    hot = max(spec.num_experts // 10, 1)
    start = (turn * hot + layer) % spec.num_experts
    added = np.zeros((turn.size, spec.num_experts), dtype=np.float32)
    places = (start[:, None] + np.arange(hot)) % spec.num_experts
    np.put_along_axis(added, places, np.float32(HOT), axis=1)
    return added
