"""The written pages of the documentation and what is in them."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


@cache
def load_script(path: Path) -> ModuleType:
    """Return a Python file that belongs to no package as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def all_pages() -> list[Path]:
    """Return every Markdown page, generated ones included."""
    return [*(ROOT / name for name in TOP), *sorted(DOCS.rglob("*.md"))]


def page_id(page: Path) -> str:
    """Return the page's path inside the repository."""
    return page.relative_to(ROOT).as_posix()
