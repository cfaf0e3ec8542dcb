"""Tables of a report: sortable, with numbers that sort as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeplace.cli.report.markup import Html, tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Cell:
    """Text of a cell, and the number it is sorted by if it is one."""

    text: object
    value: float | None = None


@dataclass(frozen=True)
class Column:
    """Head of a column.

    Attributes
    ----------
    kind
        ``text``, ``number`` (to the right) or ``picture`` (not sorted).
    """

    name: str
    kind: str = "text"


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[object]],
    *,
    identifier: str | None = None,
    strong: Sequence[int] = (),
    hidden_caption: bool = False,
) -> Html:
    """Return a table with a caption; its first column heads the rows.

    Parameters
    ----------
    strong
        Rows to emphasize.
    hidden_caption
        Only screen readers get the caption.
    """
    body = []
    for number, row in enumerate(rows):
        cells = [
            _cell(cell if isinstance(cell, Cell) else Cell(cell), column, first=index == 0)
            for index, (cell, column) in enumerate(zip(row, columns, strict=True))
        ]
        body.append(tag("tr", *cells, class_="strong" if number in strong else None))
    heads = [tag("th", _head(c), scope="col", class_=_class(c)) for c in columns]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption, class_="unseen" if hidden_caption else None),
            tag("thead", tag("tr", *heads)),
            tag("tbody", *body),
            data_sortable=True,
            id=identifier,
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def _head(column: Column) -> Html:
    if column.kind == "picture":
        return tag("span", column.name)
    return tag("button", column.name, type="button", class_="sort")


def _class(column: Column) -> str | None:
    return {"number": "number", "picture": "picture"}.get(column.kind)


def _cell(cell: Cell, column: Column, *, first: bool) -> Html:
    value = None if cell.value is None else f"{cell.value:.12g}"
    if first:
        return tag("th", cell.text, scope="row", data_value=value, class_=_class(column))
    return tag("td", cell.text, data_value=value, class_=_class(column))
