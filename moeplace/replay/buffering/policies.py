"""Which expert leaves the cache: the rules, by name.

Every rule is a score; the cached expert with the highest one leaves, among equals the one with the
lowest number. The scores are in :mod:`moeplace.replay.buffering.cache_kernels`; a loop over them in
plain Python is the reference of the contract test.
"""

from __future__ import annotations

from dataclasses import dataclass

from moeplace.errors import unknown_name


@dataclass(frozen=True)
class CachePolicy:
    """A rule of eviction.

    Attributes
    ----------
    code
        What the compiled simulation calls it.
    sees
        What it must know: ``past``, ``batch`` (which experts the running batch uses, known after
        the exchange of sizes) or ``future``.
    """

    name: str
    code: int
    summary: str
    sees: str
    reference: str = ""


_HUANG = "Huang et al., Towards MoE Deployment, arXiv 2303.06182"

CACHE_POLICIES: dict[str, CachePolicy] = {
    policy.name: policy
    for policy in (
        CachePolicy(
            "inactive-lifo",
            0,
            "First experts that the batch does not use, then the last that came in; the paper "
            "does not say which of several unused ones: here the last that came in as well",
            "batch",
            _HUANG,
        ),
        CachePolicy("lifo", 1, "The last that came in", "past", _HUANG),
        CachePolicy("fifo", 2, "The first that came in", "past", _HUANG),
        CachePolicy("lru", 3, "The one not used for longest", "past"),
        CachePolicy("lfu", 4, "The one used in the fewest batches, then as lru", "past"),
        CachePolicy("random", 5, "Any, each as likely", "past"),
        CachePolicy(
            "least-stale",
            6,
            "First experts last used in an earlier batch, oldest arrival first; then the one used "
            "last. Our reading of a one-line description: the rule itself could not be read",
            "past",
            "Hoang et al., SpecMD, arXiv 2602.03921",
        ),
        CachePolicy(
            "belady",
            7,
            "The one whose next use is farthest: no rule has fewer misses",
            "future",
            "Belady, IBM Systems Journal 5 (1966)",
        ),
        CachePolicy(
            "batch-aware",
            8,
            "The longest expected wait: 1 / the chance of use in a batch, over the last 32 or so, "
            "plus the place in the order; experts whose turn is to come in this batch leave last, "
            "the latest first",
            "batch",
        ),
        CachePolicy(
            "batch-overlap",
            9,
            "First unused experts, least used so far first; then those the batch is done with, "
            "least used so far first: fetches seldom wait for an expert that runs; then the one "
            "whose turn is last",
            "batch",
        ),
    )
}


def cache_policy(name: str) -> CachePolicy:
    """Return a rule by name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in CACHE_POLICIES:
        raise unknown_name("cache policy", name, CACHE_POLICIES, "`moeplace buffer --help`")
    return CACHE_POLICIES[name]
