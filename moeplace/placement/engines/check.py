"""Check a file against the rules of the engine that is to load it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from moeplace.errors import CheckFailedError, unknown_name
from moeplace.placement.engines.rules import Finding, Rule
from moeplace.placement.formats.context import ExportContext

if TYPE_CHECKING:
    from moeplace.placement.engines.rules import EngineRules
    from moeplace.placement.formats.context import ModelLike

ENGINES = (
    "sglang",
    "vllm-list",
    "vllm-jsonl",
    "tensorrt-llm",
    "vllm-ascend",
    "omniplacement",
    "lmdeploy",
    "ktransformers",
    "llama-cpp",
    "eplb",
)


@dataclass(frozen=True)
class EngineCheck:
    """What an engine would say to a file.

    Attributes
    ----------
    path, engine
        The file and the engine.
    findings
        One for each rule, in the order in which the engine meets them.
    """

    path: Path
    engine: str
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The rules that keep the engine from serving this map."""
        return tuple(finding for finding in self.findings if finding.breaks)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain values."""
        return {
            "schema": "moeplace.check/1",
            "path": str(self.path),
            "engine": self.engine,
            "holds": not self.broken,
            "rules": [
                {
                    "rule": finding.rule.name,
                    "holds": None if not finding.reached else finding.wrong is None,
                    "severity": finding.rule.severity,
                    "found": finding.wrong,
                    "demands": finding.rule.demands,
                    "source": finding.rule.source,
                }
                for finding in self.findings
            ],
        }

    def raise_if_broken(self) -> None:
        """Raise what is wrong.

        Raises
        ------
        CheckFailedError
            If a rule is broken; the message names the first and where the engine has it.
        """
        if not self.broken:
            return
        first = self.broken[0]
        more = f" (and {len(self.broken) - 1} more)" if len(self.broken) > 1 else ""
        raise CheckFailedError(
            f"{self.path}: {self.engine} {first.rule.severity} it, {first.rule.name}: "
            f"{first.wrong}{more}; {first.rule.source}"
        )


def check_file(
    path: str | Path,
    engine: str,
    *,
    model: ModelLike | None = None,
    num_ranks: int | None = None,
) -> EngineCheck:
    """Do what an engine does with a file when it starts, without the engine.

    A native file is checked as what `export_placement` would have to write.

    Parameters
    ----------
    path
        A file for the engine, or a native one.
    engine
        One of `ENGINES`, or an alias of the format.
    model
        The served model; without it rules about its layers are not reached.
    num_ranks
        Ranks of the expert-parallel group; without it rules about ranks are not reached.

    Raises
    ------
    InputError
        If the engine is not known, or the file cannot be read at all.
    """
    from moeplace.placement.formats.reading import read_bytes

    name = engine_name(engine, Path(path))
    context = ExportContext.from_model(model, num_ranks)
    if read_bytes(path)[:2] and _is_native(path):
        return EngineCheck(Path(path), name, tuple(_of_placement(path, name, context, model)))
    module = cast("EngineRules", import_module(f"{__package__}.{name.replace('-', '_')}"))
    found = dict(module.outcomes(Path(path), context))
    return EngineCheck(
        Path(path),
        name,
        tuple(Finding(rule, found.get(rule.name), rule.name in found) for rule in module.RULES),
    )


def engine_name(engine: str, path: Path) -> str:
    """Return the name of an engine's format; ``vllm`` is settled by the ending of the file.

    Raises
    ------
    InputError
        If there is no such engine.
    """
    from moeplace.placement.formats.registry import FORMATS

    key = engine.lower().replace("_", "-")
    if key == "vllm" and path.suffix == ".jsonl":
        return "vllm-jsonl"
    for info in FORMATS.values():
        if key in info.aliases and not info.native:
            key = info.name
    if key not in ENGINES:
        raise unknown_name("engine", engine, ENGINES, "moeplace check --help")
    return key


def _is_native(path: str | Path) -> bool:
    from moeplace.errors import InputError
    from moeplace.placement.formats import detect_format, format_info

    try:
        return format_info(detect_format(path)).native
    except InputError:
        return False


def _of_placement(
    path: str | Path, engine: str, context: ExportContext, model: ModelLike | None
) -> list[Finding]:
    from moeplace.placement.formats import format_info, read_placement
    from moeplace.placement.formats.rules import violations

    info = format_info(engine)
    placement = read_placement(path, model=model, num_ranks=context.num_ranks)
    found = [text.partition(": ") for text in violations(placement, info, context)]
    source = f"what `moeplace export --to {engine}` demands"
    if not found:
        return [Finding(Rule("export", f"{engine} can hold it", source))]
    return [Finding(Rule(name, f"{engine} can hold it", source), text) for name, _, text in found]
