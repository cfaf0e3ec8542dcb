"""Run folders: a command, what went in and what came out, so that it can be run again."""

from __future__ import annotations
