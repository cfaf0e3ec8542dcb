"""Which experts every rank needs, batch by batch and in the order in which it runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.traces import RoutingTrace


@dataclass(frozen=True, eq=False)
class Requests:
    """What each batch of a trace asks of every expert.

    Attributes
    ----------
    tokens
        (batches, layers, experts) tokens, int32; an expert with none is not needed.
    batch_tokens
        Tokens of a batch.
    name
        Of the trace.
    """

    tokens: NDArray[np.int32]
    batch_tokens: int
    name: str = "trace"

    @property
    def num_batches(self) -> int:
        """Batches."""
        return int(self.tokens.shape[0])

    @property
    def num_layers(self) -> int:
        """Layers."""
        return int(self.tokens.shape[1])

    @property
    def num_experts(self) -> int:
        """Experts of a layer."""
        return int(self.tokens.shape[2])

    def part(self, batches: slice) -> Requests:
        """Return some of the batches."""
        return Requests(self.tokens[batches], self.batch_tokens, self.name)

    def halves(self) -> tuple[Requests, Requests]:
        """Return the first and the second half of the batches (2303.06182 §VII: fit, report).

        Raises
        ------
        InputError
            If there is only one batch.
        """
        if self.num_batches < 2:
            raise InputError(
                f"trace {self.name!r} is one batch of {self.batch_tokens:,} tokens; halves need "
                "two: use smaller batches or a longer trace"
            )
        middle = self.num_batches // 2
        return self.part(slice(0, middle)), self.part(slice(middle, None))


def batch_requests(trace: RoutingTrace, batch_tokens: int) -> Requests:
    """Cut a trace into batches, in recorded order; a remainder at the end is left out.

    Parameters
    ----------
    trace
        Tokens in the order of execution.
    batch_tokens
        Tokens of a batch, over all ranks.

    Raises
    ------
    InputError
        If the trace is shorter than a batch.
    """
    if batch_tokens < 1:
        raise InputError(f"a batch has {batch_tokens} tokens; give at least 1")
    batches = trace.num_tokens // batch_tokens
    if not batches:
        raise InputError(
            f"trace {trace.name!r} has {trace.num_tokens:,} tokens, fewer than one batch of "
            f"{batch_tokens:,}"
        )
    layers, experts = trace.num_layers, trace.num_experts
    counts = np.zeros((batches, layers, experts), np.int32)
    for layer in range(layers):
        ids: NDArray[np.int64] = trace.expert_ids[: batches * batch_tokens, layer].astype(np.int64)
        cells = ids + np.repeat(np.arange(batches) * experts, batch_tokens)[:, None]
        kept: NDArray[Any] = cells[ids != trace.missing]
        found = np.bincount(kept.ravel(), minlength=batches * experts)
        counts[:, layer] = found.reshape(batches, experts)
    return Requests(counts, batch_tokens, trace.name)
