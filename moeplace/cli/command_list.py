"""The list of commands that `moeplace --help` shows, by what one wants to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Find and judge placements": (
        "solve", "compare", "evaluate", "bound", "verify", "report", "sweep",
    ),
    "Give them to an engine": ("export", "check", "convert", "plan"),
    "See what time does": (
        "replay", "disaggregate", "prefill-aware", "buffer", "gating", "wafer",
    ),
    "What is placed, where, and how it is used": (
        "model", "hw", "trace", "instance", "solvers",
    ),
    "Problems by themselves": ("partition", "qap"),
    "This program": ("init", "config", "rerun", "doctor"),
}  # fmt: skip
OTHERS = "Other commands"


def sectioned(names: list[str]) -> dict[str, list[str]]:
    """Return the commands by section, in the order of the sections; others last."""
    known = {name for listed in SECTIONS.values() for name in listed}
    found = {
        title: [name for name in listed if name in names] for title, listed in SECTIONS.items()
    }
    found[OTHERS] = [name for name in names if name not in known]
    return {title: listed for title, listed in found.items() if listed}


def write_commands(group: Any, context: Any, formatter: Any) -> None:
    """Write the commands of a group with their first sentences, nothing cut off."""
    shown = {
        name: command
        for name in group.list_commands(context)
        if (command := group.get_command(context, name)) is not None and not command.hidden
    }
    for title, names in sectioned(list(shown)).items():
        with formatter.section(title):
            formatter.write_dl([(name, _summary(shown[name])) for name in names])


def _summary(command: Any) -> str:
    first = (command.help or "").split("\n\n")[0]
    return " ".join(first.split())
