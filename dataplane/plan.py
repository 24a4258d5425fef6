"""The ordered steps that turn observed tables into wanted ones, and text forms of steps and tables.

The order keeps this true after each step: a client of a vserver gets the service that the observed tables name, or
the one that the wanted tables name. Two cases cannot keep it: a changed hash key moves all clients at once, and so
does a vserver whose look-up entry and ring both change while its id stays (compile avoids that while ids are free).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from hashlib import blake2b
from typing import Any

from dataplane.hashing import ring_ids
from dataplane.tables import (
    MAX_PORT_PREFIXES,
    MAX_PROBES,
    MAX_VIPS,
    MAX_VSERVERS,
    ClosedKey,
    ForwarderSettings,
    IPAddress,
    PolicyEntry,
    PortPrefix,
    Ports,
    ProbeInKey,
    ProbeOut,
    ServiceEntry,
    ServiceFlag,
    SynLimit,
    Tables,
    VipFlag,
    VServerEntry,
    VServerKey,
    WhenDown,
)


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

_PROTOCOLS = {0: "any", 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
_LISTED_SERVICES = 8

# Hash maps refuse entries beyond these. One that could not hold old and new together is cleared of the old first: that
# loses frames of what goes away and of what changes its key, but comes to an end. In the order of their deletes.
# The tables of vservers count together: their deletes take turns.
_LIMITS = {
    Table.PROBES_OUT: MAX_PROBES,
    Table.PROBES_IN: MAX_PROBES,
    Table.VIPS: MAX_VIPS,
    Table.PORT_PREFIXES: MAX_PORT_PREFIXES,
    Table.VSERVERS: MAX_VSERVERS,
}
_LOOK_UPS = {Table.PORT_PREFIXES, Table.VSERVERS}


def entries(tables: Tables, table: Table) -> dict[Any, Any]:
    """Keys and values of one map; the settings stand under key 0."""
    if table is Table.SETTINGS:
        return {0: tables.settings}
    content: dict[Any, Any] = getattr(tables, table.value)
    return content


def plan(wanted: Tables, observed: Tables) -> list[Step]:
    """Steps from ``observed`` to ``wanted``, in an order that misdirects and loses no frame in between.

    Clients may pass from one vserver to another, so: first what is new, with rings of its own, which takes over its
    clients for good; then changes of what stays, which by now has only the clients that it keeps; then removals,
    whose clients fall to what stays and is already as wanted.
    """
    hidden = {key for key in observed.vservers if not _looked_up(key, observed, wanted)}
    rings_in_use = {entry.vserver_id for key, entry in observed.vservers.items() if not hidden or key not in hidden}
    crowded = {table for table, limit in _LIMITS.items() if _peak(table, wanted, observed) > limit}
    if crowded & _LOOK_UPS:
        crowded |= _LOOK_UPS
    vserver_puts = [*_puts(Table.VSERVERS, wanted, observed, unless=hidden)]
    new_vservers = [step for step in vserver_puts if step.key not in observed.vservers or step.key in hidden]
    appearing = {step.key for step in new_vservers}
    prefix_puts = [*_puts(Table.PORT_PREFIXES, wanted, observed)]
    new_prefixes = [step for step in prefix_puts if _range_of(step.key, step.value) in appearing]
    ring_puts = [*_puts(Table.RINGS, wanted, observed)]
    reviving = {step.key for step in ring_puts if not observed.rings.get(step.key, b"\1").strip(b"\0")}
    policy_puts = [*_puts(Table.POLICIES, wanted, observed)]
    vip_puts = [*_widened_vips(wanted, observed)]
    removals = {table: [*_deletes(table, wanted, observed, unless=hidden)] for table in _LIMITS}
    look_up_removals = sorted(
        (step for table in _LOOK_UPS for step in removals.pop(table)), key=_look_up_order, reverse=True
    )
    closed_deletes = [*_deletes(Table.CLOSED, wanted, observed)]
    return [
        # Left by an interrupted plan; wanted or not, it must not come to light before its turn.
        *(Delete(Table.VSERVERS, key) for key in sorted(hidden, key=_vserver_order)),
        *(step for table in removals if table in crowded for step in removals[table]),
        *(look_up_removals if crowded & _LOOK_UPS else ()),
        *_puts(Table.SETTINGS, wanted, observed),
        *_puts(Table.INTERFACES, wanted, observed),
        *_bridges(wanted, observed),
        # A service that comes back must not lose the flows that the ring gives it next.
        *(step for step in closed_deletes if step.key.service in wanted.services),
        *_puts(Table.SERVICES, wanted, observed),
        *(step for step in policy_puts if step.key not in reviving),
        *(step for step in ring_puts if step.key not in rings_in_use),
        *(step for step in vip_puts if step.key in observed.vips),
        *sorted([*new_vservers, *new_prefixes], key=_look_up_order),
        *(step for step in vip_puts if step.key not in observed.vips),
        *(step for step in vserver_puts if step.key not in appearing),
        *(step for step in ring_puts if step.key in rings_in_use),
        # Not before there are services again: nobody is to be rejected by a rule that is new with them.
        *(step for step in policy_puts if step.key in reviving),
        # No ring names these services any more: flows that are flushed find another one.
        *_puts(Table.CLOSED, wanted, observed),
        # The way back before the way out: an answer never finds its probe address missing.
        *_puts(Table.PROBES_IN, wanted, observed),
        *_puts(Table.PROBES_OUT, wanted, observed),
        # To ranges that were there before, and by now are as wanted; what is left of their former prefixes goes next.
        *(step for step in prefix_puts if _range_of(step.key, step.value) not in appearing),
        *(step for table in removals if table not in crowded for step in removals[table]),
        *(() if crowded & _LOOK_UPS else look_up_removals),
        *_narrowed_vips(wanted, observed),
        *_deletes(Table.RINGS, wanted, observed),
        *_deletes(Table.POLICIES, wanted, observed),
        *_deletes(Table.SERVICES, wanted, observed),
        *(step for step in closed_deletes if step.key.service not in wanted.services),
        *_deletes(Table.INTERFACES, wanted, observed),
    ]


def describe(steps: Iterable[Step], observed: Tables) -> str:
    """One line for each step, sorted by map and key: + adds, ~ changes what ``observed`` holds, - removes."""
    ordered = sorted(steps, key=lambda step: (_TEXT_ORDER[step.table], _SORT[step.table](step.key)))
    return "".join(f"{_step_text(step, observed)}\n" for step in ordered)


def subject(step: Step) -> str:
    """What a step is about, in words: "vserver 10.77.0.10 tcp/80"."""
    return _SUBJECT[step.table](step.key)


def dump(tables: Tables) -> str:
    """One line for each entry, sorted by map and key. Secrets appear as fingerprints only."""
    lines = []
    for table in Table:
        content = entries(tables, table)
        lines += [_entry_text(table, key, content[key]) for key in sorted(content, key=_SORT[table])]
    return "".join(f"{line}\n" for line in lines)


def vip_flag(key: VServerKey) -> VipFlag:
    """The flag a VIP needs for this vserver to be looked up."""
    if key.port_end:
        return VipFlag.PROTO_RANGE if key.protocol else VipFlag.RANGE
    if key.protocol:
        return VipFlag.PROTO_PORT if key.port else VipFlag.PROTO
    return VipFlag.PORT if key.port else VipFlag.ANY


def _peak(table: Table, wanted: Tables, observed: Tables) -> int:
    """Entries that a map must hold at once if everything is made before anything is removed."""
    new, old = entries(wanted, table), entries(observed, table)
    return len(new) if new is old else len(new.keys() | old.keys())


def _looked_up(key: VServerKey, observed: Tables, wanted: Tables) -> bool:
    """Whether clients find this vserver: the VIP is asked first whether there is one of this kind.

    A range that no prefix names, because others cover it, is not found either, and is left alone if that is wanted.
    """
    flag = vip_flag(key)
    if flag not in observed.vips.get(key.address, VipFlag(0)):
        return False
    return not key.port_end or _is_named(key, observed) or not _is_named(key, wanted)


def _is_named(key: VServerKey, tables: Tables) -> bool:
    return any(_range_of(prefix, ports) == key for prefix, ports in tables.port_prefixes.items())


def _range_of(key: PortPrefix, ports: Ports) -> VServerKey:
    """The vserver that has the ports of a prefix."""
    return VServerKey(key.address, key.protocol, *ports)


def _puts(table: Table, wanted: Tables, observed: Tables, unless: Collection[Any] = ()) -> Iterator[Put]:
    """Entries that are missing or differ; those of ``unless`` count as missing."""
    new, old = entries(wanted, table), entries(observed, table)
    # The same table, or the same entry, is most of a round: it need not be compared
    if new is old:
        changed = [key for key in unless if key in new]
    else:
        changed = [key for key, value in new.items() if _differs(key, value, old) or key in unless]
    for key in sorted(changed, key=_SORT[table]):
        yield Put(table, key, new[key])


def _differs(key: Any, value: Any, old: dict[Any, Any]) -> bool:
    former = old.get(key)  # no entry is None
    return former is not value and former != value


def _deletes(table: Table, wanted: Tables, observed: Tables, unless: Collection[Any] = ()) -> Iterator[Delete]:
    """Entries that are not wanted, but none of ``unless``.

    In reverse order, vservers thus least specific first: a client falls from one that goes to one that stays, at once.
    """
    new, old = entries(wanted, table), entries(observed, table)
    gone = [] if new is old else [key for key in old if key not in new]
    for key in sorted(gone, key=_SORT[table], reverse=True):
        if key not in unless:
            yield Delete(table, key)


def _widened_vips(wanted: Tables, observed: Tables) -> Iterator[Put]:
    """New VIPs, and new flags beside the old: those that go are needed until their vservers are gone."""
    if wanted.vips is observed.vips:
        return
    for address in sorted(wanted.vips, key=_address_order):
        old = observed.vips.get(address)
        flags = wanted.vips[address] | (old or VipFlag(0))
        if flags != old:
            yield Put(Table.VIPS, address, flags)


def _narrowed_vips(wanted: Tables, observed: Tables) -> Iterator[Step]:
    if wanted.vips is observed.vips:
        return
    for address in sorted(wanted.vips, key=_address_order):
        if observed.vips.get(address, VipFlag(0)) & ~wanted.vips[address]:
            yield Put(Table.VIPS, address, wanted.vips[address])


def _bridges(wanted: Tables, observed: Tables) -> Iterator[Step]:
    """Rings for the time in which a service id passes from one service to another.

    Compile never does that, but the tables may come from elsewhere. No slot may name the id across the change unless
    it does so before and after. A slot for which that leaves neither its old nor its new service drops for a moment:
    a lost frame is sent again, one to a wrong server resets the connection.
    """
    if wanted.services is observed.services:
        return
    reused = {
        service_id
        for service_id, entry in wanted.services.items()
        if service_id in observed.services and observed.services[service_id].config_id != entry.config_id
    }
    if not reused:
        return
    for ring_id in sorted(observed.rings):
        old = ring_ids(observed.rings[ring_id])
        if reused.isdisjoint(old):
            continue
        new = ring_ids(wanted.rings[ring_id]) if ring_id in wanted.rings else old
        unsafe = reused | (wanted.services.keys() - observed.services.keys())
        slots = [_bridge_slot(before, after, unsafe) for before, after in zip(old, new, strict=True)]
        yield Put(Table.RINGS, ring_id, b"".join(slot.to_bytes(2, "little") for slot in slots))


def _bridge_slot(before: int, after: int, unsafe: set[int]) -> int:
    if before == after or after not in unsafe:
        return after
    return before if before not in unsafe else 0


# Text and order ------------------------------------------------------------------------------------------------------


def _address_order(address: IPAddress) -> tuple[int, int]:
    return address.version, int(address)


def _vserver_order(key: VServerKey) -> tuple[Any, ...]:
    """By VIP, then most specific first, as the forwarder looks them up.

    Puts in this order never let a client fall to a new vserver that another new one takes it from.
    """
    return (*_address_order(key.address), -vip_rank(key), key.protocol, 0, key.port, key.port_end)


def _prefix_order(key: PortPrefix) -> tuple[Any, ...]:
    """Among vservers, behind all those with ranges: a prefix leads to one, so it comes after and goes before them."""
    rank = vip_rank(VServerKey(key.address, key.protocol, 1, 2))
    return (*_address_order(key.address), -rank, key.protocol, 1, key.port, key.bits)


def _look_up_order(step: Step) -> tuple[Any, ...]:
    if step.table is Table.VSERVERS:
        return _vserver_order(step.key)
    # An interrupted plan may leave prefixes within others: the wider ones go first, so that no port falls back to them.
    return (*_prefix_order(step.key)[:-2], -step.key.bits, step.key.port)


def vip_rank(key: VServerKey) -> int:
    """Precedence: (protocol, port), (protocol, range), (protocol, any) are 5, 4, 3; those of ANY 2, 1, 0."""
    return 3 * bool(key.protocol) + (1 if key.port_end else 2 * bool(key.port))


def _probe_in_order(key: ProbeInKey) -> tuple[Any, ...]:
    return (*_address_order(key.vip), key.mac)


def _number_order(key: int) -> int:
    return key


def _closed_order(key: ClosedKey) -> tuple[int, int]:
    return key.vserver, key.service


_SORT: dict[Table, Callable[[Any], Any]] = {
    Table.SETTINGS: _number_order,
    Table.INTERFACES: _number_order,
    Table.SERVICES: _number_order,
    Table.POLICIES: _number_order,
    Table.RINGS: _number_order,
    Table.CLOSED: _closed_order,
    Table.VSERVERS: _vserver_order,
    Table.PORT_PREFIXES: _prefix_order,
    Table.VIPS: _address_order,
    Table.PROBES_OUT: _address_order,
    Table.PROBES_IN: _probe_in_order,
}
_TEXT_ORDER = {table: number for number, table in enumerate(Table)}


def _vserver_subject(key: VServerKey) -> str:
    ports = f"{key.port}-{key.port_end}" if key.port_end else key.port or "*"
    return f"vserver {key.address} {_PROTOCOLS.get(key.protocol, str(key.protocol))}/{ports}"


def _prefix_subject(key: PortPrefix) -> str:
    last = key.port + (1 << 16 - key.bits) - 1
    return f"ports {key.address} {_PROTOCOLS.get(key.protocol, str(key.protocol))}/{key.port}-{last}"


_SUBJECT: dict[Table, Callable[[Any], str]] = {
    Table.SETTINGS: lambda _: "settings",
    Table.INTERFACES: "interface {}".format,
    Table.SERVICES: "service {}".format,
    Table.POLICIES: "policy {}".format,
    Table.RINGS: "ring {}".format,
    Table.CLOSED: lambda key: f"service {key.service} closed to vserver row {key.vserver}",
    Table.VSERVERS: _vserver_subject,
    Table.PORT_PREFIXES: _prefix_subject,
    Table.VIPS: "vip {}".format,
    Table.PROBES_OUT: "probe out {}".format,
    Table.PROBES_IN: lambda key: f"probe in {key.vip} from {_mac(key.mac)}",
}


def _settings_text(value: ForwarderSettings) -> str:
    key = "none" if not any(value.hash_key) else f"fingerprint {_fingerprint(value.hash_key)}"
    probing = f"to ifindex {value.probe_ifindex} {_mac(value.probe_mac)}" if value.probe_ifindex else "off"
    rules = f" rules {'+'.join(_flag_names(value.flags))}" if value.flags else ""
    return f" hash key {key} probing {probing}{rules}"


def _service_text(value: ServiceEntry) -> str:
    closed = " closed to some vservers" if ServiceFlag.CLOSED in value.flags else ""
    return f" config {value.config_id} {_hop(value.ifindex, value.mac, value.source_mac)}{closed}"


def _policy_text(value: PolicyEntry) -> str:
    return (
        f" config {value.config_id} idle {value.idle_timeout} s persist {value.persist_timeout} s"
        f" mask {value.persist_mask}{_syn_text(value.syn)}{' rejects' if value.when_down is WhenDown.REJECT else ''}"
    )


def _syn_text(value: SynLimit | None) -> str:
    if value is None:
        return ""
    return (
        f" SYNs {value.rate}/s burst {value.burst}, of a network {value.source_rate}/s burst {value.source_burst}"
        f" mask {value.source_mask}"
    )


def _ring_text(value: bytes) -> str:
    return f": {_shares(value)}, fingerprint {_fingerprint(value)}"


def _shares(ring: bytes) -> str:
    """Services of a ring with their slots, in order of service id."""
    counts = Counter(ring_ids(ring))
    empty = counts.pop(0, 0)
    shares = [counts[service_id] for service_id in sorted(counts)]
    text = f"{len(shares)} service{'' if len(shares) == 1 else 's'}"
    if len(shares) > _LISTED_SERVICES:
        text += f" {min(shares)} to {max(shares)} slots each"
    elif shares:
        text += f" {'/'.join(map(str, shares))} slots"
    return f"{text}, {empty} slots empty" if empty else text


def _vserver_text(value: VServerEntry) -> str:
    fields = "+".join(_flag_names(value.hash_fields)) or "nothing"
    how = "".join(f" {name}" for name in _flag_names(value.flags))
    return f" id {value.vserver_id} config {value.config_id} hash {fields} mask {value.mask}{how}"


def _probe_out_text(value: ProbeOut) -> str:
    return f" is {value.vip} {_hop(value.ifindex, value.mac, value.source_mac)}"


_VALUE: dict[Table, Callable[[Any], str]] = {
    Table.SETTINGS: _settings_text,
    Table.INTERFACES: lambda mac: f" {_mac(mac)}",
    Table.SERVICES: _service_text,
    Table.POLICIES: _policy_text,
    Table.RINGS: _ring_text,
    Table.CLOSED: lambda state: f": flows {state.name.lower()}",
    Table.VSERVERS: _vserver_text,
    Table.PORT_PREFIXES: lambda ports: f" in {ports[0]}-{ports[1]}",
    Table.VIPS: lambda flags: f" {'+'.join(_flag_names(flags))}",
    Table.PROBES_OUT: _probe_out_text,
    Table.PROBES_IN: " is {}".format,
}


def _entry_text(table: Table, key: Any, value: Any) -> str:
    return _SUBJECT[table](key) + _VALUE[table](value)


def _step_text(step: Step, observed: Tables) -> str:
    old = entries(observed, step.table).get(step.key)
    if isinstance(step, Delete):
        return f"- {subject(step)} (absent)" if old is None else f"- {_entry_text(step.table, step.key, old)}"
    if old is None:
        return f"+ {_entry_text(step.table, step.key, step.value)}"
    if step.table is Table.RINGS:
        return f"~ {subject(step)}: {_shares(step.value)}, {_changed_percent(old, step.value):.1f} % of slots change"
    return f"~ {_entry_text(step.table, step.key, step.value)}"


def _changed_percent(old: bytes, new: bytes) -> float:
    before, after = ring_ids(old), ring_ids(new)
    changed = sum(map(int.__ne__, before, after)) + abs(len(before) - len(after))
    return 100 * changed / max(len(before), len(after), 1)


def _flag_names(flags: IntFlag) -> list[str]:
    return [flag.name.lower().replace("_", "-") for flag in flags if flag.name]


def _hop(ifindex: int, mac: bytes, source_mac: bytes) -> str:
    return f"to {_mac(mac)} from {_mac(source_mac)} on ifindex {ifindex}"


def _mac(mac: bytes) -> str:
    return mac.hex(":")


def _fingerprint(secret: bytes) -> str:
    return blake2b(secret, digest_size=4).hexdigest()
