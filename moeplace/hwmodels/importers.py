"""Systems described for other tools, as a system file of this package.

Read are aiconfigurator system files (blocks gpu, node, misc, SI units), ASTRA-sim network files
(topology, npus_count, bandwidth in GB/s, latency in ns, one entry a dimension) and InfraGraph
files (infrastructure.devices with components, links and edges). What they do not say is taken
from a base system and says so.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMATS = ("aiconfigurator", "astra-sim", "infragraph")


def import_system(path: str | Path, base: str = "h100-sxm") -> tuple[dict[str, Any], str]:
    """Return the content of a system file, and the format it was read from.

    Parameters
    ----------
    path
        YAML or JSON.
    base
        Catalogue name; gives kernels and whatever the file does not say.

    Raises
    ------
    InputError
        If the file is none of the known formats or a figure is missing or wrong; with the key.
    """
    import yaml

    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected the keys of {', '.join(FORMATS)}")
    from moeplace.hwmodels.catalog import load_system

    system = load_system(base)
    if system.kind != "cluster":
        raise InputError(f"base system {base!r} is no cluster; use a GPU system")
    told: dict[str, tuple[Any, str]]
    if {"gpu", "node"} <= set(document):
        name, told = "aiconfigurator", _aiconfigurator(document, path)
    elif {"topology", "npus_count", "bandwidth"} <= set(document):
        name, told = "astra-sim", _astra_sim(document, path)
    elif "infrastructure" in document or {"devices", "instances"} <= set(document):
        name, told = "infragraph", _infragraph(document, path)
    else:
        raise InputError(
            f"{path}: none of {', '.join(FORMATS)}: keys gpu and node; topology, npus_count and "
            "bandwidth; or infrastructure"
        )
    return _file(path, system, told, name), name


def _file(
    path: Path, base: Any, told: Mapping[str, tuple[Any, str]], origin: str
) -> dict[str, Any]:
    from dataclasses import fields

    from moeplace.hwmodels.system import NOT_CONSTANTS

    constants: dict[str, Any] = {}
    for field in fields(base):
        if field.name in NOT_CONSTANTS or field.name in ("fabric", "edges", "rows", "columns"):
            continue
        if field.name in told:
            value, source = told[field.name]
        elif field.name in base.sources and field.name != "max_ranks":
            value = getattr(base, field.name)
            source = f"assumed: as {base.name}: {base.sources[field.name]}"
        else:
            continue
        constants[field.name] = {"value": _plain(value), "source": source}
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in path.stem.lower()).strip("-._")
    return {
        "name": stem or "imported",
        "summary": f"imported from {origin} file {path.name}; what it lacks is that of {base.name}",
        "kind": "cluster",
        "constants": constants,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict) or hasattr(value, "items"):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def _figure(block: Any, key: str, where: str, *, least: float = 0.0) -> float:
    value = block.get(key) if isinstance(block, dict) else None
    if isinstance(value, str):  # 2.0e12 without a sign is text in YAML 1.1
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{where}: {key} is missing or not a number")
    if value < least:
        raise InputError(f"{where}: {key} is {value:g}; it must be at least {least:g}")
    return float(value)


def _aiconfigurator(document: Mapping[str, Any], path: Path) -> dict[str, tuple[Any, str]]:
    """Read blocks gpu and node, SI units: bytes, bytes per second, FLOP per second."""
    gpu, node = document["gpu"], document["node"]
    where_gpu, where_node = f"{path}: gpu", f"{path}: node"
    source = f"{path.name} (aiconfigurator system file)"
    peaks = {}
    for dtype, key in (("bf16", "bfloat16"), ("fp8", "fp8"), ("fp4", "fp4")):
        if isinstance(gpu, dict) and f"{key}_tc_flops" in gpu:
            peaks[dtype] = _figure(gpu, f"{key}_tc_flops", where_gpu, least=1.0) / 1e12
    if "bf16" not in peaks:
        raise InputError(f"{where_gpu}: bfloat16_tc_flops is missing")
    size = int(_figure(node, "num_gpus_per_node", where_node, least=1))
    if node.get("num_gpus_per_rack"):
        size = int(_figure(node, "num_gpus_per_rack", where_node, least=1))
    outer = "inter_rack_bw" if node.get("inter_rack_bw") else "inter_node_bw"
    return {
        "ranks": (4 * size, "assumed: four nodes"),
        "node_size": (size, source),
        "link_GBps": (_figure(node, "intra_node_bw", where_node, least=1.0) / 1e9, source),
        "nic_GBps": (_figure(node, outer, where_node, least=1.0) / 1e9, source),
        "hbm_GBps": (_figure(gpu, "mem_bw", where_gpu, least=1.0) / 1e9, source),
        "hbm_GB": (_figure(gpu, "mem_capacity", where_gpu, least=1.0) / 1e9, source),
        "peak_tflops": (peaks, source),
    }


def _astra_sim(document: Mapping[str, Any], path: Path) -> dict[str, tuple[Any, str]]:
    """Read one or two dimensions; the first is the fast one."""
    lists = {}
    for key in ("topology", "npus_count", "bandwidth", "latency"):
        value = document.get(key, [0.0] if key == "latency" else None)
        lists[key] = value if isinstance(value, list) else [value]
    count = len(lists["topology"])
    if count not in (1, 2):
        raise InputError(f"{path}: {count} dimensions; one or two can be read, nodes and NICs")
    if document.get("latency") is None:
        lists["latency"] = [0.0] * count
    for key, values in lists.items():
        if len(values) != count:
            raise InputError(f"{path}: {key} has {len(values)} entries, topology {count}")
    for kind in lists["topology"]:
        if kind not in ("Switch", "FullyConnected", "Ring"):
            raise InputError(f"{path}: topology {kind!r}; known are Switch, FullyConnected, Ring")
    if "Ring" in lists["topology"]:
        raise InputError(f"{path}: Ring: write a system file of kind graph, fabric torus:1xN")

    def at(key: str, dimension: int, least: float) -> float:
        return _figure({key: lists[key][dimension]}, key, str(path), least=least)

    source = f"{path.name} (ASTRA-sim network file)"
    inner = int(at("npus_count", 0, 1))
    outer = int(at("npus_count", 1, 1)) if count == 2 else 1
    told: dict[str, tuple[Any, str]] = {
        "ranks": (inner * outer, source),
        "node_size": (inner, source),
        "link_GBps": (at("bandwidth", 0, 1e-9), source),
        "link_latency_us": (at("latency", 0, 0.0) / 1e3, source),
    }
    if count == 2:
        told["nic_GBps"] = (at("bandwidth", 1, 1e-9), source)
        told["nic_latency_us"] = (at("latency", 1, 0.0) / 1e3, source)
    return told


FAST_WORDS = ("nvlink", "xgmi", "infinity", "ualink", "scale-up", "scale_up", "scaleup", "fast")
SLOW_WORDS = ("nic", "ethernet", "eth", "ib", "infiniband", "roce", "scale-out", "network")


def _infragraph(document: Mapping[str, Any], path: Path) -> dict[str, tuple[Any, str]]:
    """Read the device with accelerators: how many, and the bandwidth of its links by name."""
    graph = document.get("infrastructure", document)
    devices = graph.get("devices") if isinstance(graph, dict) else None
    if not isinstance(devices, list) or not devices:
        raise InputError(f"{path}: infrastructure.devices is missing or empty")
    host = None
    size = 0
    for device in devices:
        parts = device.get("components") if isinstance(device, dict) else None
        for part in parts if isinstance(parts, list) else []:
            kind = str(part.get("type", part.get("choice", ""))).lower()
            named = str(part.get("name", "")).lower()
            if kind in ("xpu", "gpu", "npu") or named.startswith(("xpu", "gpu", "npu")):
                host, size = device, int(_figure(part, "count", f"{path}: component {named}"))
    if host is None or size < 1:
        raise InputError(f"{path}: no device with components of type xpu, gpu or npu")
    source = f"{path.name} (InfraGraph)"
    told: dict[str, tuple[Any, str]] = {"node_size": (size, source)}
    fabrics = [*devices, graph]
    for owner in fabrics:
        for link in owner.get("links") or []:
            _read_link(link, told, path, source)
    if "link_GBps" not in told:
        raise InputError(
            f"{path}: no link with a bandwidth whose name says it is the fast one "
            f"({', '.join(FAST_WORDS)})"
        )
    hosts = sum(
        int(each.get("count", 1))
        for each in graph.get("instances") or []
        if isinstance(each, dict) and each.get("device") == host.get("name")
    )
    told["ranks"] = (size * max(hosts, 1), source)
    if hosts > 1 and "nic_GBps" not in told:
        told["nic_GBps"] = (told["link_GBps"][0], "assumed: as the fast links; no NIC link named")
    return told


def _read_link(
    link: Mapping[str, Any], told: dict[str, tuple[Any, str]], path: Path, source: str
) -> None:
    name = str(link.get("name", "")).lower()
    physical = link.get("physical") or {}
    rate = physical.get("bandwidth") or {}
    if isinstance(rate, dict) and "gigabits_per_second" in rate:
        bandwidth = _figure(rate, "gigabits_per_second", f"{path}: link {name}") / 8
    elif isinstance(rate, dict) and "gigabytes_per_second" in rate:
        bandwidth = _figure(rate, "gigabytes_per_second", f"{path}: link {name}")
    else:
        return
    if bandwidth <= 0:
        raise InputError(f"{path}: link {name}: bandwidth must be above 0")
    delay = physical.get("latency") or {}
    latency = _figure(delay, "ns", f"{path}: link {name}") / 1e3 if "ns" in delay else 0.0
    words = name.replace("-", "_").split("_")
    if any(word in name for word in FAST_WORDS):
        told["link_GBps"], told["link_latency_us"] = (bandwidth, source), (latency, source)
    elif any(word in words for word in SLOW_WORDS):
        told["nic_GBps"], told["nic_latency_us"] = (bandwidth, source), (latency, source)
