"""What a batch asks for: experts of every request in every step, and what is known before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.traces.trace import PHASES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.models import ModelSpec
    from moeplace.traces import RoutingTrace
    from moeplace.traces.generator.spec import SynthSpec

REQUESTS = 1024  # generated at most; larger batches follow each for longer
HISTORY_REQUESTS = 128
PREFILL_TOKENS = 8
HISTORY_TOKENS = 64


@dataclass(frozen=True, eq=False)
class Demand:
    """The routing of a batch over some decode steps.

    Attributes
    ----------
    name, kind
        Where it comes from; ``measured`` or ``synthetic``.
    num_experts
        Experts of a layer.
    decode
        (tokens, layers, top_k) experts of decode tokens, request after request.
    start
        (batch,) row of `decode` where each request of the batch begins.
    steps
        Decode steps; request b uses rows ``start[b]`` to ``start[b] + steps - 1``.
    prefill
        (tokens, layers, top_k) experts of the prompts of the same requests.
    follows
        (tokens,) bool, whether a prompt token follows the one before it.
    history
        (tokens, layers, top_k) decode tokens of other requests, known beforehand.
    """

    name: str
    kind: str
    num_experts: int
    decode: NDArray[np.unsignedinteger]
    start: NDArray[np.int64]
    steps: int
    prefill: NDArray[np.unsignedinteger]
    follows: NDArray[np.bool_]
    history: NDArray[np.unsignedinteger]

    @property
    def batch(self) -> int:
        """Requests."""
        return int(self.start.size)

    @property
    def num_layers(self) -> int:
        """Layers."""
        return int(self.decode.shape[1])

    def ids(self, step: int, layer: int) -> NDArray[np.int64]:
        """Return (batch, top_k) the experts of a step; an absent id is not below num_experts."""
        return np.asarray(self.decode[self.start + step, layer], np.int64)

    def counts(self, step: int, layer: int) -> NDArray[np.int64]:
        """Return (experts,) requests of a step."""
        return _counted(self.ids(step, layer), self.num_experts)

    def history_share(self, layer: int) -> NDArray[np.float64]:
        """Return (experts,) share of past requests, none of them zero."""
        counts = _counted(self.history[:, layer].astype(np.int64), self.num_experts) + 0.5
        return np.asarray(counts / counts.sum())

    def history_coactivation(self, layer: int) -> NDArray[np.float64]:
        """Return (experts, experts) past tokens that used both."""
        ids = self.history[:, layer].astype(np.int64)
        used = np.zeros((len(ids), self.num_experts + 1), np.float32)
        np.put_along_axis(used, np.minimum(ids, self.num_experts), 1.0, axis=1)
        used = used[:, :-1]
        pairs = (used.T @ used).astype(np.float64)
        np.fill_diagonal(pairs, 0.0)
        return pairs


def _counted(ids: NDArray[np.int64], num_experts: int) -> NDArray[np.int64]:
    return np.asarray(np.bincount(ids[ids < num_experts], minlength=num_experts), np.int64)


def demand_from_trace(
    trace: RoutingTrace, batch: int, *, layers: int, steps: int, seed: int = 0
) -> Demand:
    """Fill a batch from half of the requests of a trace; the other half is history.

    Request b of the batch follows recorded request b mod R; when all R are in use, each is
    entered again `steps` tokens later, and from its beginning when it is used up.

    Parameters
    ----------
    trace
        Tokens; without phases all count as decode.
    batch
        Requests decoded together.
    layers
        The first so many layers of the trace.
    steps
        Decode steps.
    seed
        Seed of the choice of the half.

    Raises
    ------
    InputError
        If no request of the half has `steps` decode tokens.
    """
    known, used = trace.split(0.5, seed=seed)
    history = _of_phase(known, "decode").expert_ids[:, :layers]
    return _filled(used, history, batch, layers, steps, "measured")


def generated_demand(
    model: ModelSpec, batch: int, *, layers: int, steps: int, seed: int = 0
) -> Demand:
    """Return a batch of synthetic requests like those of a model.

    The preset of `moeplace trace synth` where there is one for the model, else its general
    generator with the model's router. History is other requests of the same synthetic model.
    """
    from moeplace.traces.generator.generate import generate, make_router
    from moeplace.traces.stored import concatenated

    spec = _specification(model, layers)
    router = make_router(spec, seed=seed)
    requests = min(batch, REQUESTS)
    decode = steps * -(-batch // requests)
    asked = spec.replace(prefill_tokens=PREFILL_TOKENS, decode_tokens=decode)
    past = spec.replace(prefill_tokens=1, decode_tokens=HISTORY_TOKENS)
    used = concatenated(list(generate(asked, requests, seed=seed, router=router)))
    known = concatenated(list(generate(past, HISTORY_REQUESTS, seed=seed + 1, router=router)))
    history = _of_phase(known, "decode").expert_ids
    return _filled(used, history, batch, layers, steps, "synthetic")


def _specification(model: ModelSpec, layers: int) -> SynthSpec:
    from moeplace.traces.generator.presets import preset, presets
    from moeplace.traces.generator.spec import SynthSpec

    if model.name not in presets():
        return SynthSpec(
            name=f"synthetic {model.name}",
            num_experts=model.num_experts,
            top_k=model.top_k,
            layer_ids=tuple(model.moe_layers)[:layers],
            n_group=model.n_group,
            topk_group=model.topk_group,
        )
    spec = preset(model.name)
    return spec.replace(
        layer_ids=spec.layer_ids[:layers],
        load=None if spec.load is None else spec.load[:layers],
        group_load=None if spec.group_load is None else spec.group_load[:, :, :layers],
    )


def _of_phase(trace: RoutingTrace, phase: str) -> RoutingTrace:
    """Return the tokens of a phase, by request and position; all are decode without phases."""
    if trace.phase is None:
        chosen = np.full(trace.num_tokens, phase == "decode")
    else:
        chosen = trace.phase == PHASES.index(phase)
    part = trace.select(chosen)
    if part.request is None:
        return part
    position = np.arange(part.num_tokens) if part.position is None else part.position
    return part.select(np.lexsort((position, part.request)))


def _filled(
    trace: RoutingTrace,
    history: NDArray[np.unsignedinteger],
    batch: int,
    layers: int,
    steps: int,
    kind: str,
) -> Demand:
    if min(batch, layers, steps) < 1:
        raise UsageError("batch, layers and steps must be at least 1")
    decode, prefill = _of_phase(trace, "decode"), _of_phase(trace, "prefill")
    first, length = _requests(decode)
    long = length >= steps
    if not long.any():
        raise InputError(
            f"trace {trace.name!r}: no request has {steps} decode tokens; give fewer --steps"
        )
    first, length = first[long], length[long]
    slot = np.arange(batch)
    which = slot % first.size
    offset = slot // first.size % (length[which] // steps) * steps
    follows = np.ones(prefill.num_tokens, bool)
    follows[_requests(prefill)[0]] = False
    return Demand(
        name=trace.name,
        kind=kind,
        num_experts=trace.num_experts,
        decode=decode.expert_ids[:, :layers],
        start=first[which] + offset,
        steps=steps,
        prefill=prefill.expert_ids[:, :layers],
        follows=follows,
        history=history,
    )


def _requests(trace: RoutingTrace) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row and the length of every request, in order."""
    if not trace.num_tokens:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if trace.request is None:
        return np.zeros(1, np.int64), np.array([trace.num_tokens])
    new = np.flatnonzero(np.diff(trace.request)) + 1
    first = np.concatenate([[0], new])
    return first, np.diff(np.concatenate([first, [trace.num_tokens]]))
