from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moeplace.formulations.exact.cpsat.variables import Variables
    from moeplace.formulations.exact.minmax import MinMaxLayer


def add_constraints(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Add every constraint of :mod:`moeplace.formulations.exact.minmax` to a CP-SAT model."""
    one_choice(model, form, variables)
    replicas(model, form, variables)
    slots(model, form, variables)
    total(model, form, variables)
    load(model, form, variables)
    rank_order(model, form, variables)


def one_choice(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Give every expert one count."""
    for row in range(form.load.size):
        model.add_exactly_one([variables.chosen[i] for i in form.choices_of(row)])


def replicas(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Put a choice's replicas on as many ranks; on none where it is not made."""
    for i, copies in enumerate(form.copies):
        placed = [x for x in variables.on[i] if x is not None]
        model.add(sum(placed) == int(copies) * variables.chosen[i])
        if copies > 1:
            for x in placed:
                model.add_implication(x, variables.chosen[i])


def slots(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Let a rank hold no more replicas than it has slots."""
    for rank in range(form.num_ranks):
        model.add(sum(x[rank] for x in variables.on if x[rank] is not None) <= form.slots)


def total(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Keep the limit on all replicas together."""
    used = sum(int(c) * y for c, y in zip(form.copies, variables.chosen, strict=True))
    model.add(used <= form.max_replicas)


def load(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Let no rank have more load than the fullest."""
    for rank in range(form.num_ranks):
        served = sum(
            int(weight) * x[rank]
            for weight, x in zip(variables.weight, variables.on, strict=True)
            if x[rank] is not None
        )
        model.add(served <= variables.fullest)


def rank_order(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Open a rank only after the one before it: keeps one of each placement's R! twins."""
    for rank in range(1, form.num_ranks):
        before: list[Any] = []
        for row in range(form.num_ordered):
            choices = form.choices_of(row)
            before += [x for i in choices if (x := variables.on[i][rank - 1]) is not None]
            here = [x for i in choices if (x := variables.on[i][rank]) is not None]
            if here:
                model.add(sum(here) <= sum(before))
