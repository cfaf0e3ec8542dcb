"""Formats that place whole layers, or choose between GPU and host."""

from __future__ import annotations

import io
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moeplace.errors import CheckFailedError, InputError
from moeplace.placement.formats import (
    FORMATS,
    detect_format,
    export_placement,
    format_violations,
    read_placement,
)
from moeplace.placement.formats.ktransformers import gpu_ratio
from moeplace.placement.placement import Placement
from moeplace.traces.torch_zip import read_torch

COARSE = [name for name, info in FORMATS.items() if info.granularity != "slot"]
every_format = pytest.mark.parametrize("name", COARSE)


def coarse(name: str, seed: int, ranks: int, layer_ids=(1, 2, 4)) -> Placement:
    """Return a random placement of 8 experts that the format can hold."""
    rng = np.random.default_rng(seed)
    by_layer = FORMATS[name].granularity == "layer"
    rank = rng.integers(0, ranks, (len(layer_ids), 1 if by_layer else 8))
    rank = np.broadcast_to(rank, (len(layer_ids), 8))
    return Placement.from_rank_of_expert(rank, num_ranks=ranks, layer_ids=layer_ids)


def refusal(path, name, model) -> str | None:
    """Return what the reader says against a file, None if it takes it."""
    try:
        read_placement(path, name, model=model, num_ranks=2)
    except InputError as error:
        return str(error)
    return None


def target(folder, name):
    return folder / f"map{FORMATS[name].suffix}"


@every_format
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    ranks=st.integers(1, 4),
    moe=st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True).map(sorted),
)
def test_round_trip(name, tmp_path_factory, make_model, same, seed, ranks, moe):
    """What is written comes back, found by content."""
    ranks = 2 if FORMATS[name].granularity == "expert" else ranks
    placement = coarse(name, seed, ranks, tuple(moe))
    model = make_model(7, tuple(moe), 8)
    path = target(tmp_path_factory.mktemp("coarse"), name)
    report = export_placement(placement, path, name, model=model)
    back = read_placement(path, model=model, num_ranks=ranks)
    assert detect_format(path) == name
    assert same(back.canonical(), placement.canonical())
    assert report.flags


@every_format
def test_same_bytes(name, tmp_path, model):
    """A file depends on the placement alone."""
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        export_placement(coarse(name, 3, 2), target(folder, name), name, model=model)
    assert target(first, name).read_bytes() == target(second, name).read_bytes()


@every_format
def test_damaged_file_never_crashes(name, tmp_path, model):
    """A cut or changed file gives a placement or an InputError that names it."""
    path = target(tmp_path, name)
    export_placement(coarse(name, 3, 2), path, name, model=model)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        changed = bytearray(data)
        changed[rng.integers(len(data))] = rng.integers(256)
        for content in (bytes(changed), data[: rng.integers(len(data))]):
            path.write_bytes(content)
            message = refusal(path, name, model)
            assert message is None or path.name in message
            refused += message is not None
    assert refused > 30


@every_format
def test_replicas_are_refused(name, tmp_path, model, make_placement):
    """These engines copy no experts; nothing is written."""
    with pytest.raises(CheckFailedError, match=r"one-slot|two-ranks"):
        export_placement(make_placement(), target(tmp_path, name), name, model=model)
    assert not any(tmp_path.iterdir())


def test_split_layer_is_refused(tmp_path, model):
    """llama.cpp cannot put experts of one layer on two devices; the layer is named."""
    split = coarse("ktransformers", 0, 2)
    found = format_violations(split, "llama-cpp", model)
    assert [text.split(":")[0] for text in found] == ["whole-layers"]
    with pytest.raises(CheckFailedError, match=r"whole-layers: .* layer 1 lie on 2 ranks"):
        export_placement(split, tmp_path / "x.args", "llama-cpp", model=model)


def test_three_ranks_are_not_gpu_and_host(model):
    """KTransformers knows two places."""
    found = format_violations(coarse("llama-cpp", 0, 3), "ktransformers", model)
    assert found[0].startswith("two-ranks: 3 ranks")


def test_counts_force_the_choice(tmp_path, model):
    """The rule of KTransformers, the most used of all layers, chooses the experts of rank 0."""
    placement = coarse("ktransformers", 5, 2)
    report = export_placement(placement, tmp_path / "kt.pt", "kt", model=model)
    counts = read_torch(tmp_path / "kt.pt")["logical_count"]
    assert counts.shape == (1, 5, 8)
    frequency = counts.sum(axis=0).astype(np.float32)
    ratio = float(report.flags[0].split()[1])
    chosen = int(3 * 8 * ratio)
    on_gpu = placement.replicas_on_rank[:, :, 0] > 0
    assert chosen == on_gpu.sum()
    mask = np.zeros(40, bool)
    mask[np.argsort(-frequency.ravel(), kind="stable")[:chosen]] = True
    assert (mask.reshape(5, 8)[[1, 2, 4]] == on_gpu).all()


@pytest.mark.parametrize("total", [1, 7, 24, 58 * 256, 61 * 384])
def test_ratio_is_rounded_down_to_the_number(total):
    """Every number of experts survives the server's int(total * ratio)."""
    for number in {0, 1, total // 3, total // 2, total - 1, total}:
        assert int(total * float(gpu_ratio(number, total))) == number


def test_patterns_match_the_tensors_of_their_layer_only(tmp_path, model):
    """Each expert tensor of a MoE layer is matched by exactly one line, others by none."""
    placement = coarse("llama-cpp", 1, 3)
    export_placement(placement, tmp_path / "x.args", "llama-cpp", model=model)
    rules = [
        line.removeprefix("-ot ").split("=")
        for line in (tmp_path / "x.args").read_text().splitlines()
    ]
    rank = placement.replicas_on_rank.any(axis=1).argmax(axis=1)
    for layer in range(5):
        for part in ("gate_exps", "up_exps", "down_exps", "gate", "gate_inp", "up_shexp"):
            name = f"blk.{layer}.ffn_{part}.weight"
            found = [device for pattern, device in rules if re.search(pattern, name)]
            moe = layer in model.moe_layers and part.endswith("_exps")
            assert found == ([f"CUDA{rank[model.moe_layers.index(layer)]}"] if moe else [])


def test_recorded_loads_are_no_choice(tmp_path, model):
    """A dump of the recorder is told from a choice of experts."""
    from moeplace.traces.torch_write import write_torch

    write_torch(tmp_path / "x.pt", {"logical_count": np.full((1, 5, 8), 7, np.int32)})
    with pytest.raises(InputError, match="recorded loads"):
        read_placement(tmp_path / "x.pt", model=model)


def test_host_is_the_last_rank(tmp_path, model):
    """CPU in place of a device is read as the last rank."""
    path = tmp_path / "x.args"
    export_placement(coarse("llama-cpp", 1, 2), path, "llama-cpp", model=model)
    text = path.read_text()
    path.write_text(text.replace("CUDA1", "CPU"))
    rank = read_placement(path, model=model, num_ranks=2).replicas_on_rank
    path.write_text(text)
    assert (rank == read_placement(path, model=model, num_ranks=2).replicas_on_rank).all()


def test_torch_archive_is_aligned(tmp_path, model):
    """Every entry starts at a multiple of 64 bytes, as torch.save writes it, and is not packed."""
    path = tmp_path / "kt.pt"
    export_placement(coarse("ktransformers", 5, 2), path, "ktransformers", model=model)
    data = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            at = data.index(archive.read(entry), entry.header_offset + 30 + len(entry.filename))
            assert at % 64 == 0
            assert entry.compress_type == zipfile.ZIP_STORED
