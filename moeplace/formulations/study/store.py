"""Finished runs in a folder, so that a comparison goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.formulations.bounds import Bound
from moeplace.formulations.study.trial import Trial

if TYPE_CHECKING:
    from moeplace.placement import Problem


class Store:
    """A folder with one file a run and one a bound, each written whole.

    A run is found again by the problem's fingerprint, the solver, the seed, the time limit and
    the version of the package; several processes may share the folder.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{folder}: cannot be a folder of runs: {error}") from error

    def trial(
        self, problem: Problem, instance: str, solver: str, seed: int, limit_s: float | None
    ) -> Trial | None:
        """Return a finished run under the name the instance has now, None if there is none."""
        found = self._read("run", problem, solver, seed, limit_s)
        if found is None:
            return None
        path, document = found
        return replace(Trial.from_dict(document, str(path)), instance=instance)

    def keep_trial(self, problem: Problem, trial: Trial) -> None:
        """Keep a run, unless it was interrupted."""
        if trial.limit != "interrupted":
            key = (trial.solver, trial.seed, trial.time_limit_s)
            self._write("run", trial.to_dict(), problem, *key)

    def bound(self, problem: Problem, effort: str, limit_s: float | None) -> Bound | None:
        """Return a bound that was proven before, without its certificate."""
        found = self._read("bound", problem, effort, limit_s)
        if found is None:
            return None
        path, document = found
        try:
            return Bound(**{**document, "layer_value": np.array(document["layer_value"], float)})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: damaged ({error}); remove it to prove it again") from error

    def keep_bound(
        self, problem: Problem, bound: Bound, effort: str, limit_s: float | None
    ) -> None:
        """Keep a bound."""
        document = {
            "value": bound.value,
            "method": bound.method,
            "terms": dict(bound.terms),
            "layer_value": bound.layer_value.tolist(),
            "theorems": dict(bound.theorems),
            "effort": bound.effort,
        }
        self._write("bound", document, problem, effort, limit_s)

    def _path(self, kind: str, problem: Problem, *key: Any) -> Path | None:
        if self.folder is None:
            return None
        parts = [version("moeplace"), problem.fingerprint, problem.execution, *key]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self.folder / f"{kind}-{digest[:24]}.json"

    def _read(self, kind: str, problem: Problem, *key: Any) -> tuple[Path, dict[str, Any]] | None:
        path = self._path(kind, problem, *key)
        if path is None or not path.is_file():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error}); remove it to run it again") from error
        if not isinstance(document, dict):
            raise InputError(f"{path}: a JSON object expected; remove it to run it again")
        return path, document

    def _write(self, kind: str, document: dict[str, Any], problem: Problem, *key: Any) -> None:
        path = self._path(kind, problem, *key)
        if path is not None:
            with atomic_write(path) as file:
                json.dump(document, file)
