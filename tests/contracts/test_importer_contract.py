"""What every importer must do; a new one joins by an entry in `importer_samples.SAMPLES`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from moeplace.errors import InputError, UsageError
from moeplace.traces import (
    RoutingTrace,
    Workload,
    detect_format,
    importers,
    load_trace,
    load_workload,
    save_trace,
)
from moeplace.traces.importers.options import ImportOptions
from tests.contracts.importer_samples import SAMPLES, make_trace


@pytest.fixture(params=list(importers()))
def importer(request):
    """Return every importer in turn."""
    return importers()[request.param]


@pytest.fixture
def sample(importer, tmp_path):
    """Return a good recording of the importer's format."""
    return SAMPLES[importer.name](tmp_path)


def read(importer, sample, path=None):
    """Read a recording with what the importer must be told."""
    options = sample.options or ImportOptions()
    return importer.read(
        path or sample.path, num_experts=options.num_experts, options=options, name="mine"
    )


def test_recognizes_its_own_and_nobody_elses(importer, sample):
    """The content decides the format, and for one importer only."""
    assert [i.name for i in importers().values() if i.recognizes(sample.path)] == [importer.name]
    assert detect_format(sample.path) == importer.name


def test_gives_what_was_recorded(importer, sample):
    """The result is of the promised kind, has the name given, and holds what the file holds."""
    result = read(importer, sample)
    assert isinstance(result, RoutingTrace if importer.gives == "trace" else Workload)
    assert result.name == "mine"
    if isinstance(result, Workload):
        np.testing.assert_array_equal(result.load, sample.expected)
        return
    ids = np.where(result.valid, result.expert_ids.astype(int), -1)
    np.testing.assert_array_equal(ids, sample.expected)


@pytest.mark.parametrize(
    "importer",
    [found for found in importers().values() if found.gives == "trace"],
    ids=lambda found: found.name,
)
def test_units_give_the_same_trace(importer, sample):
    """Read piece by piece, a recording holds the same tokens; loads are read at once."""
    options = sample.options or ImportOptions()
    trace = importer.read_units(importer.units(sample.path, options), options)
    ids = np.where(trace.valid, trace.expert_ids.astype(int), -1)
    np.testing.assert_array_equal(ids, sample.expected)


def test_reading_twice_gives_the_same(importer, sample):
    """Reading is deterministic."""
    first, second = (
        load_workload(
            sample.path,
            num_experts=sample.options.num_experts if sample.options else None,
            options=sample.options,
        )
        for _ in range(2)
    )
    assert first.fingerprint() == second.fingerprint()


def test_truncated_files_are_refused(importer, sample):
    """A file cut anywhere is one line of input error that names it, never another exception."""
    whole = sample.cut.read_bytes()
    places = [0, 1, 10, len(whole) // 3, len(whole) // 2, len(whole) - 3]
    for part in places:
        if part >= len(whole) - sample.marginal:
            continue
        sample.cut.write_bytes(whole[:part])
        with pytest.raises(InputError) as caught:
            read(importer, sample)
        assert sample.cut.name in str(caught.value) or sample.path.name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\1\2 garbage",
        b"[[[[" * 20_000,
        b'{"logical_count": ' + b"[" * 100_000,
        b"\xff\xfe{}",
        b"null",
        b"{}",
        b"[]",
        b"[{}]",
        b"12345678901234567890" * 500,
        b"PAR1 and nothing else PAR1",
        b"PK\x03\x04 no archive",
    ],
)
def test_foreign_content_is_refused(importer, tmp_path, content):
    """Content of no format is an input error for every importer."""
    path = tmp_path / "strange"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        importer.read(path)
    assert "strange" in str(caught.value)
    assert "\n" not in str(caught.value)
    importer.recognizes(path)


def test_damaged_bytes_never_crash(importer, sample):
    """A flipped byte is refused, or changes nothing that checksums guard."""
    whole = sample.cut.read_bytes()
    rng = np.random.default_rng(5)
    for place in rng.choice(len(whole), min(len(whole), 80), replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 0x81
        sample.cut.write_bytes(damaged)
        try:
            result = read(importer, sample)
        except InputError:
            continue
        if importer.name in ("npz", "parquet"):
            np.testing.assert_array_equal(result.expert_ids, sample.expected)


def test_missing_file(importer, tmp_path):
    """A file that is not there is an input error."""
    with pytest.raises(InputError, match="nowhere"):
        importer.read(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no such file or folder; shipped: deepseek-v3"):
        load_workload(tmp_path / "nowhere", importer.name)


def test_pickles_are_never_read(tmp_path):
    """An npz with pickled objects is refused and nothing in it runs."""
    path = tmp_path / "evil.npz"

    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was executed",))

    np.savez(path, expert_ids=np.array([Evil()], dtype=object))
    with pytest.raises(InputError, match=r"evil\.npz"):
        load_trace(path)


def test_single_arrays_and_other_archives_are_no_traces(tmp_path):
    """A bare .npy, and an npz of other arrays, say what is missing."""
    np.save(tmp_path / "ids.npy", np.zeros((2, 2)))
    with pytest.raises(InputError, match="single array"):
        load_trace(tmp_path / "ids.npy", "npz")
    np.savez(tmp_path / "other.npz", other=np.zeros(3))
    with pytest.raises(InputError, match=r"no array expert_ids \(found other"):
        load_trace(tmp_path / "other.npz")
    np.savez(tmp_path / "bare.npz", expert_ids=np.zeros((3, 1, 1), int))
    with pytest.raises(InputError, match="give num_experts"):
        load_trace(tmp_path / "bare.npz")
    assert load_trace(tmp_path / "bare.npz", num_experts=4).num_experts == 4


def test_npz_of_loads(tmp_path):
    """An npz with an array `load` is a workload."""
    np.savez(tmp_path / "w.npz", load=[[1.0, 2.0]], layer_ids=[4], top_k=1, phase="decode")
    workload = load_workload(tmp_path / "w.npz")
    assert (workload.layer_ids, workload.top_k, workload.phase) == ((4,), 1, "decode")
    with pytest.raises(InputError, match="was recorded in decode, not prefill"):
        load_workload(tmp_path / "w.npz", phase="prefill")


def test_ids_out_of_range_name_token_and_layer(tmp_path):
    """A bad id in a file is reported with file, token and layer."""
    path = tmp_path / "bad.npz"
    np.savez(path, expert_ids=[[[1], [2]], [[0], [9]]], num_experts=4, layer_ids=[3, 4])
    with pytest.raises(InputError, match=r"bad\.npz.*expert 9 of token 1, layer 4"):
        load_trace(path)


def test_unknown_formats(tmp_path):
    """A format that does not exist is a usage error, content of no format an input error."""
    save_trace(make_trace(), tmp_path / "t.npz")
    with pytest.raises(UsageError, match=r"'csv'.*npz, parquet"):
        load_trace(tmp_path / "t.npz", "csv")
    with pytest.raises(UsageError, match=r"X\.npz, X\.parquet"):
        save_trace(make_trace(), tmp_path / "t.csv")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"notes\.txt: cannot tell"):
        load_trace(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="phase"):
        load_workload(tmp_path / "t.npz", phase="both")


def test_folder_replaces_traces_only(tmp_path):
    """Writing over a trace folder replaces it whole; any other folder is left alone."""
    save_trace(make_trace(seed=1), tmp_path / "t")
    save_trace(make_trace(seed=2), tmp_path / "t")
    again = load_trace(tmp_path / "t")
    np.testing.assert_array_equal(again.expert_ids, make_trace(seed=2).expert_ids)
    (tmp_path / "home").mkdir()
    with pytest.raises(InputError, match="is no trace"):
        save_trace(make_trace(), tmp_path / "home")
    with pytest.raises(InputError, match="cannot write"):
        save_trace(make_trace(), tmp_path / "not" / "there.npz")


def test_import_is_light():
    """Importing the package loads none of the heavy libraries."""
    code = (
        "import sys, moeplace.traces;"
        "print([m for m in ('scipy','numba','pyarrow','networkx','pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
