from __future__ import annotations

import json
import re

import numpy as np
import pytest

import moeplace as package
from moeplace.cli.output import Output
from moeplace.cli.rank_map import RankMap, draw_rank_maps, rank_maps
from moeplace.formulations.heuristics.simple import contiguous
from moeplace.formulations.report import evaluate_result
from moeplace.formulations.solver import Run

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def evaluated(hw: str):
    """Return the result of contiguous placement of two layers of 16 uneven experts."""
    loads = np.random.default_rng(3).gamma(2.0, 50.0, (2, 16))
    problem = package.make_problem(
        model=package.load_model("phi-3.5-moe"),
        system=package.load_system(hw),
        workload=package.Workload.from_loads(loads, layer_ids=(3, 7)),
        phase="prefill",
        dedup="rank",
    )
    return evaluate_result(problem, contiguous(problem, Run(seed=0), None).placement)


def drawn(maps, topology, capsys) -> list[str]:
    draw_rank_maps(maps, topology, None, Output())
    return capsys.readouterr().out.splitlines()


def test_numbers_are_loads_over_the_mean(capsys, monkeypatch):
    """Each cell of a mesh shows its rank's load over the mean, averaged over the layers."""
    monkeypatch.setenv("COLUMNS", "80")
    found = evaluated("mesh:2x3")
    maps = rank_maps(found, "placement", None)
    load = found.score.rank_load
    expected = (load / load.mean(axis=1, keepdims=True)).mean(axis=0) * 100
    assert maps[1].share == pytest.approx(expected / 100)
    lines = drawn(maps[1:], found.problem.plan.topology, capsys)
    shown = [int(n) for line in lines[2:-2] for n in re.findall(r"\d+", line)]
    assert shown == [round(value) for value in expected]


def test_one_layer():
    """A layer is named by its number in the model."""
    found = evaluated("mesh:2x2")
    load = found.score.rank_load[1]
    assert rank_maps(found, "p", 7)[1].share == pytest.approx(load / load.mean())
    with pytest.raises(package.UsageError, match="--map-layer 4: the MoE layers are 3 to 7"):
        rank_maps(found, "p", 4)


@pytest.mark.parametrize(
    "link, row, arrow", [("0->1", 1, "→"), ("1->0", 1, "←"), ("0->3", 2, "↓"), ("3->0", 2, "↑")]
)
def test_the_busiest_link_has_an_arrow(link, row, arrow, capsys):
    """Between the two dies, the way the bytes go."""
    found = evaluated("mesh:2x3")
    one = RankMap("x", [1.0] * 6, link, 5.0, 3)
    lines = drawn([one], found.problem.plan.topology, capsys)
    assert lines[1 + row].count(arrow) == 1
    assert sum(line.count(arrow) for line in lines) == 1
    assert lines[-1] == f"busiest link of x: {link}, 5.0 MB in layer 3"


def test_a_cluster_is_drawn_node_by_node(capsys):
    """A line for each node, and a star at the rank whose link is busiest."""
    topology = package.load_system("h100-sxm", 16).topology
    one = RankMap("x", [1.0] * 16, "nic-in 9", 5.0, 3)
    lines = drawn([one], topology, capsys)
    assert [line.split()[:2] for line in lines[2:4]] == [["node", "0"], ["node", "1"]]
    assert lines[3].split("100")[2].startswith("*")
    assert sum(line.count("*") for line in lines) == 1


@pytest.mark.parametrize("hw", ["mesh:5x5", "mesh:4x13", "mesh:10x30", "gb200-nvl72", "mi300x"])
def test_no_map_is_wider_than_80_columns(hw, capsys):
    """Small maps side by side, larger ones below each other, with fewer characters a rank."""
    topology = package.load_system(hw).topology
    share = np.linspace(0.0, 15.0, topology.num_ranks).tolist()
    maps = [RankMap(name, share, topology.link_names[-1], 1e4, 60) for name in ("a", "b")]
    assert all(len(line) <= 80 for line in drawn(maps, topology, capsys))


def test_many_ranks_have_no_map(capsys):
    """What would not fit is said instead of drawn."""
    topology = package.load_system("mesh:2x100").topology
    lines = drawn([RankMap("a", [1.0] * 200, "", 0.0, 0)], topology, capsys)
    assert lines == ["200 ranks are too many for a map in the terminal"]


def test_colors_take_the_place_of_shades(capsys, monkeypatch):
    """On a terminal the colors tell, elsewhere and with NO_COLOR the shades do."""
    topology = package.load_system("mesh:1x2").topology
    maps = [RankMap("a", [1.5, 0.5], "", 0.0, 0)]
    plain = drawn(maps, topology, capsys)
    assert plain[2].startswith("█150  · 50")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    colored = drawn(maps, topology, capsys)
    assert "\x1b[" in colored[2]
    assert ESCAPE.sub("", colored[2]).startswith(" 150")
    monkeypatch.setenv("NO_COLOR", "1")
    uncolored = drawn(maps, topology, capsys)
    assert ESCAPE.sub("", uncolored[2]) == plain[2]


def test_solve_draws_and_tells(moeplace, problem):
    """--map adds contiguous and moeplace below the table, and a key to JSON."""
    table = moeplace("solve", *problem, "--map").stdout.splitlines()
    head = next(i for i, line in enumerate(table) if line.startswith("load of the ranks"))
    assert table[head + 1].split() == ["contiguous", "moeplace"]
    assert all(len(line) <= 80 for line in table)
    done = moeplace("solve", *problem, "--map-layer", "2", "--format", "json")
    shown = json.loads(done.stdout)["map"]
    assert shown["layer"] == 2
    assert shown["placements"].keys() == {"contiguous", "moeplace"}
    for one in shown["placements"].values():
        assert np.mean(one["rank_load_over_mean"]) == pytest.approx(1.0)
    assert moeplace("solve", *problem, "--map-layer", "9").exit_code == 2
