"""What the shell offers after TAB; answers without NumPy, YAML or any model being read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Offer = tuple[str, str]  # the word and what it means

HERE = Path(__file__).parents[1]  # the package: finding it by import would load NumPy
MESHES = (("mesh:", "a mesh of any size, for example mesh:4x8"),)

# Short lists that live beside code which loads NumPy; a test holds them against it.
WORDS: dict[str, tuple[str, ...]] = {
    "phase": ("prefill", "decode"),
    "objective": ("time", "balance", "copies", "hops"),
    "dedup": ("none", "rank", "node", "multicast"),
    "dispatch": ("even", "nearest", "rank_modulo", "lp", "cover"),
    "execution": ("return", "stay"),
    "robust": ("max", "mean", "cvar"),
    "bound effort": ("fast", "strong"),
    "weight dtype": ("bf16", "fp16", "fp8", "int8", "fp4", "int4"),
    "workers": ("threads", "loky", "dask", "ray"),
    "strategy": ("base", "ep", "pred", "allo", "allo+pred", "moeplace"),
    "balance": ("contiguous", "greedy", "anti-correlation", "scaled", "batch-max"),
    "figure": ("map", "terms", "layers", "bound", "together", "experts", "replicas", "help"),
    "view": ("contiguous", "eplb", "result"),
    "host link": ("pcie3", "pcie4", "pcie5", "nvlink-c2c"),
    "eviction": (
        "inactive-lifo", "lifo", "fifo", "lru", "lfu", "random", "least-stale", "belady",
        "batch-aware", "batch-overlap",
    ),
    "engine": (
        "native-json", "native-npz", "eplb", "sglang", "tensorrt-llm", "vllm-ascend",
        "omniplacement", "vllm-list", "vllm-jsonl", "ktransformers", "llama-cpp",
    ),
}  # fmt: skip


def completes(source: Iterable[str] | Callable[[], Iterable[Offer]]) -> Callable[..., list[Offer]]:
    """Return what `typer.Option(autocompletion=)` takes: the offers that begin as typed.

    After a comma the next word of the list is completed.

    Parameters
    ----------
    source
        Words, or a function that returns them with their meanings.
    """

    def complete(incomplete: str) -> list[tuple[str, str]]:
        done, comma, begun = incomplete.rpartition(",")
        offers = source() if callable(source) else [(word, "") for word in source]
        return [(done + comma + word, help) for word, help in offers if word.startswith(begun)]

    return complete


def models() -> list[Offer]:
    """Return the models of the catalogue."""
    files = HERE.joinpath("models", "catalog").glob("*.yaml")
    return [(name, "") for name in sorted(file.stem for file in files)]


def systems() -> list[Offer]:
    """Return the systems of the catalogue, their other names, and meshes."""
    offers = list(MESHES)
    for entry in HERE.joinpath("hwmodels", "systems").glob("*.yaml"):
        text = entry.read_text(encoding="utf-8")
        about = _value(text, "summary")
        names = [_value(text, "name"), *_value(text, "aliases").strip("[]").split(",")]
        offers += [(name.strip(), about) for name in names if name.strip()]
    return sorted(offers)


def solvers() -> list[Offer]:
    """Return the solvers with what they do."""
    from moeplace.formulations.registry import SOLVERS

    return [(info.name, info.summary) for info in SOLVERS.values()]


def policies() -> list[Offer]:
    """Return the rebalancing policies with what they do."""
    from moeplace.replay.registry import POLICIES

    return [(info.name, info.summary) for info in POLICIES.values()]


def instances() -> list[Offer]:
    """Return the instances with what they are."""
    text = _text("formulations", "instances", "data", "catalogue.yaml")
    return re.findall(r'^([\w-]+): \{about: "([^"]*)"', text, re.MULTILINE)


def workloads() -> list[Offer]:
    """Return the traces and loads that come with the package."""
    text = _text("traces", "data", "catalogue.yaml")
    return [(name, "") for name in re.findall(r"^([\w.-]+/[\w.-]+):", text, re.MULTILINE)]


def _text(*path: str) -> str:
    return HERE.joinpath(*path).read_text(encoding="utf-8")


def _value(text: str, key: str) -> str:
    found = re.search(rf"^{key}: (.*)$", text, re.MULTILINE)
    return found[1] if found else ""
