"""What a system file may say: every constant with the source of its figure."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Dtype = Literal["bf16", "fp16", "fp8", "int8", "fp4", "int4"]
# Vertex, vertex, GB/s each way, latency in µs; whole numbers are read as floats too.
Edge = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=4, max_length=4)]
Dedup = Literal["none", "rank", "node", "multicast"]


class _Strict(BaseModel):
    """Unknown keys, text where a number belongs, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Sourced(_Strict, Generic[T]):
    """A figure and where it comes from; assumed figures begin with ``assumed:``."""

    value: T
    source: Text


class ByPhase(_Strict):
    """One figure per phase."""

    prefill: NonNegative
    decode: NonNegative


class Directions(_Strict):
    """One figure per collective."""

    dispatch: NonNegative
    combine: NonNegative


class Alpha(_Strict):
    """Fixed cost of the collectives by phase."""

    prefill: Directions
    decode: Directions


class DedupDefaults(_Strict):
    """Copies that the usual kernels make."""

    one_node: Dedup
    prefill: Dedup
    decode: Dedup


class Constants(_Strict):
    """Constants of :class:`moeplace.hwmodels.System`; what is absent keeps its default."""

    ranks: Sourced[Count] | None = None
    rows: Sourced[Count] | None = None
    columns: Sourced[Count] | None = None
    node_size: Sourced[Count] | None = None
    max_ranks: Sourced[Count] | None = None
    link_GBps: Sourced[Positive] | None = None
    link_latency_us: Sourced[NonNegative] | None = None
    link_efficiency: Sourced[Share] | None = None
    nic_GBps: Sourced[Positive] | None = None
    nic_latency_us: Sourced[NonNegative] | None = None
    nic_efficiency: Sourced[Share] | None = None
    fabric: Sourced[Text] | None = None
    edges: Sourced[Annotated[list[Edge], Field(min_length=1)]] | None = None
    alpha_us: Sourced[Alpha] | None = None
    dispatch_dtype: Sourced[Dtype] | None = None
    combine_dtype: Sourced[Dtype] | None = None
    scale_block: Sourced[Count] | None = None
    scale_bytes: Sourced[Annotated[int, Field(ge=0)]] | None = None
    header_bytes: Sourced[Annotated[int, Field(ge=0)]] | None = None
    dedup: Sourced[DedupDefaults] | None = None
    peak_tflops: Sourced[Annotated[dict[Dtype, Positive], Field(min_length=1)]] | None = None
    flops_efficiency: Sourced[Share] | None = None
    hbm_GBps: Sourced[Positive] | None = None
    hbm_efficiency: Sourced[Share] | None = None
    kernel_floor_us: Sourced[ByPhase] | None = None
    tile_tokens: Sourced[Count] | None = None
    hbm_GB: Sourced[Positive] | None = None
    reserve_fraction: Sourced[Annotated[float, Field(ge=0, lt=1)]] | None = None
    kv_cache_GB: Sourced[NonNegative] | None = None
    non_expert: Sourced[Literal["replicated", "sharded", "none"]] | None = None
    in_situ_factor: Sourced[Positive] | None = None


class SystemFile(_Strict):
    """One system file.

    `one_node` replaces constants where all ranks share one node, because other kernels, with
    other fixed costs, run there.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    aliases: list[Text] = []
    summary: Text
    kind: Literal["mesh", "cluster", "graph"]
    constants: Constants
    one_node: Constants = Constants()
