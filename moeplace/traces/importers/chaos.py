"""The "Patterns behind Chaos" data set (arXiv 2510.05497): one JSON file a query.

`MODEL/BENCHMARK/SUBJECT/QUERY.json` is a list: entry 0 the prefill, one entry a decode step after
it. An entry maps decimal layer ids to null (dense layer) or to rows of `top_k` expert ids: one row
a recorded prompt token in the prefill, exactly one row in a decode step. There are no router
weights. The number of experts is in no file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.arrays import id_dtype
from moeplace.traces.importers.json_text import head, read_json
from moeplace.traces.importers.options import ImportOptions, Unit
from moeplace.traces.trace import RoutingTrace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

MOST_EXPERTS = 65_535
MOST_LAYERS = 4096
MOST_GAPS = 65_536
SHORT_PREFILL = 2  # recorded prompt tokens at which a prefix-cache hit is likely
DOMINANT_SHARE = 0.95


def recognizes(path: Path) -> bool:
    """Tell whether it is such a file, or a folder with one somewhere below."""
    if path.is_dir():
        first = next(path.rglob("*.json"), None)
        return first is not None and first.is_file() and recognizes(first)
    return path.is_file() and head(path).startswith('[{"')


def units(path: Path, options: ImportOptions) -> list[Unit]:
    """Return one unit a query, in the order of folders and query numbers."""
    del options
    if not path.exists():
        raise InputError(f"{path}: no such file")
    files = _files(path)
    root = path.absolute() if path.is_dir() else path.absolute().parent.parent
    subjects = [file.absolute().parent.relative_to(root).as_posix() for file in files]
    return [
        Unit(str(file), size=file.stat().st_size, label=path.name if subject == "." else subject)
        for file, subject in zip(files, subjects, strict=True)
    ]


def read(path: Path, *, num_experts: int | None = None, name: str | None = None) -> RoutingTrace:
    """Read a query, or every query below a folder.

    Requests are numbered in the order of folders and query numbers; the domain of a request is
    its folder below `path`. Positions count the recorded tokens of a request.

    Parameters
    ----------
    path
        A file or folder.
    num_experts
        Logical experts per layer. If not given it is the largest id seen + 1, which is too few
        when the last experts were never used; `meta["num_experts_from"]` says which.
    name
        What to call the trace; the name of the file or folder by default.

    Returns
    -------
    RoutingTrace
        `meta["warnings"]` lists what to be careful with, `meta["request_files"]` the files.

    Raises
    ------
    InputError
        If a file is not of this format, or two files are of different models; the file is named,
        and the step and layer where there is one.
    """
    options = ImportOptions(num_experts=num_experts)
    found = units(path, options)
    root = path.absolute() if path.is_dir() else path.absolute().parent.parent
    trace = read_units(found, options)
    files = [Path(unit.path).absolute().relative_to(root).as_posix() for unit in found]
    meta = {
        "source": f"Patterns behind Chaos (arXiv 2510.05497) files, {path.name}",
        **trace.meta,
        "request_files": files,
    }
    return trace.replace(name=name or path.stem, meta=meta)


def read_units(
    units: Sequence[Unit], options: ImportOptions, bad: list[str] | None = None
) -> RoutingTrace:
    """Read queries as requests 0, 1, ...; broken ones go to `bad` if it is given.

    Raises
    ------
    InputError
        As `read` does; without `bad` for any broken query, with it if none is left.
    """
    parts: list[NDArray[np.uint16]] = []
    prefill: list[int] = []
    kept: list[int] = []
    layers: tuple[int, ...] | None = None
    space = _Space()
    for number, unit in enumerate(units):
        file = Path(unit.path)
        try:
            ids, file_layers, prompt = _read_file(file, options.num_experts or MOST_EXPERTS, space)
            if layers is not None and (file_layers != layers or ids.shape[2] != parts[0].shape[2]):
                raise InputError(
                    f"{file}: {len(file_layers)} MoE layers, top-{ids.shape[2]}; {units[0].path} "
                    f"has {len(layers)}, top-{parts[0].shape[2]}: these are traces of different "
                    "models"
                )
        except InputError as error:
            if bad is None:
                raise
            bad.append(str(error))
            continue
        layers = file_layers
        parts.append(ids)
        prefill.append(prompt)
        kept.append(number)
    if not parts:
        raise InputError(f"{units[0].path}: no query could be read" if units else "no query")
    lengths = np.array([part.shape[0] for part in parts])
    position = np.concatenate([np.arange(n) for n in lengths])
    experts = options.num_experts or max(int(part.max()) for part in parts) + 1
    # Every file was checked by itself, so the columns are packed without another look or copy.
    dtype = id_dtype(experts, with_missing=False)
    ids = np.concatenate(parts, dtype=dtype, casting="unsafe")
    ids.setflags(write=False)
    meta: dict[str, Any] = {
        "num_experts_from": "given" if options.num_experts else "largest id seen + 1",
        "requests": len(parts),
        "short_prefill_requests": int(np.sum(np.array(prefill) <= SHORT_PREFILL)),
    }
    meta["warnings"] = _warnings(ids, layers or (), meta, experts)
    labels, codes = np.unique([units[number].label for number in kept], return_inverse=True)
    return RoutingTrace(
        expert_ids=ids,
        num_experts=experts,
        layer_ids=layers,
        request=np.repeat(np.array(kept, dtype=np.int32), lengths),
        position=position.astype(np.int32),
        phase=(position >= np.repeat(prefill, lengths)).astype(np.uint8),
        domain=np.repeat(codes.astype(np.int16), lengths),
        domains=tuple(str(label) for label in labels),
        name="chaos",
        meta=meta,
    )


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]

    def order(file: Path) -> tuple[str, int, str]:
        return (file.parent.as_posix(), int(file.stem) if file.stem.isdecimal() else -1, file.stem)

    files = sorted((file for file in path.rglob("*.json") if file.is_file()), key=order)
    if not files:
        raise InputError(f"{path}: no .json file in the folder or below")
    return files


def _read_file(
    file: Path, num_experts: int, space: _Space | None = None
) -> tuple[NDArray[np.uint16], tuple[int, ...], int]:
    """Return the (tokens, layers, top_k) ids of a query, its layers, its recorded prompt tokens."""
    found = _read_regular(file, num_experts, space or _Space())
    return _read_any(file, num_experts) if found is None else found


def query_reader() -> Callable[[Path, int], tuple[NDArray[np.uint16], tuple[int, ...], int]]:
    """Return a function that reads one query after the other into the same memory."""
    space = _Space()
    return lambda file, num_experts: _read_file(file, num_experts, space)


class _Space:
    """Memory that one query after the other is read into; fresh pages cost more than parsing."""

    def __init__(self) -> None:
        self.text = np.zeros(0, dtype=np.uint8)
        self.ids = np.zeros(0, dtype=np.uint16)
        self.keys = np.zeros(MOST_LAYERS, dtype=np.int64)
        self.stamps = np.full(MOST_EXPERTS + 1, -1, dtype=np.int64)
        self.gaps = np.zeros((MOST_GAPS, 2), dtype=np.uint64)
        self.shape = np.zeros(7, dtype=np.int64)

    def hold(self, size: int) -> None:
        """Make room for a file of `size` bytes."""
        if self.text.size < size:
            self.text = np.empty(size + size // 2, dtype=np.uint8)
            self.ids = np.empty(self.text.size // 2 + 1, dtype=np.uint16)


def _read_regular(
    file: Path, num_experts: int, space: _Space
) -> tuple[NDArray[np.uint16], tuple[int, ...], int] | None:
    """Read a query as the data set writes them; None for any other, good or bad."""
    from moeplace.traces.importers.chaos_kernels import PADDING, read_query, words_of

    try:
        with file.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            space.hold(size + PADDING)
            text = space.text[: size + PADDING]
            if stream.readinto(text[:size].data) != size:
                return None
            text[size:] = 0
    except OSError:
        return None
    if read_query(
        text, words_of(text), space.gaps, space.ids, space.keys, space.stamps, space.shape
    ):
        space.stamps.fill(-1)
        return None
    steps, layers, prompt, width, known, count, _ = (int(n) for n in space.shape)
    found = space.ids[:count]
    order = [int(key) for key in space.keys[:known] if key >= 0]
    if sorted(set(order)) != order or int(found.max()) >= num_experts:
        return None
    first = found[: layers * prompt * width].reshape(layers, prompt, width).transpose(1, 0, 2)
    later = found[first.size :].reshape(steps - 1, layers, width)
    ids = np.concatenate([first, later])
    if width > 1 and not ids.any(axis=(0, 2)).all():
        return None
    return ids, tuple(order), prompt


def _read_any(file: Path, num_experts: int) -> tuple[NDArray[np.uint16], tuple[int, ...], int]:
    """Read a query of any order and spacing; what is wrong with it is said here."""
    steps = read_json(file)
    if not isinstance(steps, list) or not steps or not all(isinstance(s, dict) for s in steps):
        raise InputError(f"{file}: a list of prefill and decode steps expected")
    bad = [key for key in steps[0] if not key.isdecimal()]
    if bad:
        raise InputError(f"{file}: key {bad[0]!r} of the prefill is no layer id")
    keys = sorted((key for key, rows in steps[0].items() if rows is not None), key=int)
    if not keys:
        raise InputError(f"{file}: every layer of the prefill is null")
    columns: list[list[Any]] = []
    prompt = -1
    for key in keys:
        column: list[Any] = []
        for step, entry in enumerate(steps):
            rows = entry.get(key)
            if not isinstance(rows, list) or (step and len(rows) != 1):
                raise InputError(
                    f"{file}: step {step}, layer {key}: "
                    f"{'one row' if step else 'a list of rows'} of expert ids expected"
                )
            column.extend(rows)
        if prompt not in (-1, len(steps[0][key])):
            raise InputError(
                f"{file}: layer {key} has {len(steps[0][key])} prefill rows, layer {keys[0]} "
                f"{prompt}; every layer must record the same tokens"
            )
        prompt = len(steps[0][key])
        columns.append(column)
    if not columns[0]:
        raise InputError(f"{file}: no token is recorded")
    layers = tuple(int(key) for key in keys)
    try:
        table = np.array(columns)
    except ValueError as error:
        raise InputError(f"{file}: rows with different numbers of experts") from error
    if table.ndim != 3 or table.dtype.kind not in "iu":
        raise InputError(f"{file}: rows of whole numbers expected, all with as many experts")
    # Checked for each file, so that a bad id is reported with its file.
    trace = RoutingTrace.from_arrays(
        table.transpose(1, 0, 2), num_experts, layers, name=file.as_posix()
    )
    if not trace.valid.all():
        raise InputError(f"{file}: negative expert ids, or a layer of zeros only")
    return trace.expert_ids.astype(np.uint16), layers, prompt


def _warnings(
    ids: NDArray[Any], layers: tuple[int, ...], meta: dict[str, Any], experts: int
) -> list[str]:
    warnings = []
    if meta["short_prefill_requests"]:
        warnings.append(
            f"{meta['short_prefill_requests']} of {meta['requests']} requests record at most "
            f"{SHORT_PREFILL} prompt tokens, likely because the rest was in the prefix cache"
        )
    if meta["num_experts_from"] != "given":
        warnings.append(
            f"the files do not say how many experts there are; {experts} is the largest id + 1"
        )
    dominated = ids.shape[2] == 1 and ids.shape[0] > 1
    for row, layer in enumerate(layers if dominated else ()):
        counts = np.bincount(ids[:, row].ravel())
        top = int(counts.argmax())
        if counts[top] > DOMINANT_SHARE * ids.shape[0]:
            warnings.append(
                f"layer {layer} sends {counts[top] / ids.shape[0]:.1%} of the tokens to expert "
                f"{top}: check it before drawing conclusions"
            )
    return warnings
