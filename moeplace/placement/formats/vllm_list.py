"""vLLM ``eplb_config.initial_expert_map_path`` (open pull request vllm-project/vllm 49572).

A JSON list for all MoE layers, or a list of lists with one row per MoE layer. Experimental.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.placement.formats import expect
from moeplace.placement.formats.reading import parse_json, read_text
from moeplace.placement.formats.rules import checked
from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

NAME = "vllm-list"


def write(placement: Placement, path: str | Path, *, context: ExportContext) -> None:
    """Write one row per MoE layer; dense layers have none.

    Raises
    ------
    InputError
        If the path or the model does not fit.
    CheckFailedError
        If vLLM would refuse the placement.
    """
    placement = checked(placement, path, NAME, context)
    rows = ",\n".join(json.dumps(row) for row in placement.expert_of_slot.tolist())
    with atomic_write(path) as file:
        file.write(f"[\n{rows}\n]\n")


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read a map; one flat list stands for every MoE layer of the model.

    Raises
    ------
    InputError
        If the file is not such a map, a flat list comes without a model, or the number of ranks
        is not known.
    """
    rows = expect.sequence(parse_json(read_text(path), path), str(path))
    if rows and not isinstance(rows[0], list):
        if not context.known:
            raise InputError(f"{path}: one list for all MoE layers; give the model")
        flat = expect.expert_table(path, [rows], ["the list"], experts=context.num_experts)
        table = np.tile(flat, (len(context.moe_layers), 1))
    else:
        labels = [f"row {row}" for row in range(len(rows))]
        table = expect.expert_table(path, rows, labels, experts=context.num_experts)
    num_ranks, rank_of_slot = context.equal_ranks(table.shape[1], path)
    layer_ids = context.layer_ids(table.shape[0], path)
    return Placement(table, rank_of_slot, context.experts(table, path), num_ranks, layer_ids)


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """Return the flags of ``vllm serve`` with the pull request applied."""
    config = {"initial_expert_map_path": str(path)}
    return vllm_flags(placement, config), [
        *vllm_notes(placement, 49572),
        "vLLM rebalances after eplb_config.step_interval steps; raise it to keep the map",
    ]


def vllm_flags(placement: Placement, config: dict[str, Any]) -> list[str]:
    """Return the flags of ``vllm serve`` for an EPLB configuration."""
    redundant = placement.num_slots - placement.num_experts
    text = json.dumps({"num_redundant_experts": redundant, **config}, ensure_ascii=False)
    return ["--enable-expert-parallel", "--enable-eplb", f"--eplb-config {shlex.quote(text)}"]


def vllm_notes(placement: Placement, pull_request: int) -> list[str]:
    """Return what to know before using a reader that is not merged."""
    return [
        f"experimental: needs vLLM with the open pull request {pull_request}",
        f"tensor-parallel × data-parallel size must be {placement.num_ranks}",
    ]
