"""Placement files remember what they were made for: options that are not given come from there."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from moeplace.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.cli.options import ProblemOptions
    from moeplace.placement import Placement

# A value chosen for the key's own choice; another choice takes its own default again.
NOT_REMEMBERED = {"seed", "current", "max_moves", "move_price"}  # of one run, not of the map
FOLLOWS = {"phase": ("tokens_per_rank",), "hw": ("ranks", "slots_per_rank"), "model": ("trace",)}


def recall(options: ProblemOptions, path: Path) -> ProblemOptions:
    """Return the options, completed with those that a native placement was made with.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    from moeplace.placement.formats import detect_format, format_info, read_metadata

    if not format_info(detect_format(path)).native:
        return options
    remembered = read_metadata(path).get("options")
    if not isinstance(remembered, dict):
        return options
    names = {option.name for option in fields(options)} - NOT_REMEMBERED
    known: dict[str, Any] = {key: remembered[key] for key in names if key in remembered}
    for key, followers in FOLLOWS.items():
        given = getattr(options, key)
        if given is not None and given != known.get(key):
            for follower in followers:
                known.pop(follower, None)
    return replace(options, **{k: v for k, v in known.items() if getattr(options, k) is None})


def read_given(options: ProblemOptions, path: Path) -> tuple[Placement, ProblemOptions]:
    """Read a placement and complete the options with what only the placement tells.

    Ranks come from files that tell them; without ``--redundant`` and ``--slots-per-rank`` the
    placement has as many as it uses.

    Raises
    ------
    MoeplaceError
        If the file cannot be read, or the model or system is not known.
    """
    from moeplace.hwmodels import load_system
    from moeplace.models import load_model
    from moeplace.placement.formats import detect_format, format_info, read_placement

    if options.model is None or options.hw is None:
        raise UsageError(f"{path} does not say what it was made for; give --model and --hw")
    model = load_model(options.model)
    ranks = options.ranks
    if ranks is None and not format_info(detect_format(path)).keeps_ranks:
        ranks = load_system(options.hw).ranks
    placement = read_placement(path, model=model, num_ranks=ranks)
    changes: dict[str, Any] = {"ranks": placement.num_ranks}
    if options.redundant is None:
        replicas = int(placement.replica_count.sum(axis=1).max())
        changes["redundant"] = str(max(0, replicas - placement.num_experts))
    if options.slots_per_rank is None:
        changes["slots_per_rank"] = int(placement.slots_per_rank.max())
    return placement, replace(options, **changes)
