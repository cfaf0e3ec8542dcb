"""Results checked by somebody who believes neither the solver nor the bound."""

from __future__ import annotations

from moeplace.formulations.verify.check import Check, Verification, verify_document
from moeplace.formulations.verify.record import certificate_of, recorded_files

__all__ = ["Check", "Verification", "certificate_of", "recorded_files", "verify_document"]
