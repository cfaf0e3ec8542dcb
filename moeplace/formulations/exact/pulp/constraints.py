from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moeplace.formulations.exact.minmax import MinMaxLayer
    from moeplace.formulations.exact.pulp.variables import Variables


def add_constraints(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Add every constraint of :mod:`moeplace.formulations.exact.minmax` to a PuLP model."""
    one_choice(model, form, variables)
    replicas(model, form, variables)
    slots(model, form, variables)
    total(model, form, variables)
    load(model, form, variables)
    rank_order(model, form, variables)


def one_choice(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Give every expert one count."""
    import pulp

    for row in range(form.load.size):
        model += pulp.lpSum(variables.chosen[i] for i in form.choices_of(row)) == 1


def replicas(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Put a choice's replicas on as many ranks; on none where it is not made."""
    import pulp

    for i, copies in enumerate(form.copies):
        placed = [x for x in variables.on[i] if x is not None]
        model += pulp.lpSum(placed) == int(copies) * variables.chosen[i]
        if copies > 1:
            for x in placed:
                model += x <= variables.chosen[i]


def slots(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Let a rank hold no more replicas than it has slots."""
    import pulp

    for rank in range(form.num_ranks):
        held = pulp.lpSum(x[rank] for x in variables.on if x[rank] is not None)
        model += held <= form.slots


def total(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Keep the limit on all replicas together."""
    import pulp

    used = pulp.lpSum(int(c) * y for c, y in zip(form.copies, variables.chosen, strict=True))
    model += used <= form.max_replicas


def load(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Let no rank have more load than the fullest."""
    import pulp

    for rank in range(form.num_ranks):
        served = pulp.lpSum(
            float(weight) * x[rank]
            for weight, x in zip(variables.weight, variables.on, strict=True)
            if x[rank] is not None
        )
        model += served <= variables.fullest


def rank_order(model: Any, form: MinMaxLayer, variables: Variables) -> None:
    """Open a rank only after the one before it: keeps one of each placement's R! twins."""
    import pulp

    for rank in range(1, form.num_ranks):
        before: list[Any] = []
        for row in range(form.num_ordered):
            choices = form.choices_of(row)
            before += [x for i in choices if (x := variables.on[i][rank - 1]) is not None]
            here = [x for i in choices if (x := variables.on[i][rank]) is not None]
            if here:
                model += pulp.lpSum(here) <= pulp.lpSum(before)
