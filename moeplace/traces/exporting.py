"""Loads in the files in which serving engines record them; what the importers read back."""

from __future__ import annotations

import json
import shlex
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from moeplace.errors import InputError, UsageError, unknown_name
from moeplace.files import atomic_write
from moeplace.traces.torch_write import write_torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from moeplace.traces.workload import Workload

LARGEST_INT32 = 2**31 - 1


class ModelLike(Protocol):
    """The part of a ModelSpec that files of loads need."""

    @property
    def num_layers(self) -> int:
        """Hidden layers, dense ones included."""

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Absolute ids of the MoE layers, ascending."""


@dataclass(frozen=True)
class LoadFormat:
    """A file that can be written.

    Attributes
    ----------
    name, suffix, summary
        Name of the importer that reads it, ending (empty for a folder), one line for people.
    write
        Takes the loads, the layer ids, the hidden layers, the top-k and the path.
    hidden_rows
        One row per hidden layer, zero for dense ones.
    whole_numbers
        Loads must be whole numbers.
    use
        How a server loads the file, with {} for its name; None where it only is input of a tool.
    """

    name: str
    suffix: str
    summary: str
    write: Callable[[NDArray[Any], tuple[int, ...], int | None, Path], None]
    hidden_rows: bool = False
    whole_numbers: bool = True
    use: str | None = None


def export_loads(
    workload: Workload, path: str | Path, format: str, *, model: ModelLike | None = None
) -> str | None:
    """Write the loads of a workload for an engine.

    Parameters
    ----------
    workload
        Loads; token sets are left out.
    path
        File to write, with the ending of the format; a folder for ``tensorrt-llm``.
    format
        A name of `load_formats`.
    model
        Gives layer ids and dense layers; without it the workload must have layer ids, and the last
        MoE layer counts as the last layer.

    Returns
    -------
    How a server loads the file, None where none does.

    Raises
    ------
    InputError
        If the format is not known, layers are not known or not those of the model, loads are no
        whole numbers where the format needs them, or the file cannot be written.
    UsageError
        If the name has a wrong ending.
    """
    info = load_formats().get(format)
    if info is None:
        raise unknown_name("format", format, load_formats(), "moeplace trace convert --help")
    target = Path(path)
    if target.suffix != info.suffix:
        wanted = f"end in {info.suffix}" if info.suffix else "have no ending: it is a folder"
        raise UsageError(f"{path}: the name must {wanted} for {format}")
    layers, hidden = _layers(workload, model)
    load = workload.load
    if info.whole_numbers:
        rounded = np.rint(load)
        if not np.array_equal(rounded, load) or load.max(initial=0) > LARGEST_INT32:
            raise InputError(
                f"{workload.name}: {format} holds whole numbers up to {LARGEST_INT32:,}; these "
                "loads are others"
            )
        load = rounded.astype(np.int32)
    if info.hidden_rows:
        table = np.zeros((hidden, load.shape[1]), load.dtype)
        table[list(layers)] = load
        load = table
    info.write(load, layers, workload.top_k, target)
    return None if info.use is None else info.use.format(shlex.quote(str(path)))


def load_formats() -> dict[str, LoadFormat]:
    """Return the formats by name."""
    return {info.name: info for info in FORMATS}


def _layers(workload: Workload, model: ModelLike | None) -> tuple[tuple[int, ...], int]:
    """Return the absolute ids of the rows, and the number of hidden layers."""
    rows = workload.load.shape[0]
    if model is None:
        if workload.layer_ids is None:
            raise InputError(f"{workload.name}: does not say which layers its rows are; give model")
        return tuple(workload.layer_ids), max(workload.layer_ids) + 1
    ids = workload.layer_ids
    if ids is None and rows in (len(model.moe_layers), model.num_layers):
        moe = rows == len(model.moe_layers)
        ids = tuple(model.moe_layers) if moe else tuple(range(rows))
    if ids is None or not set(ids) <= set(range(model.num_layers)):
        raise InputError(
            f"{workload.name}: {rows} rows are not the {len(model.moe_layers)} MoE layers of "
            f"{model.num_layers} hidden ones"
        )
    return tuple(ids), model.num_layers


def _counts(load: NDArray[Any], layers: tuple[int, ...], top_k: int | None, path: Path) -> None:
    rows = ",\n".join(json.dumps(row) for row in load.tolist())
    with atomic_write(path) as file:
        file.write(f'{{"logical_count": [\n{rows}\n]}}\n')


def _recorder(load: NDArray[Any], layers: tuple[int, ...], top_k: int | None, path: Path) -> None:
    content = {"rank": 0, "logical_count": load[None], "average_utilization_rate_over_window": None}
    write_torch(path, content)


def _table(load: NDArray[Any], layers: tuple[int, ...], top_k: int | None, path: Path) -> None:
    with atomic_write(path) as file:
        file.write("[" + ",\n".join(json.dumps(row) for row in load.tolist()) + "]\n")


def _load_view(load: NDArray[Any], layers: tuple[int, ...], top_k: int | None, path: Path) -> None:
    write_torch(path, load)


def _stats(load: NDArray[Any], layers: tuple[int, ...], top_k: int | None, path: Path) -> None:
    """Write one record of a server with one rank and no redundant experts."""
    rows, experts = load.shape
    record = {
        "record_type": "eplb_load_stats",
        "version": 1,
        "step": 0,
        "num_ranks": 1,
        "num_layers": rows,
        "tokens": [[int(row.sum())] for row in load],
        "expert_load": load.tolist(),
        "p2l_map": [list(range(experts))] * rows,
    }
    with atomic_write(path) as file:
        file.write(json.dumps(record, separators=(",", ":")) + "\n")


def _csv(load: NDArray[Any], layers: tuple[int, ...], top_k: int | None, path: Path) -> None:
    with atomic_write(path) as file:
        file.write(",".join(["", *(f"ep_{e}" for e in range(load.shape[1]))]) + "\n")
        for row, counts in enumerate(load.tolist()):
            file.write(",".join([f"layer_{row}", *map(str, counts)]) + "\n")


def _folder(load: NDArray[Any], layers: tuple[int, ...], top_k: int | None, path: Path) -> None:
    """Write what one rank records in one iteration."""
    if top_k is None:
        raise InputError(f"{path}: tensorrt-llm needs the experts a token uses; give the model")
    header: dict[str, Any] = {}
    size = 4 * load.shape[1]
    for row, layer in enumerate(layers):
        header[f"0_{layer}"] = {
            "dtype": "I32",
            "shape": [load.shape[1]],
            "data_offsets": [row * size, (row + 1) * size],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    with atomic_write(path / "rank0.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + load.astype("<i4").tobytes())
    meta = {"num_experts": load.shape[1], "num_experts_per_token": top_k}
    with atomic_write(path / "meta_info.json") as file:
        file.write(json.dumps(meta) + "\n")


SGLANG_USE = "--init-expert-location {}   (SGLang makes its own map from the loads)"
FORMATS = (
    LoadFormat(
        "sglang-counts",
        ".json",
        "SGLang, logical_count",
        _counts,
        hidden_rows=True,
        whole_numbers=False,
        use=SGLANG_USE,
    ),
    LoadFormat(
        "sglang-recorder",
        ".pt",
        "SGLang's recorder, also for KTransformers",
        _recorder,
        hidden_rows=True,
        use=f"{SGLANG_USE}; KTransformers: with --kt-expert-placement-strategy frequency",
    ),
    LoadFormat(
        "lmdeploy",
        ".json",
        "LMDeploy, which makes its map from loads",
        _table,
        hidden_rows=True,
        whole_numbers=False,
        use="LMDEPLOY_EPLB_EXPERTS_STATISTIC_FILE={} lmdeploy serve api_server ... --enable-eplb",
    ),
    LoadFormat(
        "tensorrt-llm",
        "",
        "TensorRT-LLM, EXPERT_STATISTIC_PATH",
        _folder,
        use="generate_eplb_config.py --expert_statistic_path {}",
    ),
    LoadFormat("vllm-stats", ".jsonl", "vLLM (open pull request 41141)", _stats),
    LoadFormat(
        "vllm-ascend",
        ".pt",
        "vllm-ascend, expert_load_view.pt",
        _load_view,
        use="examples/eplb/eplb_strategy.py --input_path {}",
    ),
    LoadFormat("omniplacement", ".csv", "OmniPlacement, CSV of step 1", _csv, whole_numbers=False),
)
