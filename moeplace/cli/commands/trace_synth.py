"""`moeplace trace synth`: synthetic traces, and how far they are like their source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import FormatOption, QuietOption
from moeplace.cli.output import Format, Output
from moeplace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.traces.generator.report import Agreement
    from moeplace.traces.generator.spec import SynthSpec

SOURCE = "What it is like"
SHAPE = "Parameters"


def _number(help: str) -> Any:
    return typer.Option(metavar="X", help=help, rich_help_panel=SHAPE)


def synth(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="X.npz, X.parquet, or a folder.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A preset, see --list.", rich_help_panel=SOURCE),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="TRACE", help="Fit to a trace, or to loads alone.", rich_help_panel=SOURCE
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="M", help="Router and layers.", rich_help_panel=SOURCE
        ),
    ] = None,
    requests: Annotated[int, typer.Option(min=1, metavar="N", help="Requests.")] = 64,
    prefill: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Prompt tokens of a request.")
    ] = None,
    decode: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Generated tokens of a request.")
    ] = None,
    layers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N MoE layers.")
    ] = None,
    skew: Annotated[float | None, _number("Spread of popularity; without loads.")] = None,
    topics: Annotated[int | None, _number("Latent topics.")] = None,
    topic_strength: Annotated[float | None, _number("Co-activation and ties of layers.")] = None,
    topic_stay: Annotated[
        float | None, _number("Correlation of what successive tokens are about.")
    ] = None,
    carry: Annotated[float | None, _number("Correlation of successive tokens.")] = None,
    domains: Annotated[int | None, _number("Domains.")] = None,
    domain_shift: Annotated[float | None, _number("Spread between domains.")] = None,
    phase_shift: Annotated[float | None, _number("Spread between prefill and decode.")] = None,
    drift: Annotated[float | None, _number("Change of popularity by the end.")] = None,
    n_group: Annotated[int | None, _number("Expert groups.")] = None,
    topk_group: Annotated[int | None, _number("Groups that a token may use.")] = None,
    adversarial: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="contiguous-hot, rotating-hot, one-expert or far-pairs.",
            rich_help_panel=SHAPE,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed.")] = 0,
    listing: Annotated[bool, typer.Option("--list", help="List the presets instead.")] = False,
    quiet: QuietOption = False,
    format: FormatOption = Format.table,
) -> None:
    """Generate a trace, and report which figures of its source it reproduces.

    Example: moeplace trace synth --preset deepseek-v3 --requests 8 --layers 4 -o synth.npz
    """
    from moeplace.cli.progress import Progress
    from moeplace.traces.generator.generate import generate
    from moeplace.traces.generator.presets import preset_targets
    from moeplace.traces.generator.report import against_targets, two_sample
    from moeplace.traces.stored import open_trace
    from moeplace.traces.transforms import write_chunks

    out = Output(format, quiet)
    if listing:
        _list(out)
        return
    if output is None:
        raise UsageError("give --output, where to write the trace")
    if sum(choice is not None for choice in (preset, like)) > 1 or not (preset or like or model):
        raise UsageError("give one of --preset, --like (a trace or loads) and --model")
    given = {
        "skew": skew, "topics": topics, "topic_strength": topic_strength,
        "topic_stay": topic_stay, "carry": carry, "domains": domains,
        "domain_shift": domain_shift, "phase_shift": phase_shift, "drift": drift,
        "n_group": n_group, "topk_group": topk_group, "adversarial": adversarial,
        "prefill_tokens": prefill, "decode_tokens": decode,
    }  # fmt: skip
    changes = {key: value for key, value in given.items() if value is not None}
    with Progress("fitting", quiet=quiet) as progress:
        spec, source = _spec(preset, like, model, seed)
        spec = _changed(spec, changes, layers)
        progress.stage(f"drawing {requests:,} requests")
        tokens = write_chunks(generate(spec, requests, seed=seed), output, name=spec.name)
        progress.stage("comparing")
        rows: Sequence[Agreement] = ()
        made = _opened(output, open_trace)
        if source is not None:
            rows = two_sample(source, made)
        elif preset is not None:
            rows = against_targets(preset_targets(preset), made)
    out.note(f"{output}: {tokens:,} tokens, {spec.num_layers} layers; synthetic")
    documents = [row.as_dict() for row in rows]
    document = {"name": spec.name, "tokens": tokens, "parameters": spec.numbers()}
    out.show(document | {"figures": documents}, documents, lambda: _draw(rows, out))


COMMANDS = (synth,)


def _opened(output: Path, open_trace: Any) -> Any:
    from moeplace.traces import load_trace

    return load_trace(output) if output.suffix == ".npz" else open_trace(output)


def _spec(
    preset_name: str | None, like: str | None, model: str | None, seed: int
) -> tuple[SynthSpec, Any]:
    """Return the specification, and the trace that it shall be like, if there is one."""
    from moeplace.cli.trace_sources import read_source, stored_or_read
    from moeplace.models import load_model
    from moeplace.traces import Workload
    from moeplace.traces.generator.fit import fit_loads, fit_trace
    from moeplace.traces.generator.presets import preset
    from moeplace.traces.generator.spec import SynthSpec

    if preset_name is not None:
        return preset(preset_name), None
    spec = None if model is None else load_model(model)
    groups: dict[str, Any] = (
        {} if spec is None else {"n_group": spec.n_group, "topk_group": spec.topk_group}
    )
    if like is None:
        if spec is None:
            raise UsageError("--model is needed")
        return SynthSpec(
            name=f"synthetic {spec.name}",
            num_experts=spec.num_experts,
            top_k=spec.top_k,
            layer_ids=tuple(spec.moe_layers),
            **groups,
        ), None
    found = read_source(like, None, model) if model else stored_or_read(like, None)
    if isinstance(found, Workload):
        return fit_loads(found, {}, seed=seed, **groups), None
    return fit_trace(found, seed=seed, **groups), found


def _changed(spec: SynthSpec, changes: dict[str, Any], layers: int | None) -> SynthSpec:
    if "domains" in changes and changes["domains"] != spec.domains:
        changes |= {"domain_names": (), "group_load": None}
    if layers is not None:
        changes["layer_ids"] = spec.layer_ids[:layers]
        changes["load"] = None if spec.load is None else spec.load[:layers]
        kept = changes.get("group_load", spec.group_load)
        changes["group_load"] = None if kept is None else kept[:, :, :layers]
    return spec.replace(**changes)


def _list(out: Output) -> None:
    from moeplace.traces.generator.presets import preset_source, preset_targets, presets

    rows = [
        {"preset": name, "source": preset_source(name), **preset_targets(name)}
        for name in presets()
    ]
    table = [[str(row["preset"]), str(row["source"])] for row in rows]
    out.show(rows, rows, lambda: out.table(("preset", "calibrated to"), table, left=(0, 1)))


def _draw(rows: Sequence[Agreement], out: Output) -> None:
    if not rows:
        return
    out.table(
        ("figure", "source", "synthetic", "its noise", "reproduced"),
        [
            (
                row.text,
                f"{row.source:.3f}",
                f"{row.synthetic:.3f}",
                "" if row.noise != row.noise else f"{row.noise:.3f}",
                "yes" if row.reproduced else "no",
            )
            for row in rows
        ],
        left=(0, 4),
    )
