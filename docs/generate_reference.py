"""Write the reference pages that follow from the registries and the command line app.

``python docs/generate_reference.py`` writes docs/reference/{cli,solvers,...}.md; with ``--check``
it only tells whether they are current.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

FOLDER = Path(__file__).resolve().parent / "reference"
MADE = "<!-- Written by docs/generate_reference.py; edit what it reads, not this page. -->\n"


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; pipes and line ends in cells are made harmless."""
    lines = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    for row in rows:
        cells = (" ".join(str(cell).split()).replace("|", "\\|") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def code(value: object) -> str:
    """Return a value as inline code, nothing for nothing."""
    return f"`{value}`" if value not in (None, "", ()) else ""


def number(value: float) -> str:
    """Return a number with thousands separators and no trailing zeros."""
    return f"{value:,.6g}" if value < 1e6 else f"{value:,.0f}"


def cli_page() -> str:
    """Return the page of all commands and options."""
    import typer

    from moeplace.cli.main import app

    root = typer.main.get_command(app)
    parts = [
        MADE,
        "# Command line\n",
        "Data goes to stdout, everything else to stderr. "
        "[Exit codes](exit-codes.md) say what went wrong; "
        "[result.json](result-json.md) is what `--format json` prints.\n",
    ]
    for path, command in _commands(root, "moeplace"):
        parts += _command(path, command)
    solve = root.commands["solve"]
    shared = [p for p in solve.params if p.name in _shared_names()]
    parts += [
        "## Options that describe the problem\n",
        "What is placed, where, and how it is used: the same for every command that needs it.\n",
        table(("option", "meaning"), [(_option(p), _meaning(p)) for p in shared]),
    ]
    return "\n".join(parts)


def _shared_names() -> set[str]:
    from moeplace.cli.options import ProblemOptions

    return {field.name for field in fields(ProblemOptions)}


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _commands(inner, f"{path} {name}")


def _command(path: str, command: Any) -> list[str]:
    parts = [f"## `{path}`\n"] if path != "moeplace" else []
    parts += [f"{block}\n" for block in _help_blocks(command.help or "")]
    if inner := getattr(command, "commands", None):
        rows = [
            (code(f"{path} {name}"), (sub.help or "").split("\n\n")[0])
            for name, sub in inner.items()
        ]
        parts.append(table(("command", "what it does"), rows))
        if path != "moeplace":
            return parts
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([path, *(_argument(p) for p in arguments), "[OPTIONS]"])
    if path != "moeplace":
        parts.append(f"Usage: `{usage}`\n")
    rows = [(code(_argument(p)), p.help or "") for p in arguments]
    options = [p for p in command.params if p.param_type_name == "option"]
    shared = _shared_names() <= {p.name for p in options}
    rows += [
        (_option(p), _meaning(p)) for p in options if not (shared and p.name in _shared_names())
    ]
    if shared:
        parts.append(
            "Takes the [options that describe the problem](#options-that-describe-the-problem), "
            "and:\n"
        )
    if rows:
        parts.append(table(("argument or option", "meaning"), rows))
    return parts


def _help_blocks(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text; examples become code blocks."""
    for paragraph in text.split("\n\n"):
        body = " ".join(paragraph.replace("\b", "").split())
        for word in ("Example:", "Examples:"):
            if body.startswith(word):
                commands = body.removeprefix(word).replace(" moeplace ", "\nmoeplace ").strip()
                yield f"```sh\n{commands}\n```"
                break
        else:
            if body:
                yield body


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name = name.strip("[]").removesuffix("...")
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    names = ", ".join(parameter.opts)
    if parameter.secondary_opts:
        names += " / " + ", ".join(parameter.secondary_opts)
    if parameter.is_flag:
        return code(names)
    kind = parameter.metavar or parameter.name.upper()
    if isinstance(parameter.default, Enum):
        kind = "|".join(_plain(choice) for choice in type(parameter.default))
    return code(f"{names} {kind}")


def _plain(value: Any) -> str:
    return str(getattr(value, "value", value))


def _meaning(parameter: Any) -> str:
    text = parameter.help or ""
    default = parameter.default
    if parameter.is_flag or default in (None, "", ()) or "efault" in text or callable(default):
        return text
    return f"{text} Default: {code(_plain(default))}."


def solvers_page() -> str:
    """Return the page of all solvers."""
    from moeplace.formulations.registry import SOLVERS

    rows = [
        (
            code(info.name),
            info.kind,
            info.summary + ("" if info.feasible else "; may put an expert twice on a rank"),
            ", ".join(info.objectives),
            info.backend,
            info.reference,
        )
        for info in SOLVERS.values()
    ]
    return "\n".join(
        [
            MADE,
            "# Solvers\n",
            "`moeplace solve --solver NAME`, or `moeplace.solve(problem, solver=NAME)`. "
            "A baseline takes every objective and optimizes its own proxy of it; whatever a "
            "solver reports is scored again with `moeplace.evaluate`. "
            "`moeplace solvers` prints this table.\n",
            table(("name", "kind", "what it does", "objectives", "backend", "reference"), rows),
        ]
    )


def systems_page() -> str:
    """Return the page of all systems: one table of names, then every constant with its source."""
    from moeplace.hwmodels import list_aliases, list_systems, load_system

    aliases = list_aliases()
    systems = {name: load_system(name) for name in list_systems()}
    rows = []
    for name, system in systems.items():
        other = ", ".join(code(a) for a, target in sorted(aliases.items()) if target == name)
        rows.append((code(name), other, system.summary, system.ranks, system.num_nodes))
    parts = [
        MADE,
        "# Systems\n",
        "Names for `--hw` and `moeplace.load_system`. `mesh:RxC` is a mesh of any size with the "
        "dies and links of `wafer-dojo-5x5`; a path that ends in `.yaml` is "
        "[a file of your own](../how-to/describe-my-hardware.md). Bandwidths are per direction. "
        "A source that begins with `assumed:` is an assumption, not a measurement.\n",
        table(("name", "also", "what it is", "default ranks", "nodes"), rows),
    ]
    for name, system in systems.items():
        constants = [
            (code(constant), _value(getattr(system, constant)), source)
            for constant, source in system.sources.items()
        ]
        parts += [
            f"## `{name}`\n",
            f"{system.summary}.\n",
            table(("constant", "value", "source"), constants),
        ]
    return "\n".join(parts)


def _value(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    if hasattr(value, "items"):
        pairs = (f"{key} {_value(inner)}" for key, inner in value.items())
        return ", ".join(f"({p})" if "," in p else p for p in pairs)
    return str(value)


def models_page() -> str:
    """Return the page of all models."""
    from moeplace.models import list_models, load_model

    rows = []
    for name in list_models():
        model = load_model(name)
        groups = f"{model.topk_group} of {model.n_group}" if model.n_group > 1 else ""
        total = "" if model.total_params is None else number(model.total_params / 1e9)
        rows.append(
            (
                code(name),
                f"{model.num_moe_layers} of {model.num_layers}",
                model.num_experts,
                model.top_k,
                groups,
                model.payload_size,
                model.moe_intermediate_size,
                number(model.routed_params / 1e9),
                total,
                model.weight_dtype,
                model.source,
            )
        )
    headers = (
        "name",
        "MoE layers",
        "experts",
        "top-k",
        "groups",
        "width sent",
        "expert width",
        "routed params (B)",
        "all params (B)",
        "weights",
        "source",
    )
    return "\n".join(
        [
            MADE,
            "# Models\n",
            "Names for `--model` and `moeplace.load_model`; other models that share a structure "
            "are aliases in the catalog's files. A Hugging Face `config.json`, the folder that "
            "holds it, or a YAML file works as well. `moeplace model show NAME` shows one.\n",
            table(headers, rows),
        ]
    )


def formats_page() -> str:
    """Return the page of placement formats, trace formats and shipped workloads."""
    from moeplace.placement.formats import FORMATS
    from moeplace.traces import importers, shipped_workloads
    from moeplace.traces.shipped import shipped_workload

    yes = {True: "yes", False: ""}
    flags = (
        "needs_model",
        "needs_full_slots",
        "equal_slots_required",
        "equal_experts_required",
        "allows_duplicates",
        "keeps_slot_order",
        "keeps_ranks",
    )
    known = {field.name for field in fields(next(iter(FORMATS.values())))}
    if missing := set(flags) - known:
        raise SystemExit(f"formats changed: {missing}")
    placements = [
        (
            code(info.name),
            ", ".join(code(alias) for alias in info.aliases),
            info.summary,
            " ".join(code(suffix) for suffix in info.suffixes),
            info.stability,
        )
        for info in FORMATS.values()
    ]
    rules = [
        (code(info.name), info.granularity, *(yes[getattr(info, flag)] for flag in flags))
        for info in FORMATS.values()
    ]
    traces = [(code(i.name), _plain_text(i.summary), i.gives) for i in importers().values()]
    shipped = []
    for name in shipped_workloads():
        load = shipped_workload(name)
        known_by = "loads alone" if load.token_sets is None else "single tokens"
        shipped.append((code(name), load.phase, known_by, load.num_layers, load.num_experts))
    return "\n".join(
        [
            MADE,
            "# Formats\n",
            "[File formats](file-formats.md) describes moeplace's own files key by key.\n",
            "## Placements\n",
            "`moeplace export --to NAME` writes them; wherever a placement is read, the content "
            "of the file decides. *Experimental*: the engine has not merged its reader.\n",
            table(("name", "also", "what it is", "suffix", "stability"), placements),
            "What each demands and keeps:\n",
            table(("name", "granularity", *(flag.replace("_", " ") for flag in flags)), rules),
            "## Traces and loads\n",
            "Wherever a trace is read, the content of the file or folder decides.\n",
            table(("name", "what it is", "gives"), traces),
            "## Workloads that come with the package\n",
            table(("name", "phase", "known by", "MoE layers", "experts"), shipped),
        ]
    )


# What makes each document, and where its keys are told at length.
DOCUMENTS = {
    "moeplace.bound/1": "`moeplace bound`",
    "moeplace.buffer/1": "`moeplace buffer`: [study](../studies/buffering.md)",
    "moeplace.certificate/1": "inside [result.json](result-json.md), for `moeplace verify`",
    "moeplace.check/1": "`moeplace check`: [export to an engine](../how-to/export-to-an-engine.md)",
    "moeplace.compare/1": "`moeplace compare`: [result.json](result-json.md)",
    "moeplace.config/1": "`moeplace config show`: [file formats](file-formats.md#options-toml)",
    "moeplace.disaggregate/1": "`moeplace disaggregate`",
    "moeplace.doctor/1": "`moeplace doctor`: [file formats](file-formats.md#installation)",
    "moeplace.export/1": "`moeplace export`",
    "moeplace.gating/1": "`moeplace gating`: [study](../studies/gating.md)",
    "moeplace.horizon/1": "`moeplace replay --advise-horizon`",
    "moeplace.import-estimate/1": "`moeplace trace import --estimate`",
    "moeplace.insights/1": "`moeplace trace insights`: [page](../explanation/insights.md)",
    "moeplace.instance-check/1": "`moeplace instance check`",
    "moeplace.manifest/1": "`manifest.json` of an imported trace",
    "moeplace.partition/1": "`moeplace partition`: [how to](../how-to/partition-a-hypergraph.md)",
    "moeplace.placement/1": "[a placement](file-formats.md#placement-json)",
    "moeplace.plan/1": "`moeplace plan`",
    "moeplace.prefill-aware/1": "`moeplace prefill-aware`: [study](../studies/prefill-aware.md)",
    "moeplace.qap/1": "`moeplace qap`: [how to](../how-to/solve-a-qap.md)",
    "moeplace.replay/1": "`moeplace replay`: [rebalance](../how-to/rebalance-online.md)",
    "moeplace.rerun/1": "`moeplace rerun`: [file formats](file-formats.md#run-folder)",
    "moeplace.result/1": "`moeplace solve`, `evaluate`: [result.json](result-json.md)",
    "moeplace.run/1": "`manifest.json` of a [run folder](file-formats.md#run-folder)",
    "moeplace.trace/1": "`meta.json` of [a trace](file-formats.md#trace-parquet)",
    "moeplace.verification/1": "`moeplace verify`",
    "moeplace.wafer/1": "`moeplace wafer`: [study](../studies/wafer.md)",
    "moeplace.workload/1": "nothing that is written: the first words of a fingerprint",
}


def documents_page() -> str:
    """Return the page of JSON documents: each schema with the keys that the source gives it."""
    keys = _keys_by_schema(FOLDER.parents[1] / "moeplace")
    if missing := set(keys) ^ set(DOCUMENTS):
        raise SystemExit(f"DOCUMENTS of generate_reference.py and the source differ: {missing}")
    rows = [
        (code(schema), what, ", ".join(code(key) for key in keys[schema] if key != "schema"))
        for schema, what in DOCUMENTS.items()
    ]
    return "\n".join(
        [
            MADE,
            "# JSON documents\n",
            "What `--format json` prints and what is written as JSON begins with its `schema`; the "
            "number after the slash rises when a key changes its meaning or goes away. New keys "
            "may appear at any time. Listed are the keys that the source writes beside the schema; "
            "others are told behind the link, or follow from what was asked for.\n",
            table(("schema", "from", "keys"), rows),
        ]
    )


def _keys_by_schema(folder: Path) -> dict[str, list[str]]:
    """Read from the source every schema and the keys written beside it."""
    import ast
    import re

    found: dict[str, list[str]] = {}
    constants: dict[tuple[Path | None, str], str] = {}
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(folder.rglob("*.py"))}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if re.fullmatch(r"moeplace\.[a-z-]+/\d+", node.value):
                    found.setdefault(node.value, [])
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        constants[path, target.id] = str(node.value.value)
                        constants[None, target.id] = str(node.value.value)  # if imported
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Dict):
                continue
            pairs = {k.value: v for k, v in zip(node.keys, node.values, strict=True)
                     if isinstance(k, ast.Constant)}  # fmt: skip
            schema = pairs.get("schema")
            name = getattr(schema, "value", None)
            if isinstance(schema, ast.Name):
                name = constants.get((path, schema.id)) or constants.get((None, schema.id))
            if name in found:
                found[name] += [key for key in pairs if key not in found[name]]
    return found


def _plain_text(text: str) -> str:
    """Return text in which brackets make no links."""
    return text.replace("[", "\\[")


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "solvers.md": solvers_page,
    "systems.md": systems_page,
    "models.md": models_page,
    "formats.md": formats_page,
    "json.md": documents_page,
}


def stale_pages() -> list[str]:
    """Return the pages whose file is not what would be written now."""
    return [
        name
        for name, make in PAGES.items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text(encoding="utf-8") != make()
    ]


def main(arguments: Sequence[str]) -> int:
    """Write or check all pages; return the exit code."""
    stale = stale_pages()
    for name in stale:
        if "--check" not in arguments:
            (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"docs/reference/{name}: {'stale' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
