"""Files that commands write: checked before the work, written whole or not at all."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from moeplace.cli.options import ProblemOptions
    from moeplace.placement import Placement, Problem


def check_writable(
    path: Path | None, suffixes: Sequence[str] = (), *, folder: bool = False
) -> None:
    """Refuse a path that cannot be written, before anything is computed.

    Parameters
    ----------
    path
        The file, None if none is to be written.
    suffixes
        Endings it may have; all if there are none.
    folder
        Whether it may be a folder that exists.

    Raises
    ------
    UsageError
        If the suffix is not one of `suffixes`.
    InputError
        If the folder does not exist or is not writable.
    """
    if path is None:
        return
    if suffixes and path.suffix not in suffixes:
        endings = " or ".join(suffix for suffix in suffixes if suffix)
        plain = ", or have no ending (a folder)" if "" in suffixes else ""
        raise UsageError(f"{path}: the name must end in {endings}{plain}")
    if path.is_dir() and not folder:
        raise InputError(f"{path}: is a folder; give a file name")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the folder {path.parent} is not writable")


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write a JSON document."""
    from moeplace.cli.output import json_text
    from moeplace.files import atomic_write

    with atomic_write(path) as file:
        file.write(json_text(document) + "\n")


def write_placement(
    placement: Placement,
    path: Path,
    options: ProblemOptions,
    problem: Problem,
    document: Mapping[str, Any],
) -> None:
    """Write a native placement that remembers the options it was made with."""
    from moeplace import __version__
    from moeplace.cli.recall import NOT_REMEMBERED
    from moeplace.placement.formats import save_placement

    said = {k: v for k, v in asdict(options).items() if k not in NOT_REMEMBERED}
    made_with = said | {
        "phase": problem.phase,
        "ranks": problem.num_ranks,
        "redundant": problem.redundant,
        "slots_per_rank": problem.slots_per_rank,
    }
    metadata = {
        "moeplace": __version__,
        "solver": document["solver"],
        "workload": problem.workload.name,
        "fingerprint": problem.fingerprint,
        "objective_value": document["objective"]["value"],
        "lower_bound": document["objective"]["lower_bound"],
        "options": {key: value for key, value in made_with.items() if value is not None},
    }
    save_placement(placement, path, metadata=metadata)
