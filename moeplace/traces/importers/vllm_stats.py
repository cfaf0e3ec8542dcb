"""vLLM's recorded expert loads: JSON Lines of `eplb_load_stats` (open pull request 41141).

A record holds `expert_load` [layers][slots] of one interval and the `p2l_map` [layers][slots] that
was in force. Layers are MoE layers only. Records of other types are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.importers.json_text import head
from moeplace.traces.importers.physical import logical_counts, slot_map
from moeplace.traces.importers.text_lines import parse_line, read_lines
from moeplace.traces.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TYPE = "eplb_load_stats"
OTHERS = ("session_metadata", "bench_run_start")


def recognizes(path: Path) -> bool:
    """Tell whether the first records are of this kind."""
    if not path.is_file():
        return False
    start = head(path)
    return start.startswith("{") and any(
        f'"record_type":"{kind}"' in start for kind in (TYPE, *OTHERS)
    )


def read(path: Path, *, num_experts: int | None = None, name: str | None = None) -> Workload:
    """Read the loads, summed over all records, slots brought back to experts.

    Parameters
    ----------
    path
        The file.
    num_experts
        Logical experts per layer; by default what the maps say.
    name
        What to call the workload; the stem of the file by default.

    Raises
    ------
    InputError
        If a line is broken or a record does not fit the first; file and byte are named.
    """
    total: NDArray[Any] | None = None
    records = 0
    for offset, line in read_lines(path):
        where = f"{path}: byte {offset:,}"
        record = parse_line(path, offset, line)
        if not isinstance(record, dict):
            raise InputError(f"{where}: a JSON object a line expected")
        if record.get("record_type") != TYPE:
            continue
        if "expert_load" not in record or "p2l_map" not in record:
            raise InputError(f"{where}: a record without expert_load or p2l_map")
        table, experts = slot_map(record["p2l_map"], where, num_experts)
        counts = logical_counts(record["expert_load"], table, experts, where)
        if total is not None and counts.shape != total.shape:
            raise InputError(
                f"{where}: {counts.shape} layers and experts, {total.shape} before: "
                "these are records of different models"
            )
        total = counts if total is None else total + counts
        records += 1
    if total is None:
        raise InputError(f"{path}: no record of type {TYPE!r}")
    try:
        return Workload.from_loads(
            np.asarray(total), name=name or path.stem, source=f"{path.name}, {records} records"
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
