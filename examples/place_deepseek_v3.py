"""Place the experts of DeepSeek-V3, compare with EPLB, and write a map for SGLang.

Run it as it is: ``python examples/place_deepseek_v3.py``. For a quick look give a smaller model:
``python examples/place_deepseek_v3.py --model deepseek-v2-lite --ranks 8 --redundant 0``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import moeplace


def place(model_name: str, system_name: str, ranks: int, redundant: int, file: Path) -> None:
    """Solve, print one line a placement, and write the best one."""
    model = moeplace.load_model(model_name)
    problem = moeplace.make_problem(
        model,
        moeplace.load_system(system_name, ranks),
        moeplace.default_workloads(model_name),
        redundant=redundant,
    )
    result = moeplace.solve(problem)
    if result.placement is None or result.score is None:
        raise SystemExit("no placement was found")
    for name, score in {**result.baselines, "moeplace": result.score}.items():
        layer_us = 1e6 * score.step_time_s / problem.num_layers
        print(f"{name:<10} {layer_us:9,.1f} µs a layer, balancedness {score.balancedness:.3f}")
    print(f"gap to the proven bound: {result.gap:.2%}")
    if problem.is_synthetic:
        print("token sets are synthetic: only the loads of this model were measured")

    report = moeplace.export_placement(
        result.placement, file, "sglang", model=model, load=problem.workload.load
    )
    print(f"{report.path} is loaded with: {' '.join(report.flags)}")


def main(arguments: list[str] | None = None) -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="deepseek-v3")
    parser.add_argument("--hw", default="h100-sxm")
    parser.add_argument("--ranks", type=int, default=32)
    parser.add_argument("--redundant", type=int, default=32)
    parser.add_argument("-o", "--output", type=Path, default=Path("experts.json"))
    given = parser.parse_args(arguments)
    place(given.model, given.hw, given.ranks, given.redundant, given.output)


if __name__ == "__main__":
    main()
