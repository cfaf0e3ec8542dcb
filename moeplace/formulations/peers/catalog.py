"""Facts about the peers, read without importing any of them."""

from __future__ import annotations

from moeplace.formulations.solver import SolverInfo

_HERE = "moeplace.formulations.peers"
_SETS = ("token_sets",)
_CHAIN = ("transition",)

PEERS = (
    SolverInfo(
        "huang-greedy",
        "peer",
        "Longest processing time on mean loads, the same number of experts on every rank",
        f"{_HERE}.huang:huang_greedy",
        reference="Huang et al., arXiv 2303.06182 (NeurIPS 2024)",
    ),
    SolverInfo(
        "huang-anticorrelation",
        "peer",
        "The same, with experts that are busy together kept apart (correlation over tokens)",
        f"{_HERE}.huang:huang_anticorrelation",
        needs=_SETS,
        reference="Huang et al., arXiv 2303.06182 (NeurIPS 2024)",
    ),
    SolverInfo(
        "fastermoe-shadowing",
        "peer",
        "The hottest experts on all ranks while a modelled latency falls",
        f"{_HERE}.fastermoe:fastermoe_shadowing",
        reference="He et al., FasterMoE, PPoPP 2022",
    ),
    SolverInfo(
        "moetuner",
        "peer",
        "Clusters of least deviating load, mapped so that layers exchange little with the next",
        f"{_HERE}.moetuner:moetuner",
        needs=_CHAIN,
        reference="Go and Mahajan, MoETuner, arXiv 2502.06643 (2025)",
    ),
    SolverInfo(
        "moetuner-load",
        "peer",
        "The first of MoETuner's two stages alone: clusters of least deviating load",
        f"{_HERE}.moetuner:moetuner_load",
        reference="Go and Mahajan, MoETuner, arXiv 2502.06643 (2025)",
    ),
    SolverInfo(
        "exflow",
        "peer",
        "Bipartition of all layers that keeps a token's next main expert on its rank",
        f"{_HERE}.exflow:exflow",
        needs=_CHAIN,
        reference="Yao et al., ExFlow, arXiv 2401.08383 (IPDPS 2024)",
    ),
    SolverInfo(
        "grace",
        "peer",
        "Spectral groups of co-activated experts of bounded size, hottest experts copied",
        f"{_HERE}.grace:grace",
        needs=_SETS,
        reference="Han et al., GRACE-MoE, arXiv 2509.25041 (2025)",
    ),
    SolverInfo(
        "occult",
        "peer",
        "Groups grown greedily by average collaboration from seeds far apart",
        f"{_HERE}.occult:occult",
        needs=_SETS,
        reference="Luo et al., Occult, arXiv 2505.13345 (ICML 2025)",
    ),
    SolverInfo(
        "hiermoe",
        "peer",
        "Best swap of two experts for a modelled all-to-all of de-duplicated tokens",
        f"{_HERE}.hiermoe:hiermoe",
        needs=_SETS,
        reference="Lin et al., HierMoE, arXiv 2508.09591 (2025)",
    ),
    SolverInfo(
        "amd-swap",
        "peer",
        "Swaps between the fullest and the lightest rank that cost less than they bring",
        f"{_HERE}.amd:amd_swap",
        reference="Miriyala et al., Latency-Optimal Load Balancing, INET4AI 2025",
    ),
    SolverInfo(
        "lazarus",
        "peer",
        "Replicas in proportion to load, placed for maximum rank overlap",
        f"{_HERE}.lazarus:lazarus",
        reference="Wu et al., Lazarus, arXiv 2407.04656 (2024)",
    ),
    SolverInfo(
        "remap",
        "peer",
        "Longest processing time on roofline costs, equal numbers (from prefill, for decode)",
        f"{_HERE}.patterns:remap",
        reference="Yu et al., Patterns behind Chaos, arXiv 2510.05497 (ISCA 2026)",
    ),
    SolverInfo(
        "dup",
        "peer",
        "Contiguous, plus the copies that lower the largest roofline cost most",
        f"{_HERE}.patterns:dup",
        reference="Yu et al., Patterns behind Chaos, arXiv 2510.05497 (ISCA 2026)",
    ),
)
