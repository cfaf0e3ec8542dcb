"""`moeplace trace import --estimate`: what an import would take, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moeplace.cli.output import Output
    from moeplace.traces.importers.options import ImportOptions


def show_estimate(
    sources: list[str],
    from_: str | None,
    options: ImportOptions,
    jobs: int | None,
    machines: int,
    size_GB: float | None,
    storage_GBps: float | None,
    part_mib: int,
    out: Output,
) -> None:
    """Import a sample and print what the whole would take.

    Parameters
    ----------
    sources, from_, options
        What would be imported, and what is known of it.
    jobs, machines
        Workers of a machine, and machines.
    size_GB
        Size to estimate for instead of that of the sources.
    storage_GBps
        What the storage reads for all machines.
    part_mib
        Source bytes of a part.
    out
        Where to print.
    """
    from moeplace.cli.progress import Progress
    from moeplace.parallel import available_cores
    from moeplace.traces.estimating import estimate_import

    with Progress("importing a sample", quiet=out.quiet):
        found = estimate_import(
            sources,
            format=from_,
            options=options,
            machines=machines,
            jobs=jobs or available_cores(),
            size_bytes=None if size_GB is None else round(size_GB * 1e9),
            storage_bytes_per_s=None if storage_GBps is None else storage_GBps * 1e9,
            part_bytes=part_mib << 20,
        )
    minutes, seconds = divmod(round(found.wall_s), 60)
    workers, limit = found.machines * found.jobs, storage_GBps
    facts = [
        ("source", f"{found.source_bytes / 1e9:,.3g} GB in {found.parts:,} parts"),
        ("trace as Parquet", f"{found.parquet_bytes / 1e9:,.3g} GB"),
        ("rate of one worker", f"{found.bytes_per_cpu_s / 1e6:,.0f} MB a processor second"),
        ("measured on", f"{found.sample_bytes / 1e6:,.1f} MB of the source, second reading"),
        ("workers", f"{workers}: {found.machines} machines × {found.jobs}"),
        ("kept beside others", f"{found.efficiency:.0%} of that rate, assumed"),
        ("processor time", f"{found.cpu_s / 3600:,.2f} h"),
        ("storage reads", "as fast as asked" if limit is None else f"{limit:,.3g} GB/s"),
        ("to keep workers busy", f"{found.read_bytes_per_s / 1e9:,.3g} GB/s, all machines"),
        ("and written", f"{found.write_bytes_per_s / 1e9:,.3g} GB/s, all machines"),
        ("wall time", f"{minutes} min {seconds:02d} s"),
    ]
    rows = [{"what": name, "value": value} for name, value in facts]
    out.show(found.to_dict(), rows, lambda: out.table(["what", "value"], facts, left=(0, 1)))
    out.note("not counted: the start of the workers, and their first compilation")
