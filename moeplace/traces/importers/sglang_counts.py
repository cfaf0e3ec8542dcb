"""SGLang's expert counts: `{"logical_count": [layers][experts]}`, or `[steps][layers][experts]`.

The same file starts a server with `--init-expert-location`; LMDeploy reads and writes the bare
table. Rows are all the layers of the model, dense ones zero; `Workload.bind` drops those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.importers.json_text import head, read_json
from moeplace.traces.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

KEY = "logical_count"


def recognizes(path: Path) -> bool:
    """Tell whether it is a JSON object with the key."""
    if not path.is_file():
        return False
    start = head(path)
    if not start.startswith("{"):
        return False
    return f'"{KEY}"' in start or f'"{KEY}"'.encode() in path.read_bytes()


def read(path: Path, *, num_experts: int | None = None, name: str | None = None) -> Workload:
    """Read counts, summed over the steps.

    Parameters
    ----------
    path
        The file.
    num_experts
        What the width of the table must be, if given.
    name
        What to call the workload; the stem of the file by default.

    Raises
    ------
    InputError
        If it is no such file, or a count is negative or not finite.
    """
    content = read_json(path)
    if isinstance(content, dict):
        if KEY not in content:
            raise InputError(f"{path}: no key {KEY!r}; SGLang's recorder writes one")
        content = content[KEY]
    try:
        counts = np.asarray(content, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: {KEY} is not a table of numbers with rows of one length"
        ) from error
    steps = 1
    if counts.ndim == 3:
        bad = np.argwhere(~(np.isfinite(counts) & (counts >= 0)))
        if bad.size:
            step, row, expert = bad[0]
            raise InputError(
                f"{path}: {KEY} is {counts[step, row, expert]} at step {step}, layer row {row}, "
                f"expert {expert}; counts must be finite and ≥ 0"
            )
        steps = counts.shape[0]
        counts = counts.sum(axis=0)
    if counts.ndim != 2:
        raise InputError(
            f"{path}: {KEY} has shape {counts.shape}; [layers][experts] or "
            "[steps][layers][experts] expected"
        )
    if num_experts is not None and counts.shape[1] != num_experts:
        raise InputError(
            f"{path}: {counts.shape[1]} experts a layer, {num_experts} expected: "
            "these are counts of another model"
        )
    source = path.name if steps == 1 else f"{path.name}, sum of {steps} steps"
    try:
        return Workload.from_loads(counts, name=name or path.stem, source=source)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
