"""Synthetic traces: a noisy router with topics, phases, domains and drift, fitted to figures."""

from __future__ import annotations
