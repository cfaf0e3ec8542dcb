"""Fitted constants as YAML: one file per system, shipped or written by ``hw calibrate``."""

from __future__ import annotations

from dataclasses import asdict, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.hwmodels.calibrate.expert_fits import ExpertFit
from moeplace.hwmodels.calibrate.expert_kernel import ExpertKernel
from moeplace.hwmodels.calibrate.forms import Fit, Form
from moeplace.hwmodels.calibrate.kernels import CommKernel
from moeplace.hwmodels.calibrate.statistics import ErrorSummary
from moeplace.hwmodels.calibrate.terms import TERMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DATA = resources.files("moeplace.hwmodels.calibrate") / "data"
UNITS = (
    "constants are µs per unit of their term: kB are 1e3 bytes per rank as the kernel counts them; "
    "see docs/explanation/kernel-models.md"
)


def save_kernels(
    path: str | Path,
    system: str,
    comm: Iterable[CommKernel],
    expert: Iterable[ExpertFit],
    note: str,
) -> None:
    """Write the fitted kernels of one system.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    import yaml

    document = {
        "system": system,
        "note": note,
        "units": UNITS,
        "comm": [comm_to_dict(kernel) for kernel in comm],
        "expert": [expert_to_dict(kernel) for kernel in expert],
    }
    with atomic_write(path) as file:
        yaml.safe_dump(document, file, sort_keys=False, allow_unicode=True, width=100)


def load_kernels(path: str | Path) -> tuple[list[CommKernel], list[ExpertFit]]:
    """Read fitted kernels.

    Raises
    ------
    InputError
        If the file cannot be read or a key is missing or wrong; with the key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read calibration {path}: {reason}") from error
    return _parse(text, str(path))


@lru_cache(maxsize=1)
def shipped_kernels() -> tuple[tuple[CommKernel, ...], tuple[ExpertFit, ...]]:
    """Return every kernel that ships with the package."""
    comm: list[CommKernel] = []
    expert: list[ExpertFit] = []
    for entry in sorted(DATA.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".yaml"):
            here = _parse(entry.read_text(encoding="utf-8"), entry.name)
            comm.extend(here[0])
            expert.extend(here[1])
    return tuple(comm), tuple(expert)


def _parse(text: str, where: str) -> tuple[list[CommKernel], list[ExpertFit]]:
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark is not None else ""
        raise InputError(f"calibration {where}:{line} not YAML") from error
    try:
        system = str(document["system"])
        comm = [_comm_from_dict(system, item) for item in document["comm"]]
        expert = [_expert_from_dict(system, item) for item in document["expert"]]
    except KeyError as error:
        raise InputError(f"calibration {where}: key {error.args[0]!r} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"calibration {where}: {error}") from error
    return comm, expert


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _constants(fit: Fit) -> dict[str, Any]:
    values = dict(zip(fit.form.terms, (_round(v) for v in fit.values), strict=True))
    return {
        "costs": {name: values[name] for name in fit.form.costs},
        "resources": {name: values[name] for name in fit.form.resources},
        "exponent": fit.exponent,
    }


def _fit_from_dict(item: Mapping[str, Any]) -> Fit:
    costs, slow = item["costs"], item["resources"]
    for name in (*costs, *slow):
        if name not in TERMS:
            raise ValueError(f"unknown term {name!r}; known are {', '.join(TERMS)}")
    values = tuple(float(v) for v in (*costs.values(), *slow.values()))
    return Fit(Form(tuple(costs), tuple(slow)), values, float(item["exponent"]))


def _summary(error: ErrorSummary) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int) else float(f"{value:.3g}")
        for name, value in asdict(error).items()
    }


def _summary_from(item: Mapping[str, Any]) -> ErrorSummary:
    return ErrorSummary(**{f.name: item[f.name] for f in fields(ErrorSummary)})


def comm_to_dict(kernel: CommKernel) -> dict[str, Any]:
    """Return a kernel as it is written."""
    return {
        "family": kernel.family,
        "op": kernel.key,
        "where": "between nodes" if kernel.between else "inside a node",
        **_constants(kernel.fit),
        "range": {name: [_round(v) for v in pair] for name, pair in kernel.ranges.items()},
        "points": kernel.points,
        "error": _summary(kernel.error),
        "held_out_by": kernel.held_out_by,
        "held_out": _summary(kernel.held_out),
        "without": {label: _constants(fit) for label, fit in kernel.without.items()},
        "source": kernel.source,
    }


def _comm_from_dict(system: str, item: Mapping[str, Any]) -> CommKernel:
    return CommKernel(
        system=system,
        family=item["family"],
        between=item["where"] == "between nodes",
        key=item["op"],
        fit=_fit_from_dict(item),
        ranges={name: (float(pair[0]), float(pair[1])) for name, pair in item["range"].items()},
        points=int(item["points"]),
        error=_summary_from(item["error"]),
        held_out_by=item["held_out_by"],
        held_out=_summary_from(item["held_out"]),
        without={str(label): _fit_from_dict(fit) for label, fit in item["without"].items()},
        source=item["source"],
    )


def _kernel_to_dict(kernel: ExpertKernel) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int) else _round(value)
        for name, value in asdict(kernel).items()
    }


def _kernel_from(item: Mapping[str, Any]) -> ExpertKernel:
    return ExpertKernel(**{f.name: item[f.name] for f in fields(ExpertKernel)})


def expert_to_dict(fit: ExpertFit) -> dict[str, Any]:
    """Return an expert kernel as it is written."""
    return {
        "phase": fit.phase,
        "shape": list(fit.shape),
        "dtype": fit.dtype,
        "constants": _kernel_to_dict(fit.kernel),
        "range": {name: [_round(v) for v in pair] for name, pair in fit.ranges.items()},
        "points": fit.points,
        "error": _summary(fit.error),
        "held_out_by": "EP size",
        "held_out": _summary(fit.held_out),
        "without": {label: _kernel_to_dict(k) for label, k in fit.without.items()},
        "source": fit.source,
    }


def _expert_from_dict(system: str, item: Mapping[str, Any]) -> ExpertFit:
    shape: Sequence[int] = item["shape"]
    return ExpertFit(
        system=system,
        phase=item["phase"],
        shape=(int(shape[0]), int(shape[1])),
        dtype=item["dtype"],
        kernel=_kernel_from(item["constants"]),
        ranges={name: (float(pair[0]), float(pair[1])) for name, pair in item["range"].items()},
        points=int(item["points"]),
        error=_summary_from(item["error"]),
        held_out=_summary_from(item["held_out"]),
        without={str(label): _kernel_from(k) for label, k in item["without"].items()},
        source=item["source"],
    )
