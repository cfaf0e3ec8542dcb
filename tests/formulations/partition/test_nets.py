from __future__ import annotations

import numpy as np
import pytest

import moeplace
from moeplace.errors import InputError
from moeplace.formulations.partition import Nets, connectivity, read_hgr

BUDGET = {"time_limit_s": None, "max_iterations": 1}


def compressed(sets, weights, experts: int) -> Nets:
    start = np.cumsum([0, *(len(s) for s in sets)])
    return Nets(start, np.array([e for s in sets for e in s]), np.array(weights), experts)


def test_three_forms_of_the_same_sets(random_sets, touched):
    """Padded rows, lists and compressed rows are the same sets."""
    sets, weights = random_sets(0, 20, 50, 5)
    sets = [sorted(set(s)) for s in sets]
    padded = np.full((50, 7), -1)
    for row, s in zip(padded, sets, strict=True):
        row[1 : 1 + len(s)] = s  # pads on both sides
    nets = compressed(sets, weights, 20)
    forms = [(padded, weights), (sets, weights), (nets, weights), (nets, None)]
    parts = [moeplace.partition(f, w, 20, 4, 5, **BUDGET) for f, w in forms]
    for part, (form, weight) in zip(parts, forms, strict=True):
        np.testing.assert_array_equal(part, parts[0])
        assert connectivity(form, weight, part) == touched(sets, weights, part)


def test_pads_of_short_types():
    """Ids of any integer type with −1 as pad; an unsigned type has no pad."""
    ids = np.array([[0, 1, -1], [2, 3, 1]], np.int8)
    assert moeplace.partition(ids, None, 4, 1, 4, **BUDGET).tolist() == [0, 0, 0, 0]
    assert moeplace.partition(ids[1:].astype(np.uint16), None, 4, 1, 4, **BUDGET).size == 4


def test_start_that_does_not_fit():
    """Compressed rows that are none are refused."""
    for start in ([0, 3, 2], [0, 1, 5]):
        with pytest.raises(InputError, match="start must ascend"):
            moeplace.partition(
                Nets(np.array(start), np.array([0, 1, 2, 3]), np.ones(2), 4), None, 4, 2, 2
            )


def test_set_with_too_many_ids():
    """More ids than the counters hold are refused."""
    with pytest.raises(InputError, match="set 1 has 65536 ids; at most 65535"):
        moeplace.partition([[0], range(65_536)], None, 65_536, 1, 65_536)


HGR = """% nets of different lengths
4 6 1
2 1 2
3 2 3 4

% a comment between
1 5 6 1 2
7 6
"""


def test_reads_weighted_nets(tmp_path):
    """Comments and empty lines are skipped, ids start at 0, weights come first."""
    file = tmp_path / "a.hgr"
    file.write_text(HGR)
    nets = read_hgr(file)
    assert (nets.num_experts, nets.num_sets) == (6, 4)
    assert nets.weight.tolist() == [2, 3, 1, 7]
    rows = [nets.expert[a:b].tolist() for a, b in zip(nets.start, nets.start[1:], strict=False)]
    assert rows == [[0, 1], [1, 2, 3], [4, 5, 0, 1], [5]]
    part = moeplace.partition(nets, None, nets.num_experts, 2, 3, **BUDGET)
    assert connectivity(nets, None, part) == 16  # {2, 3, 4} stays whole, the nets of 2 and 1 do not


def test_reads_plain_nets_and_unit_vertex_weights(tmp_path):
    """Without weights each net counts 1; vertices of weight 1 may be listed."""
    file = tmp_path / "a.hgr"
    file.write_text("2 3\n1 2\n2 3 1\n")
    plain = read_hgr(file)
    file.write_text("2 3 10\n1 2\n2 3 1\n1\n1\n1\n")
    sized = read_hgr(file)
    file.write_text("2 3 11\n1 1 2\n1 2 3 1\n1\n1\n1\n")
    for nets in (plain, sized, read_hgr(file)):
        assert nets.start.tolist() == [0, 2, 5]
        assert nets.expert.tolist() == [0, 1, 1, 2, 0]
        assert nets.weight.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: numbers of nets and vertices"),
        ("4\n", "line 1: numbers of nets and vertices"),
        ("0 3\n", "line 1: numbers of nets and vertices"),
        ("1 2 7\n1 2\n", "line 1: format 7 unknown"),
        ("2 3\n1 2\n", "line 3: the file ends after 1 of 2 nets"),
        ("2 3\n1 2\n2 4\n", "line 3: vertex 4; 1 to 3 exist"),
        ("2 3\n% x\n0 2\n2 3\n", "line 3: vertex 0; 1 to 3 exist"),
        ("1 3\n1 b\n", "line 2: integers expected"),
        ("1 3 1\n-2 1 2\n", "line 2: net weight -2 below 0"),
        ("1 3 1\n2\n", "line 2: a net without vertices"),
        ("1 2\n1 2\n2 1\n", "line 3: nothing expected after 1 nets"),
        ("1 2 10\n1 2\n1\n", "line 4: the weight of vertex 2 expected"),
        ("1 2 10\n1 2\n1\n3\n", "line 4: vertex weight 3; only 1"),
    ],
)
def test_malformed_files(tmp_path, text, message):
    """What is wrong is named with its line."""
    file = tmp_path / "bad.hgr"
    file.write_text(text)
    with pytest.raises(InputError, match=f"bad.hgr, {message}"):
        read_hgr(file)


def test_missing_file(tmp_path):
    """A file that is not there is an input error."""
    with pytest.raises(InputError, match=r"none\.hgr: cannot be read"):
        read_hgr(tmp_path / "none.hgr")


def test_reads_a_benchmark(shared_data):
    """The circuit ibm01 has the published number of nets, cells and pins."""
    nets = read_hgr(shared_data / "hypergraphs" / "ibm01.hgr")
    assert (nets.num_sets, nets.num_experts, nets.expert.size) == (14111, 12752, 50566)
