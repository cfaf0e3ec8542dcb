"""The options that commands share, written once."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from moeplace.cli.output import Format

if TYPE_CHECKING:
    from collections.abc import Callable

WHAT = "What: the model, and how it is used"
WHERE = "Where: the system, and room on its ranks"
RULES = "What counts: objective and rules"
SEARCH = "How: the search"
OUTPUT = "Output"
INSTANCE = "What is placed, where and how it is used"

FormatOption = Annotated[
    Format, typer.Option("--format", help="How to print the result.", rich_help_panel=OUTPUT)
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress and no notes.", rich_help_panel=OUTPUT),
]
ExplainOption = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Add two sentences: what limits the result, and what is left to gain.",
        rich_help_panel=OUTPUT,
    ),
]
MapOption = Annotated[
    bool,
    typer.Option(
        "--map", help="Draw how full the ranks are, where they sit.", rich_help_panel=OUTPUT
    ),
]
MapLayerOption = Annotated[
    int | None,
    typer.Option(
        "--map-layer",
        metavar="L",
        help="Draw it for one layer, by its number in the model.",
        rich_help_panel=OUTPUT,
    ),
]
SolverOption = Annotated[
    str,
    typer.Option(
        "--solver", metavar="NAME", help="Solver, see `moeplace solvers`.", rich_help_panel=SEARCH
    ),
]
TimeLimitOption = Annotated[
    float | None,
    typer.Option(
        "--time-limit",
        metavar="S",
        help="Seconds for the solver; without it the solver runs to its own end.",
        rich_help_panel=SEARCH,
    ),
]

BoundEffortOption = Annotated[
    str,
    typer.Option(
        "--bound-effort",
        metavar="E",
        help="fast: a second or so; strong: seconds to minutes a layer, with a certificate.",
        rich_help_panel=SEARCH,
    ),
]
BoundLimitOption = Annotated[
    float | None,
    typer.Option(
        "--bound-time-limit",
        metavar="S",
        help="Seconds for the strong bound; a bound wherever it stops.",
        rich_help_panel=SEARCH,
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="Who works on the layers: threads, loky (processes), dask, ray.",
        rich_help_panel=SEARCH,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        help="Workers at a time; default: all cores, or all workers of the cluster.",
        rich_help_panel=SEARCH,
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDR",
        help="Address of a running Dask scheduler or Ray cluster.",
        rich_help_panel=SEARCH,
    ),
]


def _option(
    panel: str, *names: str, help: str, metavar: str | None = None, min: int | None = None
) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, min=min, rich_help_panel=panel)


@dataclass(frozen=True)
class ProblemOptions:
    """What the user said about the problem; None where nothing was said."""

    model: Annotated[
        str | None,
        _option(
            WHAT,
            "--model",
            "-m",
            metavar="M",
            help="Model: a name of `moeplace model list`, a config.json or a YAML file. Required.",
        ),
    ] = None
    hw: Annotated[
        str | None,
        _option(
            WHERE,
            "--hw",
            metavar="H",
            help="System: a name of `moeplace hw list`, mesh:RxC or a YAML file. Required.",
        ),
    ] = None
    ranks: Annotated[
        int | None,
        _option(WHERE, "--ranks", metavar="N", help="EP size; default: the system's own."),
    ] = None
    trace: Annotated[
        list[str] | None,
        _option(
            WHAT,
            "--trace",
            "-t",
            metavar="F",
            help="Trace or loads: a file, a folder or a shipped name; repeatable. "
            "Default: what is shipped for the model.",
        ),
    ] = None
    calibration: Annotated[
        str | None,
        _option(
            WHERE,
            "--calibration",
            metavar="C",
            help="Score with fitted kernels: shipped, or a file of `moeplace hw calibrate`.",
        ),
    ] = None
    phase: Annotated[
        str | None, _option(WHAT, "--phase", metavar="P", help="prefill (default) or decode.")
    ] = None
    tokens_per_rank: Annotated[
        int | None,
        _option(
            WHAT,
            "--tokens-per-rank",
            metavar="N",
            help="Tokens per rank and step; default 4096 in prefill, 128 in decode.",
        ),
    ] = None
    dedup: Annotated[
        str | None,
        _option(
            WHERE,
            "--dedup",
            metavar="D",
            help="Copies that cross the fabric: none, rank, node, multicast; "
            "default: what the system's kernels do.",
        ),
    ] = None
    dispatch: Annotated[
        str | None,
        _option(
            RULES,
            "--dispatch",
            metavar="D",
            help="Which replica serves a token: even (default), nearest, rank_modulo, lp, cover.",
        ),
    ] = None
    execution: Annotated[
        str | None,
        _option(
            RULES,
            "--execution",
            metavar="E",
            help="return (default): tokens go home after every layer; stay: they go on from the "
            "rank of their main expert, which needs a trace of tokens.",
        ),
    ] = None
    objective: Annotated[
        str | None,
        _option(RULES, "--objective", metavar="O", help="time (default), balance, copies or hops."),
    ] = None
    redundant: Annotated[
        str | None,
        _option(
            WHERE,
            "--redundant",
            metavar="N",
            help="Replicas beyond the first, at most, per layer; `solve` takes auto: as many as "
            "pay.",
        ),
    ] = None
    max_load: Annotated[
        float | None,
        _option(
            RULES,
            "--max-load",
            metavar="X",
            help="Most that the fullest rank of a layer may serve, in mean rank loads: 1.1 allows "
            "10 % more than the mean.",
        ),
    ] = None
    groups_on_nodes: Annotated[
        bool,
        _option(
            RULES,
            "--groups-on-nodes",
            help="Keep all experts of a router's group on one node; exact solvers only.",
        ),
    ] = False
    slots_per_rank: Annotated[
        int | None,
        _option(
            WHERE, "--slots-per-rank", metavar="N", help="Slots per rank; default: as few as fit."
        ),
    ] = None
    weight_dtype: Annotated[
        str | None,
        _option(
            WHERE,
            "--weight-dtype",
            metavar="T",
            help="Expert weights: bf16, fp8, int8, fp4, int4; default: the model's if the device "
            "computes in it.",
        ),
    ] = None
    holdout: Annotated[
        str | None,
        _option(
            WHAT,
            "--holdout",
            metavar="X",
            help="Part of the trace to report on and not to fit on: a fraction, a file or none; "
            "default 0.5 of the requests for token traces.",
        ),
    ] = None
    robust: Annotated[
        str | None,
        _option(
            RULES,
            "--robust",
            metavar="R",
            help="One map for several scenarios, every --trace one (default: prefill and decode): "
            "max, mean or cvar of their objectives.",
        ),
    ] = None
    current: Annotated[
        Path | None,
        _option(
            RULES, "--current", metavar="F", help="Placement in use; moves are counted from it."
        ),
    ] = None
    max_moves: Annotated[
        int | None,
        _option(RULES, "--max-moves", metavar="N", help="Most replicas moved in a layer."),
    ] = None
    move_price: Annotated[
        float | None,
        _option(
            RULES,
            "--move-price",
            metavar="US",
            help="Microseconds of a step that moving one GB (1e9 bytes) is worth.",
        ),
    ] = None
    seed: Annotated[
        int, _option(SEARCH, "--seed", metavar="N", min=0, help="Seed of every random choice.")
    ] = 0


def group(name: str, help: str) -> typer.Typer:
    """Return an empty group of commands that shows its help when it is called alone."""
    commands = typer.Typer(name=name, help=help, invoke_without_command=True)

    @commands.callback(help=help)
    def alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None and (text := context.get_help()):
            print(text)

    return commands


def takes_problem(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `ProblemOptions`, handed to it as its first argument."""
    hints = get_type_hints(ProblemOptions, include_extras=True)
    own_hints = get_type_hints(command, include_extras=True)
    first, *own = inspect.signature(command).parameters.values()
    arguments = [p for p in own if p.default is p.empty]
    others = [p for p in own if p.default is not p.empty]
    shared = [
        inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if option.default is MISSING else option.default,
            annotation=hints[option.name],
        )
        for option in fields(ProblemOptions)
    ]
    parameters = [
        parameter.replace(
            kind=inspect.Parameter.KEYWORD_ONLY,
            annotation={**hints, **own_hints}[parameter.name],
        )
        for parameter in (*arguments, *shared, *others)
    ]

    @wraps(command)
    def run(**given: Any) -> None:
        values = {option.name: given.pop(option.name) for option in fields(ProblemOptions)}
        command(**{first.name: ProblemOptions(**values)}, **given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return run


PlacementArgument = Annotated[
    Path, typer.Argument(metavar="PLACEMENT", help="Placement in any format that can be read.")
]
