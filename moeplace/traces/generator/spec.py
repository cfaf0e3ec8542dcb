"""What a synthetic trace is made to be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ADVERSARIES = ("none", "contiguous-hot", "rotating-hot", "one-expert", "far-pairs")


@dataclass(frozen=True, eq=False)
class SynthSpec:
    """Parameters of the generator; strengths are in units of the router's noise (its std is 1).

    Attributes
    ----------
    name
        What to call the trace.
    num_experts, top_k, layer_ids
        Shape of the router.
    n_group, topk_group
        Expert groups, and how many of them a token may use.
    skew
        Spread of the experts' popularity; ignored where `load` is given.
    topics
        Latent topics: a token is about each of them to some degree (normal), and every topic
        favors some experts in every layer.
    topic_strength
        How much topics decide: co-activation, and ties between layers.
    topic_stay
        Correlation of what successive tokens are about.
    carry
        Correlation of a token's noise with that of the token before: repeated experts.
    domains
        Domains; each prefers other experts, by `domain_shift`.
    domain_shift, phase_shift
        Spread of what a domain, or decode, adds to the popularity.
    drift
        Spread of what the popularity has changed by at the end of the trace.
    adversarial
        One of `ADVERSARIES`: hot experts side by side; a hot tenth that changes eight times; one
        expert in nearly every token; pairs (e, e + E/2) that go together.
    prefill_tokens, decode_tokens
        Tokens of a request in each phase.
    load
        (layers, experts) loads to reproduce, or None.
    group_load
        (domains, phases, layers, experts) loads to reproduce by domain and phase, or None.
    domain_names
        Names of the domains.
    domain_blocks
        Whether the requests of a domain follow each other; else domains take turns.
    """

    name: str
    num_experts: int
    top_k: int
    layer_ids: tuple[int, ...]
    n_group: int = 1
    topk_group: int = 1
    skew: float = 0.5
    topics: int = 4
    topic_strength: float = 1.0
    topic_stay: float = 0.7
    carry: float = 0.3
    domains: int = 1
    domain_shift: float = 0.0
    phase_shift: float = 0.0
    drift: float = 0.0
    adversarial: str = "none"
    prefill_tokens: int = 96
    decode_tokens: int = 128
    load: NDArray[np.float64] | None = None
    group_load: NDArray[np.float64] | None = None
    domain_names: tuple[str, ...] = ()
    domain_blocks: bool = False

    def __post_init__(self) -> None:
        if self.adversarial not in ADVERSARIES:
            raise UsageError(
                f"adversary {self.adversarial!r} is unknown; use {', '.join(ADVERSARIES)}"
            )
        if self.num_experts % self.n_group or not 1 <= self.topk_group <= self.n_group:
            raise UsageError(
                f"{self.num_experts} experts, {self.n_group} groups of which a token uses "
                f"{self.topk_group}: this is no router"
            )
        if not 1 <= self.top_k <= self.topk_group * (self.num_experts // self.n_group):
            raise UsageError(f"top_k {self.top_k} does not fit into the groups of a token")
        if not 0 <= self.topic_stay <= 1 or not 0 <= self.carry < 1:
            raise UsageError("topic_stay must lie in 0..1 and carry in 0..1 (below 1)")
        if min(self.topics, self.domains, len(self.layer_ids)) < 1:
            raise UsageError("at least one topic, domain and layer are needed")
        if min(self.prefill_tokens, self.decode_tokens) < 0 or not (
            self.prefill_tokens + self.decode_tokens
        ):
            raise UsageError("a request needs at least one token")
        shape = (len(self.layer_ids), self.num_experts)
        if self.load is not None and self.load.shape != shape:
            raise InputError(f"load has shape {self.load.shape}, {shape} expected")

    @property
    def num_layers(self) -> int:
        """Layers."""
        return len(self.layer_ids)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the domains."""
        return self.domain_names or tuple(f"domain-{i}" for i in range(self.domains))

    def replace(self, **changes: Any) -> SynthSpec:
        """Return a copy with some parameters changed."""
        return replace(self, **changes)

    def numbers(self) -> dict[str, float]:
        """Return the parameters that are numbers, by name."""
        keys = (
            "skew", "topics", "topic_strength", "topic_stay", "carry", "domains",
            "domain_shift", "phase_shift", "drift",
        )  # fmt: skip
        return {key: float(getattr(self, key)) for key in keys}
