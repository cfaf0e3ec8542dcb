"""Gives a command the option that keeps what it did in a folder."""

from __future__ import annotations

import inspect
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from moeplace.cli.options import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable

RunDirOption = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        metavar="DIR",
        help="Keep outputs and a manifest in this new folder; `moeplace rerun` repeats it.",
        rich_help_panel=OUTPUT,
    ),
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Let --run-dir replace an older run of the same command.",
        rich_help_panel=OUTPUT,
    ),
]


def keeps_run(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options `--run-dir` and `--force`."""
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
        for parameter in inspect.signature(command).parameters.values()
    ]
    added = [
        _parameter("context", typer.Context, inspect.Parameter.empty),
        _parameter("run_dir", RunDirOption, None),
        _parameter("force", ForceOption, False),
    ]
    last = next(n for n, parameter in enumerate(own) if parameter.name in ("format", "quiet"))
    parameters = [added[0], *own[:last], *added[1:], *own[last:]]
    required = [p for p in parameters if p.default is p.empty]
    parameters = [*required, *(p for p in parameters if p.default is not p.empty)]

    @wraps(command)
    def run(**given: Any) -> None:
        context, folder, force = (given.pop(p.name) for p in added)
        if folder is None:
            command(**given)
            return
        from moeplace.cli.runs.record import record

        record(command, given, context, folder, force=force)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return run


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
