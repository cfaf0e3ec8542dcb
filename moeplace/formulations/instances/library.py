"""Named instances: what they are, the best placement known, and what is proven."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError, unknown_name
from moeplace.formulations.instances.define import problem_of
from moeplace.formulations.result import OPTIMAL_GAP, relative_gap
from moeplace.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from moeplace.placement import Problem

CATALOGUE, RECORDS, PLACEMENTS = "catalogue.yaml", "best_known.yaml", "best_known.npz"


@dataclass(frozen=True)
class Record:
    """What is known about an instance.

    Attributes
    ----------
    value
        The objective of the best placement known.
    found_by
        Its solver, seed and time limit, in words.
    lower_bound
        No placement is better.
    proven_by
        ``fast`` or ``strong`` (see :func:`moeplace.lower_bound`), or an exact solver's name.
    method
        The theorem, or how long the exact solver may run.
    """

    value: float
    found_by: str
    lower_bound: float
    proven_by: str
    method: str

    @property
    def gap(self) -> float:
        """How far the best known can be from optimal at most."""
        return relative_gap(self.value, self.lower_bound) or 0.0

    @property
    def status(self) -> str:
        """``optimal`` where the gap is at most 1e-6, else ``open``."""
        return "optimal" if self.gap <= OPTIMAL_GAP else "open"


@dataclass(frozen=True, eq=False)
class Instance:
    """A problem with a name.

    Attributes
    ----------
    name, about, tags
        What `moeplace instance list` shows; the tags are ``tiny``, ``layer`` and ``full``.
    definition
        Its entry in the catalogue.
    record
        Best known value and bound; None for an instance that nobody has solved yet.
    """

    name: str
    about: str
    tags: tuple[str, ...]
    definition: Mapping[str, Any] = field(repr=False)
    record: Record | None

    @cached_property
    def problem(self) -> Problem:
        """The problem, made on first use."""
        return problem_of(self.name, self.definition)

    @cached_property
    def placement(self) -> Placement | None:
        """The best placement known."""
        tables = _placements()
        if f"{self.name}/experts" not in tables:
            return None
        problem = self.problem
        return Placement(
            tables[f"{self.name}/experts"].astype(np.int32),
            tables[f"{self.name}/ranks"].astype(np.int32),
            problem.num_experts,
            problem.num_ranks,
            problem.workload.layer_ids,
        )


def list_instances(tag: str | None = None) -> list[str]:
    """Return the names of the library's instances, from small to large.

    Parameters
    ----------
    tag
        Only those with this tag: ``tiny``, ``layer`` or ``full``.
    """
    return [name for name, said in _catalogue().items() if tag is None or tag in said["tags"]]


def load_instance(name: str) -> Instance:
    """Return an instance of the library.

    Parameters
    ----------
    name
        From :func:`list_instances`.

    Returns
    -------
    Instance
        Its problem is made when it is asked for.

    Raises
    ------
    InputError
        If there is no such instance.
    """
    catalogue = _catalogue()
    if name not in catalogue:
        raise unknown_name("instance", name, catalogue, "moeplace instance list")
    said, known = catalogue[name], _records().get(name)
    record = None
    if known is not None:
        try:
            record = Record(**known)
        except TypeError as error:
            raise InputError(f"{RECORDS}: {name}: {error}") from error
    return Instance(name, said["about"], tuple(said["tags"]), said, record)


def data_file(name: str) -> Traversable:
    """Return a file of the library."""
    return files("moeplace.formulations.instances").joinpath("data", name)


@cache
def _catalogue() -> dict[str, dict[str, Any]]:
    return _read_yaml(CATALOGUE)


@cache
def _records() -> dict[str, dict[str, Any]]:
    return _read_yaml(RECORDS) if data_file(RECORDS).is_file() else {}


@cache
def _placements() -> dict[str, Any]:
    if not data_file(PLACEMENTS).is_file():
        return {}
    with as_file(data_file(PLACEMENTS)) as path, np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_yaml(name: str) -> dict[str, dict[str, Any]]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(data_file(name).read_text(encoding="utf-8"), Loader=loader)
    return dict(content or {})
