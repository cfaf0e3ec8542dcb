"""What serving engines do with a file when they load it: their own checks, rule by rule."""

from __future__ import annotations

from moeplace.placement.engines.check import ENGINES, EngineCheck, check_file
from moeplace.placement.engines.rules import Finding, Rule

__all__ = ["ENGINES", "EngineCheck", "Finding", "Rule", "check_file"]
