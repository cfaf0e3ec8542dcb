from __future__ import annotations

import numpy as np
import pytest

from moeplace.hwmodels import load_system
from moeplace.models import ModelSpec
from moeplace.replay.wafer.machine import Machine, make_machine
from moeplace.replay.wafer.simulator import LayerRun, Tasks, run_layer

TINY = ModelSpec(
    name="tiny",
    num_layers=1,
    moe_layers=(0,),
    num_experts=4,
    top_k=1,
    hidden_size=1000,
    moe_intermediate_size=1000,
)


def machine(mesh: str = "mesh:1x2", **model: int) -> Machine:
    return make_machine(TINY.replace(**model), load_system(mesh), 64)


def run(
    on: Machine, *tasks: tuple[int, int, int, int], keep: bool = False, tree: bool = False
) -> LayerRun:
    """Run tasks given as (die, expert, tokens, source)."""
    die, expert, tokens, source = (
        np.array(column, np.int64) for column in zip(*tasks, strict=True)
    )
    wanted = Tasks(
        die=die,
        expert=expert,
        tokens=tokens,
        source=np.repeat(source[:, None], 3, axis=1),
        keep=np.full(die.size, keep),
        multicast=tree,
    )
    return run_layer(on, wanted)


def test_one_local_expert_by_hand() -> None:
    """Three look-ups follow each other, reads queue at the HBM, products start after reads."""
    on = machine()
    read, product = on.hbm_slice_s, on.compute_s[10]
    found = run(on, (0, 0, 10, 0))
    assert read > product
    assert found.seconds == pytest.approx(on.miss_s + 3 * read + on.write_s + product)
    assert found.hops == 0
    assert found.d2d_bytes == 0
    assert found.hbm_read_bytes == pytest.approx(on.expert_bytes)


def test_one_transfer_between_two_dies_by_hand() -> None:
    """A look-up here, the way there, a look-up there, reads, transfers one after the other."""
    on = machine()
    found = run(on, (1, 0, 10, 0))
    link = on.hop_s + on.link_slice_s
    assert link > on.hbm_slice_s
    asked = on.miss_s + on.hop_s + on.miss_s
    expected = asked + on.hbm_slice_s + 3 * link + on.write_s + on.compute_s[10]
    assert found.seconds == pytest.approx(expected)
    assert found.hops == 3
    assert found.d2d_bytes == pytest.approx(on.expert_bytes)
    assert found.link_bytes == pytest.approx(on.expert_bytes)


def test_kept_copy_is_written_to_hbm() -> None:
    """Keeping what came adds HBM writes and no wait for the product."""
    on = machine()
    plain, kept = (run(on, (1, 0, 10, 0), keep=keep) for keep in (False, True))
    assert plain.hbm_write_bytes == 0
    assert kept.hbm_write_bytes == pytest.approx(on.expert_bytes)
    assert kept.seconds == pytest.approx(plain.seconds)


def test_shared_edge_is_held_by_one_transfer_at_a_time() -> None:
    """On a row of three dies, 0 to 2 and 1 to 2 share an edge: six transfers in a row."""
    on = machine("mesh:1x3")
    found = run(on, (2, 0, 1, 0), (2, 1, 1, 1))
    apart = run(machine("mesh:1x3"), (2, 1, 1, 1))
    held = 3 * (2 * on.hop_s + on.link_slice_s) + 3 * (on.hop_s + on.link_slice_s)
    assert found.seconds > held > apart.seconds
    assert found.hops == 3 * 2 + 3
    assert found.link_bytes == pytest.approx(3 * on.expert_bytes)


def test_opposite_directions_share_an_edge_unless_full_duplex() -> None:
    """One semaphore per edge, as in the paper; separate with the constant changed."""
    half = machine()
    full = make_machine(
        TINY, load_system("mesh:1x2"), 64, constants=half.constants.replace(full_duplex=True)
    )
    swap = ((0, 1, 1, 1), (1, 0, 1, 0))
    one = run(half, swap[0]).seconds
    assert run(full, *swap).seconds == pytest.approx(one, rel=0.01)
    assert run(half, *swap).seconds > 1.5 * one


def test_whole_route_is_held() -> None:
    """While 0 to 2 moves, 0 to 1 waits though the second edge is idle before."""
    on = machine("mesh:1x3")
    both = run(on, (2, 0, 1, 0), (1, 1, 1, 0))
    total = 3 * (2 * on.hop_s + on.link_slice_s) + 3 * (on.hop_s + on.link_slice_s)
    assert both.seconds > total


def test_second_reader_hits_the_cache_of_the_source() -> None:
    """A die that has read a slice for itself answers another from its cache."""
    on = machine(moe_intermediate_size=100)
    late = [(1, e, 1, 1) for e in (1, 2, 3)]
    cold = run(on, *late, (1, 0, 1, 0))
    warm = run(on, (0, 0, 1, 0), *late, (1, 0, 1, 0))
    assert cold.llc_hits == 0
    assert warm.llc_hits == 3
    reads = round(warm.hbm_read_bytes / on.slice_bytes)
    assert reads == 3 * 4


def test_slices_larger_than_the_cache_never_hit() -> None:
    """A cache smaller than one slice holds nothing."""
    on = machine(hidden_size=20_000, moe_intermediate_size=20_000)
    assert on.llc_slices == 0
    tasks = [(1, e, 1, 1) for e in (1, 2, 3)]
    assert run(on, (0, 0, 1, 0), *tasks, (1, 0, 1, 0)).llc_hits == 0


def test_multicast_reads_once_and_holds_a_tree() -> None:
    """Two dies that ask together get one read and one pass over the shared edge."""
    on = machine("mesh:1x3")
    tasks = ((1, 0, 1, 0), (2, 0, 1, 0))
    apart, tree = run(on, *tasks), run(on, *tasks, tree=True)
    assert apart.link_bytes == pytest.approx(3 * on.expert_bytes)
    assert tree.link_bytes == pytest.approx(2 * on.expert_bytes)
    assert tree.hbm_read_bytes == pytest.approx(on.expert_bytes)
    assert tree.d2d_bytes == pytest.approx(2 * on.expert_bytes)
    assert tree.seconds < apart.seconds


def test_products_of_a_die_follow_each_other() -> None:
    """With much to compute the products decide: one after the other, once the first read is in."""
    on = make_machine(TINY, load_system("mesh:1x2"), 8192)
    found = run(on, (0, 0, 8192, 0), (0, 1, 8192, 0))
    product = on.compute_s[8192]
    assert product > on.hbm_slice_s
    first = on.miss_s + on.hbm_slice_s + on.write_s
    assert found.seconds == pytest.approx(first + 6 * product)
    assert found.busy_s[0, 1] == pytest.approx(6 * product)
