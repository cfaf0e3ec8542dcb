"""A routing trace: which experts every recorded token used in every layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.traces.arrays import frozen, id_dtype, integers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

PHASES = ("prefill", "decode")
SPLIT_BLOCKS = 20


@dataclass(frozen=True, eq=False)
class RoutingTrace:
    """Routing decisions, one row a token, held in columns; all arrays are read-only.

    Build it with `from_arrays`, which checks every value; the constructor checks shapes only.

    Attributes
    ----------
    expert_ids
        (tokens, layers, top_k), smallest unsigned dtype; where an id is absent (dense layer, layer
        not recorded) it is `missing`.
    num_experts
        Logical experts per layer.
    layer_ids
        Absolute layer ids of the columns, or None where they are not known.
    request
        (tokens,) int32, the request a token belongs to, or None.
    position
        (tokens,) int32, the position of a token in its request, or None.
    phase
        (tokens,) uint8, an index into `PHASES`, or None.
    domain
        (tokens,) int16, an index into `domains`, or None.
    domains
        Names of the domains.
    weights
        (tokens, layers, top_k) float32 router weights beside `expert_ids`, or None.
    name
        What to call the trace in messages and reports.
    meta
        Whatever else is known (source, warnings of the importer), as JSON values.
    """

    expert_ids: NDArray[np.unsignedinteger[Any]]
    num_experts: int
    layer_ids: tuple[int, ...] | None = None
    request: NDArray[np.int32] | None = None
    position: NDArray[np.int32] | None = None
    phase: NDArray[np.uint8] | None = None
    domain: NDArray[np.int16] | None = None
    domains: tuple[str, ...] = ()
    weights: NDArray[np.float32] | None = None
    name: str = "trace"
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = self.expert_ids
        if ids.ndim != 3 or ids.dtype.kind != "u":
            raise InputError(
                f"trace {self.name!r}: expert_ids must be unsigned (tokens, layers, top_k), "
                f"found {ids.dtype} {ids.shape}; use RoutingTrace.from_arrays"
            )
        object.__setattr__(self, "expert_ids", frozen(ids, ids.dtype))
        columns = {"request": np.int32, "position": np.int32, "phase": np.uint8, "domain": np.int16}
        for column, dtype in columns.items():
            values = getattr(self, column)
            if values is None:
                continue
            if values.shape != ids.shape[:1]:
                raise InputError(
                    f"trace {self.name!r}: {column} has shape {values.shape}, "
                    f"one value for each of the {ids.shape[0]} tokens expected"
                )
            object.__setattr__(self, column, frozen(values, dtype))
        if self.weights is not None:
            if self.weights.shape != ids.shape:
                raise InputError(
                    f"trace {self.name!r}: weights have shape {self.weights.shape}, "
                    f"expert_ids {ids.shape}; they must agree"
                )
            object.__setattr__(self, "weights", frozen(self.weights, np.float32))
        if self.layer_ids is not None:
            layer_ids = tuple(int(i) for i in self.layer_ids)
            if len(layer_ids) != ids.shape[1] or len(set(layer_ids)) != len(layer_ids):
                raise InputError(
                    f"trace {self.name!r}: {len(layer_ids)} layer ids for {ids.shape[1]} layers; "
                    "give each layer one id, no id twice"
                )
            object.__setattr__(self, "layer_ids", layer_ids)

    @classmethod
    def from_arrays(
        cls,
        expert_ids: ArrayLike,
        num_experts: int,
        layer_ids: Sequence[int] | None = None,
        request: ArrayLike | None = None,
        position: ArrayLike | None = None,
        phase: ArrayLike | str | None = None,
        domain: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        name: str = "trace",
        *,
        domains: Sequence[str] = (),
        meta: Mapping[str, Any] | None = None,
    ) -> RoutingTrace:
        """Check and pack the columns of a trace.

        Parameters
        ----------
        expert_ids
            (tokens, layers, top_k) whole numbers, logical ids 0..num_experts − 1. Absent: −1, or
            the largest value of an unsigned dtype where that is no expert. With top_k > 1 a layer
            that is 0 everywhere is absent too: vLLM fills dense layers so.
        num_experts
            Logical experts per layer.
        layer_ids
            Absolute layer ids; None binds to the MoE layers of the model in order.
        request, position
            (tokens,) whole numbers.
        phase
            (tokens,) codes or names of `PHASES`, or one name for all.
        domain
            (tokens,) names, or codes into `domains`.
        weights
            (tokens, layers, top_k) router weights.
        name
            What to call the trace.
        domains
            Names for the codes in `domain`.
        meta
            What else is known, as JSON values.

        Raises
        ------
        InputError
            If a shape is wrong, an id is out of range (token and layer are named), or a token
            names an expert twice in a layer.
        """
        where = f"trace {name!r}"
        ids = integers(expert_ids, f"{where}: expert_ids")
        if ids.ndim != 3 or not ids.shape[1] or not ids.shape[2]:
            raise InputError(
                f"{where}: expert_ids has shape {ids.shape}, (tokens, layers, top_k) expected"
            )
        if num_experts < 1:
            raise InputError(f"{where}: num_experts is {num_experts}, at least 1 expected")
        absent = _absent(ids, num_experts)
        bad = ((ids < 0) | (ids >= num_experts)) & ~absent
        if bad.any():
            token, row, choice = np.argwhere(bad)[0]
            raise InputError(
                f"{where}: expert {ids[token, row, choice]} of token {token}, "
                f"{_layer_text(layer_ids, int(row))} is out of range; "
                f"the experts are 0..{num_experts - 1}"
            )
        dtype = id_dtype(num_experts, with_missing=bool(absent.any()))
        packed = ids.astype(dtype)
        if absent.any():
            packed[absent] = np.iinfo(dtype).max
        _refuse_duplicates(packed, absent, where, layer_ids)
        codes, names = _domain_codes(domain, tuple(domains), where)
        return cls(
            expert_ids=packed,
            num_experts=int(num_experts),
            layer_ids=None if layer_ids is None else tuple(layer_ids),
            request=_int32(request, f"{where}: request"),
            position=_int32(position, f"{where}: position"),
            phase=_phase_codes(phase, ids.shape[0], where),
            domain=codes,
            domains=names,
            weights=None if weights is None else np.asarray(weights, dtype=np.float32),
            name=name,
            meta=dict(meta or {}),
        )

    @property
    def num_tokens(self) -> int:
        """Tokens recorded."""
        return int(self.expert_ids.shape[0])

    @property
    def num_layers(self) -> int:
        """Layers recorded."""
        return int(self.expert_ids.shape[1])

    @property
    def top_k(self) -> int:
        """Routed experts per token and layer."""
        return int(self.expert_ids.shape[2])

    @property
    def missing(self) -> int:
        """The value that marks an absent id; −1, which never occurs, where nothing is absent."""
        largest = int(np.iinfo(self.expert_ids.dtype).max)
        return largest if largest >= self.num_experts else -1

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(tokens, layers, top_k), False where an id is absent."""
        if self.missing < 0:
            return np.ones(self.expert_ids.shape, dtype=bool)
        present: NDArray[np.bool_] = self.expert_ids != self.missing
        return present

    def select(self, tokens: NDArray[np.bool_] | NDArray[np.integer[Any]] | slice) -> RoutingTrace:
        """Return the trace of some tokens, in the order given.

        Parameters
        ----------
        tokens
            A (tokens,) mask, an array of token numbers, or a slice.
        """

        def pick(column: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if column is None else column[tokens]

        return replace(
            self,
            expert_ids=self.expert_ids[tokens],
            request=pick(self.request),
            position=pick(self.position),
            phase=pick(self.phase),
            domain=pick(self.domain),
            weights=pick(self.weights),
        )

    def select_phase(self, phase: str) -> RoutingTrace:
        """Return the tokens of one phase.

        Parameters
        ----------
        phase
            ``"prefill"`` or ``"decode"``.

        Raises
        ------
        UsageError
            If there is no such phase.
        InputError
            If the trace does not record phases, or holds no token of this one.
        """
        if phase not in PHASES:
            raise UsageError(f"phase {phase!r} is unknown; use {' or '.join(PHASES)}")
        if self.phase is None:
            raise InputError(f"trace {self.name!r} does not record phases; leave the phase out")
        mask = self.phase == PHASES.index(phase)
        if not mask.any():
            raise InputError(f"trace {self.name!r} holds no {phase} tokens; choose another phase")
        return self.select(mask)

    def split(
        self, fraction: float = 0.5, by: str = "request", seed: int = 0
    ) -> tuple[RoutingTrace, RoutingTrace]:
        """Split into a part to fit on and a part to report on.

        Whole requests go to one side, so that the parts share no text. A trace without a request
        column, or of a single request, is cut into contiguous blocks of tokens instead (up to 20,
        which keeps neighbors together); `by="block"` asks for that.

        Parameters
        ----------
        fraction
            Share of the requests (blocks) held out, 0 < fraction < 1; each side gets at least one.
        by
            ``"request"`` or ``"block"``.
        seed
            Seed of the choice.

        Returns
        -------
        fit, holdout
            Tokens in recorded order.

        Raises
        ------
        UsageError
            If `fraction`, `by` or `seed` is outside its range.
        InputError
            If the trace holds fewer than two tokens.
        """
        if not 0.0 < fraction < 1.0:
            raise UsageError(f"holdout fraction {fraction} must lie between 0 and 1")
        if by not in ("request", "block"):
            raise UsageError(f"cannot split by {by!r}; use request or block")
        if seed < 0:
            raise UsageError(f"seed is {seed}; it cannot be negative")
        if self.num_tokens < 2:
            raise InputError(f"trace {self.name!r} has too few tokens to hold some out")
        group = None
        if by == "request" and self.request is not None:
            group = np.unique(self.request, return_inverse=True)[1]
        if group is None or group.max() == 0:
            blocks = min(SPLIT_BLOCKS, self.num_tokens)
            group = np.arange(self.num_tokens) * blocks // self.num_tokens
        count = int(group.max()) + 1
        held = min(max(round(fraction * count), 1), count - 1)
        chosen = np.zeros(count, dtype=bool)
        chosen[np.random.default_rng(seed).permutation(count)[:held]] = True
        mask = chosen[group]
        return self.select(~mask), self.select(mask)

    def replace(self, **changes: Any) -> RoutingTrace:
        """Return a copy with some attributes changed."""
        return replace(self, **changes)


def _int32(values: ArrayLike | None, what: str) -> NDArray[np.int32] | None:
    if values is None:
        return None
    column = integers(values, what)
    limits = np.iinfo(np.int32)
    if column.size and (column.min() < limits.min or column.max() > limits.max):
        raise InputError(f"{what}: values must fit 32 bits; number them from 0")
    return column.astype(np.int32)


def _absent(ids: NDArray[Any], num_experts: int) -> NDArray[np.bool_]:
    absent: NDArray[np.bool_] = np.zeros(ids.shape, dtype=bool)
    largest = np.iinfo(ids.dtype).max
    if ids.dtype.kind == "i":
        absent = ids == -1
    elif largest >= num_experts:
        absent = ids == largest
    if ids.shape[2] > 1 and ids.shape[0]:
        absent[:, ~ids.any(axis=(0, 2))] = True
    return absent


def _refuse_duplicates(
    ids: NDArray[Any], absent: NDArray[np.bool_], where: str, layer_ids: Sequence[int] | None
) -> None:
    for first in range(ids.shape[2]):
        for second in range(first + 1, ids.shape[2]):
            same = (ids[:, :, first] == ids[:, :, second]) & ~absent[:, :, first]
            if same.any():
                token, row = np.argwhere(same)[0]
                raise InputError(
                    f"{where}: token {token} names expert {ids[token, row, first]} twice in "
                    f"{_layer_text(layer_ids, int(row))}; every id of a token must differ"
                )


def _layer_text(layer_ids: Sequence[int] | None, row: int) -> str:
    if layer_ids is not None and row < len(layer_ids):
        return f"layer {layer_ids[row]} (row {row})"
    return f"layer row {row}"


def _phase_codes(
    phase: ArrayLike | str | None, num_tokens: int, where: str
) -> NDArray[np.uint8] | None:
    if phase is None:
        return None
    values = np.asarray(phase)
    if values.ndim == 0:
        values = np.full(num_tokens, values)
    if values.dtype.kind in "US":
        names = values.astype(str)
        unknown = ~np.isin(names, PHASES)
        if unknown.any():
            raise InputError(f"{where}: phase {names[unknown][0]!r} is neither prefill nor decode")
        return np.asarray(names == PHASES[1], dtype=np.uint8)
    codes = integers(values, f"{where}: phase")
    if codes.size and (codes.min() < 0 or codes.max() >= len(PHASES)):
        raise InputError(f"{where}: phase codes must be 0 (prefill) or 1 (decode)")
    return codes.astype(np.uint8)


def _domain_codes(
    domain: ArrayLike | None, domains: tuple[str, ...], where: str
) -> tuple[NDArray[np.int16] | None, tuple[str, ...]]:
    if domain is None:
        return None, domains
    values = np.asarray(domain)
    if values.dtype.kind in "US":
        names, codes = np.unique(values.astype(str), return_inverse=True)
        return codes.astype(np.int16), tuple(str(n) for n in names)
    codes = integers(values, f"{where}: domain")
    if not domains:
        domains = tuple(str(i) for i in range(int(codes.max(initial=-1)) + 1))
    if codes.size and (codes.min() < 0 or codes.max() >= len(domains)):
        raise InputError(f"{where}: domain codes must lie in 0..{len(domains) - 1}")
    return codes.astype(np.int16), domains
