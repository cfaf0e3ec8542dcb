"""Systems by name: the shipped YAML files, meshes of any size, and files of your own."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, unknown_name
from moeplace.hwmodels.fabrics import Tiers, is_fabric, wire
from moeplace.hwmodels.system import System

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from moeplace.hwmodels.schema import Constants, SystemFile

MESH_BASE = "wafer-dojo-5x5"
# Routes between all pairs are kept; beyond this a mesh would take minutes to lay out.
MAX_MESH_DIES = 1024
REQUIRED = ("link_GBps", "hbm_GBps", "hbm_GB", "peak_tflops")
REQUIRED_BY_KIND = {
    "mesh": ("rows", "columns"),
    "cluster": ("ranks", "node_size"),
    "graph": ("ranks",),
}
# Whose devices and links a fabric by name has.
FABRIC_BASES = {"torus": MESH_BASE, "wafers": MESH_BASE}
CLUSTER_BASE = "h100-sxm"


def list_systems() -> list[str]:
    """Return the names in the catalogue, sorted; ``mesh:RxC`` works as well."""
    return sorted(_shipped())


def load_system(name_or_path: str | Path, ranks: int | None = None) -> System:
    """Return a system by catalogue name, alias, ``mesh:RxC`` or YAML file.

    Parameters
    ----------
    name_or_path
        Names are not case-sensitive. ``mesh:RxC`` has the dies and links of the Dojo-like wafer.
        Anything that ends in ``.yaml`` or ``.yml`` is a file.
    ranks
        EP size of a cluster, ranks fill nodes in order; None takes the system's default. A mesh
        always has rows × columns ranks.

    Raises
    ------
    InputError
        If the name is unknown, the file is bad or the system cannot have so many ranks.
    """
    text = str(name_or_path)
    if text.lower().endswith((".yaml", ".yml")):
        file = read_system_file(Path(name_or_path))
        try:
            return _build(file, ranks)
        except InputError as error:
            raise InputError(f"system file {name_or_path}: {error}") from error
    name = text.lower()
    if match := re.fullmatch(r"mesh:(\d+)x(\d+)", name):
        return _sized_mesh(int(match[1]), int(match[2]), ranks)
    if name.startswith("mesh:"):
        raise InputError(f"system {text!r}: a mesh is written mesh:RxC, for example mesh:6x4")
    if is_fabric(name):
        return _named_fabric(name, ranks)
    canonical = _names().get(name)
    if canonical is None:
        raise unknown_name("system", text, sorted(_names()), "moeplace hw list")
    return _build(_read_shipped(canonical), ranks)


def list_aliases() -> dict[str, str]:
    """Return every other name that `load_system` takes, with the system it stands for."""
    return {alias: name for alias, name in _names().items() if alias != name}


def read_system_file(path: Path) -> SystemFile:
    """Read and validate a system file.

    Raises
    ------
    InputError
        With the file and the key that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read system file {path}: {reason}") from error
    return _parse(text, str(path))


def _parse(text: str, where: str) -> SystemFile:
    import yaml
    from pydantic import ValidationError

    from moeplace.hwmodels.schema import SystemFile

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise InputError(f"system file {where}:{line} {problem}") from error
    if not isinstance(content, dict):
        raise InputError(f"system file {where}: expected keys name, summary, kind, constants")
    try:
        parsed = SystemFile.model_validate(content)
    except ValidationError as error:
        first, *others = error.errors()
        key = ".".join(str(part) for part in first["loc"]) or "file"
        more = f" (and {len(others)} more)" if others else ""
        raise InputError(f"system file {where}: {key}: {first['msg']}{more}") from error
    for key in (*REQUIRED, *REQUIRED_BY_KIND[parsed.kind]):
        if getattr(parsed.constants, key) is None:
            raise InputError(
                f"system file {where}: constants.{key}: missing; a {parsed.kind} needs it"
            )
    return parsed


def _build(file: SystemFile, ranks: int | None) -> System:
    values, sources = _split(file.constants)
    if file.kind == "mesh":
        default = values["rows"] * values["columns"]
        values["ranks"] = default if ranks is None else ranks
    elif ranks is not None:
        values["ranks"] = ranks
        sources["ranks"] = "chosen by the user"
    if file.kind == "cluster" and values["ranks"] <= values["node_size"]:
        local_values, local_sources = _split(file.one_node)
        values |= local_values
        sources |= local_sources
    if "edges" in values:
        values["edges"] = tuple(
            (int(one), int(other), float(rate), float(delay))
            for one, other, rate, delay in values["edges"]
        )
    return System(
        name=file.name,
        kind=file.kind,
        summary=file.summary,
        sources=sources,
        **values,
    )


def _named_fabric(name: str, ranks: int | None) -> System:
    """Return a fabric by name: wafer dies on a torus or several wafers, else H100s."""
    base = load_system(FABRIC_BASES.get(name.split(":")[0], CLUSTER_BASE))
    nic = base.nic_GBps or base.link_GBps
    tiers = Tiers(base.link_GBps, base.link_latency_us, nic, base.nic_latency_us)
    wiring = wire(name, tiers)
    told = {key: f"assumed: name {name}" for key in ("fabric", "node_size", "ranks")}
    return base.replace(
        name=name,
        kind="graph",
        summary=f"{name} with the devices and links of {base.name}",
        fabric=name,
        rows=0,
        columns=0,
        max_ranks=0,
        node_size=wiring.node_size,
        nic_GBps=nic,
        ranks=wiring.ranks if ranks is None else ranks,
        sources={**base.sources, **told},
    )


def _split(constants: Constants) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values and sources of the constants that a file sets."""
    given = constants.model_dump(exclude_none=True)
    values = {name: entry["value"] for name, entry in given.items()}
    return values, {name: entry["source"] for name, entry in given.items()}


def _sized_mesh(rows: int, columns: int, ranks: int | None) -> System:
    if not 1 <= rows * columns <= MAX_MESH_DIES:
        raise InputError(
            f"mesh:{rows}x{columns}: a mesh has 1 to {MAX_MESH_DIES} dies, not {rows * columns}"
        )
    base = load_system(MESH_BASE)
    sources = dict(base.sources) | {"rows": "mesh:RxC", "columns": "mesh:RxC"}
    return base.replace(
        name=f"mesh:{rows}x{columns}",
        summary=f"{rows}x{columns} mesh with the dies and links of {MESH_BASE}",
        rows=rows,
        columns=columns,
        ranks=rows * columns if ranks is None else ranks,
        sources=sources,
    )


@cache
def _shipped() -> dict[str, Traversable]:
    """Return the shipped files by name."""
    folder = resources.files("moeplace.hwmodels") / "systems"
    return {
        entry.name.removesuffix(".yaml"): entry
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }


@cache
def _read_shipped(name: str) -> SystemFile:
    entry = _shipped()[name]
    return _parse(entry.read_text(encoding="utf-8"), entry.name)


@cache
def _names() -> dict[str, str]:
    """Return every name and alias in lower case with the name it stands for."""
    known = {name: name for name in _shipped()}
    for name in _shipped():
        known.update((alias.lower(), name) for alias in _read_shipped(name).aliases)
    return known
