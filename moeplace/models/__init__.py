"""What is placed: the shapes of MoE models, a catalogue, and Hugging Face configs."""

from __future__ import annotations

from moeplace.models.catalog import list_aliases, list_models, load_model
from moeplace.models.checks import DTYPE_BYTES
from moeplace.models.hf_config import model_from_config
from moeplace.models.layer_ids import format_layer_ids, parse_layer_ids
from moeplace.models.spec import ModelSpec

__all__ = [
    "DTYPE_BYTES",
    "ModelSpec",
    "format_layer_ids",
    "list_aliases",
    "list_models",
    "load_model",
    "model_from_config",
    "parse_layer_ids",
]
