"""Every rule of every engine holds for what `export` writes, and is found when it is broken."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import pytest
import yaml

from moeplace.errors import CheckFailedError, InputError
from moeplace.placement import Placement
from moeplace.placement.engines import ENGINES, check_file
from moeplace.placement.formats import (
    FORMATS,
    export_placement,
    format_violations,
    read_placement,
    save_placement,
)
from moeplace.traces.torch_write import write_torch
from moeplace.traces.torch_zip import read_torch


@dataclass(frozen=True)
class SmallModel:
    """Five hidden layers, 8 experts in three of them."""

    num_layers: int = 5
    moe_layers: tuple[int, ...] = (1, 2, 4)
    num_experts: int = 8


MODEL = SmallModel()
BETWEEN = [name for name in ENGINES if name in FORMATS and FORMATS[name].granularity == "slot"]
# Each expert once, and four further replicas, none twice on one of four ranks.
ROW = [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]
BY_SLOT = Placement(
    np.array([ROW, ROW[::-1], ROW], np.int32), np.repeat(np.arange(4), 3), 8, 4, (1, 2, 4)
)


def good(engine, folder):
    """Write a file that the engine takes; return its path and the number of ranks."""
    if engine == "lmdeploy":
        path = folder / "loads.json"
        path.write_text(json.dumps([[1.0] * 8 for _ in range(5)]))
        return path, 8
    info = FORMATS[engine]
    placement = BY_SLOT
    if info.granularity != "slot":
        rank = np.array([[0] * 8, [1] * 8, [0] * 8])
        placement = Placement.from_rank_of_expert(rank, num_ranks=2, layer_ids=(1, 2, 4))
    path = folder / f"map{info.suffix}"
    export_placement(placement, path, engine, model=MODEL)
    return path, placement.num_ranks


@pytest.mark.parametrize("engine", ENGINES)
def test_exported_files_hold(engine, tmp_path):
    """No rule is broken and none is left out when model and ranks are given."""
    path, ranks = good(engine, tmp_path)
    found = check_file(path, engine, model=MODEL, num_ranks=ranks)
    assert [(f.rule.name, f.wrong, f.reached) for f in found.findings] == [
        (rule.name, None, True) for rule in import_module(
            f"moeplace.placement.engines.{engine.replace('-', '_')}").RULES
    ]  # fmt: skip
    found.raise_if_broken()


# What breaks a rule: how to change the parsed content of a good file.
def _set(*place, value):
    def change(data):
        *way, last = place
        for step in way:
            data = data[step]
        data[last] = value(data[last]) if callable(value) else value

    return change


def _drop(*place):
    def change(data):
        *way, last = place
        for step in way:
            data = data[step]
        del data[last]

    return change


def _each(rows, what):
    """Apply `what` to every row."""

    def change(data):
        found = rows(data)
        for row in found.values() if isinstance(found, dict) else found:
            what(row)

    return change


P2L, TRT = "physical_to_logical_map", "initial_global_assignments"
DOUBLE = [0, 0, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3]
BREAK = {
    ("sglang", "keys"): _set("more", value=1),
    ("sglang", "table"): _drop(P2L, 2, 0),
    ("sglang", "layers"): _drop(P2L, 0),
    ("sglang", "ids"): _set(P2L, 1, 3, value=8),
    ("sglang", "coverage"): _set(P2L, 0, value=[0, 1, 2, 3] * 3),
    ("sglang", "equal-slots"): _each(lambda d: d[P2L], lambda row: row.append(0)),
    ("sglang", "no-duplicates"): _set(P2L, 1, value=DOUBLE),
    ("vllm-list", "table"): _drop(2, 0),
    ("vllm-list", "layers"): _drop(0),
    ("vllm-list", "ids"): _set(1, 3, value=-1),
    ("vllm-list", "coverage"): _set(0, value=[0, 1, 2, 3] * 3),
    ("vllm-list", "equal-slots"): _each(lambda d: d, lambda row: row.append(0)),
    ("vllm-list", "no-duplicates"): _set(1, value=DOUBLE),
    ("vllm-jsonl", "record"): _set("record_type", value="session_metadata"),
    ("vllm-jsonl", "keys"): _drop("num_slots"),
    ("vllm-jsonl", "version"): _set("version", value=2),
    ("vllm-jsonl", "ordinals"): _set(TRT, value=lambda rows: {f"{k}0": rows[k] for k in rows}),
    ("vllm-jsonl", "table"): _drop(TRT, "2", 0),
    ("vllm-jsonl", "layers"): _drop(TRT, "2"),
    ("vllm-jsonl", "num-slots"): _set("num_slots", value=13),
    ("vllm-jsonl", "redundant"): _set("num_redundant_experts", value=0),
    ("vllm-jsonl", "ids"): _set(TRT, "1", 3, value=8),
    ("vllm-jsonl", "coverage"): _set(TRT, "0", value=[0, 1, 2, 3] * 3),
    ("vllm-jsonl", "equal-slots"): _each(lambda d: d[TRT], lambda row: row.append(0)),
    ("vllm-jsonl", "no-duplicates"): _set(TRT, "1", value=DOUBLE),
    ("tensorrt-llm", "keys"): _set("ep_size", value=4),
    ("tensorrt-llm", "table"): _drop(TRT, 2, 0),
    ("tensorrt-llm", "num-slots"): _set("num_slots", value=13),
    ("tensorrt-llm", "updates"): _set("layer_updates_per_iter", value=-1),
    ("tensorrt-llm", "layers"): _drop(TRT, 4),
    ("tensorrt-llm", "ids"): _set(TRT, 1, 3, value=8),
    ("tensorrt-llm", "coverage"): _set(TRT, 1, value=[0, 1, 2, 3] * 3),
    ("tensorrt-llm", "equal-slots"): _each(lambda d: d[TRT], lambda row: row.append(0)),
    ("tensorrt-llm", "no-duplicates"): _set(TRT, 1, value=DOUBLE),
    ("vllm-ascend", "keys"): _drop("layer_list", 1, "device_list", 2, "device_expert"),
    ("vllm-ascend", "table"): _drop("layer_list", 1, "device_list", 2, "device_expert", 0),
    ("vllm-ascend", "counts"): _set("moe_layer_count", value=4),
    ("vllm-ascend", "order"): _set("layer_list", value=lambda layers: layers[::-1]),
    ("vllm-ascend", "layers"): _drop("layer_list", 2),
    ("vllm-ascend", "ranks"): _each(lambda d: d["layer_list"], lambda x: x["device_list"].pop()),
    ("vllm-ascend", "ids"): _set("layer_list", 0, "device_list", 0, "device_expert", 0, value=8),
    ("vllm-ascend", "coverage"): _set("layer_list", 0, "device_list", 2, "device_expert", 0,
                                      value=5),
    ("vllm-ascend", "no-duplicates"): _set(
        "layer_list", 0, "device_list", 0, "device_expert", 0, value=1
    ),
    ("omniplacement", "table"): lambda a: a[0],
    ("omniplacement", "zero-one"): lambda a: a * 2,
    ("omniplacement", "layers"): lambda a: a[:, :2],
    ("omniplacement", "experts"): lambda a: a[:, :, :7],
    ("omniplacement", "ranks"): lambda a: a[:3],
    ("omniplacement", "coverage"): lambda a: a * (np.arange(8) != 5),
    ("omniplacement", "equal-experts"): lambda a: a - (np.indices(a.shape).sum(axis=0) == 0),
    ("lmdeploy", "table"): _set(2, 3, value=-1),
    ("lmdeploy", "layers"): _drop(0),
    ("lmdeploy", "experts"): _each(lambda d: d, lambda row: row.append(1.0)),
    ("ktransformers", "table"): lambda a: a[0],
    ("ktransformers", "layers"): lambda a: a[:, 1:],
    ("ktransformers", "experts"): lambda a: a[:, :, 1:],
    ("ktransformers", "dense-rows"): lambda a: a + (np.arange(5)[:, None] == 3),
    ("ktransformers", "values"): lambda a: a - 1,
    ("llama-cpp", "arguments"): lambda text: text.replace("-ot", "-ngl", 1),
    ("llama-cpp", "regex"): lambda text: text.replace(")", "", 1),
    ("llama-cpp", "buffer"): lambda text: text.replace("CUDA0", ""),
    ("llama-cpp", "layers"): lambda text: text.replace("(1|4)", "(1)"),
    ("llama-cpp", "whole-layers"): lambda text: r"-ot blk\.1\.ffn_up_exps=CPU" + "\n" + text,
    ("eplb", "keys"): _drop("log2phy"),
    ("eplb", "table"): _set("logcnt", value=lambda a: a.astype(float)),
    ("eplb", "layers"): lambda data: {name: array[:2] for name, array in data.items()},
    ("eplb", "ids"): _set("phy2log", value=lambda a: a * 9),
    ("eplb", "coverage"): _set("phy2log", value=lambda a: a % 4),
    ("eplb", "logcnt"): _set("logcnt", value=lambda a: a + 1),
    ("eplb", "log2phy"): _set("log2phy", value=lambda a: a[:, ::-1]),
}  # fmt: skip
# Broken by the name of the file or by the number of ranks.
BY_NAME = {("sglang", "ending"), ("vllm-ascend", "ending"), ("ktransformers", "ending")}
BY_RANKS = {("lmdeploy", "equal-slots"): 7, ("lmdeploy", "packed"): 20, ("eplb", "equal-slots"): 5,
            ("eplb", "no-duplicates"): 1}  # fmt: skip


def change(engine, path, how):
    """Change the content of a file, whatever it is."""
    if engine == "omniplacement":
        np.save(path, how(np.load(path)))
    elif engine == "ktransformers":
        write_torch(path, {"logical_count": how(read_torch(path)["logical_count"])})
    elif engine == "llama-cpp":
        path.write_text(how(path.read_text()))
    elif engine == "eplb":
        data = dict(np.load(path))
        np.savez(path, **(how(data) or data))
    else:
        parse = yaml.safe_load if engine == "tensorrt-llm" else json.loads
        data = parse(path.read_text())
        how(data)
        text = yaml.safe_dump(data) if engine == "tensorrt-llm" else json.dumps(data)
        path.write_text(text)


def every_rule():
    """Return (engine, rule) for all rules."""
    return [
        (engine, rule.name)
        for engine in ENGINES
        for rule in import_module(f"moeplace.placement.engines.{engine.replace('-', '_')}").RULES
    ]


@pytest.mark.parametrize(("engine", "rule"), every_rule())
def test_a_broken_rule_is_found(engine, rule, tmp_path):
    """The rule is broken in the file, and the check names it, its place and its source."""
    path, ranks = good(engine, tmp_path)
    if (engine, rule) in BY_NAME:
        path = path.rename(path.with_suffix(".txt"))
    elif (engine, rule) in BY_RANKS:
        ranks = BY_RANKS[engine, rule]
    else:
        change(engine, path, BREAK[engine, rule])
    found = check_file(path, engine, model=MODEL, num_ranks=ranks)
    finding = next(f for f in found.findings if f.rule.name == rule)
    assert finding.wrong
    assert finding.rule.source
    assert finding.breaks == (finding.rule.severity != "wastes")
    if finding.breaks:
        with pytest.raises(CheckFailedError, match=engine) as raised:
            found.raise_if_broken()
        assert found.broken[0].rule.source in str(raised.value)
    else:
        found.raise_if_broken()


@pytest.mark.parametrize("engine", [e for e in ENGINES if e in FORMATS])
def test_what_breaks_a_rule_is_not_read_back_as_fit(engine, tmp_path):
    """Nothing that the check refuses is read and found fit for export to the same engine."""
    for (name, rule), how in BREAK.items():
        if name != engine:
            continue
        path, ranks = good(engine, tmp_path)
        change(engine, path, how)
        if not check_file(path, engine, model=MODEL, num_ranks=ranks).broken:
            continue
        try:
            back = read_placement(path, engine, model=MODEL, num_ranks=ranks)
        except InputError:
            continue
        assert format_violations(back, engine, MODEL), rule


@pytest.mark.parametrize("first", BETWEEN)
@pytest.mark.parametrize("second", BETWEEN)
def test_any_two_engines(first, second, tmp_path):
    """A map of one engine, written for another, is taken there and holds the same experts."""
    (tmp_path / "to").mkdir()
    path, ranks = good(first, tmp_path)
    read = read_placement(path, first, model=MODEL, num_ranks=ranks)
    target = tmp_path / "to" / f"map{FORMATS[second].suffix}"
    report = export_placement(read, target, second, model=MODEL)
    assert report.filled_slots == 0
    assert not check_file(target, second, model=MODEL, num_ranks=ranks).broken
    back = read_placement(target, second, model=MODEL, num_ranks=ranks)
    np.testing.assert_array_equal(back.replicas_on_rank, BY_SLOT.replicas_on_rank)


@pytest.mark.parametrize("engine", ENGINES)
def test_without_model_and_ranks_less_is_reached(engine, tmp_path):
    """What cannot be told is not said to hold."""
    path, _ = good(engine, tmp_path)
    found = check_file(path, engine)
    assert not found.broken
    assert {f.rule.name for f in found.findings if not f.reached} & {"layers", "packed"}


def test_native_files_are_checked_as_placements(tmp_path):
    """A native file is checked by what export would refuse."""
    path = save_placement(BY_SLOT, tmp_path / "p.json")
    assert not check_file(path, "sglang", model=MODEL).broken
    found = check_file(path, "llama-cpp", model=MODEL).broken
    assert {f.rule.name for f in found} == {"one-slot", "whole-layers"}


def test_vllm_is_settled_by_the_ending(tmp_path):
    """Of the two formats proposed to vLLM, JSON Lines is the one of .jsonl."""
    for engine in ("vllm-list", "vllm-jsonl"):
        path, _ = good(engine, tmp_path)
        assert check_file(path, "vllm", model=MODEL).engine == engine


def test_unknown_engine_and_missing_file(tmp_path):
    """Both are bad input, not a failed check."""
    with pytest.raises(InputError, match="did you mean 'sglang'"):
        check_file(tmp_path / "x.json", "sglan")
    with pytest.raises(InputError, match="cannot read"):
        check_file(tmp_path / "x.json", "sglang")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        check_file(tmp_path / "x.json", "sglang")


def test_sglang_reads_tensors_too(tmp_path):
    """The same rules hold for a .pt file."""
    table = np.tile(np.arange(12) % 8, (5, 1))
    write_torch(tmp_path / "x.pt", {P2L: table})
    assert not check_file(tmp_path / "x.pt", "sglang", model=MODEL, num_ranks=4).broken
    table[2, 7] = 0
    write_torch(tmp_path / "x.pt", {P2L: table})
    found = check_file(tmp_path / "x.pt", "sglang", model=MODEL, num_ranks=4)
    assert [f.rule.name for f in found.broken] == ["coverage"]
