"""The one place that prints: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from moeplace.cli.progress import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

INTERRUPTED = 130  # exit code after Ctrl-C
# Who else hears of the documents that are shown: a run folder keeps them.
heard: ContextVar[Callable[[Any], None] | None] = ContextVar("heard", default=None)


class Format(StrEnum):
    """How data is printed."""

    table = "table"
    json = "json"
    csv = "csv"


@dataclass(frozen=True)
class Output:
    """What a command prints to.

    Attributes
    ----------
    format
        Table for people, JSON documents or CSV rows for programs.
    quiet
        No notes and no progress on stderr.
    """

    format: Format = Format.table
    quiet: bool = False

    def show(
        self,
        document: Any,
        rows: Iterable[Mapping[str, Any]],
        draw: Callable[[], None],
    ) -> None:
        """Print one result in the format asked for.

        Parameters
        ----------
        document
            What JSON shows; its sentences under ``explain`` follow the table.
        rows
            What CSV shows, one dictionary a line; the keys of all rows make the header.
        draw
            Prints the table with `table` and `line`.
        """
        if (hear := heard.get()) is not None:
            hear(document)
        if self.format is Format.json:
            print(json_text(document))
        elif self.format is Format.csv:
            print_csv(list(rows))
        else:
            draw()
        self._explain(document)

    def _explain(self, document: Any) -> None:
        """Print the sentences of a document that is explained: below a table, beside CSV."""
        sentences = document.get("explain", ()) if isinstance(document, dict) else ()
        if self.format is Format.table and sentences:
            self.line()
        for text in sentences:
            if self.format is Format.table:
                self.line(text)
            elif self.format is Format.csv:
                self.note(text)

    def line(self, text: str = "", *, bold: bool = False, wrap: bool = True) -> None:
        """Print a line of text on stdout, wrapped to the width of the terminal or 80."""
        _print(text, style="bold" if bold else "", wrap=wrap)

    def table(
        self,
        headers: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        left: Sequence[int] = (0,),
        bold: Sequence[int] = (),
    ) -> None:
        """Print a table; a newline in a header makes a second line.

        Parameters
        ----------
        headers
            One a column.
        rows
            Cells as text.
        left
            Columns that are aligned left; numbers are aligned right.
        bold
            Rows to emphasize.
        """
        from rich.console import Console
        from rich.table import Table

        rows = list(rows)
        gap, widths = column_widths([headers, *rows], Console().width)
        table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
        for index, header in enumerate(headers):
            table.add_column(
                header,
                justify="left" if index in left else "right",
                overflow="fold",
                vertical="top",
                width=None if widths is None else widths[index],
            )
        for index, row in enumerate(rows):
            table.add_row(*row, style="bold" if index in bold else None)
        _print(table)

    def cells(self, rows: Iterable[Sequence[tuple[str, str]]]) -> None:
        """Print rows of text with a style each, as they are; without color where there is none."""
        from rich.text import Text

        for row in rows:
            _print(Text.assemble(*row), wrap=False)

    def colored(self) -> bool:
        """Return whether colors are shown: on a terminal that has them, without NO_COLOR."""
        from rich.console import Console

        console = Console()
        return console.color_system is not None and not console.no_color

    def note(self, text: str) -> None:
        """Tell the user something on stderr that is no data."""
        if not self.quiet:
            tell(f"note: {text}")


def column_widths(rows: Sequence[Sequence[str]], room: int) -> tuple[int, list[int] | None]:
    """Return the gap between columns and widths that break no word, if there are such.

    The widest column gives way first, down to its longest word.

    Parameters
    ----------
    rows
        Cells, headers among them.
    room
        Characters in a line.
    """
    columns = [
        [part for text in cells for part in text.split("\n")] for cells in zip(*rows, strict=True)
    ]
    widths = [max(map(len, parts)) for parts in columns]
    least = [max((len(w) for part in parts for w in part.split()), default=0) for parts in columns]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= room else 1
    room -= gap * (len(widths) - 1)
    if sum(least) > room:
        return gap, None
    while sum(widths) > room:
        widest = max(
            (index for index, width in enumerate(widths) if width > least[index]),
            key=lambda index: widths[index],
        )
        widths[widest] -= 1
    return gap, widths


def _print(content: Any, style: str = "", *, wrap: bool = True) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(content, style=style or None, soft_wrap=not wrap)
    lines = captured.get().split("\n")
    sys.stdout.write("\n".join(text.rstrip(" ") for text in lines))


def json_text(document: Any) -> str:
    """Return a document as JSON; numbers that JSON does not have become null."""
    return json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False)


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as CSV with a header; an absent value is an empty field."""
    import csv

    header = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if row.get(k) is None else row[k] for k in header] for row in rows])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()  # NumPy scalars
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
