"""What a result file carries so that others can check it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.formulations.bounds.contents import ContentsCertificate
from moeplace.formulations.bounds.partition import Certificate
from moeplace.formulations.bounds.touched import Coupling, TouchProof
from moeplace.formulations.verify.arrays import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from moeplace.formulations.bounds import Bound
    from moeplace.formulations.result import Result

CERTIFICATE_SCHEMA = "moeplace.certificate/1"
CHUNK = 1 << 20


def certificate_of(result: Result, inputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the placement and the proofs of a result's bound as a JSON document.

    Parameters
    ----------
    result
        From ``solve`` or ``evaluate_result``.
    inputs
        What the problem was made from, if that is known: options and files.
    """
    placement = result.placement
    return {
        "schema": CERTIFICATE_SCHEMA,
        "inputs": None if inputs is None else dict(inputs),
        "placement": None
        if placement is None
        else {
            "expert_of_slot": pack(placement.expert_of_slot),
            "rank_of_slot": pack(placement.rank_of_slot),
        },
        "bound": None if result.bound is None else _bound(result.bound),
    }


def recorded_files(paths: Iterable[Path | str | None]) -> dict[str, str]:
    """Return the SHA-256 of every path that is a file, and of every file in a folder, by name."""
    found: dict[str, str] = {}
    for path in paths:
        if path is None:
            continue
        place = Path(path)
        if place.is_file():
            found[str(path)] = file_hash(place)
        elif place.is_dir():
            inside = sorted(p for p in place.rglob("*") if p.is_file())
            names = [f"{p.relative_to(place)} {file_hash(p)}" for p in inside]
            found[str(path)] = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return found


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _bound(bound: Bound) -> dict[str, Any]:
    return {
        "value": bound.value,
        "method": bound.method,
        "effort": bound.effort,
        "layer_value": bound.layer_value.tolist(),
        "scenarios": [_bound(one) for one in bound.scenarios],
        "proofs": [
            {
                "level": proof.level,
                "value": proof.value.tolist(),
                "coupling": None
                if proof.coupling is None
                else {
                    "least_compute_s": proof.coupling.least_compute_s.tolist(),
                    "seconds_per_touch": proof.coupling.seconds_per_touch,
                },
                "layers": [None if c is None else _packed(c) for c in proof.certificates],
                "contents": [
                    None if c is None else {"price": pack(c.price), "least": c.least}
                    for c in proof.contents
                ],
            }
            for proof in bound.proofs
        ],
    }


def _packed(certificate: Certificate) -> dict[str, Any]:
    return {
        "price": pack(certificate.price),
        "dual": pack(certificate.dual),
        "dual_unit": certificate.dual_unit,
        "row_dual": pack(certificate.row_dual),
    }


def read_certificate(packed: Mapping[str, Any], where: str) -> Certificate:
    """Return one layer's certificate.

    Raises
    ------
    InputError
        If an array is damaged.
    """
    return Certificate(
        unpack(packed["price"], f"{where}, price"),
        unpack(packed["dual"], f"{where}, dual"),
        float(packed["dual_unit"]),
        unpack(packed["row_dual"], f"{where}, row_dual"),
    )


def read_proof(packed: Mapping[str, Any], where: str) -> TouchProof:
    """Return the touches that a file claims, and their certificates."""
    coupling = packed["coupling"]
    return TouchProof(
        str(packed["level"]),
        np.array(packed["value"], float),
        tuple(
            None if layer is None else read_certificate(layer, f"{where}, layer {number}")
            for number, layer in enumerate(packed["layers"])
        ),
        None
        if coupling is None
        else Coupling(
            np.array(coupling["least_compute_s"], float), float(coupling["seconds_per_touch"])
        ),
        tuple(
            None
            if layer is None
            else ContentsCertificate(
                unpack(layer["price"], f"{where}, contents of layer {number}"),
                int(layer["least"]),
            )
            for number, layer in enumerate(packed.get("contents", ()))
        ),
    )
