"""What the measured layers say: `python -m benchmarks.gpu.summary FOLDER`.

Medians over the rounds, and how far the rounds lie apart.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import geometric_mean, mean, median

from benchmarks.timing import table
from moeplace.hwmodels.calibrate.layers import LEAST_MARGIN
from moeplace.hwmodels.calibrate.statistics import kendall_tau

SHOWN = ("contiguous", "eplb0", "eplb", "balance", "moeplace", "moeplace-fitted")
PREFILL_AWARE = ("contiguous", "remap", "dup", "moeplace-prefill", "oracle")
OVER = ("contiguous", "eplb0", "eplb")

Case = tuple[str, str, int, int]  # phase, layer, ranks, tokens a rank


def main(arguments: list[str]) -> int:
    """Print tables of the runs in a folder; return the exit code."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    found = read(folder)
    tables = (layers(found), speed_ups(found), prefill_aware(found), agreement(folder))
    print(*tables, sep="\n\n")
    return 0


def read(folder: Path) -> dict[Case, dict[str, list[float]]]:
    """Return the times of every placement in µs, one for each round."""
    found: dict[Case, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        for record in document.get("ep_emulated") or document.get("ep", ()):
            phase, layer = record["trace"].split(".")
            case = (phase, layer, record["world"], record["tokens_per_rank"])
            emulated = record.get("emulated")
            timed = emulated["compute"] if emulated else record["chained"]["total"]
            found[case][record["placement"]].append(timed["max_us"])
    return found


def layers(found: dict[Case, dict[str, list[float]]]) -> str:
    """Return one row a case: µs of the slowest rank (two ranks: of the whole layer)."""
    rows = []
    for case in sorted(found):
        times = found[case]
        apart = max((max(t) - min(t)) / median(t) for t in times.values())
        cells = [f"{median(times[name]):,.0f}" if name in times else "" for name in SHOWN]
        phase, layer, ranks, tokens = case
        rows.append([phase, layer, str(ranks), str(tokens), *cells, f"{100 * apart:.0f} %"])
    headers = ["phase", "layer", "ranks", "tokens a rank", *SHOWN, "rounds apart, at most"]
    return table(headers, rows)


def speed_ups(found: dict[Case, dict[str, list[float]]]) -> str:
    """Return geometric means of the speed-up of moeplace's maps, by routing and batch."""
    ratios: dict[tuple[str, str, int, str], list[float]] = defaultdict(list)
    for (phase, layer, ranks, tokens), times in found.items():
        kind = "DeepSeek-V3 loads" if layer.startswith("v3") else "small MoE"
        for own in ("moeplace", "moeplace-fitted"):
            for other in OVER:
                if own in times and other in times and ranks > 2:
                    ratio = median(times[other]) / median(times[own])
                    ratios[kind, f"{phase} {tokens}", ranks, f"{own} over {other}"].append(ratio)
    columns = [f"{own} over {other}" for own in ("moeplace", "moeplace-fitted") for other in OVER]
    keys = sorted({key[:3] for key in ratios})
    rows = []
    for key in keys:
        cells = [ratios.get((*key, column), []) for column in columns]
        text = [f"{geometric_mean(cell):.2f}" if cell else "" for cell in cells]
        rows.append([key[0], key[1], str(key[2]), *text])
    return table(["routing", "phase and tokens", "ranks", *columns], rows)


def prefill_aware(found: dict[Case, dict[str, list[float]]]) -> str:
    """Return speed over contiguous of what was placed by the prefill of the same requests."""
    rows = []
    for case in sorted(found):
        times = found[case]
        if "remap" in times:
            base = median(times["contiguous"])
            cells = [f"{base / median(times[name]):.3f}" for name in PREFILL_AWARE]
            rows.append([case[1], str(case[2]), str(case[3]), *cells])
    return table(["layer", "ranks", "tokens a rank", *PREFILL_AWARE], rows)


def agreement(folder: Path) -> str:
    """Return how well the layers of one run predict those of another, on another machine."""
    times: dict[Case, dict[str, dict[int, list[list[float]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for path in sorted(folder.glob("*.json")):
        for record in json.loads(path.read_text(encoding="utf-8")).get("ep_emulated", ()):
            phase, layer = record["trace"].split(".")
            case = (phase, layer, record["world"], record["tokens_per_rank"])
            ranks = record["emulated"]["compute"]["per_rank_us"]
            times[case][record["placement"]][record.get("run", 0)].append(ranks)
    rows = []
    for phase in ("decode", "prefill"):
        layers_apart, ranks_apart = [], []
        taus: dict[tuple[str, int], list[float]] = defaultdict(list)
        for case, placements in times.items():
            if case[0] != phase or any(len(runs) < 2 for runs in placements.values()):
                continue
            first, second, spread = [], [], LEAST_MARGIN
            for runs in placements.values():
                one, two = runs[0], runs[1]
                first.append(mean(max(ranks) for ranks in one))
                second.append(mean(max(ranks) for ranks in two))
                largest = [max(ranks) for ranks in two]
                spread = max(spread, max(largest) / min(largest) - 1)
                layers_apart.append(abs(first[-1] / second[-1] - 1))
                pairs = zip(zip(*one, strict=True), zip(*two, strict=True), strict=True)
                ranks_apart += [abs(mean(a) / mean(b) - 1) for a, b in pairs]
            tau = kendall_tau(first, second, spread)
            if tau is not None:
                taus[case[1], case[3]].append(tau)
        if taus:
            found = mean(mean(each) for each in taus.values())
            apart = [f"{100 * median(each):.1f}" for each in (ranks_apart, layers_apart)]
            rows.append([phase, *apart, f"{100 * max(layers_apart):.0f}", f"{found:.3f}"])
    return table(
        ["one run against another", "a rank apart %", "a layer %", "at most %", "Kendall's tau"],
        rows,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
