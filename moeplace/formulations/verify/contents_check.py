"""What prices on experts prove about touched parts, worked out by an own search.

Written from the theorem in docs/explanation/bounds.md and not from the solver: experts are taken
in one fixed order, with numbers that are not rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.formulations.bounds.contents import ContentsCertificate
    from moeplace.formulations.bounds.relaxation import Parts, Rows
    from moeplace.traces import TokenSets

PRICE_UNIT, LEAST_UNIT = 2.0**-30, 2.0**-40
MOST_STEPS = 20_000_000
SAFETY = 1e-10  # tokens per token that rounding may have changed


def proven_contents(
    tokens: TokenSets, certificate: ContentsCertificate, parts: Parts, rows: Sequence[Rows]
) -> float:
    """Return the bound on the mean of touched parts that prices prove, 0 if they prove nothing.

    Raises
    ------
    InputError
        If there is not one price for each expert.
    """
    from moeplace.formulations.verify.contents_kernels import cheapest_set

    experts, size = parts.experts, parts.capacity
    if certificate.price.shape != (experts,):
        raise InputError(f"certificate of another layer: {certificate.price.shape} prices")
    if experts != parts.parts * size or size < 2:
        return 0.0
    strict = [cap.use for cap in rows if cap.loosened == 0 and np.isinf(cap.budget)]
    use = strict[0] * (1 - 1e-9) if strict else np.zeros(experts)  # one cap may be left out
    price = certificate.price * PRICE_UNIT
    share = tokens.weight / tokens.weight.sum()
    uses = np.zeros((tokens.num_sets, experts))
    token, slot = np.nonzero(tokens.ids >= 0)
    uses[token, tokens.ids[token, slot]] = 1.0
    shared = uses.T @ (uses * share[:, None])
    strength = shared.sum(axis=0)
    np.fill_diagonal(shared, 0.0)
    order = np.argsort(-strength, kind="stable")
    uses = uses[:, order]
    expert, token = np.nonzero(uses.T)
    named = np.full(experts + 1, -1)
    named[order] = np.arange(experts)
    least, ended = cheapest_set(
        token.astype(np.int64),
        np.concatenate([[0], np.cumsum(np.bincount(expert, minlength=experts))]).astype(np.int64),
        named[tokens.ids].astype(np.int64),
        share,
        price[order],
        np.ascontiguousarray(shared[np.ix_(order, order)]),
        use[order],
        size,
        certificate.least * LEAST_UNIT,
        MOST_STEPS,
    )
    if not ended:
        return 0.0
    return float(price.sum() + parts.parts * (least - SAFETY))
