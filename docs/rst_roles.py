"""Fit the docstrings to the API pages: roles become inline code, results get their type."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?(?:[\w.]+\.)?(\w+)`|``([^`]+)``")
RETURNS = re.compile(r"(?<=\nReturns\n-------\n)(?:\S[^\n]*(?:\n|$))+(?! )")


class RstRoles(griffe.Extension):
    """Rewrite docstrings before they are parsed.

    Roles of reStructuredText and double backticks become Markdown's inline code. The docstrings
    leave types to the annotations; a parser of numpydoc takes the first line of ``Returns`` for
    the type, so it gets the annotation there.
    """

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one object."""
        del kwargs
        if obj.docstring is None:
            return
        text = ROLE.sub(lambda found: f"`{found[1] or found[2]}`", obj.docstring.value)
        if isinstance(obj, griffe.Function) and obj.returns is not None:
            text = RETURNS.sub(lambda found: _typed(found[0], str(obj.returns)), text)
        obj.docstring.value = text


def _typed(prose: str, annotation: str) -> str:
    indented = "".join(f"    {line}\n" for line in prose.splitlines())
    return f"{annotation}\n{indented}"
