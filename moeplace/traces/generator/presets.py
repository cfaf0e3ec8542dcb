"""Specifications that come with the package, calibrated to published figures."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import unknown_name
from moeplace.models import load_model
from moeplace.traces.generator.spec import SynthSpec
from moeplace.traces.shipped import shipped_workload
from moeplace.traces.trace import PHASES

if TYPE_CHECKING:
    from collections.abc import Mapping

KNOBS = ("skew", "topics", "topic_strength", "topic_stay", "carry", "domain_shift", "phase_shift")


def presets() -> list[str]:
    """Return the names of the presets."""
    return list(_catalogue())


def preset(name: str) -> SynthSpec:
    """Return the specification of a preset; the model catalogue gives layers and router.

    Parameters
    ----------
    name
        One of `presets`.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    entry = _entry(name)
    model = load_model(name)
    spec = SynthSpec(
        name=f"synthetic {name}",
        num_experts=int(model.num_experts),
        top_k=int(model.top_k),
        layer_ids=tuple(model.moe_layers),
        n_group=int(entry.get("n_group", 1)),
        topk_group=int(entry.get("topk_group", 1)),
    )
    parameters: dict[str, Any] = entry.get("parameters", {})
    spec = spec.replace(**{k: int(v) if k == "topics" else v for k, v in parameters.items()})
    loads: Mapping[str, str] | None = entry.get("loads")
    if loads is None:
        return spec
    tables = [shipped_workload(loads[phase]).load for phase in PHASES]
    # Phases were recorded with different numbers of tokens; only shares matter.
    tables = [table / table.sum(axis=1, keepdims=True) * 1e6 for table in tables]
    return spec.replace(load=np.mean(tables, axis=0), group_load=np.stack(tables)[None])


def preset_targets(name: str) -> dict[str, float]:
    """Return the figures that a preset is calibrated to, by key."""
    return {key: float(value) for key, value in _entry(name)["targets"].items()}


def preset_source(name: str) -> str:
    """Return where the figures of a preset are from."""
    return str(_entry(name)["source"])


def _entry(name: str) -> dict[str, Any]:
    catalogue = _catalogue()
    if name not in catalogue:
        raise unknown_name("preset", name, catalogue, "moeplace trace synth --list")
    return catalogue[name]


@cache
def _catalogue() -> dict[str, dict[str, Any]]:
    import yaml

    text = (Path(__file__).parent / "presets.yaml").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return entries
