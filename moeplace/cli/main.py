"""The command `moeplace`: its commands, and what an error looks like to a user."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path  # noqa: TC003  (typer reads annotations at run time)
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from moeplace import __version__
from moeplace.cli.command_list import write_commands
from moeplace.cli.commands import (
    bound,
    buffer,
    compare,
    config,
    disaggregate,
    doctor,
    engines,
    evaluate,
    export,
    gating,
    hw,
    instance,
    model,
    partition,
    plan,
    prefill_aware,
    qap,
    replay,
    report,
    rerun,
    solve,
    solvers,
    sweep,
    trace,
    verify,
    wafer,
)
from moeplace.cli.output import INTERRUPTED
from moeplace.errors import MoeplaceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMPLETE = "_MOEPLACE_COMPLETE"  # set by the shell when it wants words to complete with
ARGUMENTS = "moeplace.arguments"  # where the context keeps the command line


class Program(TyperGroup):
    """The root command: every error leaves as one line on stderr and an exit code."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.rich_markup_mode = None  # the list of commands is the help that has to be fast

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Remember the command line as it was given."""
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands by what one wants to do."""
        write_commands(self, ctx, formatter)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command; Ctrl-C leaves with 130."""
        with _told_when_interrupted():
            return super().invoke(ctx)

    def make_context(self, *given: Any, **extra: Any) -> Any:
        """Read the words of the command line; Ctrl-C leaves with 130."""
        with _told_when_interrupted():
            return super().make_context(*given, **extra)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run; on its own it ends the process, like every command line program."""
        run = partial(
            super().main, args, prog_name, complete_var, False, windows_expand_args, **extra
        )
        if not standalone_mode:
            return run()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        try:
            code = run()
        except Exception as error:
            if os.environ.get("MOEPLACE_DEBUG"):
                raise
            code, message = explain(error)
            print(f"error: {message}", file=sys.stderr)
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _told_when_interrupted() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit code of an error and its one line."""
    if isinstance(error, MoeplaceError):
        return error.exit_code, _one_line(str(error))
    if isinstance(error, typer.Abort):
        return INTERRUPTED, "interrupted"
    if hasattr(error, "format_message"):  # the parser's own errors
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "moeplace"
        return 2, f"{_one_line(error.format_message())} (see `{command} --help`)"
    if isinstance(error, OSError) and error.filename is not None:
        return 3, f"{error.filename}: {error.strerror or error}"
    if isinstance(error, MemoryError):
        return 1, "out of memory; use fewer layers, a smaller trace or a larger machine"
    return 1, (
        f"internal error, {type(error).__name__}: {_one_line(str(error))}; "
        "run with MOEPLACE_DEBUG=1 for the traceback"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"moeplace {__version__}")
        raise typer.Exit


class App(typer.Typer):
    """The program; a shell that asks for words to complete gets those of every option."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run a command line, or answer a shell."""
        if COMPLETE in os.environ:
            from moeplace.cli.completed_options import complete_options

            complete_options(self)
        options.setdefault("prog_name", "moeplace")
        return super().__call__(*arguments, **options)


app = App(
    name="moeplace",
    cls=Program,
    help="Decide where the experts of a Mixture-of-Experts model live.",
    epilog="Start with: moeplace solve --model deepseek-v3 --hw wafer",
    add_completion=True,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    rich_markup_mode="rich",
)


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="MOEPLACE_CONFIG",
            help="Take options from this file instead of moeplace.toml.",
        ),
    ] = None,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="Take no options from files.")
    ] = False,
) -> None:
    """Decide where the experts of a Mixture-of-Experts model live."""
    del version
    if context.invoked_subcommand is None:
        print(context.get_help())
    elif "--help" not in context.meta[ARGUMENTS]:
        if context.obj is None:  # a command that is run again brings its options along
            from moeplace.cli.config import read_settings

            context.obj = read_settings(context.command, config, files=not no_config)
        context.default_map = context.obj.default_map()


for command in (
    solve.solve,
    compare.compare,
    evaluate.evaluate,
    bound.bound,
    verify.verify,
    report.report,
    export.export,
    engines.check,
    engines.convert,
):
    app.command()(command)
for command in (sweep.sweep, wafer.wafer, solvers.solvers, doctor.doctor):
    app.command()(command)
for command in (gating.gating, buffer.buffer, prefill_aware.prefill_aware):
    app.command()(command)
for command in (replay.replay, plan.plan, disaggregate.disaggregate):
    app.command()(command)
for command in (partition.partition, qap.qap):
    app.command()(command)
for command in (config.init, rerun.rerun):
    app.command()(command)
for group in (config.app, trace.app, hw.app, model.app, instance.app):
    app.add_typer(group)
