"""Join runs of one program into one file: `python -m benchmarks.gpu.join RUN... -o FILE`.

The rounds of the runs are numbered on; what a later round repeats of the first is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

SAME = ("pairs_per_slot", "pairs_per_rank", "rows_per_rank", "active_slots_per_rank")
LAYER = ("trace", "tokens_per_rank", "placement", "policy", "world", "slots")


def main(arguments: list[str]) -> int:
    """Write the joined file; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in given.runs]
    text = json.dumps(joined(runs), separators=(",", ":"))
    given.output.write_text(text + "\n", encoding="utf-8")
    return 0


def joined(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first run with the sweeps and rounds of the others added."""
    whole = {**runs[0], "ep_emulated": [], "left_out": [], "calib": {}}
    whole["runs"] = [run["meta"] for run in runs]
    seen: set[tuple[Any, ...]] = set()
    rounds = 0
    for turn, run in enumerate(runs):
        for name, sweep in run["calib"].items():
            whole["calib"].setdefault(name, []).extend(sweep)
        for record in run["ep_emulated"]:
            layer = tuple(record[name] for name in LAYER)
            drop = SAME if layer in seen else ()
            seen.add(layer)
            kept = {name: value for name, value in record.items() if name not in drop}
            about = {"run": turn, "repeat": rounds + record["repeat"]}
            whole["ep_emulated"].append(kept | about)
        whole["left_out"] += [[rounds + number, *job] for number, *job in run["left_out"]]
        rounds += 1 + max(record["repeat"] for record in run["ep_emulated"])
    return whole


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
