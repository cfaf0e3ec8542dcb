"""Expert kernels from the sweeps of a layer benchmark: JSON files as `hw validate --layers` reads.

A sweep of e experts with n rows each is what a rank of experts / e ranks does in a step of
experts · n / top_k tokens, spread evenly. One kernel serves both phases: decode is fitted to the
whole sweep, prefill to what lies beyond 128 rows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.grouped_gemm import slowest
from moeplace.hwmodels.calibrate.points import ExpertPoint

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_PREFILL_ROWS = 129


def read_layer_sweeps(path: str | Path, system: str | None) -> list[ExpertPoint]:
    """Return the even sweeps whose experts divide those of the layer.

    Parameters
    ----------
    path
        JSON with ``meta`` and ``calib.grouped_uniform``.
    system
        Catalogue name; default: from the name of the hardware.

    Raises
    ------
    InputError
        If the file is not of this form or its hardware is no known one.
    """
    from moeplace.hwmodels.calibrate.tables import system_of_device

    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    try:
        device = str(document["meta"].get("hardware", {}).get("name", ""))
        name = system or system_of_device(device)
        if name is None:
            raise InputError(f"{path}: device {device!r} is no known one; give the system")
        sweep = document["calib"]["grouped_uniform"]
        shape = document["meta"]["shape"]
        found = [
            _point(entry, shape, phase, name, str(path))
            for phase, least in (("decode", 1), ("prefill", LEAST_PREFILL_ROWS))
            for entry in sweep
            if int(entry["tokens_per_expert"]) >= least
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"key {error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: {what}") from error
    return [point for point in found if point is not None]


def _point(
    entry: Mapping[str, Any], shape: Mapping[str, Any], phase: str, system: str, source: str
) -> ExpertPoint | None:
    experts, top_k = int(shape.get("experts", 256)), int(shape.get("topk", 8))
    own, rows = int(entry["experts"]), int(entry["tokens_per_expert"])
    tokens, left = divmod(experts * rows, top_k)
    if own < 1 or experts % own or left or tokens < 1:
        return None
    return ExpertPoint(
        system=system,
        phase=phase,
        ranks=experts // own,
        tokens=tokens,
        skew=0.0,
        hidden=int(shape["hidden"]),
        inter=int(shape["moe_intermediate"]),
        top_k=top_k,
        experts=experts,
        dtype=str(shape.get("dtype", "bf16")),
        measured_us=slowest(entry, "total_us"),
        source=source,
    )
