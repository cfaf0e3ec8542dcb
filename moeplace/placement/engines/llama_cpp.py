"""llama.cpp ``--override-tensor``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from moeplace.placement.engines.rules import Rule, Wrong
from moeplace.placement.formats.reading import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

FILE = "llama.cpp common/arg.cpp: parse_tensor_buffer_overrides"
LOADER = "llama.cpp src/llama-model-loader.cpp: create_tensor (std::regex_search, first match)"
FLAGS = ("-ot", "--override-tensor")
PARTS = ("gate", "up", "down")
RULES = (
    Rule("arguments", "-ot PATTERN=BUFFER, several with commas between", FILE),
    Rule("regex", "patterns are regular expressions", LOADER),
    Rule("buffer", "a name without spaces; the server knows those of its devices", FILE),
    Rule(
        "layers",
        "the experts of every MoE layer get a buffer, else the default",
        LOADER,
        "misreads",
    ),
    Rule("whole-layers", "the tensors of a layer's experts go to one buffer", LOADER, "misreads"),
)


def outcomes(path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules in the order in which llama.cpp meets them."""
    words = read_text(path).split()
    flags, values = words[::2], words[1::2]
    odd = [word for word in flags if word not in FLAGS]
    pairs = [text.partition("=") for value in values for text in value.split(",")]
    wrong = f"{odd[0]!r} is not -ot" if odd else None
    if not wrong and len(flags) != len(values):
        wrong = "the last -ot has no value"
    if not wrong:
        bare = [name for name, equals, _ in pairs if not equals]
        wrong = f"{bare[0]!r} has no =BUFFER" if bare else None
    yield "arguments", wrong
    if wrong:
        return
    rules: list[tuple[re.Pattern[str], str]] = []
    for pattern, _, buffer in pairs:
        try:
            rules.append((re.compile(pattern), buffer))
        except re.error as error:
            yield "regex", f"{pattern!r}: {error}"
            return
    yield "regex", None
    nameless = [pattern.pattern for pattern, buffer in rules if not buffer]
    yield "buffer", f"{nameless[0]!r} has no buffer" if nameless else None
    if not context.known:
        return
    at = {layer: _buffers(rules, layer) for layer in context.moe_layers}
    bare_layers = [layer for layer, found in at.items() if None in found]
    yield "layers", f"MoE layer {bare_layers[0]} has no buffer" if bare_layers else None
    split = [layer for layer, found in at.items() if len(found - {None}) > 1]
    yield "whole-layers", f"layer {split[0]}: {sorted(map(str, at[split[0]]))}" if split else None


def _buffers(rules: list[tuple[re.Pattern[str], str]], layer: int) -> set[str | None]:
    found: set[str | None] = set()
    for part in PARTS:
        name = f"blk.{layer}.ffn_{part}_exps.weight"
        found.add(next((buffer for pattern, buffer in rules if pattern.search(name)), None))
    return found
