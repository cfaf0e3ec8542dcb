"""What `torch.save` writes, read without PyTorch and without executing a pickle.

The file is a zip archive: `NAME/data.pkl` (pickle protocol 2) and the raw bytes of every storage
in `NAME/data/KEY`. The pickle is walked opcode by opcode; a handful of opcodes and names are
known, everything else is refused. Nothing that a file says is imported or called.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.archives import open_archive

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

LARGEST_PICKLE_BYTES = 512 << 20
STORAGES = {
    "BoolStorage": "?",
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "i2",
    "IntStorage": "i4",
    "LongStorage": "i8",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
}
REBUILD = "torch._utils _rebuild_tensor_v2"
DICTIONARY = "collections OrderedDict"
SIZE = "torch Size"
NAMES = {REBUILD, DICTIONARY, SIZE, *(f"torch {name}" for name in STORAGES)}
MARK = object()


@dataclass(frozen=True)
class _Name:
    """A global that the pickle names: a word, never the object."""

    text: str


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    count: int


class _Refused(Exception):
    pass


def looks_like_torch(path: Path) -> bool:
    """Tell whether a file is an archive as `torch.save` writes them; never raises."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return False
        with open_archive(path) as archive:
            return any(_is_pickle(name) for name in archive.namelist())
    except (InputError, OSError, ValueError):
        return False


def read_torch(path: Path) -> Any:
    """Return what is saved in a file: dictionaries, lists, numbers, text, tensors as arrays.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        If it is missing, cut or corrupt, of PyTorch's format before 1.6, or its pickle asks for
        anything but tensors and plain data; the message names the offset in the pickle.
    """
    with open_archive(path) as archive:
        names = [name for name in archive.namelist() if _is_pickle(name)]
        if len(names) != 1:
            raise InputError(f"{path}: {len(names)} entries data.pkl; torch.save writes one")
        info = archive.getinfo(names[0])
        if info.file_size > LARGEST_PICKLE_BYTES:
            raise InputError(f"{path}: {names[0]} is {info.file_size:,} bytes; too large to trust")
        folder = names[0].removesuffix("data.pkl")
        order = _byte_order(path, archive, folder)

        def storage(kind: str, key: str, count: int) -> NDArray[Any]:
            dtype = np.dtype(order + STORAGES[kind])
            raw = _read(path, archive, f"{folder}data/{key}")
            if count < 0 or count * dtype.itemsize > len(raw):
                raise InputError(
                    f"{path}: storage {key} holds {len(raw)} bytes, {count} values of "
                    f"{dtype.itemsize} expected"
                )
            values: NDArray[Any] = np.frombuffer(raw, dtype=dtype, count=count)
            if kind == "BFloat16Storage":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            return values

        return _Machine(path, names[0], storage).run(_read(path, archive, names[0]))


def _is_pickle(name: str) -> bool:
    return name == "data.pkl" or name.endswith("/data.pkl")


def _byte_order(path: Path, archive: zipfile.ZipFile, folder: str) -> str:
    if f"{folder}byteorder" not in archive.namelist():
        return "<"
    return ">" if _read(path, archive, f"{folder}byteorder").strip() == b"big" else "<"


def _read(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    import zlib
    from zipfile import BadZipFile

    try:
        return archive.read(name)
    except KeyError as error:
        raise InputError(f"{path}: {name} is not in the archive") from error
    except (BadZipFile, zlib.error, EOFError) as error:
        offset = archive.getinfo(name).header_offset
        raise InputError(f"{path}: {name} at byte {offset:,} is corrupt ({error})") from error


class _Machine:
    """Walks the opcodes of one pickle; values that it makes are plain data and arrays."""

    def __init__(
        self, path: Path, entry: str, storage: Callable[[str, str, int], NDArray[Any]]
    ) -> None:
        self._where, self._storage = f"{path}: {entry}", storage
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._arrays: dict[tuple[str, str], NDArray[Any]] = {}

    def run(self, text: bytes) -> Any:
        position = 0
        try:
            for opcode, argument, at in pickletools.genops(text):
                position = at or 0
                if opcode.name == "STOP":
                    if len(self._stack) != 1:
                        raise _Refused("more than one value is left at the end")
                    return self._plain(self._stack[0])
                self._step(opcode.name, argument)
        except InputError:
            raise
        except (_Refused, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            known = str(error) if isinstance(error, _Refused) else f"malformed ({error})"
            raise InputError(
                f"{self._where}, byte {position:,}: {' '.join(known.split())}; not read"
            ) from error
        raise InputError(f"{self._where}: ends at byte {len(text):,} without a STOP")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            items = stack[len(stack) - _TUPLES[name] :]
            del stack[len(stack) - _TUPLES[name] :]
            stack.append(tuple(items))
        elif name in ("PROTO", "FRAME"):
            pass
        elif name == "MARK":
            stack.append(MARK)
        elif name == "TUPLE":
            stack.append(tuple(self._to_mark()))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memo[int(argument)])
        elif name in ("APPEND", "APPENDS"):
            items = self._to_mark() if name == "APPENDS" else [stack.pop()]
            self._target(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._to_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            self._target(dict).update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(self._name(argument))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(self._name(f"{module} {attribute}"))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._reduce(function, arguments))
        elif name == "BINPERSID":
            stack.append(self._persistent(stack.pop()))
        else:
            raise _Refused(f"opcode {name} has no place in a file of tensors")

    def _target(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise _Refused(f"items for something that is no {kind.__name__}")
        return self._stack[-1]

    def _to_mark(self) -> list[Any]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is MARK:
                items = self._stack[place + 1 :]
                del self._stack[place:]
                return items
        raise _Refused("no MARK on the stack")

    def _name(self, text: str) -> _Name:
        if text not in NAMES:
            raise _Refused(f"asks for {text.replace(' ', '.')!r}, which is no tensor")
        return _Name(text)

    def _persistent(self, identity: Any) -> _Storage:
        kind, storage, key, _device, count = identity
        if kind != "storage" or not isinstance(storage, _Name):
            raise _Refused("a persistent id that is no storage")
        name = storage.text.removeprefix("torch ")
        if name not in STORAGES:
            raise _Refused(f"a storage of type {storage.text!r}")
        return _Storage(name, str(key), int(count))

    def _reduce(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise _Refused("a call of something that is not known")
        if function.text == DICTIONARY:
            return dict(arguments[0]) if arguments else {}
        if function.text == SIZE:
            return tuple(arguments[0])
        if function.text != REBUILD:
            raise _Refused(f"a call of {function.text!r}")
        storage, offset, size, stride = arguments[:4]
        if not isinstance(storage, _Storage):
            raise _Refused("a tensor without a storage")
        return self._tensor(storage, int(offset), tuple(size), tuple(stride))

    def _tensor(
        self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
    ) -> NDArray[Any]:
        place = (storage.kind, storage.key)
        if place not in self._arrays:
            self._arrays[place] = self._storage(storage.kind, storage.key, storage.count)
        values = self._arrays[place]
        if len(size) != len(stride) or min((*size, *stride, offset), default=0) < 0:
            raise _Refused(f"a tensor of size {size}, stride {stride}")
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        # A tensor of more values than its storage is an expanded view: nobody saves counts so.
        if count and (last >= values.size or count > values.size):
            raise _Refused(f"a tensor of size {size} in a storage of {values.size} values")
        if not count:
            return np.zeros(size, dtype=values.dtype)
        view: NDArray[Any] = np.lib.stride_tricks.as_strided(
            values[offset:], size, [step * values.itemsize for step in stride], writeable=False
        )
        return view

    def _plain(self, value: Any) -> Any:
        if isinstance(value, (_Name, _Storage)) or value is MARK:
            raise _Refused("the content is no plain data")
        return value


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "INT",
    "LONG",
    "FLOAT",
    "UNICODE",
}
_EMPTY: dict[str, Any] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
