"""What routing traces say: skew, co-activation, forecasts, phases, domains, drift."""

from __future__ import annotations
