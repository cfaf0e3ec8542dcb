"""A comparison as a file: Parquet, CSV or JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import UsageError
from moeplace.files import atomic_write

if TYPE_CHECKING:
    from moeplace.formulations.study.study import Study

SUFFIXES = (".parquet", ".csv", ".json")


def save_study(study: Study, path: str | Path) -> None:
    """Write a comparison, one row a run; JSON also holds the sums and profiles.

    Parameters
    ----------
    study
        From :func:`~moeplace.formulations.study.run.compare_instances`.
    path
        Ends in .parquet, .csv or .json. Parquet and JSON keep the course of every run: seconds
        and values.

    Raises
    ------
    UsageError
        If the ending is another.
    """
    target = Path(path)
    if target.suffix == ".json":
        document = study.to_dict()
        for row, trial in zip(document["rows"], study.trials, strict=True):
            row["history"] = [{"elapsed_s": at, "value": value} for at, value in trial.history]
        with atomic_write(target) as file:
            json.dump(document, file, indent=1)
            file.write("\n")
    elif target.suffix == ".csv":
        rows = flat_rows(study)
        with atomic_write(target) as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    elif target.suffix == ".parquet":
        _write_parquet(study, target)
    else:
        raise UsageError(f"{path}: the name must end in {', '.join(SUFFIXES)}")


def flat_rows(study: Study) -> list[dict[str, Any]]:
    """Return one flat row a run, all with the same keys."""
    numbers = list(dict.fromkeys(key for trial in study.trials for key in trial.score))
    return [
        {k: v for k, v in row.items() if k != "score"}
        | {key: trial.score.get(key) for key in numbers if key not in row}
        for row, trial in zip(study.rows(), study.trials, strict=True)
    ]


def _write_parquet(study: Study, target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        row
        | {
            "time_limit_s": trial.time_limit_s,
            "history_s": [at for at, _ in trial.history],
            "history_value": [value for _, value in trial.history],
        }
        for row, trial in zip(flat_rows(study), study.trials, strict=True)
    ]
    with atomic_write(target, "wb") as file:
        pq.write_table(pa.Table.from_pylist(rows), file)
