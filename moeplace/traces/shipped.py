"""Measured workloads that come with the package; `data/README.md` says where they are from."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, unknown_name
from moeplace.traces.npz import read_arrays, read_npz_trace
from moeplace.traces.workload import Workload

if TYPE_CHECKING:
    from moeplace.traces.trace import RoutingTrace

DATA = Path(__file__).parent / "data"
# Models whose measured workload is that of another name: SGLang recorded V3's and R1's alike.
SAME_AS = {"deepseek-r1": "deepseek-v3"}


def shipped_workloads() -> list[str]:
    """Return the names of the workloads that come with the package."""
    return list(_catalogue())


def default_workloads(model_name: str) -> dict[str, Workload]:
    """Return the measured workloads to use for a model when the user gives none.

    Parameters
    ----------
    model_name
        Name of the model, any case.

    Returns
    -------
    dict
        Workload of each phase that was measured, by phase; empty if nothing was measured.
    """
    model = model_name.lower()
    prefix = SAME_AS.get(model, model) + "/"
    return {
        entry["phase"]: shipped_workload(name)
        for name, entry in _catalogue().items()
        if name.startswith(prefix) and entry.get("default")
    }


def default_trace(model_name: str) -> RoutingTrace | None:
    """Return the token-level trace that comes with the package for a model, or None.

    Parameters
    ----------
    model_name
        Name of the model, any case.
    """
    prefix = model_name.lower() + "/"
    for name, entry in _catalogue().items():
        if name.startswith(prefix) and entry.get("default") and "key" not in entry:
            return shipped_trace(name)
    return None


@cache
def shipped_workload(name: str) -> Workload:
    """Return a workload that comes with the package.

    Parameters
    ----------
    name
        For example ``"deepseek-v3/prefill_in4096"``.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    entry = _entry(name)
    if "key" not in entry:
        return Workload.from_trace(shipped_trace(name), name=name)
    arrays = read_arrays(DATA / entry["file"])
    meta = json.loads(str(arrays["meta"]))
    return Workload.from_loads(
        arrays[entry["key"]],
        top_k=meta["top_k"],
        layer_ids=meta["layer_ids"],
        name=name,
        phase=entry["phase"],
        source=meta["source"],
    )


@cache
def shipped_trace(name: str) -> RoutingTrace:
    """Return a token-level trace that comes with the package.

    Parameters
    ----------
    name
        For example ``"deepseek-v2-lite/prefill_esft"``.

    Raises
    ------
    InputError
        If there is none of this name, or only its loads were measured.
    """
    entry = _entry(name)
    if "key" in entry:
        raise InputError(f"{name} holds loads, not tokens; use it as a workload")
    return read_npz_trace(DATA / entry["file"], name=name)


def _entry(name: str) -> dict[str, Any]:
    catalogue = _catalogue()
    if name not in catalogue:
        raise unknown_name("workload", name, catalogue, "moeplace.traces.shipped_workloads()")
    return catalogue[name]


@cache
def _catalogue() -> dict[str, dict[str, Any]]:
    import yaml

    text = (DATA / "catalogue.yaml").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return entries
