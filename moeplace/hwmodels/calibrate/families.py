"""The kernel families: how each counts copies, and what its time is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moeplace.errors import unknown_name
from moeplace.hwmodels.calibrate.forms import Form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.hwmodels.calibrate.points import CommPoint


@dataclass(frozen=True)
class Family:
    """A kind of all-to-all kernel.

    Attributes
    ----------
    name
        What tables and ``hw validate`` call it.
    dedup
        Which copies it makes: ``none``, ``rank`` or ``node`` (DESIGN §5).
    summary
        One line for people.
    inside, between
        What its time is made of in one node and between nodes, by operation, by operation and
        payload type (``"dispatch nvfp4"``), or for all of them (``"*"``).
    shared
        Constants between nodes that other kernels measure better, by term: (family, between
        nodes, term). NIC and NVLink are the same for every kernel, and a sweep over few EP sizes
        cannot tell them from the kernel's own limits.
    """

    name: str
    dedup: str
    summary: str
    inside: Mapping[str, Form]
    between: Mapping[str, Form] = field(default_factory=dict)
    shared: Mapping[str, tuple[str, bool, str]] = field(default_factory=dict)

    def form(self, point: CommPoint) -> Form | None:
        """Return what the time at this point is made of, None if the family has no such kernel."""
        forms = self.inside if point.nodes == 1 else self.between
        for key in (f"{point.op} {point.dtype}", point.op, "*"):
            if key in forms:
                return forms[key]
        return None


_RACK_COSTS = ("fixed", "log2_ranks")
_NORMAL_BETWEEN = ("node_nic_kB", "rank_fast_kB", "rank_fast_kB_per_sm")
_NORMAL_INSIDE = ("rank_fast_kB", "rank_fast_kB_per_sm", "token_kB_per_sm", "pairs_per_sm")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "deepep-low-latency",
            "none",
            "DeepEP low-latency and kernels like it: one copy per (token, expert)",
            inside={"*": Form(("fixed", "experts"), ("pair_fast_kB", "pair_kB_per_expert"))},
            between={"*": Form(("fixed", "off_node_share"), ("pair_nic_kB", "pair_fast_kB"))},
        ),
        Family(
            "deepep-normal",
            "node",
            "DeepEP normal: one copy per node over the NIC, forwarded to each rank inside",
            inside={
                "dispatch": Form(("fixed", "tokens_upto_128"), _NORMAL_INSIDE),
                "combine": Form(("fixed", "copy_kB", "tokens_upto_128"), _NORMAL_INSIDE),
            },
            between={
                "dispatch": Form(("off_node_share", "ramp_kB_per_sm"), _NORMAL_BETWEEN),
                "combine": Form(("fixed", "log2_ranks", "ramp_kB_per_sm"), _NORMAL_BETWEEN),
            },
            shared={
                "node_nic_kB": ("deepep-low-latency", True, "pair_nic_kB"),
                "rank_fast_kB": ("deepep-normal", False, "rank_fast_kB"),
            },
        ),
        Family(
            "nvlink-rack",
            "rank",
            "TensorRT-LLM NVLinkTwoSided inside one NVLink rack: one copy per rank",
            inside={
                "dispatch": Form(_RACK_COSTS, ("rank_remote_kB", "rank_kB")),
                "dispatch nvfp4": Form(_RACK_COSTS, ("rank_remote_kB", "token_kB")),
                "combine": Form(_RACK_COSTS, ("rank_kB",)),
                "combine-fp4": Form(_RACK_COSTS, ("rank_remote_kB", "token_kB")),
                "prepare": Form(_RACK_COSTS, ("tokens",)),
            },
        ),
        Family(
            "nvlink-rack-one-sided",
            "rank",
            "TensorRT-LLM NVLinkOneSided inside one NVLink rack: one copy per rank",
            inside={"*": Form(_RACK_COSTS, ("rank_remote_kB",))},
        ),
        Family(
            "nccl",
            "none",
            "NCCL all-to-all of equal parts",
            inside={
                "*": Form(
                    ("fixed", "payload_upto_64kB", "payload_upto_256kB", "payload_upto_4MB"),
                    ("payload_remote_kB", "payload_kB"),
                )
            },
        ),
        Family(
            "deepep-v2",
            "node",
            "DeepEP V2: few streaming multiprocessors keep the links busy",
            inside={},
            between={"*": Form((), ("node_nic_kB",))},
            shared={"node_nic_kB": ("deepep-low-latency", True, "pair_nic_kB")},
        ),
        Family(
            "hybrid-ep",
            "node",
            "NVIDIA Hybrid-EP: one copy per node over the NIC, TMA inside the NVLink domain",
            inside={"*": Form(("torch_token_kB",), ("rank_remote_kB", "rank_tokens_per_sm"))},
            between={
                "dispatch": Form(
                    ("torch_token_kB", "log2_ranks"), ("node_nic_kB", "node_kB_per_sm")
                ),
                "combine": Form(("torch_token_kB", "token_kB"), ("node_nic_kB", "node_kB_per_sm")),
            },
        ),
    )
}


def get_family(name: str) -> Family:
    """Return a family by name.

    Raises
    ------
    InputError
        If there is none of that name; says the nearest.
    """
    if name not in FAMILIES:
        raise unknown_name("kernel family", name, FAMILIES, "moeplace hw calibrate --help")
    return FAMILIES[name]
