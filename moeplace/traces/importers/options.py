"""What a user can tell an importer that no file says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ImportOptions:
    """Facts beside the file.

    Attributes
    ----------
    num_experts
        Logical experts per layer.
    top_k
        Routed experts per token.
    num_layers
        Layers of the model, dense ones too.
    moe_layers
        Absolute ids of its MoE layers: puts ids on a recording that has none.
    columns
        Our column names to those of the file, for tables: ``{"experts": "topk_ids"}``.
    skip_bad
        Leave out what cannot be read, and count it, instead of stopping.
    """

    num_experts: int | None = None
    top_k: int | None = None
    num_layers: int | None = None
    moe_layers: tuple[int, ...] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    skip_bad: bool = False


@dataclass(frozen=True)
class Unit:
    """A piece of a recording that can be read by itself.

    Attributes
    ----------
    path
        The file, or the folder of a format whose files belong together.
    start, stop
        Byte range of a text, row groups of a table; `stop` None for all of it.
    size
        Bytes of source behind it, for progress and for the size of parts.
    label
        Domain of its tokens, or empty.
    """

    path: str
    start: int = 0
    stop: int | None = None
    size: int = 0
    label: str = ""
