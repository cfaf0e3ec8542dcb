"""A result as one page that needs nothing else: pictures, tables, and where numbers come from."""

from __future__ import annotations

from moeplace.cli.report.write import write_report

__all__ = ["write_report"]
