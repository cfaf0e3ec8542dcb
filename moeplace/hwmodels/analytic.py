"""Closed forms for a mesh with XY routing under uniform all-to-all traffic.

One message goes from every die to every other die. Channel loads and distances of meshes are
treated by Dally and Towles, *Principles and Practices of Interconnection Networks*, chapters 3
and 8; here every form equals an enumeration of the routes.
"""

from __future__ import annotations


def xy_links(rows: int, columns: int) -> int:
    """Return the directed links of a mesh."""
    return 2 * (rows * (columns - 1) + columns * (rows - 1))


def xy_diameter(rows: int, columns: int) -> int:
    """Return the hops between opposite corners."""
    return rows + columns - 2


def xy_max_link_load(rows: int, columns: int) -> int:
    """Return the messages over the most loaded link.

    With long side L and short side S it is ⌊L/2⌋ · ⌈L/2⌉ · S, on the links that cross the middle
    of the long side. That is also what the bisection demands, so no routing does better.
    """
    long, short = max(rows, columns), min(rows, columns)
    return (long // 2) * (-(-long // 2)) * short


def xy_mean_hops(rows: int, columns: int, include_self: bool = False) -> float:
    """Return the mean distance between two dies.

    Parameters
    ----------
    include_self
        Count the distance 0 from a die to itself as well. Without it the mean over ordered pairs
        is (rows + columns) / 3; a single die has no pairs and mean 0.
    """
    if include_self:
        return (rows - 1 / rows + columns - 1 / columns) / 3
    return (rows + columns) / 3 if rows * columns > 1 else 0.0


def xy_mean_link_load(rows: int, columns: int) -> float:
    """Return the mean messages per directed link, 0 where there is no link."""
    dies = rows * columns
    if dies == 1:
        return 0.0
    return dies * (dies - 1) * xy_mean_hops(rows, columns) / xy_links(rows, columns)


def xy_cut_links(rows: int, columns: int) -> int:
    """Return the links, per direction, that join the two halves across the long side."""
    return min(rows, columns) if rows * columns > 1 else 0
