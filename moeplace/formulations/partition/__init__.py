"""Partitions of experts over ranks by the ranks that tokens touch: λ of a hypergraph."""

from __future__ import annotations

from moeplace.formulations.partition.hgr import read_hgr
from moeplace.formulations.partition.nets import Nets, connectivity
from moeplace.formulations.partition.solve import find_partition, partition

__all__ = ["Nets", "connectivity", "find_partition", "partition", "read_hgr"]
