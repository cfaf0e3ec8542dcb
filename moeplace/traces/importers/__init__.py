"""Readers of files that engines and data sets write, by name."""

from __future__ import annotations

from moeplace.traces.importers.registry import Importer, detect_format, importers

__all__ = ["Importer", "detect_format", "importers"]
