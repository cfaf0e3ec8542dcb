"""FlexMoE, static expert parallelism, shadowing and online moeplace on drifting skewed loads."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from benchmarks.timing import table
from moeplace import load_model, load_system
from moeplace.replay.drift import Drift, drifting_windows
from moeplace.replay.instance import replay_problem
from moeplace.replay.loop import replay
from moeplace.replay.settings import Settings

if TYPE_CHECKING:
    from moeplace.models import ModelSpec
    from moeplace.replay.outcome import Replay

MODEL = Path(__file__).parents[1] / "docs" / "studies" / "gpt-moe-64.yaml"
RANKS, SHARES = (16, 32, 64), (0.55, 0.75)
WINDOWS, STEPS, MEMORY, TOKENS = 100, 10, 100.0, 4096
VOCABULARY = 50257  # of GPT-2
OURS = "moeplace-triggered:margin=150:start=contiguous"
POLICIES = ("static", "smartmoe", "fastermoe-shadowing", "flexmoe", "symi", OURS)


def report(quick: bool) -> str:
    """Return two tables: step times and bytes moved; speed-ups and their means."""
    model = load_model(str(MODEL))
    times, ratios = [], []
    gains: dict[str, list[float]] = {"static": [], "shadowing": [], "ours": [], "bytes": []}
    for ranks in RANKS[-1:] if quick else RANKS:
        for share in SHARES:
            found = run(model, ranks, share, 10 if quick else WINDOWS)
            rows = {row["policy"]: row for row in found.rows()}
            flex, ours = rows["flexmoe"], rows[OURS]
            case = [str(ranks), f"{share:.0%}"]
            times.append(
                [
                    *case,
                    *(f"{rows[name]['step_ms']:.1f}" for name in POLICIES),
                    f"{flex['moved_GB']:.0f}",
                    f"{ours['moved_GB']:.0f}",
                ]
            )
            values = {
                "static": rows["static"]["step_ms"] / flex["step_ms"],
                "shadowing": rows["fastermoe-shadowing"]["step_ms"] / flex["step_ms"],
                "ours": flex["step_ms"] / ours["step_ms"],
                "bytes": ours["moved_GB"] / flex["moved_GB"],
            }
            for name, value in values.items():
                gains[name].append(value)
            ratios.append(
                [
                    *case,
                    *(f"{values[name]:.2f}" for name in gains),
                    f"{rows['static']['balance_ratio']:.2f}",
                    f"{flex['balance_ratio']:.2f}",
                    f"{ours['balance_ratio']:.2f}",
                ]
            )
    skewed = {name: values[len(SHARES) - 1 :: len(SHARES)] for name, values in gains.items()}
    at = f"{SHARES[-1]:.0%}"  # the skew that the paper reports
    ratios.append(["mean", at, *(f"{fmean(skewed[name]):.2f}" for name in gains), "", "", ""])
    ratios.append(["mean", "", *(f"{fmean(gains[name]):.2f}" for name in gains), "", "", ""])
    ratios.append(["largest", "", *(f"{max(gains[name]):.2f}" for name in gains), "", "", ""])
    text = (
        f"Training of a GPT with {model.num_experts} experts, top {model.top_k}, in "
        f"{len(model.moe_layers)} layers on A100s, {TOKENS:,} tokens a GPU, 4 vExperts an expert; "
        "the 10 hottest experts get the share in the second column. Milliseconds of a step, layers "
        "without experts included, and GB moved."
    )
    heads = ["GPUs", "hot"]
    first = table(
        [*heads, "static", "SmartMoE", "shadowing", "FlexMoE", "SYMI", "moeplace",
         "FlexMoE GB", "moeplace GB"],
        times,
    )  # fmt: skip
    second = table(
        [*heads, "FlexMoE over static", "over shadowing", "moeplace over FlexMoE",
         "its bytes / FlexMoE's", "ratio static", "FlexMoE", "moeplace"],
        ratios,
    )  # fmt: skip
    return f"{text}\n\n{first}\n\nSpeed-ups and mean balance ratios:\n\n{second}"


def run(model: ModelSpec, ranks: int, share: float, windows: int) -> Replay:
    """Replay all policies on one cluster and skew."""
    slots = 4 * model.num_experts // ranks
    drift = Drift(len(model.moe_layers), model.num_experts, model.top_k, share, 10, MEMORY)
    system = load_system("a100-sxm", ranks)
    problem, through = replay_problem(
        model,
        system,
        drifting_windows(drift, windows),
        redundant=slots * ranks - model.num_experts,
        slots_per_rank=slots,
        tokens_per_rank=TOKENS,
    )
    settings = Settings(
        steps=STEPS,
        estimate="window:1",
        migration="overlap",
        training=True,
        other_ms=dense_ms(model),
    )
    return replay(problem, through, POLICIES, settings, regret=False)


def dense_ms(model: ModelSpec) -> float:
    """Return milliseconds of everything but experts: 6 operations a parameter and token."""
    system = load_system("a100-sxm", 8)
    width, inner = model.hidden_size, model.dense_intermediate_size
    plain = model.num_layers - len(model.moe_layers)
    parameters = model.num_layers * 4 * width**2 + plain * 2 * width * inner + VOCABULARY * width
    return (
        1e3
        * 6
        * parameters
        * TOKENS
        / (system.peak_tflops["bf16"] * 1e12 * system.flops_efficiency)
    )
