"""Placements in the files that serving engines read, in and out."""

from __future__ import annotations

from moeplace.placement.formats.context import ExportContext
from moeplace.placement.formats.detect import detect_format
from moeplace.placement.formats.eplb import from_phy2log, to_eplb
from moeplace.placement.formats.export import (
    ExportReport,
    export_placement,
    read_metadata,
    read_placement,
    save_placement,
)
from moeplace.placement.formats.registry import (
    FORMATS,
    FormatInfo,
    format_info,
    list_formats,
    load_format,
)
from moeplace.placement.formats.rules import format_violations
from moeplace.placement.formats.slots import fill_empty_slots, pad_slots

__all__ = [
    "FORMATS",
    "ExportContext",
    "ExportReport",
    "FormatInfo",
    "detect_format",
    "export_placement",
    "fill_empty_slots",
    "format_info",
    "format_violations",
    "from_phy2log",
    "list_formats",
    "load_format",
    "pad_slots",
    "read_metadata",
    "read_placement",
    "save_placement",
    "to_eplb",
]
