"""A good recording of every importer, made by hand or by PyTorch, and what it must become."""

from __future__ import annotations

import base64
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.traces import RoutingTrace, save_trace
from moeplace.traces.importers.options import ImportOptions

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parents[1] / "traces" / "fixtures"
P2L = [[0, 1, 2, 3, 0], [3, 2, 1, 0, 3]]


@dataclass(frozen=True)
class Sample:
    """A recording.

    Attributes
    ----------
    path
        What to import.
    cut
        The file to damage: the recording itself, or one of a folder.
    expected
        Ids (tokens, layers, top_k) or loads (layers, experts) that it holds.
    options
        What the importer must be told.
    marginal
        Bytes at the end that may be lost without harm to what is recorded (an end of line).
    """

    path: Path
    cut: Path
    expected: Any
    options: ImportOptions | None = None
    marginal: int = 0


def make_trace(seed: int = 0) -> RoutingTrace:
    """Return a small valid trace with every column."""
    rng = np.random.default_rng(seed)
    order = rng.random((60, 3, 8)).argsort(axis=2)
    request = np.arange(60) // 6
    return RoutingTrace.from_arrays(
        order[:, :, :2],
        8,
        [1, 2, 3],
        request=request,
        position=np.arange(60) % 6,
        phase=(np.arange(60) % 6 >= 4).astype(int),
        domain=np.where(request % 2 == 0, "law", "code"),
        weights=rng.random((60, 3, 2)),
        name="random",
        meta={"source": "test"},
    )


def _saved(name: str) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        trace = make_trace()
        save_trace(trace, folder / name)
        return Sample(folder / name, folder / name, trace.expert_ids)

    return make


def _torch(name: str, expected: Any) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        path = folder / name
        shutil.copy(FIXTURES / "torch" / name, path)
        return Sample(path, path, expected)

    return make


def _counts(folder: Path) -> Sample:
    path = folder / "sglang_counts.json"
    shutil.copy(FIXTURES / "sglang_counts.json", path)
    table = np.array(json.loads(path.read_text())["logical_count"], dtype=float)
    return Sample(path, path, table.sum(axis=0) if table.ndim == 3 else table)


def _chaos(folder: Path) -> Sample:
    path = folder / "2.json"
    shutil.copy(FIXTURES / "chaos/tiny-moe/quiz/birds/2.json", path)
    steps = json.loads(path.read_text())
    rows = [[steps[0][key][i] for key in ("1", "2")] for i in range(len(steps[0]["1"]))]
    rows += [[step[key][0] for key in ("1", "2")] for step in steps[1:]]
    return Sample(path, path, np.array(rows), marginal=1)


def recorder_steps() -> Any:
    """Return the counts of `stat.pt`, as the fixture was made with PyTorch 2.11."""
    steps = np.arange(3 * 4 * 8).reshape(3, 4, 8) * 3 % 17
    steps[:, 0] = 0
    return steps.sum(axis=0)


def token_ids() -> Any:
    """Return the logical ids of `per_token_0.pt`."""
    table = np.array([
        [0, 1, 2, 3, 4, 5, 6, 7, 0, 1], [7, 6, 5, 4, 3, 2, 1, 0, 7, 6],
        [0, 1, 2, 3, 4, 5, 6, 7, 2, 3], [1, 0, 3, 2, 5, 4, 7, 6, 1, 0],
    ])  # fmt: skip
    rows = []
    for step, tokens in enumerate((5, 2, 2)):
        for token in range(tokens):
            row = [[-1, -1]]
            for layer in range(1, 4):
                first = (layer * 3 + token + step) % 8
                row.append([table[layer, first], table[layer, first + 1]])
            rows.append(row)
    return np.array(rows)


def stats_line(step: int, load: Any, p2l: Any = P2L) -> str:
    """Return one record of vLLM's load statistics."""
    record = {
        "record_type": "eplb_load_stats", "version": 1, "step": step, "num_ranks": 1,
        "num_layers": len(load), "tokens": [[sum(row)] for row in load], "expert_load": load,
        "p2l_map": p2l,
    }  # fmt: skip
    return json.dumps(record) + "\n"


def _vllm_stats(folder: Path) -> Sample:
    path = folder / "stats.jsonl"
    lines = [json.dumps({"record_type": "session_metadata", "model": "m"}) + "\n"]
    lines += [stats_line(7, [[1, 2, 3, 4, 10], [1, 1, 1, 1, 2]])]
    lines += [stats_line(8, [[0, 0, 0, 1, 1], [5, 0, 0, 0, 0]])]
    path.write_text("".join(lines))
    return Sample(path, path, [[12, 2, 3, 5], [1, 1, 1, 8]], marginal=1)


def npy_base64(ids: Any) -> str:
    """Return what vLLM puts into `routed_experts`."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(ids, dtype=np.uint8))
    return base64.b64encode(stream.getvalue()).decode()


def _responses(folder: Path) -> Sample:
    path = folder / "answers.jsonl"
    ids = make_trace().expert_ids
    answers = [
        {"choices": [{"text": "a", "routed_experts": npy_base64(ids[:5])}],
         "usage": {"prompt_tokens": 3}},
        {"choices": [{"text": "b", "routed_experts": npy_base64(ids[5:9])}],
         "usage": {"prompt_tokens": 2}},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return Sample(path, path, ids[:9], ImportOptions(num_experts=8), marginal=1)


def write_safetensors(path: Path, arrays: dict[str, Any], metadata: Any = None) -> None:
    """Write arrays as safetensors do, without the library."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    names = {"int32": "I32", "float32": "F32", "uint8": "U8"}
    offset = 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {
            "dtype": names[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    raw = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw)


def _tensorrt(folder: Path) -> Sample:
    path = folder / "statistics"
    path.mkdir()
    (path / "meta_info.json").write_text('{"num_experts": 8, "num_experts_per_token": 2}')
    shutil.copy(FIXTURES / "torch" / "rank0.safetensors", path)
    more = {"7_3": np.ones(8, np.int32), "8_4": np.full(8, 3, np.int32)}
    write_safetensors(path / "rank1.safetensors", more)
    write_safetensors(path / "rank0_raw.safetensors", {"7_3": np.ones((2, 2), np.int32)})
    return Sample(path, path / "rank0.safetensors", [np.arange(8) + 1, 2 * np.arange(8) + 3])


def _omni(folder: Path) -> Sample:
    path = folder / "dump"
    path.mkdir()
    for step in (1, 2):
        for rank in (0, 1):
            rows = [[step * 10 + rank * 4 + layer + i for i in range(4)] for layer in range(3)]
            text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
            (path / f"activation_counts_recordstep_{step}_rank_{rank}.txt").write_text(text)
    total = [[30 + 2 * (layer + e) for e in range(8)] for layer in range(3)]
    # A cut in the digits of the last number cannot be told from another number.
    file = path / "activation_counts_recordstep_1_rank_0.txt"
    return Sample(path, file, total, marginal=3)


def _lmdeploy(folder: Path) -> Sample:
    path = folder / "experts.json"
    table = [[1, 2, 3, 4], [5, 6, 7, 8]]
    path.write_text(json.dumps(table))
    return Sample(path, path, table)


def _logits(folder: Path) -> Sample:
    path = folder / "logits.safetensors"
    rng = np.random.default_rng(3)
    logits = {f"router_logits.{i}": rng.normal(size=(9, 8)).astype(np.float32) for i in (1, 2)}
    write_safetensors(path, logits, {"top_k": "2"})
    best = np.stack([np.argsort(-table, axis=1)[:, :2] for table in logits.values()], axis=1)
    return Sample(path, path, best)


def _table(folder: Path) -> Sample:
    path = folder / "tokens.csv"
    ids = make_trace().expert_ids[:6]
    lines = ["request,position,layer,experts"]
    lines += [
        f"r{token // 3},{token % 3},{layer + 1},{ids[token, layer, 0]} {ids[token, layer, 1]}"
        for token in range(6)
        for layer in range(3)
    ]
    path.write_text("\n".join(lines) + "\n")
    return Sample(path, path, ids, ImportOptions(num_experts=8))


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    "npz": _saved("sample.npz"),
    "parquet": _saved("sample.parquet"),
    "sglang-counts": _counts,
    "chaos": _chaos,
    "sglang-recorder": _torch("stat.pt", recorder_steps()),
    "sglang-tokens": _torch("per_token_0.pt", token_ids()),
    "vllm-stats": _vllm_stats,
    "responses": _responses,
    "tensorrt-llm": _tensorrt,
    "vllm-ascend": _torch("expert_load_view.pt", np.arange(24).reshape(3, 8) + 1),
    "omniplacement": _omni,
    "lmdeploy": _lmdeploy,
    "router-logits": _logits,
    "table": _table,
}
