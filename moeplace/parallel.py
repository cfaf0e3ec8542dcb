"""Run one function on many inputs, here or on a cluster that already runs, in order."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from moeplace.clock import cores, handed_over, kept, lose
from moeplace.errors import BackendMissingError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ENGINES = ("threads", "loky", "dask", "ray")
CONNECT_S = 10.0  # a scheduler that does not answer within this time is not there

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Workers:
    """Who does the work: how many, by which engine.

    Attributes
    ----------
    jobs
        Workers at a time; None for as many as the engine has (cores, or the cluster's workers).
    engine
        ``threads`` (for work that releases the interpreter lock), ``loky`` (processes), ``dask``
        or ``ray`` (a running cluster, through joblib's backends).
    scheduler
        Address of the Dask scheduler or the Ray cluster; only for these.
    """

    jobs: int | None = None
    engine: str = "threads"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no engine understands.

        Raises
        ------
        InputError
            If the engine is unknown, jobs is not positive, or a scheduler is given or missing
            where it must not be.
        """
        if self.engine not in ENGINES:
            raise InputError(f"unknown engine {self.engine!r}: use one of {', '.join(ENGINES)}")
        if self.jobs is not None and self.jobs < 1:
            raise InputError(f"jobs is {self.jobs}; it must be at least 1")
        if self.scheduler is not None and self.engine not in ("dask", "ray"):
            raise InputError(f"engine {self.engine!r} has no scheduler; use dask or ray")
        if self.scheduler is None and self.engine == "dask":
            raise InputError("engine 'dask' needs the address of its scheduler, host:port")

    @contextmanager
    def started(self) -> Iterator[Pool]:
        """Connect to the workers; what is started here ends with the block.

        Raises
        ------
        BackendMissingError
            If the engine's package is not installed.
        InputError
            If the scheduler does not answer.
        """
        with ExitStack() as stack:
            yield Pool(self._joblib(stack), elsewhere=self.engine != "threads")

    def _joblib(self, stack: ExitStack) -> Any:
        from joblib import Parallel, parallel_config

        jobs = self.jobs
        if self.engine == "dask":
            stack.enter_context(_dask_client(self.scheduler))
            stack.enter_context(parallel_config(backend="dask"))
        elif self.engine == "ray":
            _register_ray(self.scheduler)
            stack.enter_context(parallel_config(backend="ray"))
        else:
            jobs = jobs or available_cores()
            backend = "threading" if self.engine == "threads" else "loky"
            stack.enter_context(parallel_config(backend=backend))
        # one task a batch: tasks are long, and a batch would delay the first result
        return stack.enter_context(Parallel(n_jobs=jobs or -1, batch_size=1))


@dataclass(frozen=True)
class Pool:
    """Workers that are running; `elsewhere` if they are other processes."""

    parallel: Any
    elsewhere: bool = False

    def map(self, function: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
        """Return ``[function(item) for item in items]``, worked out by the workers."""
        from joblib import delayed

        if not kept():
            found: list[Found] = self.parallel(delayed(function)(item) for item in items)
            return found
        items = list(items)  # made here, in order: they may hold what the clock says
        if self.elsewhere:
            lose("the clocks of other processes are not kept")
            return list(self.parallel(delayed(function)(item) for item in items))
        run = handed_over(function)
        return list(self.parallel(delayed(run)(numbered) for numbered in enumerate(items)))


def parallel_map(
    function: Callable[[Item], Found],
    items: Iterable[Item],
    *,
    jobs: int | None = None,
    engine: str = "loky",
    scheduler: str | None = None,
) -> list[Found]:
    """Return ``[function(item) for item in items]``, in order, whoever does the work.

    Parameters
    ----------
    function
        A function of one argument; with engines other than ``threads`` importable by name.
    items
        Its inputs.
    jobs, engine, scheduler
        See :class:`Workers`.
    """
    with Workers(jobs, engine, scheduler).started() as pool:
        return pool.map(function, items)


def available_cores() -> int:
    """Return the number of cores this process may use."""
    here = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        here = len(os.sched_getaffinity(0))
    return cores(here)


def _dask_client(address: str | None) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise BackendMissingError(
            "engine 'dask' needs dask and distributed: pip install 'moeplace[dask]'"
        ) from None
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address!r} ({error}); start one with `dask scheduler`"
        ) from None


def _register_ray(address: str | None) -> None:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise BackendMissingError("engine 'ray' needs ray: pip install 'moeplace[ray]'") from None
    try:
        ray.init(address=address or "auto", ignore_reinit_error=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"no Ray cluster answers at {address or 'auto'!r} ({error}); start one with "
            "`ray start --head`"
        ) from None
    register_ray()
