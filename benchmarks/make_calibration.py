"""Rebuild the data in moeplace/hwmodels/calibrate/data from the measured tables.

    python benchmarks/make_calibration.py FOLDER

FOLDER holds the CSV extracts of NVIDIA aiconfigurator's systems data (Apache-2.0) and
`published_points.csv`. Writes the compact tables and one file of fitted constants per system.
"""

from __future__ import annotations

import gzip
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import moeplace.hwmodels.calibrate as package
from moeplace.hwmodels.calibrate.anomalies import are_copied
from moeplace.hwmodels.calibrate.expert_fits import fit_expert_kernels
from moeplace.hwmodels.calibrate.kernels import fit_comm_kernels
from moeplace.hwmodels.calibrate.published import read_published
from moeplace.hwmodels.calibrate.shipped_points import write_points
from moeplace.hwmodels.calibrate.store import save_kernels
from moeplace.hwmodels.calibrate.tables import read_table

if TYPE_CHECKING:
    from moeplace.hwmodels.calibrate.points import CommPoint

DATA = Path(package.__file__).parent / "data"
SOURCE = "aiconfigurator systems data 095f58a (Apache-2.0)"
NOTE = (
    "fitted by benchmarks/make_calibration.py to aiconfigurator systems data 095f58a (Apache-2.0): "
    "DeepEP and expert kernels of SGLang 0.5.0 to 0.5.12, TensorRT-LLM 1.2.0rc6, NCCL 2.27 to "
    "2.29; Hybrid-EP to the figures of its README in published.csv.gz"
)
# DeepEP normal inside a node was measured for 18 shapes, six of them stand for all.
SHAPES = {
    (7168, 8, 256),
    (7168, 8, 384),
    (6144, 4, 128),
    (5120, 1, 128),
    (4096, 10, 512),
    (2048, 8, 128),
}
MOST_TOKENS = 32768  # per rank; no engine sends more at once
FITTED_PUBLISHED = {"h100-sxm": "hybrid-ep", "gb200-nvl72": "hybrid-ep"}


def wanted(point: CommPoint) -> bool:
    if point.family == "deepep-normal":
        if point.nodes > 1 or "multinode" in point.source:
            return point.nodes > 1 and point.tokens <= MOST_TOKENS
        shape = (point.hidden, point.top_k, point.experts)
        return shape in SHAPES and point.tokens <= MOST_TOKENS
    # EP8 of the multi-node sweep is older than the table of EP8.
    return point.family != "deepep-low-latency" or point.nodes > 1 or "ep8" in point.source


def main(folder: Path) -> None:
    comm, expert, out = [], [], Counter()
    originals = read_table(folder / "h100_sxm_deepep_ll_multinode.csv").comm
    for path in sorted(folder.glob("*.csv")):
        if path.name == "published_points.csv":
            continue
        table = read_table(path)
        if path.name.startswith("h200") and "multinode" in path.name:
            normal = "normal" in path.name
            h100 = read_table(folder / path.name.replace("h200", "h100")).comm
            if are_copied(table.comm, h100 if normal else originals):
                out["copied"] += len(table.comm)
                continue
        out.update(rule for _, rule in table.anomalies)
        comm += [
            p.replace(source=path.stem) for p in table.comm if wanted(p.replace(source=path.stem))
        ]
        expert += [type(p)(**{**vars(p), "source": path.stem}) for p in table.expert]
    print("taken out by rule:", dict(out))
    write_points(DATA / "comm.csv.gz", comm)
    write_points(DATA / "expert.csv.gz", expert)
    text = (folder / "published_points.csv").read_bytes()
    (DATA / "published.csv.gz").write_bytes(gzip.compress(text, mtime=0))
    published = [
        row.point
        for row in read_published(folder / "published_points.csv")
        if row.point is not None and FITTED_PUBLISHED.get(row.point.system) == row.point.family
    ]
    kernels = defaultdict(list)
    for kernel in fit_comm_kernels(comm, SOURCE):
        kernels[kernel.system].append(kernel)
    for kernel in fit_comm_kernels(published, "README of Hybrid-EP (deepseek-ai/DeepEP)"):
        kernels[kernel.system].append(kernel)
    experts = defaultdict(list)
    for fit in fit_expert_kernels(expert, SOURCE):
        experts[fit.system].append(fit)
    for system in sorted({*kernels, *experts}):
        save_kernels(DATA / f"{system}.yaml", system, kernels[system], experts[system], NOTE)
        print(system, len(kernels[system]), "all-to-all kernels,", len(experts[system]), "expert")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
