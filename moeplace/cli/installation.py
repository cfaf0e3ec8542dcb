"""What is installed, what works, and what the machine gives."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    "numpy", "scipy", "numba", "ortools", "pulp", "networkx", "pyarrow", "pydantic", "PyYAML",
    "typer", "rich", "joblib", "threadpoolctl",
)  # fmt: skip
# Optional dependencies: the packages, and what they give.
EXTRAS = {
    "plot": (("matplotlib",), "figures: --plot and the figures of reports as files"),
    "dask": (("dask", "distributed"), "--engine dask: layers on the workers of a Dask cluster"),
    "ray": (("ray",), "--engine ray: layers on a Ray cluster"),
    "bench": (("mtkahypar",), "benchmarks beside Mt-KaHyPar"),
    "notebooks": (("ipykernel", "nbclient"), "the notebooks in examples/ run as tests"),
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    part
        ``versions``, ``backends``, ``extras``, ``programs``, ``cache``, ``data`` or ``machine``.
    status
        ``ok``, ``BAD`` (moeplace needs it), or ``missing`` (it would give more).
    found
        In words.
    details
        What programs want to know.
    """

    part: str
    check: str
    status: str
    found: str
    details: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return it as one flat dictionary."""
        row = asdict(self)
        return {**{k: v for k, v in row.items() if k != "details"}, **self.details}


def examine() -> Iterator[Check]:
    """Yield all checks; backends are used once, which loads them."""
    yield from _versions()
    yield from _backends()
    yield from _extras()
    yield _browser()
    yield _cache()
    yield _data()
    yield from _machine()


def _versions() -> Iterator[Check]:
    import platform

    from moeplace import __version__

    system = f"{platform.python_version()} on {platform.platform(terse=True)}"
    yield Check("versions", "Python", "ok", system, {"version": platform.python_version()})
    yield Check("versions", "moeplace", "ok", __version__, {"version": __version__})
    for package in PACKAGES:
        found = _version(package)
        status, text = ("ok", found) if found else ("BAD", f"missing: pip install {package}")
        yield Check("versions", package, status, text or "", {"version": found})


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _backends() -> Iterator[Check]:
    from moeplace.formulations.backends import check_backends

    for name, (works, text) in check_backends().items():
        yield Check("backends", name, "ok" if works else "BAD", text)


def _extras() -> Iterator[Check]:
    for extra, (packages, gives) in EXTRAS.items():
        found = {package: _version(package) for package in packages}
        missing = [package for package, version in found.items() if version is None]
        text = ", ".join(f"{name} {version}" for name, version in found.items())
        if missing:
            text = f"pip install 'moeplace[{extra}]' gives {gives}"
        yield Check(
            "extras",
            f"extra {extra}",
            "missing" if missing else "ok",
            text,
            {"present": not missing, "packages": found, "gives": gives},
        )


def _browser() -> Check:
    """Tell whether reports can be opened without a screen, as their tests do."""
    from shutil import which

    place = next((found for name in BROWSERS if (found := which(name))), None)
    text = place or "no Chromium: reports open in any browser, only their tests need it"
    return Check("programs", "chromium", "ok" if place else "missing", text, {"path": place})


def _cache() -> Check:
    """Tell whether compiled kernels are kept, so that only the first run compiles."""
    import moeplace

    package = Path(moeplace.__file__).parent
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or package)
    writable = os.access(folder, os.W_OK)
    kept = sum(1 for _ in folder.rglob("*.nbi"))
    text = f"{kept} compiled functions kept in {folder}"
    if not writable:
        text = f"{folder} is not writable: kept in your home, or set NUMBA_CACHE_DIR"
    details = {"folder": str(folder), "writable": writable, "functions": kept}
    return Check("cache", "compiled-code cache", "ok", text, details)


def _data() -> Check:
    """Tell whether the data that comes with the package is there and can be read."""
    import moeplace
    from moeplace.errors import MoeplaceError
    from moeplace.hwmodels import list_systems
    from moeplace.models import list_models
    from moeplace.traces import shipped_workloads

    folder = Path(moeplace.__file__).parent
    details: dict[str, Any] = {"folder": str(folder)}
    try:
        details["models"] = len(list_models())
        details["systems"] = len(list_systems())
        details["workloads"] = len(shipped_workloads())
    except (MoeplaceError, OSError) as error:
        return Check("data", "shipped data", "BAD", f"{type(error).__name__}: {error}", details)
    counts = {name: count for name, count in details.items() if name != "folder"}
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    status = "ok" if all(counts.values()) else "BAD"
    return Check("data", "shipped data", status, f"{text} in {folder}", details)


def _machine() -> Iterator[Check]:
    from moeplace.parallel import available_cores

    cores = available_cores()
    yield Check("machine", "processors", "ok", str(cores), {"count": cores})
    memory = _memory_GiB()
    text = "not known" if memory is None else f"{memory:.1f} GiB"
    yield Check("machine", "memory", "ok", text, {"GiB": memory})


def _memory_GiB() -> float | None:
    """Return the memory of the machine where the system tells it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, OSError, ValueError):
        return None
