"""The tables' names, steps upon their entries, and the order in which entries are looked up, made and told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dataplane.tables import ClosedKey, IPAddress, PortPrefix, ProbeInKey, Tables, VipFlag, VServerKey


class Table(StrEnum):
    """Names of the forwarder's maps; the values are their names in the eBPF object."""

    SETTINGS = "settings"
    INTERFACES = "interfaces"
    SERVICES = "services"
    POLICIES = "policies"
    RINGS = "rings"
    CLOSED = "closed"
    VSERVERS = "vservers"
    PORT_PREFIXES = "port_prefixes"
    VIPS = "vips"
    PROBES_OUT = "probes_out"
    PROBES_IN = "probes_in"


@dataclass(frozen=True, slots=True)
class Put:
    """Write one entry; key and value are those of :class:`dataplane.tables.Tables`.

    For ``Table.SETTINGS`` the key is 0 and the value a ForwarderSettings. For ``Table.RINGS`` a new inner map is
    filled and swapped in, so a reader sees the old ring or the new one, never a mixture. ``Table.VSERVERS`` are two
    maps of the forwarder, one for those with a range of ports.
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


def entries(tables: Tables, table: Table) -> dict[Any, Any]:
    """Keys and values of one map; the settings stand under key 0."""
    if table is Table.SETTINGS:
        return {0: tables.settings}
    content: dict[Any, Any] = getattr(tables, table.value)
    return content


def vip_flag(key: VServerKey) -> VipFlag:
    """The flag a VIP needs for this vserver to be looked up."""
    if key.port_end:
        return VipFlag.PROTO_RANGE if key.protocol else VipFlag.RANGE
    if key.protocol:
        return VipFlag.PROTO_PORT if key.port else VipFlag.PROTO
    return VipFlag.PORT if key.port else VipFlag.ANY


def address_order(address: IPAddress) -> tuple[int, int]:
    """IPv4 first, then by number."""
    return address.version, int(address)


def _vserver_order(key: VServerKey) -> tuple[Any, ...]:
    """By VIP, then most specific first, as the forwarder looks them up.

    Puts in this order never let a client fall to a new vserver that another new one takes it from.
    """
    return (*address_order(key.address), -vip_rank(key), key.protocol, 0, key.port, key.port_end)


def _prefix_order(key: PortPrefix) -> tuple[Any, ...]:
    """Among vservers, behind all those with ranges: a prefix leads to one, so it comes after and goes before them."""
    rank = vip_rank(VServerKey(key.address, key.protocol, 1, 2))
    return (*address_order(key.address), -rank, key.protocol, 1, key.port, key.bits)


def look_up_order(step: Step) -> tuple[Any, ...]:
    """Of steps upon vservers and port prefixes together: as the forwarder looks them up."""
    if step.table is Table.VSERVERS:
        return _vserver_order(step.key)
    # An interrupted plan may leave prefixes within others: the wider ones go first, so that no port falls back to them.
    return (*_prefix_order(step.key)[:-2], -step.key.bits, step.key.port)


def vip_rank(key: VServerKey) -> int:
    """Precedence: (protocol, port), (protocol, range), (protocol, any) are 5, 4, 3; those of ANY 2, 1, 0."""
    return 3 * bool(key.protocol) + (1 if key.port_end else 2 * bool(key.port))


def _probe_in_order(key: ProbeInKey) -> tuple[Any, ...]:
    return (*address_order(key.vip), key.mac)


def _number_order(key: int) -> int:
    return key


def _closed_order(key: ClosedKey) -> tuple[int, int]:
    return key.vserver, key.service


ORDER: dict[Table, Callable[[Any], Any]] = {
    Table.SETTINGS: _number_order,
    Table.INTERFACES: _number_order,
    Table.SERVICES: _number_order,
    Table.POLICIES: _number_order,
    Table.RINGS: _number_order,
    Table.CLOSED: _closed_order,
    Table.VSERVERS: _vserver_order,
    Table.PORT_PREFIXES: _prefix_order,
    Table.VIPS: address_order,
    Table.PROBES_OUT: address_order,
    Table.PROBES_IN: _probe_in_order,
}
