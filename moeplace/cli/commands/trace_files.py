"""`moeplace trace import, convert, split, merge, sample, window, collect`: traces to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import FormatOption, QuietOption
from moeplace.cli.output import Format, Output
from moeplace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moeplace.cli.progress import Progress
    from moeplace.traces import RoutingTrace
    from moeplace.traces.importers.options import ImportOptions
    from moeplace.traces.importing import ImportProgress

SourceArgument = Annotated[
    str, typer.Argument(metavar="TRACE", help="File, folder or shipped name.")
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="X.npz, X.parquet, or a folder.")
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FORMAT",
        help="A format of `moeplace trace formats`; default: by content.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="M", help="The model it was recorded with; checked."),
]
SeedOption = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the choice.")]


def import_(
    sources: Annotated[list[str], typer.Argument(metavar="SRC...", help="Files or folders.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A folder (of any size); X.npz, X.parquet; loads: X.npz."
        ),
    ] = None,
    from_: FromOption = None,
    model: ModelOption = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="OURS=THEIRS", help="What a column of a table is called; repeatable."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Experts a token, for files without it.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out what is broken, and count it.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Workers; default: all cores.")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="E", help="Who works: loky (processes here), dask or ray.")
    ] = "loky",
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDR", help="Address of the Dask or Ray cluster.")
    ] = None,
    part_mib: Annotated[
        int, typer.Option(min=1, metavar="MIB", help="Source read for one part of a folder.")
    ] = 64,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Say what it would take; a few of the files are read, none written."
        ),
    ] = False,
    machines: Annotated[
        int, typer.Option(min=1, metavar="N", help="For --estimate: machines with --jobs each.")
    ] = 1,
    size_GB: Annotated[
        float | None,
        typer.Option("--size-GB", metavar="GB", help="For --estimate: SRC is a sample of so much."),
    ] = None,
    storage_GBps: Annotated[
        float | None,
        typer.Option(
            "--storage-GBps", metavar="X", help="For --estimate: what storage reads for all."
        ),
    ] = None,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Read recordings of a serving engine or a data set, check them and write one trace.

    Into a folder it streams: a recording of any size, in bounded memory, resumed after a kill.

    Example: moeplace trace import recorded/*.json --model deepseek-v3 -o loads.npz
    """
    from moeplace.cli.import_estimate import show_estimate
    from moeplace.cli.trace_sources import import_options
    from moeplace.parallel import Workers

    options = import_options(model, column or (), top_k, skip_bad)
    workers = Workers(jobs, engine, scheduler)
    if estimate:
        out = Output(format, quiet)
        show_estimate(sources, from_, options, jobs, machines, size_GB, storage_GBps, part_mib, out)
        return
    if output is None:
        raise UsageError("give the trace a name with -o, or ask for an --estimate")
    if output.suffix == "" and not _hold_loads(sources, from_):
        _stream(sources, output, from_, options, workers, part_mib, quiet)
        return
    if engine != "loky":
        raise UsageError(f"--engine {engine} imports tokens into a folder; give -o a folder")
    _write(sources, output, from_, model, options, quiet)


def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="File, folder or shipped name.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="X.npz, X.parquet, or a folder; loads: X.npz.")
    ],
    from_: FromOption = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="Write loads for an engine: sglang-counts, sglang-recorder, lmdeploy, "
            "tensorrt-llm, vllm-stats, vllm-ascend or omniplacement.",
        ),
    ] = None,
    model: ModelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a trace in another format of moeplace, or its loads for an engine.

    Example: moeplace trace convert trace.npz trace.parquet
    """
    from moeplace.cli.trace_sources import import_options

    if to is not None:
        _write_loads(source, output, from_, to, model, quiet)
        return
    if model is not None:
        raise UsageError("--model goes with --to; without it the file is kept as it is")
    _write([source], output, from_, None, import_options(None), quiet)


def split(
    trace: SourceArgument,
    output: OutputOption,
    by: Annotated[str, typer.Option(metavar="WHAT", help="request, time or domain.")] = "request",
    fraction: Annotated[
        float, typer.Option(metavar="X", help="Share of the holdout, for request and time.")
    ] = 0.5,
    seed: SeedOption = 0,
    from_: FromOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a trace as OUT-fit and OUT-holdout, or as one trace a domain.

    Example: moeplace trace split trace.npz --by domain -o part.npz
    """
    from moeplace.cli.progress import Progress
    from moeplace.cli.trace_sources import open_source
    from moeplace.traces.transforms import split_trace

    out = Output(quiet=quiet)
    with Progress(f"splitting {trace}", quiet=quiet):
        opened = open_source(trace, from_)
        paths = list(split_trace(opened, output, by=by, fraction=fraction, seed=seed))
    for path in paths:
        out.note(str(path))


def merge(
    traces: Annotated[list[str], typer.Argument(metavar="TRACE...", help="Files or folders.")],
    output: OutputOption,
    from_: FromOption = None,
    quiet: QuietOption = False,
) -> None:
    """Put traces of one model one after the other; their requests stay apart.

    Example: moeplace trace merge monday tuesday -o week
    """
    from moeplace.cli.trace_sources import open_source
    from moeplace.traces.transforms import merge_traces

    chunks = merge_traces([open_source(trace, from_) for trace in traces])
    _save(chunks, output, quiet)


def sample(
    trace: SourceArgument,
    output: OutputOption,
    requests: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Keep so many requests.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Keep so many single tokens instead.")
    ] = None,
    seed: SeedOption = 0,
    from_: FromOption = None,
    quiet: QuietOption = False,
) -> None:
    """Keep some requests or tokens of a trace, chosen at random.

    Example: moeplace trace sample trace.npz --requests 20 -o small.npz
    """
    from moeplace.cli.trace_sources import open_source
    from moeplace.traces.transforms import sample_trace

    chunks = sample_trace(open_source(trace, from_), requests=requests, tokens=tokens, seed=seed)
    _save(chunks, output, quiet)


def window(
    trace: SourceArgument,
    output: OutputOption,
    tokens: Annotated[
        str, typer.Option(metavar="A:B", help="Tokens A to B − 1, in recorded order.")
    ],
    from_: FromOption = None,
    quiet: QuietOption = False,
) -> None:
    """Keep a stretch of a trace.

    Example: moeplace trace window trace.npz --tokens 0:5000 -o start.npz
    """
    from moeplace.cli.trace_sources import open_source
    from moeplace.traces.transforms import window_trace

    first, colon, last = tokens.partition(":")
    if not colon or not all(text == "" or text.isdecimal() for text in (first, last)):
        raise UsageError(f"--tokens {tokens}: give A:B, two token numbers")
    opened = open_source(trace, from_)
    chunks = window_trace(opened, int(first or 0), int(last or opened.num_tokens))
    _save(chunks, output, quiet)


def collect(
    url: Annotated[str, typer.Argument(metavar="URL", help="Completions or generate endpoint.")],
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="A prompt a line: text, or JSON to send.")
    ],
    output: OutputOption,
    model: ModelOption = None,
    served: Annotated[
        str | None, typer.Option(metavar="NAME", help="Model name the server expects.")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, metavar="N", help="Tokens to generate a prompt.")
    ] = 128,
    timeout: Annotated[
        float, typer.Option(metavar="S", help="Seconds to wait for an answer.")
    ] = 600.0,
    keep: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also keep the answers, JSON Lines.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Send prompts to a running vLLM or SGLang and write the experts they used as a trace.

    The server must run with --enable-return-routed-experts.

    Example: moeplace trace collect http://localhost:8000/v1/completions prompts.txt -o mine.npz
    """
    from moeplace.cli.files import check_writable
    from moeplace.cli.progress import Progress
    from moeplace.cli.trace_sources import import_options
    from moeplace.traces.collect import collect_answers, read_prompts, trace_of_answers
    from moeplace.traces.transforms import write_chunks

    check_writable(output, ("", ".npz", ".parquet"), folder=output.suffix == "")
    lines = read_prompts(prompts)
    options = import_options(model)
    with Progress(f"asking {url}", quiet=quiet) as progress:
        answers = collect_answers(
            url,
            lines,
            served_model=served or model,
            max_tokens=max_tokens,
            timeout_s=timeout,
            keep=keep,
            on_answer=lambda done: progress.stage(f"{done:,} of {len(lines):,} prompts"),
        )
        trace = trace_of_answers(answers, options, name=output.stem)
    _tell(output, write_chunks(iter([trace]), output, name=output.stem), quiet)


COMMANDS: tuple[Callable[..., None], ...] = (
    import_,
    convert,
    split,
    merge,
    sample,
    window,
    collect,
)


def _tell(output: Path, tokens: int, quiet: bool) -> None:
    Output(quiet=quiet).note(f"{output}: {tokens:,} tokens")


def _save(chunks: Iterator[RoutingTrace], output: Path, quiet: bool) -> None:
    """Write chunks of one trace, saying how far it is."""
    from moeplace.cli.progress import Progress
    from moeplace.traces.transforms import write_chunks

    with Progress(f"writing {output}", quiet=quiet) as progress:
        written = write_chunks(_counted(chunks, output, progress), output, name=output.stem)
    _tell(output, written, quiet)


def _counted(
    chunks: Iterator[RoutingTrace], output: Path, progress: Progress
) -> Iterator[RoutingTrace]:
    tokens = 0
    for chunk in chunks:
        yield chunk
        tokens += chunk.num_tokens
        progress.stage(f"writing {output}, {tokens:,} tokens")


def _write_loads(
    source: str, output: Path, from_: str | None, to: str, model: str | None, quiet: bool
) -> None:
    from moeplace.cli.trace_sources import read_source
    from moeplace.models import load_model
    from moeplace.traces import RoutingTrace, Workload
    from moeplace.traces.exporting import export_loads

    found = read_source(source, from_, model)
    loads = Workload.from_trace(found) if isinstance(found, RoutingTrace) else found
    spec = None if model is None else load_model(model)
    use = export_loads(loads, output, to, model=spec)
    out = Output(quiet=quiet)
    out.note(f"{output}: loads of {loads.num_layers} layers and {loads.num_experts} experts")
    if use is not None:
        out.note(f"load it with: {use}")


def _hold_loads(sources: list[str], from_: str | None) -> bool:
    """Tell whether the first source gives loads, or is a name of the package."""
    from moeplace.traces.importers.registry import find_importer

    path = Path(sources[0])
    if not path.exists():
        return True  # the loader tells what is wrong, or finds the shipped one
    importer = find_importer(path, from_)
    return importer.gives == "workload" or importer.name == "npz"


def _stream(
    sources: list[str],
    output: Path,
    from_: str | None,
    options: ImportOptions,
    workers: Any,
    part_mib: int,
    quiet: bool,
) -> None:
    from moeplace.cli.files import check_writable
    from moeplace.cli.progress import Progress
    from moeplace.traces.importing import import_trace

    check_writable(output, ("",), folder=True)
    out = Output(quiet=quiet)
    with Progress("listing files", quiet=quiet) as progress:

        def show(done: ImportProgress) -> None:
            text = f"{done.parts:,} of {done.total_parts:,} parts imported"
            if done.bytes_per_s > 0:
                text += f", {done.bytes_per_s / 2**20:,.0f} MiB/s"
            if done.left_s is not None:
                text += f", {done.left_s:,.0f} s left"
            progress.stage(text)

        report = import_trace(
            list(sources),
            output,
            format=from_,
            options=options,
            workers=workers,
            part_bytes=part_mib << 20,
            on_progress=show,
        )
    for warning in report.warnings:
        out.note(warning)
    if report.skipped:
        out.note(f"{len(report.skipped):,} broken records left out, the first: {report.skipped[0]}")
    resumed = f", {report.resumed_parts} parts from an earlier run" if report.resumed_parts else ""
    requests = "" if report.requests is None else f", {report.requests:,} requests"
    out.note(f"{output}: {report.tokens:,} tokens{requests}, {report.parts} parts{resumed}")


def _write(
    sources: list[str],
    output: Path,
    from_: str | None,
    model: str | None,
    options: ImportOptions,
    quiet: bool,
) -> None:
    from moeplace.cli.files import check_writable
    from moeplace.cli.progress import Progress
    from moeplace.cli.trace_sources import read_source
    from moeplace.errors import InputError
    from moeplace.traces import RoutingTrace, save_trace
    from moeplace.traces.sources import join_loads, join_traces, save_loads

    out = Output(quiet=quiet)
    check_writable(output, ("", ".npz", ".parquet"), folder=output.suffix == "")
    skipped: list[str] = []
    with Progress("reading", quiet=quiet) as progress:
        found = []
        for source in sources:
            progress.stage(f"reading {source}")
            try:
                found.append(read_source(source, from_, model, options))
            except InputError as error:
                if not options.skip_bad:
                    raise
                skipped.append(str(error))
        if not found:
            raise InputError(f"{sources[0]}: nothing could be read; {skipped[0]}")
        traces = [item for item in found if isinstance(item, RoutingTrace)]
        loads = [item for item in found if not isinstance(item, RoutingTrace)]
        if traces and loads:
            raise UsageError("some files hold tokens and some hold loads; import them apart")
        progress.stage(f"writing {output}")
        if traces:
            trace = join_traces(traces)
            save_trace(trace, output)
            what = f"{trace.num_tokens:,} tokens, {trace.num_layers} layers"
            for warning in trace.meta.get("warnings", ()):
                out.note(str(warning))
        else:
            workload = join_loads(loads)
            check_writable(output, (".npz",))
            save_loads(workload, output)
            what = f"loads of {workload.num_layers} layers, {workload.num_experts} experts"
    if skipped:
        out.note(f"{len(skipped):,} broken files left out, the first: {skipped[0]}")
    out.note(f"{output}: {what}")
