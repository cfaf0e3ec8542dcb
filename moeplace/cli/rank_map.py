"""How full the ranks are, drawn where they sit: a mesh as a grid, a cluster node by node."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from moeplace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from moeplace.cli.output import Output
    from moeplace.formulations.result import Result
    from moeplace.hwmodels import Topology
    from moeplace.placement import Problem, Score

    Cell = tuple[str, str]  # text and style

WIDTH = 80
MOST_LINES = 50
WITH_NUMBERS = 13  # ranks beside each other that have room for their number
PER_LINE = 12  # ranks of a node in one line
GAP = "     "
# Share of the mean rank load from which on a shade holds; blue to orange, safe for color-blind.
SHADES = (
    (1.25, "█", "black on #f58231"),
    (1.05, "▓", "black on #ffd8b1"),
    (0.95, "▒", "black on #d9d9d9"),
    (0.75, "░", "black on #a9c7f0"),
    (0.0, "·", "white on #2f6fc1"),
)
LEGEND = ("from 125", "from 105", "from 95", "from 75", "below")
ARROWS = {(0, 1): "→", (0, -1): "←", (1, 0): "↓", (-1, 0): "↑"}


@dataclass(frozen=True)
class RankMap:
    """One picture.

    Attributes
    ----------
    title
        Whose placement it is.
    share
        (ranks,) load over the mean rank load.
    link, link_MB, link_layer
        The link that is busy longest in a dispatch, its megabytes there, and the layer.
    """

    title: str
    share: Sequence[float]
    link: str
    link_MB: float
    link_layer: int


def rank_maps(found: Result, title: str, layer: int | None) -> list[RankMap]:
    """Return the maps of contiguous placement and of a result.

    Parameters
    ----------
    found
        With a placement; of a robust problem the scenario that is slowest is drawn.
    title
        What the placement found is called.
    layer
        Number of a layer, None for the mean over all.

    Raises
    ------
    UsageError
        If there is no such layer.
    """
    problem, score = found.problem, found.score
    if score is None:
        return []
    named = {"contiguous": found.baselines["contiguous"], title: score}
    if found.scenarios:
        worst = max(range(len(found.scenarios)), key=lambda i: found.scenarios[i].step_time_s)
        problem, named = problem.scenarios[worst], {title: found.scenarios[worst]}
    ids = list(problem.workload.layer_ids or range(problem.num_layers))
    if layer is not None and layer not in ids:
        raise UsageError(f"--map-layer {layer}: the MoE layers are {ids[0]} to {ids[-1]}")
    rows = list(range(len(ids))) if layer is None else [ids.index(layer)]
    return [_map(problem, one, name, rows, ids) for name, one in named.items()]


def _map(
    problem: Problem, score: Score, title: str, rows: Sequence[int], ids: Sequence[int]
) -> RankMap:
    topology = problem.plan.topology
    load = score.rank_load[rows]
    share = (load / load.mean(axis=1, keepdims=True).clip(1e-300)).mean(axis=0)
    busy: NDArray[Any] = score.link_bytes[rows] / topology.bandwidth_Bps
    if not busy.size or busy.max() <= 0:
        return RankMap(title, share.tolist(), "", 0.0, ids[rows[0]])
    place, link = divmod(int(busy.argmax()), busy.shape[1])
    carried = float(score.link_bytes[rows[place], link]) / 1e6
    return RankMap(title, share.tolist(), topology.link_names[link], carried, ids[rows[place]])


def map_document(maps: Sequence[RankMap], layer: int | None) -> dict[str, Any]:
    """Return maps as JSON shows them."""
    return {
        "layer": layer,
        "placements": {
            one.title: {
                "rank_load_over_mean": list(one.share),
                "busiest_link": {
                    "name": one.link,
                    "layer": one.link_layer,
                    "MB": one.link_MB,
                },
            }
            for one in maps
        },
    }


def draw_rank_maps(
    maps: Sequence[RankMap], topology: Topology, layer: int | None, out: Output
) -> None:
    """Draw maps, beside each other if they fit in 80 columns."""
    over = "mean over the layers" if layer is None else f"layer {layer}"
    drawn = [_picture(one, topology) for one in maps]
    if out.colored():
        drawn = [_plain(picture) for picture in drawn]
    pictures = [[[(one.title, "bold")], *picture] for one, picture in zip(maps, drawn, strict=True)]
    widths = [max(_length(row) for row in picture) for picture in pictures]
    if not maps or max(widths) > WIDTH or max(len(p) for p in pictures) > MOST_LINES:
        out.line(f"{topology.num_ranks:,} ranks are too many for a map in the terminal")
        return
    out.line(f"load of the ranks, {over}", bold=True)
    if sum(widths) + len(GAP) * (len(maps) - 1) <= WIDTH:
        out.cells(_beside(pictures, widths))
    else:
        for picture in pictures:
            out.cells(picture)
    legend: list[Cell] = [("% of the mean rank load:", "")]
    for (_, block, style), words in zip(SHADES, LEGEND, strict=True):
        legend += [(" ", ""), (f" {words} " if out.colored() else f"{block} {words}", style)]
    out.cells([legend])
    for one in maps:
        if one.link:
            out.line(
                f"busiest link of {one.title}: {one.link}, {one.link_MB:,.1f} MB in layer "
                f"{one.link_layer}"
            )


def _beside(pictures: Sequence[list[list[Cell]]], widths: Sequence[int]) -> list[list[Cell]]:
    """Return pictures in one, each in its own columns."""
    lines = []
    for rows in zip_longest(*pictures, fillvalue=()):
        line: list[Cell] = []
        for row, width in zip(rows, widths, strict=True):
            line += [*row, (" " * (width - _length(row)) + GAP, "")]
        lines.append(line)
    return lines


def _picture(one: RankMap, topology: Topology) -> list[list[Cell]]:
    if topology.shape is None:
        return _cluster(one, topology)
    return _mesh(one, topology.shape)


def _mesh(one: RankMap, shape: tuple[int, int]) -> list[list[Cell]]:
    """Return the rows of a mesh; an arrow stands where the busiest link is."""
    rows, columns = shape
    width = _cell_width(columns)
    ends = _ends(one.link)
    arrows: dict[tuple[int, int], Cell] = {}  # (row, column) left or above the link
    if ends is not None and width > 1:
        (row, column), (other, beside) = (divmod(end, columns) for end in ends)
        arrow = ARROWS.get((other - row, beside - column), "")
        arrows[min(row, other), min(column, beside)] = (arrow, "bold")
        sideways = row == other
    picture: list[list[Cell]] = []
    for row in range(rows):
        line: list[Cell] = []
        below: list[Cell] = []
        for column in range(columns):
            line.append(_cell(one.share[row * columns + column], width))
            mark = arrows.get((row, column))
            between = " " if width > 2 else ""
            line.append(mark if mark and sideways else (between, ""))
            if mark and not sideways:
                indent = column * (width + len(between)) + width // 2
                below = [(" " * indent, ""), mark]
        picture.append(line)
        if below:
            picture.append(below)
    return picture


def _cluster(one: RankMap, topology: Topology) -> list[list[Cell]]:
    """Return a line for each node, several if it is large; a star at the busiest link's rank."""
    nodes = topology.node_of_rank
    label = len(str(topology.num_nodes - 1))
    _, _, number = one.link.rpartition(" ")
    marked = int(number) if number.isdecimal() and "->" not in one.link else -1
    picture: list[list[Cell]] = []
    for node in range(topology.num_nodes):
        ranks = [int(rank) for rank in (nodes == node).nonzero()[0]]
        for start in range(0, len(ranks), PER_LINE):
            head = f"node {node:>{label}} " if start == 0 else " " * (6 + label)
            line: list[Cell] = [(head, "")]
            for rank in ranks[start : start + PER_LINE]:
                text, style = _cell(one.share[rank], 5)
                line += [(text[:-1] + ("*" if rank == marked else " "), style), (" ", "")]
            picture.append(line)
    return picture


def _cell(share: float, width: int) -> Cell:
    block, style = next((block, style) for least, block, style in SHADES if share >= least)
    if width < 5:
        return block * width, style
    return f"{block}{min(share * 100, 999):>3.0f} ", style


def _plain(rows: Iterable[list[Cell]]) -> list[list[Cell]]:
    """Return cells whose color says what the shades say, which are left out."""
    blocks = str.maketrans(dict.fromkeys((block for _, block, _ in SHADES), " "))
    return [[(text.translate(blocks), style) for text, style in row] for row in rows]


def _cell_width(columns: int) -> int:
    return 5 if columns <= WITH_NUMBERS else 2 if 2 * columns <= WIDTH else 1


def _ends(link: str) -> tuple[int, int] | None:
    source, arrow, destination = link.partition("->")
    if not arrow or not (source.isdecimal() and destination.isdecimal()):
        return None
    return int(source), int(destination)


def _length(row: Sequence[Cell]) -> int:
    return sum(len(text) for text, _ in row)


def title_of(document: Mapping[str, Any]) -> str:
    """Return what a result's placement is called in tables."""
    return "placement" if document["solver"] == "evaluate" else "moeplace"
