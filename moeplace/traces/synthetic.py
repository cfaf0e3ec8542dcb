"""Token sets that a router could have produced, for workloads known by their loads alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.traces.token_sets import TokenSets, unique_token_sets

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

TOLERANCE = 1e-6  # largest relative error of a load that ends the search for sets
EDGE_TOLERANCE = 1e-3  # ... that is accepted when the search ends without
TARGET = 1e-8  # relative error at which raking stops
SWEEPS = 2000
BATCH = 512  # tokens routed between two corrections of the logits
WARM_UP = 4  # batches that only correct the logits
PRIOR = 2.0  # tokens added to both sides of a ratio of counts, against noise
LARGEST_LOGIT = 25.0
SATURATION = 6.0  # logit above which the sigmoid is flat: the rest goes into the bonus
FADED = (0.01, 0.03)  # sets that kept less than this part of their weight are dropped
WORKERS = 2


@dataclass(frozen=True, eq=False)
class Synthesis:
    """Synthetic token sets and how far they had to be bent.

    Attributes
    ----------
    token_sets
        One `TokenSets` a layer.
    load_error
        (layers,) largest relative error of a weighted load.
    smallest_ratio, largest_ratio
        (layers,) extremes of the weight of a set over its weight as drawn.
    """

    token_sets: tuple[TokenSets, ...]
    load_error: NDArray[np.float64]
    smallest_ratio: NDArray[np.float64]
    largest_ratio: NDArray[np.float64]


@dataclass(frozen=True)
class _Router:
    top_k: int
    n_group: int
    topk_group: int


def synthesize_token_sets(
    load: ArrayLike,
    top_k: int,
    *,
    n_group: int = 1,
    topk_group: int = 1,
    sets_per_layer: int = 8192,
    seed: int = 0,
) -> tuple[TokenSets, ...]:
    """Draw weighted token sets whose loads are the given ones.

    See `synthesize`, which also tells how far the weights had to be bent.

    Parameters
    ----------
    load
        (layers, experts) tokens routed to each expert.
    top_k
        Routed experts per token.
    n_group, topk_group
        Expert groups, and how many of them a token may use.
    sets_per_layer
        Tokens to draw for a layer.
    seed
        Seed; a layer's sets depend on it, the row and the load alone.

    Returns
    -------
    tuple of TokenSets
        One a layer; `TokenSets.load` reproduces the row to 1e-6, or to 1e-3 for loads at the very
        edge of the possible.
    """
    return synthesize(
        load,
        top_k,
        n_group=n_group,
        topk_group=topk_group,
        sets_per_layer=sets_per_layer,
        seed=seed,
    ).token_sets


def synthesize(
    load: ArrayLike,
    top_k: int,
    *,
    n_group: int = 1,
    topk_group: int = 1,
    sets_per_layer: int = 8192,
    seed: int = 0,
) -> Synthesis:
    """Draw token sets from a noisy router and rake their weights to the loads.

    Every token gets the logits θ plus fresh logistic noise and is routed as DeepSeek-V3 routes
    (arXiv 2412.19437 §2.1.2): sigmoid affinities, groups ranked by the sum of their two best,
    the best `topk_group` groups kept, the best `top_k` experts in them taken. θ starts at the
    logit of the wanted inclusion frequency and is corrected after every batch by the log ratio of
    wanted to counted tokens. Iterative proportional fitting then scales the weights of the sets so
    that the weighted loads are the given ones. An expert without load is in no set; an expert
    with load is in at least one.

    What this does NOT reproduce: two experts go together only as far as their loads and the group
    limit make them. Real tokens of one topic, language or request share experts; so real
    co-activation is stronger, and a placement gains more from it than these sets can show. Nor is
    there any tie between layers, or between successive tokens.

    Parameters
    ----------
    load
        (layers, experts) tokens routed to each expert.
    top_k
        Routed experts per token.
    n_group, topk_group
        Expert groups, and how many of them a token may use.
    sets_per_layer
        Tokens to draw for a layer; more are drawn where the loads ask for it.
    seed
        Seed; a layer's sets depend on it, the row and the load alone, not on other layers.

    Returns
    -------
    Synthesis
        Sets with a total weight of Σ load / top_k in each layer.

    Raises
    ------
    UsageError
        If the shape of the router makes no sense.
    InputError
        If no tokens can have these loads: an expert with more than 1/top_k of the load of its
        layer, too few experts with load, or loads that the group limit rules out.
    """
    table = np.asarray(load, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all() or (table < 0).any():
        raise InputError("synthetic token sets need (layers, experts) finite loads ≥ 0")
    router = _Router(int(top_k), int(n_group), int(topk_group))
    _check_router(router, table.shape[1], sets_per_layer)
    for row, loads in enumerate(table):
        _check_loads(loads, row, router)

    def layer(row: int) -> tuple[TokenSets, float, float, float]:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(row,)))
        return _layer(table[row], row, router, sets_per_layer, rng)

    if table.shape[0] > 1:
        with ThreadPoolExecutor(WORKERS) as pool:
            results = list(pool.map(layer, range(table.shape[0])))
    else:
        results = [layer(row) for row in range(table.shape[0])]
    sets, errors, low, high = zip(*results, strict=True) if results else ((), (), (), ())
    return Synthesis(tuple(sets), np.array(errors), np.array(low), np.array(high))


def _check_router(router: _Router, experts: int, sets_per_layer: int) -> None:
    if router.n_group < 1 or experts % router.n_group:
        raise UsageError(f"{experts} experts cannot form {router.n_group} equal groups")
    if not 1 <= router.topk_group <= router.n_group:
        raise UsageError(f"topk_group {router.topk_group} of {router.n_group} groups")
    if not 1 <= router.top_k <= router.topk_group * (experts // router.n_group):
        raise UsageError(
            f"top_k {router.top_k} does not fit in {router.topk_group} groups of "
            f"{experts // router.n_group} experts"
        )
    if experts > np.iinfo(np.uint16).max:
        raise UsageError(f"{experts} experts a layer are more than can be synthesized")
    if sets_per_layer < 1:
        raise UsageError(f"sets_per_layer is {sets_per_layer}, at least 1 expected")


def _check_loads(loads: NDArray[np.float64], row: int, router: _Router) -> None:
    total = float(loads.sum())
    if total <= 0:
        raise InputError(f"layer row {row} has no load: there are no tokens to synthesize")
    top = int(loads.argmax())
    share = float(loads[top]) / total
    if share * router.top_k > 1 + TOLERANCE:
        raise InputError(
            f"expert {top} of layer row {row} has {share:.2%} of the load, but with top_k "
            f"{router.top_k} a token uses it once at most, which is {1 / router.top_k:.2%}: "
            "the loads or top_k are wrong"
        )
    live = np.sort(np.count_nonzero(loads.reshape(router.n_group, -1), axis=1))
    reach = int(live[-router.topk_group :].sum())
    if reach < router.top_k:
        raise InputError(
            f"layer row {row}: a token needs {router.top_k} experts, but the fullest "
            f"{router.topk_group} of {router.n_group} groups hold {reach} with any load"
        )


def _layer(
    loads: NDArray[np.float64],
    row: int,
    router: _Router,
    sets_per_layer: int,
    rng: np.random.Generator,
) -> tuple[TokenSets, float, float, float]:
    """Return the sets of a layer, the load error, and the extremes of the raking ratios."""
    experts = loads.size
    share = np.minimum(loads * (router.top_k / loads.sum()), 1.0)
    logits = np.log(np.maximum(share, 1e-300)) - np.log(np.maximum(1.0 - share, 1e-6))
    for step in range(WARM_UP):
        ids = _route(logits, loads, router, rng, np.full(BATCH, experts))
        _correct(logits, share, ids, 1.0 / (step + 1))
    drawn = np.empty((0, router.top_k), dtype=np.uint16)
    wanted, most = sets_per_layer, max(4 * sets_per_layer, 32 * experts)
    while True:
        drawn = _draw(drawn, wanted, logits, loads, share, router, rng)
        sets = unique_token_sets(drawn, -1, experts)
        target = loads * (sets.total_weight * router.top_k / loads.sum())
        sets, weight, error = _rake(sets, target)
        if error <= TOLERANCE and weight.min() > 0:
            break
        if wanted >= most:
            if error <= EDGE_TOLERANCE and weight.min() > 0:
                break
            raise InputError(
                f"layer row {row}: found no mix of token sets with top_k {router.top_k} and "
                f"{router.topk_group} of {router.n_group} groups that has these loads (closest: "
                f"{error:.1e} off); check that loads, top_k and groups are of the same model"
            )
        wanted = min(2 * wanted, most)
    ratio = weight / sets.weight
    scale = float(loads.sum()) / (router.top_k * float(weight.sum()))
    return TokenSets(sets.ids, weight * scale), error, float(ratio.min()), float(ratio.max())


def _rake(
    sets: TokenSets, target: NDArray[np.float64]
) -> tuple[TokenSets, NDArray[np.float64], float]:
    """Return the sets kept, their raked weights, and the load error.

    Where loads lie on the edge of the possible (an expert in every token of its group, say), some
    drawn sets must not weigh anything; they fade slowly, so the faded ones are dropped.
    """
    from moeplace.traces.kernels import rake

    weight = sets.weight.copy()
    error = float(rake(sets.ids, weight, target, TARGET, SWEEPS))
    for faded in FADED:
        if error <= TOLERANCE or not np.isfinite(error):
            break
        keep = weight > faded * sets.weight
        used = np.bincount(sets.ids[keep].ravel(), minlength=target.size) > 0
        if not used[target > 0].all():
            break
        sets = TokenSets(sets.ids[keep], sets.weight[keep])
        weight = weight[keep].copy()
        error = float(rake(sets.ids, weight, target, TARGET, SWEEPS))
    return sets, weight, error


def _draw(
    drawn: NDArray[np.uint16],
    wanted: int,
    logits: NDArray[np.float64],
    loads: NDArray[np.float64],
    share: NDArray[np.float64],
    router: _Router,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """Extend the drawn sets to `wanted` and a few more that no load can do without."""
    experts = loads.size
    parts = [drawn]
    counts = np.bincount(drawn.ravel(), minlength=experts)
    tokens = drawn.shape[0]
    while tokens < wanted:
        ids = _route(logits, loads, router, rng, np.full(min(BATCH, wanted - tokens), experts))
        parts.append(ids)
        tokens += ids.shape[0]
        counts += np.bincount(ids.ravel(), minlength=experts)
        logits += 0.5 * np.log((share * tokens + PRIOR) / (counts + PRIOR))
        np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT, out=logits)
    never = np.flatnonzero((counts == 0) & (loads > 0))
    always = np.flatnonzero((counts == tokens) & (share < 1 - TOLERANCE / 10))
    if never.size or always.size:
        parts.append(_route(logits, loads, router, rng, np.concatenate([never, -1 - always])))
    return np.concatenate(parts)


def _route(
    logits: NDArray[np.float64],
    loads: NDArray[np.float64],
    router: _Router,
    rng: np.random.Generator,
    forced: NDArray[np.int64],
) -> NDArray[np.uint16]:
    from moeplace.traces.kernels import route

    odds = np.where(loads > 0, np.exp(np.minimum(logits, SATURATION)), 0.0).astype(np.float32)
    bonus = np.maximum(logits - SATURATION, 0.0).astype(np.float32)
    ids = np.empty((forced.size, router.top_k), dtype=np.uint16)
    uniform = rng.random((forced.size, loads.size), dtype=np.float32)
    route(uniform, odds, bonus, forced, router.top_k, router.n_group, router.topk_group, ids)
    return ids


def _correct(
    logits: NDArray[np.float64],
    share: NDArray[np.float64],
    ids: NDArray[np.uint16],
    step: float,
) -> None:
    counts = np.bincount(ids.ravel(), minlength=share.size)
    logits += step * np.log((share * ids.shape[0] + PRIOR) / (counts + PRIOR))
    np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT, out=logits)
