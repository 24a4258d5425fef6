"""What a small change makes of a state and its tables, without working out everything anew.

A verdict changes one service of thousands. Both functions know when a change is that small, give exactly what
``resolve`` and ``compile_tables`` would give, and otherwise answer None: then those do the work.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from dataplane.compile import closed_services, make_ring, named_services, vserver_key
from dataplane.desired import Configuration, DesiredState, VServer, VServerConfig, resolve_service
from dataplane.tables import (
    MAX_CLOSED,
    NO_SERVICE_FLAGS,
    ClosedKey,
    ClosedState,
    ServiceEntry,
    ServiceFlag,
    Tables,
    VServerEntry,
    VServerFlag,
)

_REMEMBERS = VServerFlag.SESSIONS | VServerFlag.PERSIST


def resolve_change(before: Configuration, state: DesiredState, after: Configuration) -> DesiredState | None:
    """``after`` resolved, given that ``before`` was to ``state`` on the same network.

    None when it is about other virtual servers, or one has services at other addresses. What is the same is the same
    object; all of it, when ``after`` says nothing new.
    """
    if len(before.vservers) != len(after.vservers) or (before.probes, before.servers) != (after.probes, after.servers):
        return None
    vservers = []
    for old, resolved, new in zip(before.vservers, state.vservers, after.vservers, strict=True):
        again = resolved if old is new or old == new else _resolve_vserver(resolved, new)
        if again is None:
            return None
        vservers.append(again)
    changed = replace(
        state,
        revision=after.revision,
        hash_key=after.hash_key,
        vservers=tuple(vservers),
        rules=after.rules,
        mode=after.mode,
    )
    return state if changed == state else changed


def _resolve_vserver(old: VServer, new: VServerConfig) -> VServer | None:
    # Other addresses have paths of their own; a VIP that comes or goes decides about the path of a server there.
    if old.address != new.address or [item.address for item in old.services] != [item.address for item in new.services]:
        return None
    return VServer(
        new.config_id,
        new.name,
        new.address,
        new.protocol,
        new.port,
        new.hash_fields,
        new.mask,
        tuple(resolve_service(service, known.path) for known, service in zip(old.services, new.services, strict=True)),
        new.options,
        new.port_end,
    )


def compile_change(before: DesiredState, after: DesiredState, tables: Tables) -> Tables | None:
    """Tables for ``after``, given that those for ``before`` are ``tables``, compiled from themselves.

    None unless the same virtual servers still have the same services by the same paths, so that all kernel ids and
    look-ups stay, and no ring becomes empty or ceases to be, which the answer to pings depends on. Compiling
    ``after`` from the outcome gives the outcome again. ``tables`` is not changed; what is the same is shared with it.
    """
    changed = _changed(before, after)
    if changed is None:
        return None
    ids = _service_ids(changed, tables)
    rings: dict[int, bytes] = {}
    closed: dict[int, dict[int, ClosedState]] = {}  # by row and kernel id of the service
    for vserver in changed:
        entry = _entry(vserver, tables)
        if entry is None:
            return None
        former = tables.rings[entry.vserver_id]
        ring = make_ring(vserver, ids)
        if bool(ring.strip(b"\0")) != bool(former.strip(b"\0")):
            return None
        rings[entry.vserver_id] = ring
        if entry.flags & _REMEMBERS:
            left = {key.service for key in tables.closed if key.vserver == vserver.config_id}
            closed[vserver.config_id] = closed_services(vserver, ids, left | named_services(former))
    wanted = replace(tables, rings=tables.rings | rings)
    return _close(wanted, closed) if closed else wanted


def _changed(before: DesiredState, after: DesiredState) -> list[VServer] | None:
    """Virtual servers that differ; None when more than their shares and the eligibility of services does."""
    if len(before.vservers) != len(after.vservers):
        return None
    former = (before.hash_key, before.probes, before.interfaces, before.rules)
    if former != (after.hash_key, after.probes, after.interfaces, after.rules):
        return None
    changed = []
    for old, new in zip(before.vservers, after.vservers, strict=True):
        if old is new or old == new:
            continue
        if _fixed(old) != _fixed(new):
            return None
        changed.append(new)
    return changed


def _fixed(vserver: VServer) -> tuple[object, ...]:
    """All that kernel ids, look-ups and paths follow from."""
    services = [(service.config_id, service.address, service.path) for service in vserver.services]
    how = (vserver.hash_fields, vserver.mask, vserver.options)
    return vserver.config_id, vserver_key(vserver), how, services


def _service_ids(vservers: Sequence[VServer], tables: Tables) -> dict[int, int]:
    """Kernel id by row of the services of these virtual servers."""
    rows = {service.config_id for vserver in vservers for service in vserver.services}
    return {entry.config_id: number for number, entry in tables.services.items() if entry.config_id in rows}


def _entry(vserver: VServer, tables: Tables) -> VServerEntry | None:
    """The look-up entry; None for a virtual server that waits for a kernel id."""
    return tables.vservers.get(vserver_key(vserver))


def _close(tables: Tables, closed: Mapping[int, Mapping[int, ClosedState]]) -> Tables | None:
    """Tables with other closed services of some rows; None when there would be too many."""
    former = tables.closed
    kept = {key: state for key, state in former.items() if key.vserver not in closed}
    new = {ClosedKey(row, service): state for row, states in closed.items() for service, state in states.items()}
    wanted = kept | new
    if len(wanted) > MAX_CLOSED:
        return None
    if wanted == former:
        return tables
    return replace(tables, closed=wanted, services=_flagged(tables.services, former.keys() ^ wanted.keys(), wanted))


def _flagged(
    services: dict[int, ServiceEntry], touched: Collection[ClosedKey], closed: Collection[ClosedKey]
) -> dict[int, ServiceEntry]:
    still = {key.service for key in closed}
    flags = {key.service: ServiceFlag.CLOSED if key.service in still else NO_SERVICE_FLAGS for key in touched}
    changed = {number: replace(services[number], flags=flag) for number, flag in flags.items()}
    return services | changed if changed else services
