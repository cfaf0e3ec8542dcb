from __future__ import annotations

import json

import numpy as np
import pytest

HGR = "4 6 1\n2 1 2\n3 2 3 4\n1 5 6 1 2\n7 6 5\n"


@pytest.fixture
def files(tiny):
    """Return a folder with a small assignment problem and a hypergraph."""
    rng = np.random.default_rng(0)
    flow, distance = rng.integers(0, 9, (2, 5, 5))
    lines = ["5", *(" ".join(map(str, row)) for row in (*flow, *distance))]
    (tiny / "five.dat").write_text("\n".join(lines))
    (tiny / "small.hgr").write_text(HGR)
    return tiny, flow, distance


@pytest.mark.parametrize("exact", [True, False])
def test_qap_costs_what_it_says(moeplace, files, exact):
    """The permutation printed and the one written have the cost printed; both are proven."""
    folder, flow, distance = files
    distance = distance + distance.T
    lines = ["5", *(" ".join(map(str, row)) for row in (*flow, *distance))]
    (folder / "five.dat").write_text("\n".join(lines))
    extra = ["--exact"] if exact else []
    done = moeplace("qap", "five.dat", *extra, "-o", "p.sln", "--format", "json", "--quiet")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    places = np.array(found["permutation"])
    assert sorted(places) == list(range(5))
    cost = (flow * distance[np.ix_(places, places)]).sum()
    assert cost == found["cost"] == found["lower_bound"]
    assert found["status"] == "optimal"
    size, value, *written = (folder / "p.sln").read_text().split()
    assert (int(size), float(value)) == (5, found["cost"])
    assert [int(word) - 1 for word in written] == places.tolist()


def test_a_hypergraph_is_cut(moeplace, files):
    """Parts hold the slots, and the cut printed is that of the parts printed and written."""
    folder, _, _ = files
    done = moeplace(
        "partition", "small.hgr", "--parts", 2, "--time-limit", 0.5, "-o", "parts.txt",
        "--format", "json", "--quiet",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    part = np.array(found["part"])
    assert np.bincount(part).tolist() == [3, 3]
    nets = ((2, (0, 1)), (3, (1, 2, 3)), (1, (4, 5, 0, 1)), (7, (5, 4)))
    assert found["cut"] == sum(w * (len({part[v] for v in net}) - 1) for w, net in nets) == 3
    assert (folder / "parts.txt").read_text().split() == [str(p) for p in part]


def test_pairs_are_cut_with_a_proof(moeplace, files):
    """The clique cut of a hypergraph and of a layer of a trace is proven optimal."""
    done = moeplace("partition", "small.hgr", "--parts", 2, "--pairs", "--format", "json")
    found = json.loads(done.stdout)
    assert (found["cut"], found["lower_bound"], found["status"]) == (5.0, 5.0, "optimal")
    table = moeplace("partition", "trace.npz", "--layer", 1, "--parts", 2, "--pairs", "--quiet")
    assert table.exit_code == 0, table.output
    assert "optimal" in table.stdout


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (("qap", "gone.dat"), 3, "gone.dat"),
        (("partition", "trace.npz", "--parts", 2), 2, "--layer"),
        (("partition", "small.hgr", "--parts", 2, "--layer", 1), 2, "--layer"),
        (("partition", "small.hgr", "--parts", 2, "--pairs", "--slots", 3), 2, "--slots"),
        (("partition", "small.hgr", "--parts", 4, "--pairs"), 3, "divisor"),
    ],
)
def test_wrong_questions_are_refused(moeplace, files, given, code, said):
    """One line that says what to do."""
    done = moeplace(*given)
    assert done.exit_code == code
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_relaxation_is_a_theorem(moeplace, problem):
    """Bound --relaxation names what the linear program gives, and keeps the better bound."""
    given = ("bound", *problem, "--objective", "balance", "--holdout", "none", "--format", "json")
    plain = json.loads(moeplace(*given).stdout)
    done = moeplace(*given, "--relaxation")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    relaxed = found["theorems"]["linear relaxation of the exact program"]
    assert relaxed > 0
    assert found["lower_bound"] == max(relaxed, plain["lower_bound"])
