"""Finding a model: by catalogue name or alias, by YAML file, or by Hugging Face config."""

from __future__ import annotations

import json
import re
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, unknown_name
from moeplace.models.checks import DTYPE_BYTES
from moeplace.models.hf_config import model_from_config

if TYPE_CHECKING:
    from moeplace.models.schema import ModelFile
    from moeplace.models.spec import ModelSpec

_SUFFIX = ".yaml"
_HINT = "moeplace model list"
# Endings of release names that leave the structure of a model as it is.
_RELEASE = re.compile(r"instruct|chat|base|thinking|it|pt|hf|preview|exp|\d{4}|v\d+(\.\d+)+")
_DTYPE_ENDINGS = {**{name: name for name in DTYPE_BYTES}, "nvfp4": "fp4", "mxfp4": "fp4"}


def list_models() -> list[str]:
    """Return the names in the catalogue, sorted."""
    entries = files("moeplace.models").joinpath("catalog").iterdir()
    return sorted(e.name.removesuffix(_SUFFIX) for e in entries if e.name.endswith(_SUFFIX))


def list_aliases() -> dict[str, str]:
    """Return every other name that `load_model` takes, with the catalogue name it stands for."""
    return dict(_aliases())


def load_model(name_or_path: str | Path) -> ModelSpec:
    """Load a model from the catalogue or from a file.

    Parameters
    ----------
    name_or_path
        A catalogue name or alias in any case; a Hugging Face id, of which the last part counts and
        release endings (``-Instruct``, ``-0324``) are dropped, while endings such as ``-FP8`` set
        the weight type; or a path to a ``.yaml`` file, to a ``config.json`` or to a folder with
        one. A catalogue name goes before a folder of the same name; write ``./name`` for the
        folder.

    Returns
    -------
    The model. Read from a ``config.json`` it has no parameter counts.

    Raises
    ------
    InputError
        If nothing has that name, or a file cannot be read as a MoE model.
    """
    text = str(name_or_path)
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix.lower() in (".yaml", ".yml", ".json"):
        return _load_path(path)
    if len(path.parts) > 1 and path.is_dir():
        return _load_path(path)
    if text.startswith((".", "/", "~")):
        return _load_path(path.expanduser())
    found = _find(text.rsplit("/", 1)[-1].lower())
    if found is not None:
        return found
    if text and path.is_dir():
        return _load_path(path)
    raise unknown_name("model", text.rsplit("/", 1)[-1], [*list_models(), *_aliases()], _HINT)


def load_model_file(name: str) -> ModelFile:
    """Return the catalogue entry `name` with the keys that `ModelSpec` leaves out."""
    return _read_yaml(files("moeplace.models").joinpath("catalog", name + _SUFFIX), name)


def _find(name: str) -> ModelSpec | None:
    """Look `name` up, dropping release endings from the right until something matches."""
    names = set(list_models())
    dtype: str | None = None
    while True:
        key = name if name in names else _aliases().get(name)
        if key is not None:
            model = load_model_file(key).to_spec()
            return model if dtype is None else model.replace(weight_dtype=dtype)
        name, _, ending = name.rpartition("-")
        if ending in _DTYPE_ENDINGS:
            dtype = dtype or _DTYPE_ENDINGS[ending]
        elif not _RELEASE.fullmatch(ending):
            return None


@cache
def _aliases() -> dict[str, str]:
    return {alias: name for name in list_models() for alias in load_model_file(name).aliases}


def _load_path(path: Path) -> ModelSpec:
    if path.is_dir():
        path = path / "config.json"
        if not path.is_file():
            raise InputError(f"{path.parent}: no config.json in this folder")
    if path.suffix.lower() in (".yaml", ".yml"):
        file = _read_yaml(path, str(path))
        read = file.to_spec
    else:
        read = partial(model_from_config, _read_json(path), _name_of(path))
    try:
        return read()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(_read_text(path, str(path)))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object with the keys of a Hugging Face config")
    return config


def _name_of(path: Path) -> str:
    """Name a model after its folder, or after the repository in a Hugging Face cache."""
    folder = path.resolve().parent
    if folder.parent.name == "snapshots":
        folder = folder.parent.parent
    name = path.stem if path.name != "config.json" else folder.name.rsplit("--", 1)[-1]
    return name.lower()


def _read_yaml(path: Any, where: str) -> ModelFile:
    import yaml

    from moeplace.models.schema import parse_model_file

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(_read_text(path, where), Loader=loader)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise InputError(f"{where}: not YAML: {problem}") from error
    if not isinstance(content, dict):
        raise InputError(f"{where}: expected keys such as num_experts and top_k")
    return parse_model_file(content, where)


def _read_text(path: Any, where: str) -> str:
    try:
        return str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{where}: cannot read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text") from error
