"""Bars inside table cells: small pictures that the numbers beside them repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.cli.report.markup import Html, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG = 1000  # width of a bar's frame; the cell stretches it


def stacked(parts: Sequence[tuple[str, float]], most: float, mark: float | None = None) -> Html:
    """Return a bar of parts behind one another, `most` being its full width.

    Parameters
    ----------
    parts
        Class and value of each part.
    mark
        Where to draw a line, the bound; None for none.
    """
    at, drawn = 0.0, []
    for name, value in parts:
        width = _width(value, most)
        drawn.append(tag("rect", class_=name, x=_round(at), y=0, width=_round(width), height=10))
        at += width
    if mark is not None:
        at = _width(mark, most)
        drawn.append(tag("rect", class_="halo", x=_round(at - 6), y=0, width=12, height=10))
        drawn.append(tag("rect", class_="mark", x=_round(at - 2.5), y=0, width=5, height=10))
    return _frame(*drawn)


def around_zero(value: float, most: float) -> Html:
    """Return a bar to the left of the middle for a negative value, to the right for another."""
    width = min(abs(value) / most, 1.0) * LONG / 2 if most else 0.0
    start = LONG / 2 - width if value < 0 else LONG / 2
    name = "better" if value < 0 else "worse"
    return _frame(
        tag("rect", class_=name, x=_round(start), y=0, width=_round(width), height=10),
        tag("rect", class_="zero", x=LONG / 2 - 1, y=0, width=2, height=10),
    )


def _frame(*drawn: Html) -> Html:
    return tag(
        "svg",
        *drawn,
        class_="bar",
        viewBox=f"0 0 {LONG} 10",
        preserveAspectRatio="none",
        aria_hidden="true",
        focusable="false",
    )


def _width(value: float, most: float) -> float:
    return min(max(value / most, 0.0), 1.0) * LONG if most else 0.0


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
