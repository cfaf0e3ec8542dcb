"""Which options and arguments complete which words, for all commands in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

from moeplace.cli.completion import (
    WORDS,
    completes,
    instances,
    models,
    policies,
    solvers,
    systems,
    workloads,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import typer

OPTIONS: dict[str, Callable[..., Any]] = {
    "--model": completes(models),
    "--hw": completes(systems),
    "--decode-hw": completes(systems),
    "--trace": completes(workloads),
    "--solver": completes(solvers),
    "--solvers": completes(solvers),
    "--instances": completes(instances),
    "--policy": completes(policies),
    "--phase": completes(WORDS["phase"]),
    "--objective": completes(WORDS["objective"]),
    "--dedup": completes(WORDS["dedup"]),
    "--dispatch": completes(WORDS["dispatch"]),
    "--execution": completes(WORDS["execution"]),
    "--robust": completes(WORDS["robust"]),
    "--weight-dtype": completes(WORDS["weight dtype"]),
    "--bound-effort": completes(WORDS["bound effort"]),
    "--engine": completes(WORDS["workers"]),
    "--strategies": completes(WORDS["strategy"]),
    "--balance": completes(WORDS["balance"]),
    "--figure": completes(WORDS["figure"]),
    "--view": completes(WORDS["view"]),
    "--host-link": completes(WORDS["host link"]),
    "--to": completes(WORDS["engine"]),
}
# Where the same word means something else, by command.
ELSEWHERE: dict[tuple[str, str], Callable[..., Any]] = {
    ("check", "--engine"): completes(WORDS["engine"]),
    ("buffer", "--policy"): completes(WORDS["eviction"]),
    ("model show", "NAME"): completes(models),
    ("hw show", "NAME"): completes(systems),
    ("hw validate", "[SYSTEM]"): completes(systems),
    ("instance show", "NAME"): completes(instances),
    ("instance solve", "NAME"): completes(instances),
    ("instance check", "NAME..."): completes(instances),
    ("trace info", "[TRACE]"): completes(workloads),
    ("trace stats", "TRACE"): completes(workloads),
    ("trace insights", "TRACE"): completes(workloads),
}


def complete_options(app: typer.Typer, path: str = "") -> None:
    """Tell every command of an app, and of its groups, what its options complete.

    Parameters
    ----------
    app
        Changed in place; has to be done before the app is run.
    path
        Words of the group before the command, empty at the root.
    """
    for info in app.registered_commands:
        if info.callback is None:
            continue
        name = info.name or info.callback.__name__.rstrip("_").replace("_", "-")
        hints = get_type_hints(info.callback, include_extras=True)
        for parameter, hint in hints.items():
            for setting in getattr(hint, "__metadata__", ()):
                if isinstance(setting, (OptionInfo, ArgumentInfo)):
                    _complete(setting, parameter, f"{path} {name}".strip())
        info.callback.__annotations__ = hints  # evaluated: what was set above stays
    for group in app.registered_groups:
        if group.typer_instance is not None:
            complete_options(group.typer_instance, str(group.typer_instance.info.name))


def _complete(setting: OptionInfo | ArgumentInfo, parameter: str, command: str) -> None:
    if isinstance(setting, ArgumentInfo):
        words = [str(setting.metavar)]
    else:
        flags = [word for word in setting.param_decls or () if word.startswith("--")]
        words = flags or ["--" + parameter.replace("_", "-")]
    for word in words:
        found = ELSEWHERE.get((command, word), OPTIONS.get(word))
        if found is not None and setting.autocompletion is None:
            setting.autocompletion = found
