"""The ordered steps that turn observed tables into wanted ones.

The order keeps this true after each step: a client of a vserver gets the service that the observed tables name, or
the one that the wanted tables name. Two cases cannot keep it: a changed hash key moves all clients at once, and so
does a vserver whose look-up entry and ring both change while its id stays (compile avoids that while ids are free).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from dataplane.hashing import ring_ids
from dataplane.steps import ORDER, Delete, Put, Step, Table, address_order, entries, look_up_order, vip_flag
from dataplane.tables import (
    MAX_PORT_PREFIXES,
    MAX_PROBES,
    MAX_VIPS,
    MAX_VSERVERS,
    PortPrefix,
    Ports,
    Tables,
    VipFlag,
    VServerKey,
)

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
        (step for table in _LOOK_UPS for step in removals.pop(table)), key=look_up_order, reverse=True
    )
    closed_deletes = [*_deletes(Table.CLOSED, wanted, observed)]
    return [
        # Left by an interrupted plan; wanted or not, it must not come to light before its turn.
        *(Delete(Table.VSERVERS, key) for key in sorted(hidden, key=ORDER[Table.VSERVERS])),
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
        *sorted([*new_vservers, *new_prefixes], key=look_up_order),
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
    for key in sorted(changed, key=ORDER[table]):
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
    for key in sorted(gone, key=ORDER[table], reverse=True):
        if key not in unless:
            yield Delete(table, key)


def _widened_vips(wanted: Tables, observed: Tables) -> Iterator[Put]:
    """New VIPs, and new flags beside the old: those that go are needed until their vservers are gone."""
    if wanted.vips is observed.vips:
        return
    for address in sorted(wanted.vips, key=address_order):
        old = observed.vips.get(address)
        flags = wanted.vips[address] | (old or VipFlag(0))
        if flags != old:
            yield Put(Table.VIPS, address, flags)


def _narrowed_vips(wanted: Tables, observed: Tables) -> Iterator[Step]:
    if wanted.vips is observed.vips:
        return
    for address in sorted(wanted.vips, key=address_order):
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
