"""Which format a file is in, judged by its content; the ending decides only JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moeplace.errors import InputError
from moeplace.placement.formats.reading import (
    parse_json,
    parse_yaml,
    read_bytes,
    read_npz,
    read_text,
)
from moeplace.traces.torch_zip import looks_like_torch

_KEYS = (
    ("physical_to_logical_map", "sglang"),
    ("layer_list", "vllm-ascend"),
    ("moe_layer_count", "vllm-ascend"),
    ("record_type", "vllm-jsonl"),
    ("initial_global_assignments", "tensorrt-llm"),
    ("num_slots", "tensorrt-llm"),
)


def detect_format(path: str | Path) -> str:
    """Return the name of the format of a placement file.

    Raises
    ------
    InputError
        If the file cannot be read or is in no known format.
    """
    head = read_bytes(path)[:64]
    if head.startswith(b"\x93NUMPY"):
        return "omniplacement"
    if head.startswith(b"PK"):
        return "ktransformers" if looks_like_torch(Path(path)) else _npz(path)
    if Path(path).name.endswith(".jsonl"):
        return "vllm-jsonl"
    text = read_text(path)
    if text.startswith("-ot "):
        return "llama-cpp"
    if text.lstrip().startswith(("{", "[")):
        return _json(path, text)
    return _by_keys(path, parse_yaml(text, path))


def _npz(path: str | Path) -> str:
    names = read_npz(path).keys()
    if "schema" in names:
        return "native-npz"
    if "phy2log" in names:
        return "eplb"
    listed = ", ".join(sorted(names)) or "none"
    raise InputError(f"{path}: not a placement; the arrays in it are {listed}")


def _json(path: str | Path, text: str) -> str:
    first, _, rest = text.strip().partition("\n")
    if rest and first.endswith("}"):
        # Several JSON documents in one file: JSON lines under another ending.
        return _by_keys(path, parse_json(first, f"{path}, line 1"))
    data = parse_json(text, path)
    return "vllm-list" if isinstance(data, list) else _by_keys(path, data)


def _by_keys(path: str | Path, data: Any) -> str:
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a placement in any known format")
    if str(data.get("schema", "")).startswith("moeplace.placement/"):
        return "native-json"
    for key, name in _KEYS:
        if key in data:
            return name
    if "logical_count" in data:
        raise InputError(f"{path}: these are recorded loads (logical_count), not a placement")
    keys = ", ".join(sorted(map(str, data))[:8]) or "none"
    raise InputError(f"{path}: not a placement in any known format; its keys are {keys}")
