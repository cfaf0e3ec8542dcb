"""One rank's experts on a GPU: gather, two grouped GEMMs with SwiGLU between, weighted sum."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

HIDDEN, WIDTH = 7168, 2048  # DeepSeek-V3's expert
BLOCK = 1024
WEIGHT_SCALE = 0.02
SPINS_PER_US = 2000  # clock cycles of an H100 or H200
MOST_LAUNCH_US = 1000.0

grouped_mm = getattr(functional, "grouped_mm", None) or torch._grouped_mm


@triton.jit
def _swiglu(gate_up, out, width: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * block + tl.arange(0, block)
    gate = tl.load(gate_up + row * 2 * width + column).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + column).to(tl.float32)
    tl.store(out + row * width + column, (gate * tl.sigmoid(gate) * up).to(tl.bfloat16))


@triton.jit
def _sum_rows(values, order, start, weight, out, hidden: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * block + tl.arange(0, block)
    total = tl.zeros([block], tl.float32)
    for i in range(tl.load(start + row), tl.load(start + row + 1)):
        pair = tl.load(order + i).to(tl.int64)
        total += tl.load(weight + i) * tl.load(values + pair * hidden + column).to(tl.float32)
    tl.store(out + row * hidden + column, total.to(tl.bfloat16))


@dataclass(frozen=True)
class Experts:
    """Weights of the slots: (slots, 2 · WIDTH, HIDDEN) and (slots, HIDDEN, WIDTH), bf16."""

    first: Any
    second: Any

    @staticmethod
    def random(slots: int) -> Experts:
        """Return random weights on the current GPU."""
        make = torch.Generator("cuda").manual_seed(0)
        shapes = ((slots, 2 * WIDTH, HIDDEN), (slots, HIDDEN, WIDTH))
        first, second = (torch.empty(s, dtype=torch.bfloat16, device="cuda") for s in shapes)
        for weights in (first, second):
            for slot in weights:
                slot.normal_(0.0, WEIGHT_SCALE, generator=make)
        return Experts(first, second)


class RankLayer:
    """The steps of one rank's work, each a method, so that they can be timed apart."""

    def __init__(
        self, experts: Experts, row_of_pair: NDArray[np.int64], counts: NDArray[np.int64], rows: int
    ) -> None:
        slots = len(counts)
        self.first = experts.first[:slots].transpose(-2, -1)
        self.second = experts.second[:slots].transpose(-2, -1)
        self.index = torch.as_tensor(row_of_pair, device="cuda")
        self.ends = torch.as_tensor(np.cumsum(counts), dtype=torch.int32, device="cuda")
        order = np.argsort(row_of_pair, kind="stable")
        starts = np.searchsorted(row_of_pair[order], np.arange(rows + 1))
        self.order = torch.as_tensor(order, dtype=torch.int32, device="cuda")
        self.starts = torch.as_tensor(starts, dtype=torch.int32, device="cuda")
        self.weight = torch.full((len(order),), 0.125, device="cuda")
        self.pairs, self.rows = len(row_of_pair), rows
        self.hidden = torch.empty((self.pairs, WIDTH), dtype=torch.bfloat16, device="cuda")
        self.out = torch.empty((rows, HIDDEN), dtype=torch.bfloat16, device="cuda")

    def expand(self, arrived: Any) -> Any:
        """Return (pairs, HIDDEN): the row of every pair, in the order of the slots."""
        return arrived.index_select(0, self.index)

    def gemm1(self, pairs: Any) -> Any:
        """Return (pairs, 2 · WIDTH)."""
        return grouped_mm(pairs, self.first, offs=self.ends)

    def swiglu(self, both: Any) -> Any:
        """Return (pairs, WIDTH)."""
        _swiglu[(self.pairs, WIDTH // BLOCK)](both, self.hidden, WIDTH, BLOCK)
        return self.hidden

    def gemm2(self, hidden: Any) -> Any:
        """Return (pairs, HIDDEN)."""
        return grouped_mm(hidden, self.second, offs=self.ends)

    def reduce(self, values: Any) -> Any:
        """Return (rows, HIDDEN): the weighted sum of every row's pairs."""
        grid = (self.rows, HIDDEN // BLOCK)
        _sum_rows[grid](values, self.order, self.starts, self.weight, self.out, HIDDEN, BLOCK)
        return self.out

    def __call__(self, arrived: Any) -> Any:
        """Do the whole work of the rank."""
        return self.reduce(self.gemm2(self.swiglu(self.gemm1(self.expand(arrived)))))


def random_rows(rows: int) -> Any:
    """Return (rows, HIDDEN) random bf16 on the current GPU."""
    return torch.randn((rows, HIDDEN), dtype=torch.bfloat16, device="cuda")


def times_us(work: Callable[[], Any], repeats: int, warm_up: int = 2) -> list[float]:
    """Return the microseconds of each repeat, measured by CUDA events.

    The GPU spins first for as long as the host needs to launch all repeats, so that no launch is
    waited for between them.
    """
    launch_us = MOST_LAUNCH_US
    for _ in range(warm_up):  # the last one allocates nothing any more
        begun = time.perf_counter()
        work()
        launch_us = min(1e6 * (time.perf_counter() - begun), MOST_LAUNCH_US)
    marks = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(repeats)
    ]
    torch.cuda._sleep(int(SPINS_PER_US * 1.5 * launch_us * repeats))
    for begin, end in marks:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return [1e3 * begin.elapsed_time(end) for begin, end in marks]


def median_us(work: Callable[[], Any], repeats: int) -> float:
    """Return the median microseconds of a piece of work."""
    return round(median(times_us(work, repeats)), 3)


def self_test(experts: Experts) -> float:
    """Return the largest relative error of the grouped steps against one expert at a time."""
    rng = np.random.default_rng(0)
    counts = np.array([5, 0, 17, 1])
    rows = 9
    row_of_pair = rng.integers(rows, size=counts.sum())
    arrived = random_rows(rows)
    found = RankLayer(experts, row_of_pair, counts, rows)(arrived).float()
    wanted = torch.zeros_like(found)
    slot = np.repeat(np.arange(4), counts)
    for pair, row in enumerate(row_of_pair):
        both = arrived[row].float() @ experts.first[slot[pair]].float().T
        hidden = functional.silu(both[:WIDTH]) * both[WIDTH:]
        wanted[row] += 0.125 * (hidden @ experts.second[slot[pair]].float().T)
    return float((found - wanted).abs().max() / wanted.abs().max())


def about_this_machine() -> dict[str, Any]:
    """Return hardware and versions."""
    device = torch.cuda.get_device_properties(0)
    return {
        "hardware": {
            "name": device.name,
            "sms": device.multi_processor_count,
            "memory_bytes": device.total_memory,
            "devices": torch.cuda.device_count(),
        },
        "software": {
            "torch": torch.__version__,
            "triton": triton.__version__,
            "cuda": torch.version.cuda,
            "numpy": np.__version__,
        },
        "shape": {
            "hidden": HIDDEN,
            "moe_intermediate": WIDTH,
            "experts": 256,
            "topk": 8,
            "dtype": "bf16",
            "bytes_per_expert": 6 * HIDDEN * WIDTH,
        },
        "units": "us: microseconds (CUDA events, median of the repeats)",
    }
