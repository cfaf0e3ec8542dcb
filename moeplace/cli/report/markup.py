"""HTML put together from parts; every text is escaped unless it is markup already."""

from __future__ import annotations

import json
from html import escape
from typing import Any

EMPTY = ("br", "hr", "img", "input", "link", "meta", "rect", "line")


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """Return an element.

    Parameters
    ----------
    name
        Of the element.
    content
        Children in order; None is left out, everything that is not `Html` is escaped.
    attributes
        Names with ``_`` for ``-``, a trailing ``_`` is dropped (``class_``); True stands alone,
        False and None are left out.
    """
    said = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in EMPTY and not content:
        return Html(f"<{name}{said}>" if name not in ("rect", "line") else f"<{name}{said}/>")
    return Html(f"<{name}{said}>{join(*content)}</{name}>")


def join(*content: object) -> Html:
    """Return parts behind one another, escaped where they are text."""
    parts = [part for part in content if part is not None]
    return Html("".join(part if isinstance(part, Html) else escape(str(part)) for part in parts))


def data_block(identifier: str, document: Any) -> Html:
    """Return a JSON document that a page can carry and that nothing in it can leave."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(f'<script type="application/json" id="{identifier}">{text}</script>')


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value), quote=True)}"'
