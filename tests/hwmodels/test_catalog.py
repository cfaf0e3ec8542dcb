from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from moeplace.errors import InputError
from moeplace.hwmodels import (
    DEDUP_MODES,
    PHASES,
    System,
    list_aliases,
    list_systems,
    load_system,
)
from moeplace.models import load_model

NAMED = {
    "a100-sxm",
    "ascend-910c",
    "b200-sxm",
    "gb200-nvl72",
    "h100-sxm",
    "h200-sxm",
    "h800-sxm",
    "mi300x",
    "wafer-dojo-5x5",
    "wafer-dojo-5x5-enhanced",
    "wafer-sow-3x8",
}
SMALL = """
name: two-gpus
summary: two GPUs
kind: cluster
constants:
  ranks: {value: 2, source: mine}
  node_size: {value: 2, source: mine}
  link_GBps: {value: 100, source: mine}
  hbm_GBps: {value: 3000, source: mine}
  hbm_GB: {value: 80, source: mine}
  peak_tflops: {value: {bf16: 900}, source: mine}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_catalogue_has_the_named_systems() -> None:
    """The names that others rely on exist, in order."""
    assert set(list_systems()) >= NAMED
    assert list_systems() == sorted(list_systems())


@pytest.mark.parametrize("name", list_systems())
def test_system_contract(name: str) -> None:
    """A shipped system loads under its name and plans every kind of copies."""
    system = load_system(name)
    assert system.name == name
    assert system.topology.num_ranks == system.ranks
    assert all(size > 0 for size in system.copy_bytes(7168))
    for phase in PHASES:
        assert system.default_dedup(phase) in DEDUP_MODES
        assert all(cost >= 0 for cost in system.alpha_us[phase].values())
    for dedup in DEDUP_MODES:
        plan = system.plan(dedup)
        assert plan.dedup == dedup
        assert plan.uniform_use[0].shape == (system.topology.num_links, plan.num_sets)


@pytest.mark.parametrize("name", list_systems())
def test_every_constant_has_a_source(name: str) -> None:
    """What is not a default comes with words on where it is from."""
    system = load_system(name)
    plain = System(
        name="plain",
        kind="cluster",
        summary="",
        ranks=1,
        node_size=1,
        link_GBps=1,
        hbm_GBps=1,
        hbm_GB=1,
        peak_tflops={},
    )
    for field in fields(system):
        if field.name in ("name", "kind", "summary", "sources"):
            continue
        if field.name in ("ranks", "node_size") and system.kind == "mesh":
            continue
        if getattr(system, field.name) != getattr(plain, field.name):
            assert len(system.sources[field.name]) > 5, field.name


@pytest.mark.parametrize("name", list_systems())
def test_deepseek_fits(name: str) -> None:
    """DeepSeek-V3 with one spare slot per rank fits at the default size of each system."""
    system, model = load_system(name), load_model("deepseek-v3")
    dtype = system.weight_dtype(model)
    slots = -(-model.num_experts // system.ranks) + 1
    need = slots * model.num_moe_layers * model.expert_bytes(dtype)
    assert need <= system.expert_memory_bytes(model, dtype)


def test_names_are_forgiving() -> None:
    """Case does not matter and aliases lead to the same system."""
    assert load_system("H100-SXM") == load_system("h100-sxm") == load_system("H100")
    assert load_system("wafer") == load_system("wafer-dojo-5x5")
    assert list_aliases()["wafer"] == "wafer-dojo-5x5"
    assert set(list_aliases().values()) <= set(list_systems())
    assert not set(list_aliases()) & set(list_systems())


def test_table_one_of_the_wafer_paper() -> None:
    """The wafers have the dies and links of arXiv 2510.05497, Table I."""
    for name, shape, figures in (
        ("wafer-dojo-5x5", (5, 5), (1700, 3350, 80, 989)),
        ("wafer-sow-3x8", (3, 8), (1700, 3350, 80, 989)),
        ("wafer-dojo-5x5-enhanced", (5, 5), (2000, 8000, 180, 4500)),
    ):
        wafer = load_system(name)
        assert (wafer.rows, wafer.columns) == wafer.topology.shape == shape
        peak = wafer.peak_tflops["bf16"]
        assert (wafer.link_GBps, wafer.hbm_GBps, wafer.hbm_GB, peak) == figures
        assert wafer.link_latency_us == pytest.approx(0.2)


def test_kimi_does_not_fit_on_the_wafer() -> None:
    """At two bytes a weight Kimi-K2 is larger than 25 dies of 80 GB."""
    wafer, model = load_system("wafer"), load_model("kimi-k2")
    assert wafer.weight_dtype(model) == "bf16"
    assert model.routed_params * 2 / 25 > wafer.expert_memory_bytes(model, "bf16")


def test_mesh_of_any_size() -> None:
    """``mesh:RxC`` has the wafer's dies in another shape."""
    mesh, wafer = load_system("Mesh:6x4"), load_system("wafer")
    assert mesh.topology.shape == (6, 4)
    assert mesh.ranks == 24
    assert mesh.name == "mesh:6x4"
    assert mesh.replace(rows=5, columns=5, ranks=25, name=wafer.name, summary="") == (
        wafer.replace(summary="")
    )


def test_ranks_of_a_cluster() -> None:
    """The EP size can be chosen; ranks fill nodes in order."""
    assert load_system("h100-sxm").ranks == 32
    system = load_system("h100-sxm", ranks=20)
    assert system.topology.node_of_rank.tolist() == [0] * 8 + [1] * 8 + [2] * 4
    assert load_system("gb200-nvl72").ranks == 72
    assert load_system("gb200-nvl72", ranks=36).num_nodes == 1


def test_one_node_has_its_own_fixed_cost() -> None:
    """Inside a node other kernels run, with a smaller fixed cost."""
    one, two = load_system("h100-sxm", ranks=8), load_system("h100-sxm", ranks=16)
    assert one.alpha_us["decode"]["combine"] < two.alpha_us["decode"]["combine"]
    assert one.default_dedup("prefill") == one.default_dedup("decode") == "rank"
    assert (two.default_dedup("prefill"), two.default_dedup("decode")) == ("node", "none")


@pytest.mark.parametrize(
    ("name", "ranks", "message"),
    [
        ("h100-smx", None, "did you mean 'h100-sxm'.*moeplace hw list"),
        ("mesh:6", None, "mesh:RxC"),
        ("mesh:0x4", None, "1 to 1024 dies"),
        ("mesh:900x900", None, "1 to 1024 dies"),
        ("wafer", 24, "25 ranks, not 24"),
        ("mesh:2x2", 5, "4 ranks, not 5"),
        ("gb200-nvl72", 73, "1..72"),
        ("ascend-910c", 385, "1..384"),
        ("h100-sxm", 0, "0 ranks"),
        ("no-such-file.yaml", None, "no-such-file.yaml: No such file"),
    ],
)
def test_what_cannot_be_loaded(name: str, ranks: int | None, message: str) -> None:
    """Unknown names and impossible sizes are input errors that say what to do."""
    with pytest.raises(InputError, match=message):
        load_system(name, ranks)


def test_own_file(tmp_path: Path) -> None:
    """A file of one's own loads; what it leaves out keeps its default."""
    system = load_system(written(tmp_path, SMALL))
    assert (system.name, system.ranks, system.link_efficiency) == ("two-gpus", 2, 1.0)
    assert system.sources["hbm_GB"] == "mine"
    assert load_system(str(written(tmp_path, SMALL)), ranks=1).ranks == 1


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("{value: 80, source: mine}", "80", "constants.hbm_GB"),
        ("{value: 80, source: mine}", "{value: 80}", "constants.hbm_GB.source: Field required"),
        ("{value: 80, source: mine}", "{value: 80, source: ''}", "constants.hbm_GB.source"),
        ("value: 80,", "value: -80,", "constants.hbm_GB.value: .*greater than 0"),
        ("value: 80,", "value: '80',", "constants.hbm_GB.value: .*valid number"),
        ("value: 80,", "value: .nan,", "constants.hbm_GB.value: .*finite"),
        ("hbm_GB:", "hbm_gb:", "constants.hbm_gb: Extra inputs are not permitted"),
        ("  hbm_GB: {value: 80, source: mine}\n", "", "constants.hbm_GB: missing"),
        ("  node_size: {value: 2, source: mine}\n", "", "constants.node_size: missing"),
        ("kind: cluster", "kind: torus", "kind: "),
        ("kind: cluster", "kind: mesh", "constants.rows: missing"),
        ("{bf16: 900}", "{bf17: 900}", "constants.peak_tflops.value.bf17"),
        ("{bf16: 900}", "{}", "constants.peak_tflops.value"),
        ("summary: two GPUs", "vendor: me", "summary: Field required .and 1 more"),
        ("kind: cluster", "kind: [cluster", "line 5: expected"),
        (SMALL, "just words", "expected keys"),
        (SMALL, "", "expected keys"),
        ("node_size: {value: 2,", "node_size: {value: 1,", "several nodes need nic_GBps"),
    ],
)
def test_bad_files(tmp_path: Path, old: str, new: str, key: str) -> None:
    """A bad file is an input error that names the file and the key, on one line."""
    assert old in SMALL
    with pytest.raises(InputError, match=key) as caught:
        load_system(written(tmp_path, SMALL.replace(old, new)))
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shipped_files_say_what_is_assumed() -> None:
    """Each shipped file is named after its system and marks its assumptions."""
    folder = Path(__file__).parents[2] / "moeplace" / "hwmodels" / "systems"
    for path in folder.glob("*.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert content["name"] == path.stem
        sources = [entry["source"] for entry in content["constants"].values()]
        assert any("assumed" in source for source in sources)
