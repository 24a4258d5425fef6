"""The ordered steps that turn observed tables into wanted ones."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Table(StrEnum):
    """Names of the forwarder's maps; the values are their names in the eBPF object."""

    SETTINGS = "settings"
    INTERFACES = "interfaces"
    SERVICES = "services"
    RINGS = "rings"
    VSERVERS = "vservers"
    VIPS = "vips"
    PROBES_OUT = "probes_out"
    PROBES_IN = "probes_in"


@dataclass(frozen=True, slots=True)
class Put:
    """Write one entry; key and value are those of :class:`dataplane.tables.Tables`.

    For ``Table.SETTINGS`` the key is 0 and the value a ForwarderSettings. For ``Table.RINGS`` a new inner map is
    filled and swapped in, so a reader sees the old ring or the new one, never a mixture.
    """

    table: Table
    key: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove one entry."""

    table: Table
    key: Any


Step = Put | Delete
