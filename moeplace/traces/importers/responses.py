"""Answers of vLLM and SGLang with the experts of every token (`--enable-return-routed-experts`).

vLLM: `choices[i].routed_experts` is the base64 of a `.npy` file, [tokens, layers, top_k].
SGLang: `meta_info.routed_experts` (native) or `choices[i].sgl_ext.routed_experts` (OpenAI) is the
base64 of raw int32 of the logical shape [tokens, layers, top_k]; the shape is not in the answer.
Both hold logical ids and all layers of the model, dense ones zero in vLLM. A file is one answer,
a JSON list of answers, or JSON Lines of answers; a key `domain` beside the answer is kept.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.importers.json_text import head, read_json
from moeplace.traces.importers.options import ImportOptions, Unit
from moeplace.traces.importers.text_lines import line_units, parse_line, read_lines
from moeplace.traces.npz import first_line
from moeplace.traces.trace import RoutingTrace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

KEY = "routed_experts"
SEARCHED_BYTES = 1 << 20


def recognizes(path: Path) -> bool:
    """Tell whether an answer with routed experts is among the first megabyte."""
    start = head(path) if path.is_file() else ""
    if not start.startswith(("{", "[{")) or '"record_type"' in start:
        return False
    with path.open("rb") as file:
        return f'"{KEY}"'.encode() in file.read(SEARCHED_BYTES)


def units(path: Path, options: ImportOptions) -> list[Unit]:
    """Return byte ranges of JSON Lines; a single document is one unit."""
    del options
    if _is_lines(path):
        return line_units(path)
    return [Unit(str(path), size=path.stat().st_size)]


def read(
    path: Path,
    *,
    num_experts: int | None = None,
    name: str | None = None,
    options: ImportOptions | None = None,
) -> RoutingTrace:
    """Read all answers of a file; each choice is a request.

    Parameters
    ----------
    path
        The file.
    num_experts
        Logical experts per layer; by default the largest id seen + 1, with a warning.
    name
        What to call the trace.
    options
        SGLang's answers need `top_k`.

    Raises
    ------
    InputError
        If a line or an answer is broken, or answers are of different shapes.
    """
    from dataclasses import replace

    given = replace(options or ImportOptions(), num_experts=num_experts)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    stop = None
    trace = read_unit(Unit(str(path), 0, stop), given)
    return trace.replace(name=name or path.stem)


def read_unit(unit: Unit, options: ImportOptions, bad: list[str] | None = None) -> RoutingTrace:
    """Read the answers of one unit; broken ones go to `bad` if it is given."""
    path = Path(unit.path)
    parts: list[NDArray[Any]] = []
    prompts: list[int] = []
    domains: list[str] = []
    for where, answer in _answers(path, unit, bad):
        try:
            found = list(_choices(answer, where, options))
        except InputError as error:
            if bad is None:
                raise
            bad.append(str(error))
            continue
        for ids, prompt in found:
            if parts and ids.shape[1:] != parts[0].shape[1:]:
                text = f"{where}: (layers, top_k) is {ids.shape[1:]}, {parts[0].shape[1:]} before"
                if bad is None:
                    raise InputError(text)
                bad.append(text)
                continue
            parts.append(ids)
            prompts.append(prompt)
            domains.append(str(answer.get("domain", "")))
    if not parts:
        raise InputError(f"{path}: no answer with {KEY}")
    return _trace(path, parts, prompts, domains, options)


def _trace(
    path: Path,
    parts: list[NDArray[Any]],
    prompts: list[int],
    domains: list[str],
    options: ImportOptions,
) -> RoutingTrace:
    lengths = np.array([len(part) for part in parts])
    ids = np.concatenate(parts)
    position = np.concatenate([np.arange(n) for n in lengths])
    warnings = []
    experts = options.num_experts
    if experts is None:
        experts = max(int(ids.max(initial=0)) + 1, ids.shape[2])
        warnings.append(
            f"the answers do not say how many experts there are; {experts} is the largest id + 1"
        )
    known = min(prompts) >= 0
    bounds = np.repeat(np.array(prompts), lengths)
    try:
        return RoutingTrace.from_arrays(
            ids,
            experts,
            request=np.repeat(np.arange(len(parts)), lengths),
            position=position,
            phase=(position >= bounds).astype(np.uint8) if known else None,
            domain=np.repeat(np.array(domains), lengths) if any(domains) else None,
            name=path.stem,
            meta={"source": f"routed_experts of a server, {path.name}", "warnings": warnings},
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _is_lines(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(1 << 24).strip()
        return first.startswith(b"{") and first.endswith(b"}") and bool(file.read(1))


def _answers(path: Path, unit: Unit, bad: list[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if not _is_lines(path):
        content = read_json(path)
        answers = content if isinstance(content, list) else [content]
        for place, answer in enumerate(answers):
            if not isinstance(answer, dict):
                raise InputError(f"{path}: entry {place} is no answer of a server")
            yield f"{path}: answer {place}", answer
        return
    for offset, line in read_lines(path, unit.start, unit.stop):
        try:
            answer = parse_line(path, offset, line)
            if not isinstance(answer, dict):
                raise InputError(f"{path}: byte {offset:,}: a JSON object a line expected")
        except InputError as error:
            if bad is None:
                raise
            bad.append(str(error))
            continue
        yield f"{path}: byte {offset:,}", answer


def _choices(
    answer: dict[str, Any], where: str, options: ImportOptions
) -> Iterator[tuple[NDArray[Any], int]]:
    """Yield the ids and the prompt tokens (−1 if not said) of every choice of an answer."""
    meta = answer.get("meta_info")
    usage = answer.get("usage")
    prompt = -1
    for said in (meta, usage):
        if isinstance(said, dict) and isinstance(said.get("prompt_tokens"), int):
            prompt = said["prompt_tokens"]
    found = [answer.get(KEY), meta.get(KEY) if isinstance(meta, dict) else None]
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict):
            extra = choice.get("sgl_ext")
            found += [choice.get(KEY), extra.get(KEY) if isinstance(extra, dict) else None]
    texts = [text for text in found if text is not None]
    if not texts:
        raise InputError(f"{where}: no {KEY}; was the server started with it enabled?")
    for text in texts:
        yield decode_ids(text, where, options), prompt


def decode_ids(text: Any, where: str, options: ImportOptions) -> NDArray[Any]:
    """Return (tokens, layers, top_k) ids from the base64 of vLLM or SGLang.

    Parameters
    ----------
    text
        The base64.
    where
        File and place, for messages.
    options
        `top_k` for SGLang's raw int32, and `num_layers` where it is known.

    Raises
    ------
    InputError
        If it is no base64, the array is malformed, or its shape cannot be told.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InputError(f"{where}: {KEY} is no base64 ({first_line(error)})") from error
    if raw.startswith(b"\x93NUMPY"):
        return _npy(raw, where)
    if options.top_k is None or options.num_layers is None:
        raise InputError(f"{where}: SGLang's {KEY} have no shape; say the model with --model")
    ids = np.frombuffer(raw[: len(raw) // 4 * 4], dtype="<i4")
    width = options.num_layers * options.top_k
    if not raw or len(raw) % 4 or ids.size % width:
        raise InputError(
            f"{where}: {len(raw)} bytes of {KEY} are no tokens of {options.num_layers} layers "
            f"and top {options.top_k}"
        )
    return ids.reshape(-1, options.num_layers, options.top_k)


def _npy(raw: bytes, where: str) -> NDArray[Any]:
    stream = io.BytesIO(raw)
    try:
        major, _ = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0
        if major > 1:
            header = np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(stream)
    except (ValueError, SyntaxError, TypeError, KeyError, EOFError) as error:
        raise InputError(f"{where}: {KEY} is no .npy ({first_line(error)})") from error
    count = math.prod(shape)
    rest = len(raw) - stream.tell()
    if len(shape) != 3 or dtype.kind not in "iu" or fortran or count * dtype.itemsize != rest:
        raise InputError(
            f"{where}: {KEY} is {dtype} {shape} in {rest} bytes; (tokens, layers, top_k) whole "
            "numbers expected"
        )
    return np.frombuffer(raw, dtype=dtype, offset=stream.tell()).reshape(shape)
