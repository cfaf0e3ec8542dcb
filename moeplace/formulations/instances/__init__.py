"""The instance library: named problems with the best values known and proven bounds."""

from __future__ import annotations

from moeplace.formulations.instances.check import InstanceCheck, check_instance
from moeplace.formulations.instances.library import (
    Instance,
    Record,
    list_instances,
    load_instance,
)

__all__ = [
    "Instance",
    "InstanceCheck",
    "Record",
    "check_instance",
    "list_instances",
    "load_instance",
]
