"""What every format of the registry keeps to."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moeplace.errors import CheckFailedError, InputError
from moeplace.placement.formats import (
    FORMATS,
    detect_format,
    export_placement,
    format_info,
    format_violations,
    list_formats,
    load_format,
    read_placement,
)
from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from pathlib import Path

BY_SLOT = [name for name in list_formats() if FORMATS[name].granularity == "slot"]
ENGINES = [name for name in BY_SLOT if not FORMATS[name].native]
every_format = pytest.mark.parametrize("name", BY_SLOT)  # the others: test_coarse_formats.py


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return one folder for all drawn examples."""
    return tmp_path_factory.mktemp("formats")


def outcome(path: Path, engine: str | None, model) -> Placement | str:
    """Return what is read, or the message of the InputError."""
    try:
        return read_placement(path, engine, model=model, num_ranks=4)
    except InputError as error:
        return str(error)


def target(folder: Path, name: str) -> Path:
    return folder / f"map{format_info(name).suffix}"


@every_format
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    ranks=st.sampled_from([1, 2, 4, 8]),
    spare=st.integers(0, 2),
    moe=st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True).map(sorted),
    named=st.booleans(),
)
def test_round_trip(name, folder, make_placement, make_model, same, seed, ranks, spare, moe, named):
    """A written placement comes back the same, found by content, without naming the format."""
    slots = min(8, 8 // ranks + spare)
    placement = make_placement(seed, ranks=ranks, slots_per_rank=slots, layer_ids=tuple(moe))
    model = make_model(7, tuple(moe), 8)
    given_ids = placement if named else placement.replace(layer_ids=None)
    path = target(folder, name)
    report = export_placement(given_ids, path, name, model=model)
    back = read_placement(path, model=model, num_ranks=ranks)
    expected = given_ids if FORMATS[name].native else placement
    if not FORMATS[name].keeps_slot_order:
        expected, back = expected.canonical(), back.canonical()
    assert detect_format(path) == name
    assert same(back, expected)
    assert report.filled_slots == 0
    assert same(report.placement, given_ids if FORMATS[name].native else placement)


@every_format
def test_writing_twice_gives_the_same_bytes(name, tmp_path, make_placement, model):
    """A file depends on the placement alone."""
    export_placement(make_placement(3), target(tmp_path, name), name, model=model)
    first = target(tmp_path, name).read_bytes()
    export_placement(make_placement(3), target(tmp_path, name), name, model=model)
    assert target(tmp_path, name).read_bytes() == first


@every_format
def test_file_untouched_when_the_disk_fails(name, tmp_path, make_placement, model, monkeypatch):
    """An error while the file is put in place leaves the old file and no rest."""
    path = target(tmp_path, name)
    path.write_text("old")

    def fail(*_args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        export_placement(make_placement(), path, name, model=model)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ENGINES)
def test_file_untouched_when_a_rule_is_broken(name, tmp_path, make_placement, model):
    """A placement without a slot for expert 5 is refused before anything is written."""
    placement = make_placement()
    table = placement.expert_of_slot.copy()
    table[1][table[1] == 5] = -1
    path = target(tmp_path, name)
    path.write_text("old")
    with pytest.raises(CheckFailedError, match=r"coverage: expert 5 .* layer 2"):
        export_placement(placement.replace(expert_of_slot=table), path, name, model=model)
    assert path.read_text() == "old"


@every_format
def test_wrong_ending_is_refused(name, tmp_path, make_placement, model):
    """A name with another ending is refused, with the right one in the message."""
    path = tmp_path / "map.txt"
    with pytest.raises(InputError, match=FORMATS[name].suffix):
        export_placement(make_placement(), path, name, model=model)
    assert not path.exists()


@every_format
def test_truncated_file(name, tmp_path, make_placement, model, same):
    """A cut file is an InputError that names it, or (last newline) still the whole map."""
    path = target(tmp_path, name)
    export_placement(make_placement(), path, name, model=model)
    whole = read_placement(path, name, model=model, num_ranks=4)
    data = path.read_bytes()
    refused = 0
    for cut in sorted({*range(0, len(data), max(1, len(data) // 40)), len(data) - 1}):
        path.write_bytes(data[:cut])
        for engine in (name, None):
            found = outcome(path, engine, model)
            if isinstance(found, str):
                assert path.name in found
                assert "\n" not in found
                refused += 1
            else:
                assert same(found, whole)
    assert refused >= 60


@every_format
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_file_never_crashes(name, folder, make_placement, model, data):
    """A changed byte gives a placement or an InputError, never another exception."""
    path = target(folder, name)
    export_placement(make_placement(), path, name, model=model)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    found = outcome(path, name, model)
    assert isinstance(found, Placement) or path.name in found


@every_format
@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"{}", b"[]", b"null", b"[[]]", b'{"a": NaN}', b"[" * 100_000, b"- a\n"],
)
def test_strange_file(name, tmp_path, model, content):
    """Files of another kind are an InputError."""
    path = target(tmp_path, name)
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        read_placement(path, name, model=model, num_ranks=4)


@every_format
def test_missing_file(name, tmp_path):
    """A file that is not there is an InputError."""
    with pytest.raises(InputError, match="cannot read"):
        read_placement(target(tmp_path, name), name, num_ranks=4)


@every_format
def test_map_of_another_model_is_refused(name, tmp_path, make_placement, make_model, model):
    """Neither written nor read for a model with another number of experts."""
    path = target(tmp_path, name)
    export_placement(make_placement(), path, name, model=model)
    for experts in (7, 9):
        other = make_model(5, (1, 2, 4), experts)
        found = outcome(path, name, other)
        # A larger model is told apart by the experts that have no slot.
        assert isinstance(found, str) or "coverage" in format_violations(found, name, other)[0]
        with pytest.raises(InputError, match=r"experts: .* 8 experts"):
            export_placement(make_placement(), path, name, model=other)


@every_format
def test_number_of_ranks_is_checked(name, tmp_path, make_placement, model):
    """Ranks that the file contradicts, or cannot have, are refused."""
    path = target(tmp_path, name)
    export_placement(make_placement(), path, name, model=model)
    with pytest.raises(InputError, match="ranks"):
        read_placement(path, name, model=model, num_ranks=5)
    with pytest.raises(InputError, match="num_ranks"):
        read_placement(path, name, model=model, num_ranks=0)
    if not FORMATS[name].keeps_ranks:
        with pytest.raises(InputError, match="num_ranks"):
            read_placement(path, name, model=model)


@every_format
def test_reading_without_a_model(name, tmp_path, make_placement, model, same):
    """Without a model the experts still come back; layer ids only where the file has them."""
    placement = make_placement()
    path = target(tmp_path, name)
    export_placement(placement, path, name, model=model)
    back = read_placement(path, num_ranks=4)
    if name == "sglang":
        back = back.replace(expert_of_slot=back.expert_of_slot[[1, 2, 4]], layer_ids=(1, 2, 4))
    ids = (1, 2, 4) if name in ("native-json", "native-npz", "sglang", "tensorrt-llm") else None
    expected = placement.replace(layer_ids=ids)
    if not FORMATS[name].keeps_slot_order:
        expected = expected.canonical()
    assert same(back, expected)


@every_format
def test_module_offers_the_protocol(name):
    """Every module has write, read and usage with the same arguments."""
    module = load_format(name)
    assert list(inspect.signature(module.write).parameters)[:3] == ["placement", "path", "context"]
    assert list(inspect.signature(module.read).parameters) == ["path", "context"]
    assert list(inspect.signature(module.usage).parameters) == ["placement", "path"]
    assert name == module.NAME


@pytest.mark.parametrize("name", ENGINES)
def test_dense_rows_are_left_out(name, tmp_path, make_placement, model, same):
    """A placement with one row per hidden layer gives the same file as its MoE rows."""
    rows = make_placement(1, layer_ids=(0, 1, 2, 3, 4))
    moe = rows.replace(expert_of_slot=rows.expert_of_slot[[1, 2, 4]], layer_ids=(1, 2, 4))
    contents = []
    for placement in (rows, rows.replace(layer_ids=None), moe):
        path = target(tmp_path, name)
        export_placement(placement, path, name, model=model)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize("name", ENGINES)
def test_rows_follow_layer_ids(name, tmp_path, make_placement, model):
    """Rows in another order than the layers are sorted by their ids."""
    placement = make_placement(5)
    shuffled = placement.replace(
        expert_of_slot=placement.expert_of_slot[[2, 0, 1]], layer_ids=(4, 1, 2)
    )
    path = target(tmp_path, name)
    export_placement(shuffled, path, name, model=model)
    back = read_placement(path, name, model=model, num_ranks=4)
    assert np.array_equal(back.canonical().expert_of_slot, placement.canonical().expert_of_slot)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("layer_ids", "message"),
    [
        ((1, 2, 3), "MoE layer 4 has no row"),
        ((1, 2, 2), "layer 2 has more"),
        ((1, 2, 7), "layer 7"),
    ],
)
def test_wrong_layers_are_refused(name, tmp_path, make_placement, model, layer_ids, message):
    """Layers that the model does not have, or that are missing, are named."""
    placement = make_placement().replace(layer_ids=layer_ids)
    with pytest.raises(InputError, match=message):
        export_placement(placement, target(tmp_path, name), name, model=model)
    assert not any(tmp_path.iterdir())
