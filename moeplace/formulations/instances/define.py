"""From the words of the catalogue to a problem."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.formulations.instances.drawn import drawn_workload
from moeplace.hwmodels import load_system
from moeplace.models import load_model
from moeplace.placement import make_problem
from moeplace.traces import RoutingTrace, Workload
from moeplace.traces.sources import load_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.models import ModelSpec
    from moeplace.placement import Problem

MODEL_KEYS = ("model", "model_changes")
SYSTEM_KEYS = ("system", "ranks", "system_changes")
PROBLEM_KEYS = (
    "redundant", "objective", "dedup", "dispatch", "phase", "tokens_per_rank", "slots_per_rank",
    "max_load",
)  # fmt: skip
WORKLOAD_KEYS = ("drawn", "shipped", "layers")
KEYS = ("about", "tags", *MODEL_KEYS, *SYSTEM_KEYS, *WORKLOAD_KEYS, *PROBLEM_KEYS)


def problem_of(name: str, said: Mapping[str, Any]) -> Problem:
    """Return the problem that an entry of the catalogue describes.

    Parameters
    ----------
    name
        Of the instance, for errors.
    said
        Its entry: a model, a system, `drawn` tokens or a `shipped` workload with `layers`, and
        arguments of :func:`moeplace.make_problem`.

    Raises
    ------
    InputError
        If a key is unknown or missing.
    """
    if unknown := sorted(set(said) - set(KEYS)):
        raise InputError(f"instance {name}: unknown key {unknown[0]!r}")
    for key in ("model", "system"):
        if key not in said:
            raise InputError(f"instance {name}: no {key}")
    if ("drawn" in said) == ("shipped" in said):
        raise InputError(f"instance {name}: give drawn or shipped, one of them")
    model = load_model(said["model"]).replace(**said.get("model_changes", {}))
    system = load_system(said["system"], said.get("ranks"))
    system = system.replace(**said.get("system_changes", {}))
    settings = {key: said[key] for key in PROBLEM_KEYS if key in said}
    if "drawn" in said:
        drawn = dict(said["drawn"])
        layers = int(drawn.get("layers", 1))
        model = model.replace(num_layers=layers, moe_layers=tuple(range(layers)))
        workload = drawn_workload(model.num_experts, model.top_k, **drawn)
    else:
        workload = _shipped(said["shipped"], model, tuple(said.get("layers", ())))
    return make_problem(model, system, workload, **settings)


@lru_cache(maxsize=8)
def _shipped(name: str, model: ModelSpec, layers: tuple[int, ...]) -> Workload:
    """Return the same object for the same layers, so that token sets are drawn once for it."""
    workload = _whole(name, model.num_experts).bind(model)
    if not layers:
        return workload
    rows = {layer: row for row, layer in enumerate(workload.layer_ids or ())}
    if missing := [layer for layer in layers if layer not in rows]:
        raise InputError(f"workload {name} has no layer {missing[0]}")
    return workload.select_layers([rows[layer] for layer in layers])


@cache
def _whole(name: str, experts: int) -> Workload:
    source = load_source(name, num_experts=experts)
    return Workload.from_trace(source) if isinstance(source, RoutingTrace) else source
