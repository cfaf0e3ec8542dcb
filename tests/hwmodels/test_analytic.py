from __future__ import annotations

import numpy as np
import pytest

from moeplace.hwmodels import mesh
from moeplace.hwmodels.analytic import (
    xy_cut_links,
    xy_diameter,
    xy_links,
    xy_max_link_load,
    xy_mean_hops,
    xy_mean_link_load,
)

# rows, columns, directed links, max load, mean load, mean hops, diameter
TABLE = [
    (4, 4, 48, 16, 13.33, 2.67, 6),
    (5, 5, 80, 30, 25.00, 3.33, 8),
    (6, 4, 76, 36, 24.21, 3.33, 8),
    (8, 3, 74, 48, 27.35, 3.67, 9),
    (6, 6, 120, 54, 42.00, 4.00, 10),
    (9, 6, 186, 120, 76.94, 5.00, 13),
    (8, 8, 224, 128, 96.00, 5.33, 14),
    (10, 10, 360, 250, 183.3, 6.67, 18),
    (16, 16, 960, 1024, 725.3, 10.67, 30),
]


@pytest.mark.parametrize(("rows", "columns", "links", "most", "mean", "hops", "diameter"), TABLE)
def test_closed_forms_have_known_values(
    rows: int, columns: int, links: int, most: int, mean: float, hops: float, diameter: int
) -> None:
    """The forms give the figures of meshes that were enumerated by hand before."""
    for sides in ((rows, columns), (columns, rows)):
        assert xy_links(*sides) == links
        assert xy_max_link_load(*sides) == most
        assert xy_mean_link_load(*sides) == pytest.approx(mean, abs=0.05)
        assert xy_mean_hops(*sides) == pytest.approx(hops, abs=0.005)
        assert xy_diameter(*sides) == diameter


@pytest.mark.parametrize(
    ("rows", "columns"),
    [row[:2] for row in TABLE] + [(1, 1), (1, 2), (1, 7), (2, 5), (3, 8), (7, 1), (7, 5)],
)
def test_closed_forms_equal_enumeration(rows: int, columns: int) -> None:
    """Counting every route of the topology gives the same numbers, in both orientations."""
    topology = mesh(rows, columns, bandwidth_Bps=1.0, latency_s=0.0)
    hops = topology.hops()
    pairs = topology.num_ranks * (topology.num_ranks - 1)
    load = np.bincount(topology.route_links, minlength=topology.num_links)
    assert xy_links(rows, columns) == topology.num_links
    assert xy_diameter(rows, columns) == hops.max()
    assert xy_max_link_load(rows, columns) == (load.max() if load.size else 0)
    assert xy_mean_link_load(rows, columns) == pytest.approx(load.mean() if load.size else 0.0)
    assert xy_mean_hops(rows, columns) == pytest.approx(hops.sum() / pairs if pairs else 0.0)
    assert xy_mean_hops(rows, columns, include_self=True) == pytest.approx(hops.mean())


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (4, 6), (6, 3), (1, 4)])
def test_busiest_link_meets_the_bisection(rows: int, columns: int) -> None:
    """Halving an even long side, traffic over the cut is spread evenly over its links."""
    half = rows * columns // 2
    assert xy_max_link_load(rows, columns) * xy_cut_links(rows, columns) == half * half
