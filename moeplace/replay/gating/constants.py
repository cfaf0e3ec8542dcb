"""The constants of the gating model, read from constants.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
PLATFORM = HERE / "v100.yaml"  # of the paper, in the format of `moeplace hw`


@dataclass(frozen=True)
class GatingConstants:
    """Constants of constants.yaml, see there for where they are from; times in seconds."""

    mask_bytes: float
    live_buffers: float
    launch_s: float
    expert_launches: float
    layer_launches: float
    gate_launches: Mapping[str, float]
    index_passes: float


@cache
def gating_constants() -> GatingConstants:
    """Return the shipped constants."""
    import yaml

    with (HERE / "constants.yaml").open(encoding="utf-8") as file:
        content: dict[str, dict[str, Any]] = yaml.safe_load(file)
    values = {key: entry["value"] for key, entry in content.items()}
    values["launch_s"] = values.pop("launch_us") * 1e-6
    return GatingConstants(**values)
