"""Options from configuration files and the environment, below those of the command line."""

from __future__ import annotations

from moeplace.cli.config.catalog import ConfigOption, command_options
from moeplace.cli.config.settings import Setting, Settings, read_settings

__all__ = ["ConfigOption", "Setting", "Settings", "command_options", "read_settings"]
