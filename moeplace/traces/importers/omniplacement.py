"""OmniPlacement's activation dumps: a folder of counts by rank, a log, or its CSV.

`activation_counts_recordstep_<s>_rank_<r>.txt` has a line for each MoE layer and a column for each
slot of the rank. Slots are experts in order (rank r holds r·E/R ...), unless the folder also has
the pattern that was in force, `placement_pattern*.npy` (0/1, [ranks, layers, experts]): then the
slots of a rank are its experts in ascending order. The log has one line a rank, step and layer;
the CSV has rows `layer_<i>` and columns `ep_<j>`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.importers.json_text import head
from moeplace.traces.npz import first_line
from moeplace.traces.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FILE = re.compile(r"activation_counts_recordstep_(\d+)_rank_(\d+)\.txt")
LINE = re.compile(
    rb"\[dump activation\] (\w+) step (\d+) in rank (\d+) for layer (\d+) get (\d+) experts data:"
    rb"([\d\s]*)"
)


def recognizes(path: Path) -> bool:
    """Tell whether it is such a folder, log or table."""
    if path.is_dir():
        return any(FILE.fullmatch(file.name) for file in path.glob("activation_counts_*.txt"))
    start = head(path) if path.is_file() else ""
    return "[dumpactivation]" in start or start.startswith((",ep_0,", "layer,ep_0,"))


def read(path: Path, *, num_experts: int | None = None, name: str | None = None) -> Workload:
    """Read counts, summed over the recorded steps.

    Parameters
    ----------
    path
        A folder, a log or a CSV.
    num_experts
        Logical experts per layer, checked.
    name
        What to call the workload.

    Raises
    ------
    InputError
        If a file is broken, a rank is missing, or slots are more than experts without a pattern.
    """
    if path.is_dir():
        slots = _folder(path)
    else:
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file") from error
        slots = _log(path, content) if b"[dump activation]" in content else _csv(path, content)
    table = _logical(path, slots, num_experts)
    if num_experts not in (None, table.shape[1]):
        raise InputError(f"{path}: {table.shape[1]} experts a layer, {num_experts} expected")
    try:
        return Workload.from_loads(table, name=name or path.stem, source=path.name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _folder(path: Path) -> dict[int, NDArray[Any]]:
    ranks: dict[int, NDArray[Any]] = {}
    steps: dict[int, set[int]] = {}
    for file in sorted(path.glob("activation_counts_*.txt")):
        match = FILE.fullmatch(file.name)
        if match is None:
            continue
        counts = _numbers(file)
        rank = int(match[2])
        if rank in ranks and ranks[rank].shape != counts.shape:
            raise InputError(f"{file}: shape {counts.shape}, {ranks[rank].shape} in other steps")
        ranks[rank] = counts if rank not in ranks else ranks[rank] + counts
        steps.setdefault(int(match[1]), set()).add(rank)
    for step, found in steps.items():
        absent = set(range(max(ranks) + 1)) - found
        if absent:
            raise InputError(f"{path}: step {step} has no file of rank {min(absent)}")
    if not ranks:
        raise InputError(f"{path}: no activation_counts_recordstep_<s>_rank_<r>.txt")
    return ranks


def _numbers(file: Path) -> NDArray[Any]:
    lines = file.read_bytes().splitlines()
    rows: list[list[int]] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append([int(text) for text in line.split()])
        except ValueError as error:
            raise InputError(f"{file}: line {number}: {first_line(error)}") from error
        if len(rows[-1]) != len(rows[0]) or min(rows[-1], default=-1) < 0:
            raise InputError(f"{file}: line {number}: {len(rows[0])} counts ≥ 0 expected")
    if not rows:
        raise InputError(f"{file}: empty")
    return np.array(rows, dtype=np.float64)


def _log(path: Path, content: bytes) -> dict[int, NDArray[Any]]:
    found: dict[int, dict[int, Any]] = {}
    for match in LINE.finditer(content):
        rank, layer, count = (int(match[group]) for group in (3, 4, 5))
        data = match[6].split(b"\n")[0]
        values = np.array([int(text) for text in data.split()], dtype=np.float64)
        if values.size != count or (not content[match.end() - 1 :].strip() and data == match[6]):
            raise InputError(
                f"{path}: byte {match.start():,}: {count} counts and a line end expected"
            )
        layers = found.setdefault(rank, {})
        if layer in layers and layers[layer].shape != values.shape:
            raise InputError(f"{path}: byte {match.start():,}: another number of experts")
        layers[layer] = layers.get(layer, 0) + values
    if not found:
        raise InputError(f"{path}: no line of a dumped activation")
    layers_of = {tuple(sorted(layers)) for layers in found.values()}
    if len(layers_of) > 1 or sorted(found) != list(range(len(found))):
        raise InputError(f"{path}: not every rank has every layer")
    order = layers_of.pop()
    try:
        return {rank: np.stack([found[rank][i] for i in order]) for rank in found}
    except ValueError as error:
        raise InputError(f"{path}: layers of different width") from error


def _csv(path: Path, content: bytes) -> dict[int, NDArray[Any]]:
    lines = content.decode("utf-8", errors="replace").splitlines()
    header = lines[0].split(",") if lines else []
    if len(header) < 2 or header[1:] != [f"ep_{i}" for i in range(len(header) - 1)]:
        raise InputError(f"{path}: neither a log of dumped activations nor columns ep_0, ep_1, ...")
    if not content.endswith(b"\n"):
        raise InputError(f"{path}: byte {len(content):,}: the last line has no end; cut?")
    rows: list[list[float]] = []
    for number, line in enumerate(lines[1:], 2):
        label, *cells = line.split(",")
        if label != f"layer_{len(rows)}" or len(cells) != len(header) - 1:
            raise InputError(
                f"{path}: line {number}: layer_{len(rows)} and {len(header) - 1} counts"
            )
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError as error:
            raise InputError(f"{path}: line {number}: {first_line(error)}") from error
    if not rows:
        raise InputError(f"{path}: no layer in it")
    return {0: np.array(rows)}


def _logical(
    path: Path, slots: dict[int, NDArray[Any]], num_experts: int | None
) -> NDArray[np.float64]:
    ranks = [slots[rank] for rank in sorted(slots)]
    if len({rank.shape[0] for rank in ranks}) > 1:
        raise InputError(f"{path}: ranks with different numbers of layers")
    layers = ranks[0].shape[0]
    patterns = sorted(path.glob("placement_pattern*.npy")) if path.is_dir() else []
    if not patterns:
        table = np.concatenate(ranks, axis=1)
        if num_experts is not None and table.shape[1] > num_experts:
            raise InputError(
                f"{path}: {table.shape[1]} slots for {num_experts} experts; put the pattern that "
                "was in force, placement_pattern*.npy, into the folder"
            )
        return table
    try:
        pattern = np.load(patterns[0], allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{patterns[0]}: not readable ({first_line(error)})") from error
    if pattern.ndim != 3 or pattern.shape[:2] != (len(ranks), layers):
        raise InputError(f"{patterns[0]}: shape {pattern.shape}, ({len(ranks)}, {layers}, experts)")
    loads = np.zeros((layers, pattern.shape[2]))
    for rank, counts in enumerate(ranks):
        for layer in range(layers):
            held = np.flatnonzero(pattern[rank, layer])
            if held.size != counts.shape[1]:
                raise InputError(
                    f"{patterns[0]}: rank {rank}, layer {layer} holds {held.size} experts, "
                    f"{counts.shape[1]} counts are dumped"
                )
            loads[layer, held] += counts[layer]
    return loads
