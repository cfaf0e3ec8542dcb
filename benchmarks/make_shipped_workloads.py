"""Rebuild the data in moeplace/traces/data from the files it was taken from.

    python benchmarks/make_shipped_workloads.py FOLDER

FOLDER holds `deepseek_v3_loads/*.json` (SGLang's recorder, 61 rows) and
`deepseek_v2_lite_trace.npz` (all the tokens that the excerpt is drawn from).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from moeplace.traces.npz import read_npz_trace, write_npz
from moeplace.traces.shipped import DATA

V3_LAYERS = range(3, 61)
V3_SOURCE = (
    "DeepSeek-V3/R1 expert loads recorded by the SGLang team on 96 H100, "
    "attachment of github.com/sgl-project/sglang issue 6017"
)
TOKENS_PER_DOMAIN = 3500


def make_v3_loads(folder: Path) -> None:
    arrays = {}
    for file in sorted(folder.glob("*.json")):
        counts = np.asarray(json.loads(file.read_text())["logical_count"])
        if counts.shape != (61, 256) or counts[:3].any():
            raise SystemExit(f"{file}: not a DeepSeek-V3 recording of 61 rows")
        arrays[file.stem] = counts[list(V3_LAYERS)].astype(np.int32)
        if (arrays[file.stem] != counts[3:]).any():
            raise SystemExit(f"{file}: counts are not whole numbers of 32 bits")
    meta = {"top_k": 8, "layer_ids": list(V3_LAYERS), "source": V3_SOURCE}
    with (DATA / "deepseek_v3_loads.npz").open("wb") as out:
        np.savez_compressed(out, meta=np.str_(json.dumps(meta)), **arrays)


def make_v2_lite_excerpt(file: Path) -> None:
    trace = read_npz_trace(file)
    if trace.request is None or trace.domain is None:
        raise SystemExit(f"{file}: requests and domains are needed")
    keep = np.zeros(trace.num_tokens, dtype=bool)
    for domain in range(len(trace.domains)):
        budget = TOKENS_PER_DOMAIN
        for request in np.unique(trace.request[trace.domain == domain]):
            tokens = trace.request == request
            if tokens.sum() <= budget:
                keep |= tokens
                budget -= int(tokens.sum())
    meta = dict(trace.meta) | {
        "note": "excerpt of whole requests; teacher-forced over training instances, so all tokens "
        "are prefill; the expert of the highest router weight comes first; MIT, see README.md",
    }
    excerpt = trace.select(keep).replace(
        weights=None, name="deepseek-v2-lite/prefill_esft", meta=meta
    )
    write_npz(excerpt, DATA / "deepseek_v2_lite_excerpt.npz")


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    make_v3_loads(folder / "deepseek_v3_loads")
    make_v2_lite_excerpt(folder / "deepseek_v2_lite_trace.npz")


if __name__ == "__main__":
    main()
