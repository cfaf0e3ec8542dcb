from __future__ import annotations

import io
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.traces import archives, load_trace
from moeplace.traces.archives import check_bounds
from moeplace.traces.torch_zip import read_torch

FIXTURES = Path(__file__).parent / "fixtures" / "torch"


def archive(path, pickled, storages=()):
    """Write an archive as torch.save lays it out."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("name/data.pkl", pickled)
        for key, raw in storages:
            file.writestr(f"name/data/{key}", raw)
    return path


def tensor_pickle(monkeypatch, size, stride, offset=0, count=6, kind="IntStorage"):
    """Return the pickle of a tensor, with stand-ins for the modules of PyTorch."""
    torch = types.ModuleType("torch")
    utils = types.ModuleType("torch._utils")
    storage = type(kind, (), {"__module__": "torch"})
    setattr(torch, kind, storage)

    def _rebuild_tensor_v2(*arguments):
        raise AssertionError("never called")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Stored:
        pass

    class Tensor:
        def __reduce__(self):
            return (_rebuild_tensor_v2, (Stored(), offset, size, stride, False, {}))

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Stored):
                return ("storage", storage, "0", "cpu", count)
            return None

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(Tensor())
    return stream.getvalue()


def test_reads_what_pytorch_wrote():
    """Files of torch.save (PyTorch 2.11, from a GPU) give their numbers."""
    content = read_torch(FIXTURES / "stat.pt")
    assert content["rank"] == 0
    assert content["average_utilization_rate_over_window"] == 0.75
    expected = np.arange(96).reshape(3, 4, 8) * 3 % 17
    expected[:, 0] = 0
    np.testing.assert_array_equal(content["logical_count"], expected)
    np.testing.assert_array_equal(
        read_torch(FIXTURES / "bf16.pt"), np.arange(8).reshape(2, 4).astype(np.float32)
    )
    records = read_torch(FIXTURES / "per_token_0.pt")["records"]
    assert [record["positions"] for record in records] == [[0, 1, 2, 3, 4], [4 + 1, 10], [6, 11]]


def test_strides_and_offsets(tmp_path, monkeypatch):
    """A view of a storage is that view."""
    raw = np.arange(6, dtype="<i4").tobytes()
    path = archive(
        tmp_path / "t.pt", tensor_pickle(monkeypatch, (2, 2), (1, 2), offset=1), [("0", raw)]
    )
    np.testing.assert_array_equal(read_torch(path), [[1, 3], [2, 4]])


@pytest.mark.parametrize(
    ("size", "stride", "count"),
    [
        ((7,), (1,), 6),  # more values than the storage
        ((2, 3), (3, 2), 6),  # reaches behind it
        ((1 << 40,), (0,), 6),  # an expanded view
        ((-1,), (1,), 6),
        ((2,), (1,), 1 << 50),  # more than the file holds
    ],
)
def test_views_outside_the_storage_are_refused(tmp_path, monkeypatch, size, stride, count):
    """No tensor reaches outside its bytes."""
    raw = np.arange(6, dtype="<i4").tobytes()
    pickled = tensor_pickle(monkeypatch, size, stride, count=count)
    path = archive(tmp_path / "t.pt", pickled, [("0", raw)])
    with pytest.raises(InputError, match=r"t\.pt"):
        read_torch(path)


class Evil:
    """Touches a file when a pickle executes it."""

    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return (os.system, (f"touch {self.flag}",))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_hostile_pickles_run_nothing(tmp_path, protocol):
    """A file that would execute a command is refused with the offset, and nothing runs."""
    flag = tmp_path / "executed"
    payload = pickle.dumps({"logical_count": Evil(flag)}, protocol=protocol)
    path = archive(tmp_path / "evil.pt", payload)
    with pytest.raises(InputError, match=r"evil\.pt: name/data\.pkl, byte \d+.*not read"):
        read_torch(path)
    assert not flag.exists()
    pickle.loads(payload)  # the same bytes do run where pickle is trusted
    assert flag.exists()


@pytest.mark.parametrize(
    "payload",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02c__builtin__\ngetattr\n.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93.",
        b"(ios\nsystem\n.",
        b"\x80\x02}(K\x01K\x02u}b.",
        b"\x80\x02]q\x00h\x01.",
        b"\x80\x02K\x01",
        b"\x80\x02(.",
        b"\x80\x02ccollections\nOrderedDict\n)R]s.",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
    ],
)
def test_other_opcodes_are_refused(tmp_path, payload):
    """What no file of tensors holds is an input error with a place."""
    with pytest.raises(InputError, match=r"x\.pt"):
        read_torch(archive(tmp_path / "x.pt", payload))


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    """An archive that unpacks to far more than it holds is not read; a small one always is."""
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, expert_ids=np.zeros((1 << 20, 1, 1), np.uint8), num_experts=4)
    check_bounds(path)
    monkeypatch.setattr(archives, "ALWAYS_FINE_BYTES", 1 << 18)
    with pytest.raises(InputError, match=r"bomb\.npz.*decompression bomb"):
        load_trace(path)
