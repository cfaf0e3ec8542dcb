"""Which engine formats exist and what each of them demands; the code of a format loads on use."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, cast

from moeplace.errors import InputError, unknown_name

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext
    from moeplace.placement.placement import Placement


class FormatModule(Protocol):
    """What the module of a format offers."""

    def write(self, placement: Placement, path: str | Path, *, context: ExportContext) -> None:
        """Write the file whole or not at all."""

    def read(self, path: str | Path, *, context: ExportContext) -> Placement:
        """Read the file or say which row or key is wrong."""

    def usage(self, placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
        """Return the server flags that load the file, and notes for whoever starts the server."""


@dataclass(frozen=True)
class FormatInfo:
    """Static facts of one format.

    Attributes
    ----------
    name, module, summary
        Registry name, module inside this package, one line for people.
    suffixes
        File endings that are accepted; the first is the usual one.
    stability
        ``"experimental"`` where the engine has not merged the reader.
    reads, writes
        Directions that exist here.
    native
        One of moeplace's own files: rows are kept as they are, with metadata.
    needs_model
        It cannot be written without a model, because rows stand for its layers.
    needs_coverage
        Every expert needs a slot in every layer.
    needs_full_slots
        No slot may be empty.
    equal_slots_required
        Every rank has the same number of slots: the engine computes the rank of a slot from it.
    equal_experts_required
        Every rank of a layer holds the same number of experts; layers may differ.
    allows_duplicates
        A rank may hold two copies of an expert.
    keeps_slot_order
        The position inside a rank survives; otherwise only the set of experts does.
    keeps_ranks
        The file itself tells the number of ranks.
    granularity
        What can be placed: ``"slot"``; ``"expert"``, each once, on rank 0 (GPU) or 1 (host);
        ``"layer"``, all its experts on one rank.
    aliases
        Other names that are understood.
    """

    name: str
    module: str
    summary: str
    suffixes: tuple[str, ...]
    stability: Literal["stable", "experimental"] = "stable"
    reads: bool = True
    writes: bool = True
    native: bool = False
    needs_model: bool = True
    needs_coverage: bool = True
    needs_full_slots: bool = True
    equal_slots_required: bool = True
    equal_experts_required: bool = False
    allows_duplicates: bool = True
    keeps_slot_order: bool = True
    keeps_ranks: bool = False
    granularity: Literal["slot", "expert", "layer"] = "slot"
    aliases: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """The usual file ending."""
        return self.suffixes[0]


_INFOS = (
    FormatInfo(
        "native-json",
        "native_json",
        "moeplace's own file, readable; keeps empty and unequal slots",
        (".json",),
        aliases=("native", "json", "moeplace"),
        native=True,
        needs_model=False,
        needs_coverage=False,
        needs_full_slots=False,
        equal_slots_required=False,
        keeps_ranks=True,
    ),
    FormatInfo(
        "native-npz",
        "native_npz",
        "moeplace's own file, compact",
        (".npz",),
        aliases=("npz",),
        native=True,
        needs_model=False,
        needs_coverage=False,
        needs_full_slots=False,
        equal_slots_required=False,
        keeps_ranks=True,
    ),
    FormatInfo(
        "eplb",
        "eplb",
        "the three EPLB arrays phy2log, log2phy, logcnt",
        (".npz",),
        needs_model=False,
        needs_full_slots=False,
    ),
    FormatInfo(
        "sglang",
        "sglang",
        "SGLang --init-expert-location; one row per hidden layer",
        (".json",),
    ),
    FormatInfo(
        "tensorrt-llm",
        "tensorrt_llm",
        "TensorRT-LLM MoE load balancer; absolute layer ids",
        (".yaml", ".yml"),
        aliases=("trtllm", "trt-llm", "tensorrt"),
    ),
    FormatInfo(
        "vllm-ascend",
        "vllm_ascend",
        "vllm-ascend expert_map_path; MoE-layer ordinals",
        (".json",),
        allows_duplicates=False,
        keeps_ranks=True,
        aliases=("ascend",),
    ),
    FormatInfo(
        "omniplacement",
        "omniplacement",
        "OmniPlacement 0/1 pattern (devices, MoE layers, experts)",
        (".npy",),
        needs_full_slots=False,
        equal_slots_required=False,
        equal_experts_required=True,
        allows_duplicates=False,
        keeps_slot_order=False,
        keeps_ranks=True,
        aliases=("omni", "omni-infer"),
    ),
    FormatInfo(
        "vllm-list",
        "vllm_list",
        "vLLM initial_expert_map_path (open pull request 49572)",
        (".json",),
        stability="experimental",
        aliases=("vllm",),
    ),
    FormatInfo(
        "vllm-jsonl",
        "vllm_jsonl",
        "vLLM initial_mapping_path (open pull request 41141)",
        (".jsonl",),
        stability="experimental",
    ),
    FormatInfo(
        "ktransformers",
        "ktransformers",
        "KTransformers: experts on the GPU (rank 0) or the host (rank 1)",
        (".pt",),
        needs_full_slots=False,
        equal_slots_required=False,
        allows_duplicates=False,
        keeps_slot_order=False,
        keeps_ranks=True,
        granularity="expert",
        aliases=("kt",),
    ),
    FormatInfo(
        "llama-cpp",
        "llama_cpp",
        "llama.cpp --override-tensor: whole layers on devices",
        (".args",),
        needs_full_slots=False,
        equal_slots_required=False,
        allows_duplicates=False,
        keeps_slot_order=False,
        granularity="layer",
        aliases=("llama.cpp", "llamacpp"),
    ),
)

FORMATS: dict[str, FormatInfo] = {info.name: info for info in _INFOS}
# Engines that take no map: where to go instead.
_WITHOUT_MAP = {
    "lmdeploy": "LMDeploy takes no map, it makes its own from loads at its start: write those with "
    "`moeplace trace convert LOADS FILE --to lmdeploy`, check them with `moeplace check FILE "
    "--engine lmdeploy`",
}
_ALIASES = {alias: info.name for info in _INFOS for alias in info.aliases}


def list_formats() -> list[str]:
    """Return the names of all formats, native ones first."""
    return list(FORMATS)


def format_info(name: str) -> FormatInfo:
    """Return the static facts of a format without loading its code.

    Raises
    ------
    InputError
        If no format has that name or alias.
    """
    key = name.lower().replace("_", "-")
    if key in _WITHOUT_MAP:
        raise InputError(_WITHOUT_MAP[key])
    info = FORMATS.get(_ALIASES.get(key, key))
    if info is None:
        raise unknown_name("engine format", name, [*FORMATS, *_ALIASES], "moeplace export --help")
    return info


def load_format(name: str) -> FormatModule:
    """Import the module of a format.

    Raises
    ------
    InputError
        If no format has that name or alias.
    """
    return cast("FormatModule", import_module(f"{__package__}.{format_info(name).module}"))
