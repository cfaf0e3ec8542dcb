"""Tokens drawn from a seed: small layers with popular experts and topics."""

from __future__ import annotations

import numpy as np

from moeplace.errors import InputError
from moeplace.traces import TokenSets, Workload

LEAST_POPULAR, LEAST_ON_TOPIC = 0.05, 0.1
LARGEST = 1 << 26  # tokens × experts × layers


def drawn_workload(
    experts: int, top_k: int, *, tokens: int, topics: int = 4, layers: int = 1, seed: int = 0
) -> Workload:
    """Return layers whose tokens were drawn, experts of one topic often together.

    An expert's weight is a popularity, exponentially distributed, times its share in the token's
    topic, uniform. A token takes `top_k` experts without replacement with chances in proportion
    to these weights: the `top_k` smallest of exponential times over weights (Efraimidis &
    Spirakis, Inf. Process. Lett. 97, 2006). Uniform numbers of PCG64 are the only source, so a
    seed gives the same tokens everywhere.

    Parameters
    ----------
    experts, top_k
        Of the model.
    tokens
        Tokens in a layer.
    topics
        Topics; every token has one.
    layers
        Layers, drawn independently.
    seed
        Seed.

    Raises
    ------
    InputError
        If a number is out of range.
    """
    if min(experts, top_k, tokens, topics, layers) < 1 or top_k > experts or seed < 0:
        raise InputError("drawn tokens: counts are at least 1, top_k is at most the experts")
    if experts * tokens * layers > LARGEST:
        raise InputError(f"drawn tokens: at most {LARGEST:,} tokens x experts x layers")
    sets = []
    for layer in range(layers):
        rng = np.random.default_rng([seed, layer])
        popular = LEAST_POPULAR - np.log1p(-rng.random(experts))
        on_topic = LEAST_ON_TOPIC + rng.random((topics, experts))
        topic = (rng.random(tokens) * topics).astype(np.int64)
        times = -np.log1p(-rng.random((tokens, experts))) / (popular * on_topic[topic])
        chosen = np.sort(np.argsort(times, axis=1)[:, :top_k], axis=1)
        ids, count = np.unique(chosen, axis=0, return_counts=True)
        sets.append(TokenSets(ids.astype(np.int32), count.astype(np.float64)))
    load = np.stack([one.load(experts) for one in sets])
    bare = Workload.from_loads(load, top_k=top_k, phase="prefill")
    return bare.replace(name=f"drawn/seed{seed}", kind="synthetic").with_token_sets(
        sets, "synthetic"
    )
