"""Prompts sent to a running vLLM or SGLang; the experts of its answers become a trace."""

from __future__ import annotations

import json
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from moeplace.errors import InputError, UsageError
from moeplace.files import atomic_write
from moeplace.traces.importers.options import ImportOptions, Unit
from moeplace.traces.importers.responses import read_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from moeplace.traces.trace import RoutingTrace

LARGEST_ANSWER_BYTES = 1 << 30
GENERATE = "/generate"  # the path of SGLang's native endpoint


def read_prompts(path: Path) -> list[str | dict[str, Any]]:
    """Read a prompt a line; a line that is a JSON object is sent as it is.

    Raises
    ------
    InputError
        If the file cannot be read or holds no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    found: list[str | dict[str, Any]] = []
    for line in lines:
        if not line.strip():
            continue
        try:
            body = json.loads(line) if line.lstrip().startswith("{") else line
        except ValueError:
            body = line
        found.append(body)
    if not found:
        raise InputError(f"{path}: holds no prompt")
    return found


def collect_answers(
    url: str,
    prompts: Sequence[str | Mapping[str, Any]],
    *,
    served_model: str | None = None,
    max_tokens: int = 128,
    timeout_s: float = 600.0,
    keep: Path | None = None,
    on_answer: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Send prompts one after the other and return the answers.

    A path that ends in ``/generate`` is spoken to as SGLang's own endpoint
    (``return_routed_experts``), any other as OpenAI completions (vLLM, SGLang).

    Parameters
    ----------
    url
        The endpoint, http or https.
    prompts
        Text, or the whole JSON body of a request.
    served_model
        The name that the server expects in ``model``.
    max_tokens
        Tokens to generate.
    timeout_s
        Seconds to wait for an answer.
    keep
        Also write the answers there, JSON Lines.
    on_answer
        Called with the answers so far.

    Raises
    ------
    UsageError
        If the address is no http address.
    InputError
        If the server does not answer, or not with JSON.
    """
    if urlparse(url).scheme not in ("http", "https"):
        raise UsageError(f"{url}: give the http address of an endpoint")
    answers = []
    for number, prompt in enumerate(prompts, 1):
        body = dict(prompt) if not isinstance(prompt, str) else _body(url, prompt, max_tokens)
        if served_model is not None and not urlparse(url).path.endswith(GENERATE):
            body.setdefault("model", served_model)
        answers.append(_ask(url, body, timeout_s))
        if on_answer is not None:
            on_answer(number)
    if keep is not None:
        with atomic_write(keep) as file:
            file.writelines(json.dumps(answer) + "\n" for answer in answers)
    return answers


def trace_of_answers(
    answers: Sequence[Mapping[str, Any]], options: ImportOptions, *, name: str = "collected"
) -> RoutingTrace:
    """Return the trace that answers hold; each choice is a request.

    Parameters
    ----------
    answers
        As `collect_answers` returns them.
    options
        `num_experts`; SGLang's answers also need `top_k` and `num_layers`.
    name
        What to call the trace.

    Raises
    ------
    InputError
        If an answer holds no routed experts, or malformed ones.
    """
    from moeplace.traces.importing import bind_layers

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.jsonl"
        path.write_text("".join(json.dumps(a) + "\n" for a in answers) + "\n", encoding="utf-8")
        try:
            trace = read_unit(Unit(str(path)), options)
        except InputError as error:
            raise InputError(str(error).replace(str(path), "answers")) from error
    meta = {**trace.meta, "source": "routed_experts of a server"}
    return bind_layers(trace, options).replace(name=name, meta=meta)


def _body(url: str, prompt: str, max_tokens: int) -> dict[str, Any]:
    if urlparse(url).path.endswith(GENERATE):
        return {
            "text": prompt,
            "sampling_params": {"max_new_tokens": max_tokens},
            "return_routed_experts": True,
        }
    return {"prompt": prompt, "max_tokens": max_tokens, "return_routed_experts": True}


def _ask(url: str, body: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            raw = answer.read(LARGEST_ANSWER_BYTES)
        content = json.loads(raw)
    except urllib.error.HTTPError as error:
        said = error.read(300).decode("utf-8", errors="replace")
        error.close()
        raise InputError(f"{url}: answered {error.code} ({' '.join(said.split())})") from error
    except (OSError, urllib.error.URLError) as error:
        raise InputError(f"{url}: no answer ({error})") from error
    except ValueError as error:
        raise InputError(f"{url}: answered something that is not JSON") from error
    if not isinstance(content, dict):
        raise InputError(f"{url}: answered no JSON object")
    return content
