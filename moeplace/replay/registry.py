"""Names of policies, listed without importing any of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from moeplace.errors import UsageError, unknown_name
from moeplace.replay.policy import PolicyInfo

if TYPE_CHECKING:
    from moeplace.replay.policy import PolicyFactory

_HERE = "moeplace.replay.policies"

POLICIES: dict[str, PolicyInfo] = {
    info.name: info
    for info in (
        PolicyInfo(
            "static",
            "One map for ever: contiguous (expert parallelism as in DeepSpeed), or fitted once",
            f"{_HERE}.static:Static",
            {"start": "contiguous"},
            reference="Rajbhandari et al., DeepSpeed-MoE, arXiv 2201.05596",
        ),
        PolicyInfo(
            "eplb-every",
            "EPLB's map of the estimated loads every N windows, whatever it moves",
            f"{_HERE}.eplb:EplbEvery",
            {"every": 10.0, "rule": "auto"},
            reference="DeepSeek EPLB, deepseek-ai/EPLB README (2025)",
        ),
        PolicyInfo(
            "moeplace-every",
            "The map in use improved every N windows, with few moved replicas",
            f"{_HERE}.moeplace:MoeplaceEvery",
            {"every": 10.0, "moves": 0.0},
        ),
        PolicyInfo(
            "moeplace-triggered",
            "Layers changed when the modelled gain over the horizon exceeds the cost of moving",
            f"{_HERE}.moeplace:MoeplaceTriggered",
            {"horizon": 0.0, "margin": 1.0, "moves": 0.0, "layers": 0.0, "start": "moeplace"},
        ),
        PolicyInfo(
            "flexmoe",
            "vExperts expand, shrink and migrate while the balance ratio is above a threshold",
            f"{_HERE}.flexmoe:FlexMoe",
            {"threshold": 1.2, "changes": 0.0},
            reference="Nie et al., FlexMoE, SIGMOD 2023, arXiv 2304.03946",
        ),
        PolicyInfo(
            "fastermoe-shadowing",
            "Hot experts broadcast to every rank in every step while that is faster",
            f"{_HERE}.shadowing:Shadowing",
            sees_window=True,
            keeps_slots=False,
            reference="He et al., FasterMoE, PPoPP 2022; code of FastMoE",
        ),
        PolicyInfo(
            "symi",
            "Replicas in proportion to the estimated loads, placed anew in every window",
            f"{_HERE}.symi:Symi",
            reference="Skiadopoulos et al., SYMI, NSDI 2026, arXiv 2504.19925",
        ),
        PolicyInfo(
            "smartmoe",
            "A better permutation of the experts every N windows; no replicas",
            f"{_HERE}.smartmoe:SmartMoe",
            {"every": 10.0, "threshold": 0.05},
            reference="Zhai et al., SmartMoE, USENIX ATC 2023",
        ),
        PolicyInfo(
            "oracle",
            "Knows every window and moves for free: what regret is measured from",
            f"{_HERE}.oracle:Oracle",
            sees_window=True,
        ),
    )
}


def parse_policy(text: str) -> tuple[PolicyInfo, dict[str, float | str]]:
    """Read ``name`` or ``name:parameter=value:...``.

    Raises
    ------
    InputError
        If there is no such policy.
    UsageError
        If a parameter is unknown or its value is no number.
    """
    name, *settings = text.strip().split(":")
    if name not in POLICIES:
        raise unknown_name("policy", name, POLICIES, "`moeplace replay --list`")
    info = POLICIES[name]
    values = dict(info.parameters)
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in values or not value:
            known = ", ".join(values) or "none"
            raise UsageError(f"policy {text!r}: {setting!r} is no setting; {name} takes {known}")
        if isinstance(values[key], str):
            values[key] = value
            continue
        try:
            values[key] = float(value)
        except ValueError:
            raise UsageError(f"policy {text!r}: {key} is {value!r}; give a number") from None
    return info, values


def load_policy(info: PolicyInfo) -> PolicyFactory:
    """Import the factory of a policy."""
    module, name = info.target.split(":")
    return cast("PolicyFactory", getattr(import_module(module), name))
