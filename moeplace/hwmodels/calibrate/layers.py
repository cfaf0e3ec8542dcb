"""Layers timed on real GPUs against the model fitted to the sweeps in the same files."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.grouped_gemm import expected_slowest_us, positive_us
from moeplace.hwmodels.calibrate.layer_sweeps import LayerModel, fit_layer_model
from moeplace.hwmodels.calibrate.statistics import kendall_tau

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

LEAST_MARGIN = 0.02
Group = tuple[str, str, int, str, str]


@dataclass(frozen=True)
class LayerRow:
    """One timed layer.

    Attributes
    ----------
    file, trace, tokens_per_rank, placement, mode, regime, repeat, ranks
        What was run.
    quantity
        ``compute`` on emulated ranks, ``total`` on real ones.
    measured_us, predicted_us
        The slowest rank's time.
    """

    file: str
    trace: str
    tokens_per_rank: int
    placement: str
    mode: str
    regime: str
    repeat: int
    ranks: int
    quantity: str
    measured_us: float
    predicted_us: float

    @property
    def group(self) -> Group:
        """What the placements of one comparison share."""
        regime = f"{self.regime}, {self.ranks} ranks"
        return self.file, self.trace, self.tokens_per_rank, self.mode, regime


@dataclass(frozen=True)
class LayerReport:
    """All layers of a folder.

    Attributes
    ----------
    rows
        Predicted and measured.
    taus
        Kendall's τ over the placements of each group, where placements differ beyond noise.
    not_modelled
        (file or row, reason).
    """

    rows: Sequence[LayerRow]
    taus: Mapping[Group, float]
    not_modelled: Sequence[tuple[str, str]]


def validate_layers(folder: str | Path) -> LayerReport:
    """Predict every layer in the JSON files of a folder from the sweeps in them.

    Files of the same hardware pool their sweeps. No layer's time enters the model.

    Raises
    ------
    InputError
        If the folder has no such file, or a file is not JSON or lacks a key; with file and key.
    """
    documents = {path.name: _load(path) for path in sorted(Path(folder).glob("*.json"))}
    timed = {
        name: document
        for name, document in documents.items()
        if isinstance(document, dict) and {"ep", "ep_emulated"} & set(document)
    }
    if not timed:
        raise InputError(f"{folder}: no JSON file with timed layers (keys ep or ep_emulated)")
    by_machine: dict[str, list[str]] = defaultdict(list)
    for name, document in documents.items():
        if isinstance(document, dict) and "calib" in document:
            by_machine[_machine(document)].append(name)
    rows: list[LayerRow] = []
    missing: list[tuple[str, str]] = []
    models: dict[str, LayerModel] = {}
    for name, document in timed.items():
        try:
            pool = [documents[other] for other in by_machine[_machine(document)]]
            if not pool:
                missing.append((name, "no sweeps of this machine in the folder"))
                continue
            machine = _machine(document)
            if machine not in models:
                ports = max(int(each.get("meta", {}).get("world", 2)) for each in pool)
                models[machine] = fit_layer_model(pool, max(ports, 2))
            rows.extend(_rows(name, document, models[machine], missing))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            what = f"key {error.args[0]!r} is missing" if isinstance(error, KeyError) else error
            raise InputError(f"{Path(folder) / name}: {what}") from error
    return LayerReport(rows, _taus(rows), missing)


def mean_tau(report: LayerReport) -> float | None:
    """Return the mean over (trace, tokens per rank) of the mean τ of their comparisons."""
    cells: dict[Hashable, list[float]] = defaultdict(list)
    for (_, trace, tokens, _, _), tau in report.taus.items():
        cells[trace, tokens].append(tau)
    return float(np.mean([np.mean(each) for each in cells.values()])) if cells else None


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def _machine(document: Mapping[str, Any]) -> str:
    return str(document.get("meta", {}).get("hardware", {}).get("name", ""))


def _rows(
    name: str,
    document: Mapping[str, Any],
    model: LayerModel,
    missing: list[tuple[str, str]],
) -> Iterable[LayerRow]:
    entries = [*document.get("ep_emulated", []), *document.get("ep", [])]
    loads: dict[Hashable, Any] = {}
    first: dict[Hashable, Mapping[str, Any]] = {}
    shape = document.get("meta", {}).get("shape", {})
    if "hidden" in shape:  # rows are bf16 where their bytes are not given
        entries = [{"row_bytes": 2 * shape["hidden"], **entry} for entry in entries]
    for entry in entries:  # repeats of a layer need not give its loads again
        if entry.get("pairs_per_slot") is not None:
            loads[_layer(entry)] = entry["pairs_per_slot"]
    for given in entries:
        real = "chained" in given
        same = (_layer(given), given["mode"], given["regime"], real)
        entry = {**first.setdefault(same, given), **given}
        counts = _counts(entry, loads.get(_layer(entry)))
        if real and entry["regime"] not in model.exchange:
            missing.append((f"{name} {_layer(entry)}", "no all-to-all sweep of this regime"))
            continue
        compute = expected_slowest_us(
            np.array([_compute_us(entry, rank, count, model) for rank, count in enumerate(counts)]),
            np.array([model.gemm.spread_us(count) for count in counts]),
        )
        timed = entry["chained"]["total"] if real else entry["emulated"]["compute"]
        yield LayerRow(
            file=name,
            trace=str(entry["trace"]),
            tokens_per_rank=int(entry["tokens_per_rank"]),
            placement=str(entry["placement"]),
            mode=str(entry["mode"]),
            regime=str(entry["regime"]),
            repeat=int(entry.get("repeat", 0)),
            ranks=int(entry["world"]),
            quantity="total" if real else "compute",
            measured_us=positive_us(timed["max_us"], "max_us"),
            predicted_us=compute + (_exchange_us(entry, model) if real else 0.0),
        )


def _layer(entry: Mapping[str, Any]) -> Hashable:
    names = ("trace", "tokens_per_rank", "placement", "policy", "world", "slots")
    return tuple(entry.get(name) for name in names)


def _counts(entry: Mapping[str, Any], pairs: Any) -> list[NDArray[np.float64]]:
    """Return rows of each slot by rank; even over the active slots if only totals are known."""
    if pairs is not None:
        return [np.asarray(rank, float) for rank in pairs]
    totals = zip(entry["pairs_per_rank"], entry["active_slots_per_rank"], strict=True)
    return [np.full(max(int(slots), 1), total / max(int(slots), 1)) for total, slots in totals]


def _compute_us(
    entry: Mapping[str, Any], rank: int, counts: NDArray[np.float64], model: LayerModel
) -> float:
    """Return expand, grouped GEMMs with activation, and reduce of one rank.

    Expand writes one row per pair; reduce reads the pairs and writes the rows that came in.
    """
    pairs, width = float(counts.sum()), float(entry["row_bytes"])
    if entry.get("rows_sent") is not None:
        came = float(sum(row[rank] for row in entry["rows_sent"]))
    else:
        came = float(entry["rows_per_rank"][rank])
    return (
        model.expand.at(pairs * width, came * width)
        + model.gemm.predict_us(counts)
        + model.reduce.at(pairs * width, came * width)
    )


def _exchange_us(entry: Mapping[str, Any], model: LayerModel) -> float:
    """Return packing, both all-to-alls and the final sum over the rows that came back."""
    sent = np.asarray(entry["rows_sent"], float)
    width = float(entry["row_bytes"])
    away = sent - np.diag(np.diag(sent))
    port = max(away.sum(axis=0).max(), away.sum(axis=1).max()) * width
    most = sent.sum(axis=1).max()
    curve = model.exchange[entry["regime"]]
    both = 2 * curve.predict_us(port, float(away.sum()) * width)
    pack = model.copy.at(2 * most * width)
    final = model.copy.at((most + entry["tokens_per_rank"]) * width)
    return both + pack + final


def _taus(rows: Sequence[LayerRow]) -> dict[Group, float]:
    groups: dict[Group, dict[str, list[LayerRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.group][row.placement].append(row)
    taus = {}
    for group, placements in groups.items():
        times = [[row.measured_us for row in repeats] for repeats in placements.values()]
        spread = max((max(each) / min(each) - 1 for each in times), default=0.0)
        tau = kendall_tau(
            [float(np.mean([r.predicted_us for r in each])) for each in placements.values()],
            [float(np.mean(each)) for each in times],
            max(LEAST_MARGIN, spread),
        )
        if tau is not None:
            taus[group] = tau
    return taus
