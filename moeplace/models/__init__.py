"""What is placed: the shapes of MoE models."""

from __future__ import annotations

from moeplace.models.checks import DTYPE_BYTES
from moeplace.models.layer_ids import format_layer_ids, parse_layer_ids
from moeplace.models.spec import ModelSpec

__all__ = ["DTYPE_BYTES", "ModelSpec", "format_layer_ids", "parse_layer_ids"]
