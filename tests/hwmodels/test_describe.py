from __future__ import annotations

import json

import pytest

from moeplace.hwmodels import describe_system, draw_topology, list_systems, load_system


def facts(name: str, ranks: int | None = None) -> dict[str, float]:
    rows = describe_system(load_system(name, ranks))["topology"]
    return {row["name"]: row["value"] for row in rows}


@pytest.mark.parametrize("name", list_systems())
def test_description_is_plain(name: str) -> None:
    """A description is JSON, its rows have the four keys, and each constant a source."""
    description = json.loads(json.dumps(describe_system(load_system(name))))
    rows = description["constants"] + description["topology"]
    assert all(set(row) == {"name", "value", "unit", "source"} for row in rows)
    assert all(row["source"] for row in rows)
    assert len({row["name"] for row in rows}) == len(rows)


def test_units_and_leaves() -> None:
    """Nested constants are dotted and units come from the names."""
    rows = {row["name"]: row for row in describe_system(load_system("h100-sxm"))["constants"]}
    assert rows["alpha_us.decode.dispatch"]["unit"] == "µs"
    assert rows["link_GBps"] | {"source": ""} == {
        "name": "link_GBps",
        "value": 450,
        "unit": "GB/s",
        "source": "",
    }
    assert rows["peak_tflops.fp8"]["value"] == 1978
    assert rows["tile_tokens"]["unit"] == "tokens"
    assert "nic_GBps" not in {
        row["name"] for row in describe_system(load_system("gb200-nvl72"))["constants"]
    }


def test_facts_of_the_wafer() -> None:
    """The 5x5 wafer: 80 links, diameter 8, mean 10/3, 30 messages, 5 links in the middle."""
    found = facts("wafer")
    assert found["directed links"] == 80
    assert found["diameter"] == 8
    assert found["mean route"] == pytest.approx(10 / 3)
    assert found["uniform all-to-all, most loaded link"] == 30
    assert found["uniform all-to-all, mean link"] == pytest.approx(25)
    assert found["bisection"] == pytest.approx(5 * 1700 * 0.9)


def test_bisection_of_clusters() -> None:
    """Two halves of nodes talk over NICs, two halves of a node through the switch."""
    assert facts("h100-sxm", 32)["bisection"] == pytest.approx(16 * 50 * 0.94)
    assert facts("h100-sxm", 20)["bisection"] == pytest.approx(8 * 50 * 0.94)
    assert facts("h100-sxm", 12)["bisection"] == pytest.approx(4 * 50 * 0.94)
    assert facts("h100-sxm", 8)["bisection"] == pytest.approx(4 * 450 * 0.63)


@pytest.mark.parametrize(
    ("name", "ranks"),
    [(name, None) for name in list_systems()]
    + [("mesh:1x1", None), ("mesh:20x20", None), ("mesh:1x200", None), ("h100-sxm", 1000)],
)
def test_drawing_fits(name: str, ranks: int | None) -> None:
    """A drawing is at most 80 columns wide and 30 lines long."""
    lines = draw_topology(load_system(name, ranks)).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert len(lines) <= 30
    assert all(line == line.rstrip() for line in lines)


def test_drawing_of_a_mesh() -> None:
    """A 2x3 mesh shows its dies by row and the links between them."""
    assert draw_topology(load_system("mesh:2x3")).splitlines() == [
        "0 -- 1 -- 2",
        "|    |    |",
        "3 -- 4 -- 5",
        "each link 1700 GB/s each way, 200 ns a hop",
    ]


def test_drawing_of_nodes() -> None:
    """Twelve GPUs in nodes of eight are two lines and the two speeds."""
    assert draw_topology(load_system("h100-sxm", 12)).splitlines() == [
        "node 0    [  0  1  2  3  4  5  6  7 ]",
        "node 1    [  8  9 10 11 ]",
        "inside a node 450 GB/s per rank each way, through a switch",
        "between nodes 50 GB/s per rank each way, one NIC each",
    ]


def test_large_drawings_are_cut() -> None:
    """What does not fit is left out in the middle; the last rank still shows."""
    drawing = draw_topology(load_system("mesh:20x20"))
    assert ".." in drawing
    assert "399" in drawing
    assert "383" in draw_topology(load_system("ascend-910c", 384))
