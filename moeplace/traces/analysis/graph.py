"""The co-activation of a layer as a graph: clusters of experts, and files for other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeplace.traces.analysis.tally import Tally

MIN_LIFT = 1.0


def pair_lift(pairs: NDArray[np.float64], load: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (experts, experts) co-activations over what independent experts would have.

    Parameters
    ----------
    pairs
        (experts, experts) tokens that use both.
    load
        (experts,) tokens that use each.
    """
    alone = np.outer(load, load)
    np.fill_diagonal(alone, 0.0)
    scale = pairs.sum() / max(float(alone.sum()), 1e-300)
    expected = alone * scale
    lift: NDArray[np.float64] = np.where(
        expected > 0, pairs / np.where(expected > 0, expected, 1), 0
    )
    return lift


def coactivation_graph(tally: Tally, layer: int, *, min_lift: float = MIN_LIFT) -> Any:
    """Return the co-activation of a layer as a `networkx.Graph`.

    Nodes are experts with `load`; edges are pairs that occur, with `count` and `lift`.

    Parameters
    ----------
    tally
        Counts of a trace.
    layer
        Absolute layer id.
    min_lift
        Leave out pairs that occur less often than this many times independence.

    Raises
    ------
    InputError
        If the layer is not recorded.
    """
    import networkx as nx

    if layer not in tally.layer_ids:
        raise InputError(
            f"layer {layer} is not in trace {tally.name!r}: {tally.layer_ids[0]} to "
            f"{tally.layer_ids[-1]}"
        )
    row = tally.layer_ids.index(layer)
    load, pairs = tally.load[row], tally.pairs[row]
    lift = pair_lift(pairs, load)
    graph: Any = nx.Graph(layer=layer, trace=tally.name)
    graph.add_nodes_from((e, {"load": float(load[e])}) for e in range(load.size))
    first, second = np.nonzero(np.triu(pairs, 1) * (lift >= min_lift))
    graph.add_edges_from(
        (int(e), int(f), {"count": float(pairs[e, f]), "lift": float(lift[e, f])})
        for e, f in zip(first, second, strict=True)
    )
    return graph


def expert_clusters(graph: Any, *, seed: int = 0) -> list[list[int]]:
    """Return clusters of experts that go together, largest first (Louvain on the lift).

    Blondel et al., J. Stat. Mech. (2008) P10008, as networkx has it.

    Parameters
    ----------
    graph
        As `coactivation_graph` returns it.
    seed
        Seed of the search.
    """
    import networkx as nx

    found = nx.community.louvain_communities(graph, weight="lift", seed=seed)
    return sorted(
        (sorted(int(e) for e in cluster) for cluster in found), key=lambda c: (-len(c), c)
    )


def write_graphml(graph: Any, path: Path) -> None:
    """Write a graph as GraphML, for Gephi, Cytoscape or yEd.

    Parameters
    ----------
    graph
        As `coactivation_graph` returns it.
    path
        A name that ends in .graphml.

    Raises
    ------
    UsageError
        If the name ends otherwise.
    InputError
        If it cannot be written there.
    """
    import networkx as nx

    if path.suffix != ".graphml":
        raise UsageError(f"{path}: the name must end in .graphml")
    with atomic_write(path, "wb") as file:
        nx.write_graphml(graph, file)
