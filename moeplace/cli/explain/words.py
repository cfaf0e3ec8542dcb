"""Numbers inside sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percent(share: float) -> str:
    """Return a share in percent, with one digit behind the point below 10."""
    number = abs(share) * 100
    if number >= 9.95 or number < 0.005:
        return f"{share:.0%}"
    return f"{share * 100:.2g}%"


def times(ratio: float) -> str:
    """Return a ratio with three digits or so."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def counted(number: int, word: str) -> str:
    """Return a number with its word, in the plural unless it is one."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """Return words as `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def sentence(text: str) -> str:
    """Return text that begins with a capital letter and ends with a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
