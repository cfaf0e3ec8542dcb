"""`moeplace replay`: policies side by side through windows of time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import INSTANCE, OUTPUT, ExplainOption, FormatOption, QuietOption
from moeplace.cli.output import Format, Output
from moeplace.cli.runs.command import keeps_run
from moeplace.errors import UsageError

if TYPE_CHECKING:
    from moeplace.replay.outcome import Replay

TIME = "Time"
DEFAULT = "static,eplb-every,moeplace-every,moeplace-triggered,flexmoe,oracle"


def _of(panel: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, **settings)


@keeps_run
def replay(
    model: Annotated[
        str | None, _of(INSTANCE, "--model", "-m", metavar="M", help="Model. Required.")
    ] = None,
    hw: Annotated[str | None, _of(INSTANCE, metavar="H", help="System. Required.")] = None,
    ranks: Annotated[int | None, _of(INSTANCE, metavar="N", help="EP size.")] = None,
    trace: Annotated[
        list[str] | None,
        _of(
            INSTANCE,
            "--trace",
            "-t",
            metavar="F",
            help="One trace of tokens, or files of loads in the order of time; default: all that "
            "is shipped for the model.",
        ),
    ] = None,
    drift: Annotated[
        str | None,
        _of(
            INSTANCE,
            metavar="X",
            help="Generate drifting loads: default, or NAME=VALUE,.. of hot_share, hot_experts, "
            "memory, jump, tokens.",
        ),
    ] = None,
    phase: Annotated[
        str | None, _of(INSTANCE, metavar="P", help="prefill (default) or decode.")
    ] = None,
    tokens_per_rank: Annotated[
        int | None, _of(INSTANCE, metavar="N", help="Tokens per rank and step.")
    ] = None,
    redundant: Annotated[
        int,
        _of(INSTANCE, metavar="N", help="Replicas beyond the first, at most, per layer.", min=0),
    ] = 0,
    slots_per_rank: Annotated[
        int | None, _of(INSTANCE, metavar="N", help="Slots per rank; default: as few as fit.")
    ] = None,
    dedup: Annotated[
        str | None, _of(INSTANCE, metavar="D", help="none, rank, node, multicast.")
    ] = None,
    weight_dtype: Annotated[str | None, _of(INSTANCE, metavar="T", help="Expert weights.")] = None,
    policy: Annotated[
        str,
        _of(TIME, metavar="A,..", help="Policies, NAME or NAME:SETTING=VALUE:..; see --list."),
    ] = DEFAULT,
    every: Annotated[
        int | None,
        _of(TIME, metavar="N", help="Windows between two maps of policies that count.", min=1),
    ] = None,
    horizon: Annotated[
        float, _of(TIME, metavar="H", help="Windows for which a map is expected to serve.")
    ] = 10.0,
    windows: Annotated[
        int | None, _of(TIME, metavar="N", help="How many windows; default 50.", min=1)
    ] = None,
    window_size: Annotated[
        int | None, _of(TIME, metavar="N", help="Tokens, requests or positions of one.", min=1)
    ] = None,
    by: Annotated[
        str, _of(TIME, metavar="W", help="What a window counts: tokens, requests, position.")
    ] = "tokens",
    steps: Annotated[int, _of(TIME, metavar="N", help="Steps that a window lasts.", min=1)] = 100,
    estimate: Annotated[
        str, _of(TIME, metavar="E", help="Loads expected: window:N or ema:A.")
    ] = "ema:0.5",
    fit: Annotated[
        list[str] | None,
        _of(TIME, metavar="F", help="Loads that first maps are made for; default: first window."),
    ] = None,
    migration: Annotated[
        str, _of(TIME, metavar="M", help="stop: serving waits for copies; overlap: it does not.")
    ] = "stop",
    training: Annotated[
        bool,
        _of(TIME, "--training", help="Backward pass, gradients of replicas, optimizer states."),
    ] = False,
    other_ms: Annotated[
        float,
        _of(TIME, "--other-ms", metavar="MS", help="Of a step, outside of the MoE layers."),
    ] = 0.0,
    token_sets: Annotated[
        bool, _of(TIME, "--token-sets", help="Count copies on the tokens of every window; slow.")
    ] = False,
    regret: Annotated[
        bool, _of(TIME, "--regret/--no-regret", help="Work out what an oracle could have had.")
    ] = True,
    advise_horizon: Annotated[
        bool,
        _of(TIME, "--advise-horizon", help="How long a map stays good, instead of a replay."),
    ] = False,
    seed: Annotated[int, _of(TIME, metavar="N", help="Seed of generated loads.", min=0)] = 0,
    plot: Annotated[
        Path | None, _of(OUTPUT, metavar="OUT.png", help="Balance, time and bytes over windows.")
    ] = None,
    series: Annotated[
        bool, _of(OUTPUT, "--series", help="JSON with the numbers of every window.")
    ] = False,
    list_policies: Annotated[bool, _of(OUTPUT, "--list", help="List the policies.")] = False,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Run rebalancing policies side by side while the loads change.

    Example: moeplace replay --model deepseek-v3 --hw h100-sxm --redundant 32
    """
    from moeplace.cli.files import check_writable
    from moeplace.cli.progress import Progress
    from moeplace.cli.replay_inputs import ReplayOptions, build_replay, fitted_loads
    from moeplace.models import load_model
    from moeplace.replay.loop import replay as run_replay
    from moeplace.replay.settings import Settings

    out = Output(format, quiet)
    if list_policies:
        _list(out)
        return
    if model is None or hw is None:
        raise UsageError("give a model with --model and a system with --hw")
    check_writable(plot)
    settings = Settings(steps, horizon, estimate, migration, training, other_ms)
    options = ReplayOptions(
        model=model,
        hw=hw,
        ranks=ranks,
        traces=tuple(trace or ()),
        drift=drift,
        windows=windows,
        window_size=window_size,
        by=by,
        token_sets=token_sets,
        phase=phase,
        tokens_per_rank=tokens_per_rank,
        redundant=redundant,
        slots_per_rank=slots_per_rank,
        dedup=dedup,
        weight_dtype=weight_dtype,
        seed=seed,
    )
    names = [_with_every(name, every) for name in policy.split(",") if name.strip()]
    with Progress("reading", quiet=quiet) as progress:
        problem, through = build_replay(options)
        total = f"{len(through):,}"
        if advise_horizon:
            from moeplace.cli.replay_view import draw_advice
            from moeplace.replay.horizon import advise

            progress.stage("fitting maps and letting them age")
            advice = advise(problem, through, settings)
            document = advice.to_dict()
        else:
            known = fitted_loads(fit, load_model(model)) if fit else None
            found = run_replay(
                problem,
                through,
                names,
                settings,
                fit=known,
                regret=regret,
                on_window=lambda done: progress.stage(f"window {done:,} of {total}"),
            )
    if advise_horizon:
        if explain:
            from moeplace.cli.explain.serving import explain_advice

            document["explain"] = explain_advice(document)
        out.show(document, document["rows"], lambda: draw_advice(document, out))
        return
    _show(found, plot, series, explain, out)


def _show(found: Replay, plot: Path | None, series: bool, explain: bool, out: Output) -> None:
    from moeplace.cli.replay_view import draw_rows

    if plot is not None:
        from moeplace.replay.plot import draw_replay

        draw_replay(found, plot)
        out.note(f"wrote {plot}")
    document = found.to_dict(series=series)
    if explain:
        from moeplace.cli.explain.serving import explain_replay

        document["explain"] = explain_replay(document)
    out.show(document, document["rows"], lambda: draw_rows(document, out))


def _with_every(text: str, every: int | None) -> str:
    from moeplace.replay.registry import parse_policy

    info, _ = parse_policy(text)
    if every is None or "every" not in info.parameters or "every=" in text:
        return text.strip()
    return f"{text.strip()}:every={every}"


def _list(out: Output) -> None:
    from moeplace.replay.registry import POLICIES

    rows = [
        {
            "policy": info.name,
            "settings": ", ".join(f"{k}={_plain(v)}" for k, v in info.parameters.items()),
            "summary": info.summary,
            "reference": info.reference,
        }
        for info in POLICIES.values()
    ]
    out.show(
        rows,
        rows,
        lambda: out.table(
            ["policy", "settings", "what it does"],
            [[row["policy"], row["settings"], row["summary"]] for row in rows],
            left=(0, 1, 2),
        ),
    )


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
