"""`moeplace check` and `moeplace convert`: files of serving engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import OUTPUT, FormatOption, QuietOption
from moeplace.cli.output import Format, Output

if TYPE_CHECKING:
    from collections.abc import Mapping

ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="M", help="The served model; for rules about layers."),
]
RanksOption = Annotated[
    int | None,
    typer.Option("--ranks", min=1, metavar="N", help="EP size; for rules about ranks."),
]


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File that an engine is to load.")],
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            "-e",
            metavar="ENGINE",
            help="sglang, vllm, tensorrt-llm, vllm-ascend, omniplacement, lmdeploy, "
            "ktransformers, llama-cpp or eplb.",
        ),
    ],
    model: ModelOption = None,
    ranks: RanksOption = None,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Do what an engine does with a file when it starts, rule by rule.

    Leaves with 7 if the engine would refuse or misread the file, and names
    the rule and where the engine has it. A file of moeplace itself is checked
    as what `moeplace export` would have to write.

    Example: moeplace check experts.json --engine sglang --model deepseek-v3 --ranks 32
    """
    from moeplace.models import load_model
    from moeplace.placement.engines import check_file

    out = Output(format, quiet)
    found = check_file(
        file, engine, model=None if model is None else load_model(model), num_ranks=ranks
    )
    document = found.to_dict()
    out.show(document, document["rules"], lambda: _draw_check(document, out))
    if any(rule["holds"] is None for rule in document["rules"]) and not found.broken:
        out.note("not every rule was reached; --model and --ranks tell more")
    found.raise_if_broken()


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Placement file of any engine.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write.")],
    to: Annotated[str, typer.Option("--to", metavar="ENGINE", help="Engine or format to write.")],
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="ENGINE", help="What IN is; default: by content."),
    ] = None,
    model: ModelOption = None,
    ranks: RanksOption = None,
    fill: Annotated[
        bool,
        typer.Option(
            "--fill/--no-fill",
            help="Put extra copies into empty slots where the engine demands it.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    quiet: QuietOption = False,
) -> None:
    """Write a placement of one engine in the format of another.

    Model and ranks come from files of moeplace itself; others need --model,
    and --ranks where they do not tell it. Says which flags load the result.
    Loads are converted by `moeplace trace convert --to`.

    Example: moeplace convert experts.json experts.yaml --to tensorrt-llm -m deepseek-v3 --ranks 32
    """
    from moeplace.cli.files import check_writable
    from moeplace.models import load_model
    from moeplace.placement.formats import export_placement, format_info, read_placement

    out = Output(quiet=quiet)
    info = format_info(to)
    check_writable(output, info.suffixes)
    name = model or _remembered(source)
    spec = None if name is None else load_model(name)
    placement = read_placement(source, from_, model=spec, num_ranks=ranks)
    report = export_placement(placement, output, info.name, model=spec, fill=fill)
    out.note(f"{output}: written for {report.engine}")
    if report.flags:
        out.note(f"load it with: {' '.join(report.flags)}")
    for text in report.notes:
        out.note(text)


def _remembered(path: Path) -> str | None:
    from moeplace.placement.formats import detect_format, format_info, read_metadata

    if not format_info(detect_format(path)).native:
        return None
    options = read_metadata(path).get("options")
    name = options.get("model") if isinstance(options, dict) else None
    return name if isinstance(name, str) else None


def _draw_check(document: Mapping[str, Any], out: Output) -> None:
    words = {True: "holds", None: "not reached"}
    rows = []
    for rule in document["rules"]:
        state = words.get(rule["holds"], str(rule["severity"]).upper())
        rows.append((rule["rule"], state, rule["found"] or rule["demands"]))
    out.table(("rule", document["engine"], "demanded or found"), rows, left=(0, 1, 2))
    for rule in document["rules"]:
        if rule["holds"] is False:
            out.line(f"{rule['rule']}: {rule['source']}")
