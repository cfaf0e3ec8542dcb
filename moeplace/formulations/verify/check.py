"""`verify`: a result's value, rules and bound worked out again from the problem and the proofs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import CheckFailedError, InfeasibleError, InputError, MoeplaceError
from moeplace.formulations.bounds.combine import best_of
from moeplace.formulations.bounds.lower_bound import assembled, robust_bound
from moeplace.formulations.bounds.touched import TouchProof, lost_to_choice, parts_of, rows_of
from moeplace.formulations.bounds.weights import coupling_of, levels_that_matter
from moeplace.formulations.result import OPTIMAL_GAP, RESULT_SCHEMA, relative_gap
from moeplace.formulations.verify.arrays import unpack
from moeplace.formulations.verify.contents_check import proven_contents
from moeplace.formulations.verify.partition_check import proven_touches
from moeplace.formulations.verify.record import CERTIFICATE_SCHEMA, read_proof
from moeplace.placement import Placement, evaluate, violations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.formulations.bounds import Bound
    from moeplace.placement import Problem

SAME = 1e-9  # relative difference of two evaluations of one placement
PROVEN = 1e-6  # share by which a bound may exceed its proof: linear programs are solved anew
REPLACED = "solver"  # the method of a bound that a solver proved by its own search


@dataclass(frozen=True)
class Check:
    """One thing that was checked: its name, whether it holds, and what was found."""

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True)
class Verification:
    """Everything that was checked in a result.

    Attributes
    ----------
    value, lower_bound, gap
        As worked out here, not as the file says; None where there is none.
    """

    checks: tuple[Check, ...]
    value: float | None
    lower_bound: float | None
    gap: float | None

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the verification as a JSON document."""
        return {
            "schema": "moeplace.verification/1",
            "holds": self.holds,
            "value": self.value,
            "lower_bound": self.lower_bound,
            "gap": self.gap,
            "checks": [{"name": c.name, "holds": c.holds, "detail": c.detail} for c in self.checks],
        }

    def raise_if_broken(self, where: str) -> None:
        """Raise unless every check holds.

        Raises
        ------
        CheckFailedError
            Naming the first that does not.
        """
        broken = [check for check in self.checks if not check.holds]
        if broken:
            more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
            raise CheckFailedError(f"{where}: {broken[0].name}: {broken[0].detail}{more}")


def verify_document(document: Mapping[str, Any], problem: Problem) -> Verification:
    """Check a result against its problem.

    The placement is scored again and held against the problem's rules. The bound is put together
    again: closed theorems from the problem's data, touched parts from the certificate's
    multipliers by code that the solver does not use. Nothing that the solver claimed is used
    except to compare.

    Parameters
    ----------
    document
        A result file with its certificate.
    problem
        The problem, made again from its inputs.

    Raises
    ------
    InputError
        If the file is not a result, has no certificate or is damaged.
    """
    try:
        return _verify(document, problem)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"the result is damaged ({type(error).__name__}: {error}); write it again"
        ) from error


def _verify(document: Mapping[str, Any], problem: Problem) -> Verification:
    if document.get("schema") != RESULT_SCHEMA:
        raise InputError(f"not a result file: schema is {document.get('schema')!r}")
    certificate = document.get("certificate")
    if certificate is None or certificate.get("schema") != CERTIFICATE_SCHEMA:
        raise InputError("the result has no certificate; write it with `moeplace solve --result`")
    said, objective = document["problem"], document["objective"]
    checks = [
        _check(
            "problem",
            said["fingerprint"] == problem.fingerprint,
            f"fingerprint {problem.fingerprint[:12]}",
            f"the result is of problem {said['fingerprint'][:12]}, the inputs now make "
            f"{problem.fingerprint[:12]}: other inputs, or another version of moeplace",
        )
    ]
    if not checks[0].holds:
        return Verification(tuple(checks), None, None, None)
    value: float | None = None
    if certificate["placement"] is not None:
        value, found = _placement_checks(document, problem)
        checks += found
    elif objective["value"] is not None:
        checks.append(Check("placement", False, "the result has a value and no placement"))
    bound, found = _bound_checks(document, problem)
    checks += found
    gap = None if value is None else relative_gap(value, bound)
    if value is not None and gap is not None:
        checks.append(_close("gap", objective["gap"], gap, absolute=2 * PROVEN))
        optimal = document["status"] == "optimal"
        checks.append(
            _check(
                "status",
                not optimal or gap <= OPTIMAL_GAP + PROVEN,
                str(document["status"]),
                f"said to be optimal, but the gap is {gap:.3g}",
            )
        )
    return Verification(tuple(checks), value, bound, gap)


def _check(name: str, holds: bool, detail: str, otherwise: str) -> Check:
    return Check(name, holds, detail if holds else otherwise)


def _close(name: str, said: Any, found: float | None, *, absolute: float = 0.0) -> Check:
    if said is None or found is None:
        same = said is None and (found is None or math.isnan(found))
        return _check(name, same, "none", f"the file says {said}, worked out {found}")
    same = math.isclose(float(said), found, rel_tol=SAME, abs_tol=absolute)
    return _check(name, same, f"{found:.9g}", f"the file says {said!r}, worked out {found!r}")


def _placement_checks(document: Mapping[str, Any], problem: Problem) -> tuple[float, list[Check]]:
    packed = document["certificate"]["placement"]
    placement = Placement(
        unpack(packed["expert_of_slot"], "placement").astype(np.int32),
        unpack(packed["rank_of_slot"], "placement").astype(np.int32),
        problem.num_experts,
        problem.num_ranks,
        problem.workload.layer_ids,
    )
    broken = violations(problem, placement)
    claimed = bool(document["violations"]) or document["status"] == "infeasible"
    checks = [
        _check(
            "rules",
            bool(broken) == claimed or _allowed(document),
            "kept" if not broken else f"{len(broken)} broken, as the file says",
            broken[0] if broken else "the file says rules are broken, none is",
        )
    ]
    try:
        score = evaluate(problem, placement)
    except InfeasibleError as error:
        return math.nan, [*checks, Check("value", False, str(error))]
    checks.append(_close("value", document["objective"]["value"], score.objective))
    said, found = document["score"], score.to_dict()
    wrong = [
        name
        for name, figure in found.items()
        if name not in said or not _close(name, said[name], _number(figure)).holds
    ]
    checks.append(
        _check(
            "score",
            not wrong,
            f"{len(found)} figures",
            ", ".join(f"{name} is {found[name]!r}, not {said.get(name)!r}" for name in wrong[:3]),
        )
    )
    return float(score.objective), checks


def _number(figure: Any) -> float | None:
    return None if figure is None else float(figure)


def _allowed(document: Mapping[str, Any]) -> bool:
    """Return whether the solver is one whose maps may break rules (EPLB repeats experts)."""
    from moeplace.formulations.registry import SOLVERS

    info = SOLVERS.get(str(document["solver"]))
    return info is not None and not info.feasible


def _bound_checks(
    document: Mapping[str, Any], problem: Problem
) -> tuple[float | None, list[Check]]:
    packed, claimed = document["certificate"]["bound"], document["objective"]["lower_bound"]
    if packed is None or claimed is None:
        nothing = packed is None and claimed is None
        return None, [_check("bound", nothing, "none claimed", "a bound without a certificate")]
    checks = [_close("bound's copy", claimed, float(packed["value"]))]
    proven = proven_bound(problem, packed)
    reached = claimed <= proven.value * (1 + PROVEN) + 1e-300
    if reached or packed["method"] != REPLACED:
        checks.append(
            _check(
                "bound",
                reached,
                f"proven: {proven.value:.9g} ({proven.method})",
                f"the file claims {claimed!r}, its certificate proves only {proven.value!r}",
            )
        )
        return proven.value, checks
    found, by = _by_another_solver(problem, str(document["solver"]))
    checks.append(
        _check(
            "bound",
            found is not None and claimed <= found * (1 + PROVEN),
            f"proven again by {by}: {found}",
            f"a solver's own proof of {claimed!r}; {by} proves {found!r} and the theorems "
            f"{proven.value!r}",
        )
    )
    best = proven.value if found is None else max(proven.value, found)
    return best, checks


def proven_bound(problem: Problem, packed: Mapping[str, Any]) -> Bound:
    """Return the bound that the problem's data and a file's certificates prove."""
    if problem.scenarios:
        parts = packed["scenarios"]
        if len(parts) != len(problem.scenarios):
            parts = [{"proofs": [], "scenarios": []}] * len(problem.scenarios)
        return robust_bound(
            problem,
            tuple(proven_bound(s, p) for s, p in zip(problem.scenarios, parts, strict=True)),
        )
    plain = assembled(problem, (), "fast")
    proofs = tuple(
        _proven(problem, read_proof(proof, f"bound, proof {number}"))
        for number, proof in enumerate(packed["proofs"])
    )
    if not proofs:
        return plain
    strong = assembled(problem, proofs, "strong")
    best = best_of({plain.method: plain.layer_value, strong.method: strong.layer_value})
    return replace(best, effort="strong", proofs=proofs)


def _proven(problem: Problem, claim: TouchProof) -> TouchProof:
    """Return the touches that the certificates prove, whatever the file claims."""
    if claim.level not in levels_that_matter(problem):
        raise InputError(f"certificate: touches of {claim.level!r} do not enter this objective")
    sets = problem.workload.token_sets
    if sets is None or len(claim.certificates) != problem.num_layers:
        raise InputError("certificate: it is of other layers than the problem")
    coupling = coupling_of(problem, claim.level)  # worked out again, not read
    value = np.zeros(problem.num_layers)
    for layer, certificate in enumerate(claim.certificates):
        if certificate is not None:
            rows = rows_of(problem, claim.level, layer, coupling)
            parts = parts_of(problem, claim.level)
            least = proven_touches(sets[layer], certificate, parts, rows)
            value[layer] = max(0.0, least - lost_to_choice(problem, layer))
    for layer, contents in enumerate(claim.contents[: problem.num_layers]):
        if contents is not None and not problem.redundant:
            rows = rows_of(problem, claim.level, layer, None)
            parts = parts_of(problem, claim.level)
            value[layer] = max(value[layer], proven_contents(sets[layer], contents, parts, rows))
    return TouchProof(claim.level, value, claim.certificates, coupling, claim.contents)


def _by_another_solver(problem: Problem, solver: str) -> tuple[float | None, str]:
    """Return what an exact solver of another backend proves, and its name."""
    from moeplace.formulations.registry import SOLVERS, load_solver
    from moeplace.formulations.solver import Run

    for name, info in SOLVERS.items():
        if info.kind != "exact" or name == solver or problem.objective not in info.objectives:
            continue
        try:
            solved = load_solver(name)(problem, Run(seed=0, time_limit_s=60.0), None)
        except MoeplaceError:
            continue
        if solved.lower_bound is not None:
            return float(solved.lower_bound), name
    return None, "no other exact solver"
