"""From the desired state to what each map must hold.

Kernel ids survive from one compilation to the next, so that counters stay with their objects and a change touches
only what it is about. Ids that the previous tables use are never given to another object in the same compilation:
until the last step of the plan an old ring may still name them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from itertools import chain

from dataplane.desired import DesiredState, Ping, Probe, Service, VServer
from dataplane.hashing import maglev, ring_ids
from dataplane.port_ranges import port_prefixes
from dataplane.rotation import rotation
from dataplane.steps import vip_flag
from dataplane.tables import (
    MAX_CLOSED,
    MAX_INTERFACES,
    MAX_PORT_PREFIXES,
    MAX_PROBES,
    MAX_SERVICES,
    MAX_VIPS,
    MAX_VSERVERS,
    RING_SLOTS,
    ClosedKey,
    ClosedState,
    ForwarderSettings,
    IPAddress,
    PolicyEntry,
    ProbeInKey,
    ProbeOut,
    ServiceEntry,
    ServiceFlag,
    SynLimit,
    Tables,
    VipFlag,
    VServerEntry,
    VServerFlag,
    VServerKey,
    WhenDown,
)

# Seconds without a packet after which a flow is forgotten, unless the vserver says otherwise.
TCP_IDLE_TIMEOUT = 9000
IDLE_TIMEOUT = 120
_TCP = 6


class CompileError(ValueError):
    """The desired state contradicts itself; the message names the objects."""


class CapacityError(CompileError):
    """The desired state is larger than a map; the message names the limit."""


def compile_tables(
    desired: DesiredState, previous: Tables, *, probe_ifindex: int = 0, probe_mac: bytes = bytes(6)
) -> Tables:
    """Tables for ``desired``; kernel ids are taken over from ``previous`` by config id.

    ``previous`` should be what the maps hold now. A new object that finds only ids of leaving objects waits: this
    compilation leaves it out, and the next, after those are gone, takes it in.
    A vserver gets a new id when its key, hash or mask changes together with its ring, so that both can take effect
    in one step.
    Raises CapacityError when a limit is exceeded and CompileError when two objects claim one key.
    """
    _check_capacity(desired)
    services = _services(desired, previous)
    ids = {entry.config_id: service_id for service_id, entry in services.items()}
    tables = Tables(
        settings=ForwarderSettings(
            desired.hash_key, probe_ifindex, probe_mac if probe_ifindex else bytes(6), desired.rules
        ),
        interfaces={item.ifindex: item.mac for item in desired.interfaces if item.up},
        services=services,
    )
    _add_vservers(tables, desired.vservers, ids, previous)
    _add_pings(tables, desired.vservers)
    _add_policies(tables, desired.vservers)
    _add_closed(tables, desired.vservers, ids, previous)
    _add_probes(tables, desired.probes)
    return tables


def check_counts(*, vservers: int, vips: int, services: int, probes: int, interfaces: int = 0) -> None:
    """Raise CapacityError when there are more of something than the forwarder holds."""
    for what, number, limit in (
        ("virtual servers", vservers, MAX_VSERVERS - 1),
        ("virtual IP addresses", vips, MAX_VIPS),
        ("services", services, MAX_SERVICES - 1),
        ("probe addresses", probes, MAX_PROBES),
        ("network interfaces", interfaces, MAX_INTERFACES),
    ):
        if number > limit:
            message = f"{number} {what} are configured; the forwarder holds at most {limit}"
            raise CapacityError(message)


def _check_capacity(desired: DesiredState) -> None:
    check_counts(
        vservers=len(desired.vservers),
        vips=len({vserver.address for vserver in desired.vservers}),
        services=len({service.config_id for vserver in desired.vservers for service in vserver.services}),
        probes=len(desired.probes),
        interfaces=len(desired.interfaces),
    )
    for vserver in desired.vservers:
        if len(vserver.services) > RING_SLOTS:
            message = (
                f"Virtual server {vserver.name} has {len(vserver.services)} services; "
                f"a virtual server holds at most {RING_SLOTS}"
            )
            raise CapacityError(message)


def _services(desired: DesiredState, previous: Tables) -> dict[int, ServiceEntry]:
    """An entry for each service that can be reached, eligible or not: a DOWN service may return at any moment."""
    known: dict[int, Service] = {}
    for service in chain.from_iterable(vserver.services for vserver in desired.vservers):
        other = known.setdefault(service.config_id, service)
        if other.address != service.address:
            message = f"Service {service.name} (row {service.config_id}) has two addresses: {other.address} and "
            raise CompileError(message + str(service.address))
    former = {entry.config_id: service_id for service_id, entry in previous.services.items()}
    wanted = [config_id for config_id, service in known.items() if service.path.usable]
    ids = _allocate(wanted, former, previous.services, MAX_SERVICES)
    return {
        service_id: _service_entry(known[config_id])
        for config_id, service_id in sorted(ids.items(), key=lambda item: item[1])
    }


def _service_entry(service: Service) -> ServiceEntry:
    return ServiceEntry(service.config_id, service.path.ifindex, service.path.mac, service.path.source_mac)


def _allocate(config_ids: Iterable[int], former: dict[int, int], used: Collection[int], limit: int) -> dict[int, int]:
    """Kernel id by config id; new ones lie above all used ones, wrapping to the lowest free id when that is full.

    Objects for which no id is left are absent from the answer.
    """
    wanted = sorted(set(config_ids))
    ids = {config_id: former[config_id] for config_id in wanted if config_id in former}
    start = max(used, default=0) + 1
    taken = set(used)
    free = (number for number in chain(range(start, limit), range(1, min(start, limit))) if number not in taken)
    # strict=False: ids may run out first.
    ids.update(zip((item for item in wanted if item not in ids), free, strict=False))
    return ids


def _add_vservers(tables: Tables, vservers: Iterable[VServer], service_ids: dict[int, int], previous: Tables) -> None:
    former = {entry.config_id: (key, entry) for key, entry in previous.vservers.items()}
    names: dict[VServerKey, str] = {}
    compiled: dict[int, tuple[VServerKey, VServerEntry, bytes]] = {}
    kept: dict[int, int] = {}
    for vserver in vservers:
        key = vserver_key(vserver)
        if key in names:
            message = f"Virtual servers {names[key]} and {vserver.name} have the same address, protocol and port"
            raise CompileError(message)
        if vserver.config_id in compiled:
            message = f"Virtual server {vserver.name} stands twice in the desired state (row {vserver.config_id})"
            raise CompileError(message)
        names[key] = vserver.name
        ring = make_ring(vserver, service_ids)
        entry = VServerEntry(0, vserver.config_id, vserver.hash_fields, vserver.mask, _vserver_flags(vserver))
        compiled[vserver.config_id] = key, entry, ring
        if vserver.config_id in former and _may_keep_id(*former[vserver.config_id], previous, key, entry, ring):
            kept[vserver.config_id] = former[vserver.config_id][1].vserver_id
    used = {entry.vserver_id for entry in previous.vservers.values()} | set(previous.rings)
    ids = _allocate(compiled, kept, used, MAX_VSERVERS)
    for config_id, (_, entry) in former.items():
        if config_id in compiled:
            # No id is left for a gentle change: better a short mixture of old and new than no service.
            ids.setdefault(config_id, entry.vserver_id)
    for config_id, vserver_id in sorted(ids.items(), key=lambda item: item[1]):
        key, entry, ring = compiled[config_id]
        tables.vservers[key] = replace(entry, vserver_id=vserver_id)
        tables.rings[vserver_id] = ring
        tables.vips[key.address] = tables.vips.get(key.address, VipFlag.ANSWER) | vip_flag(key)
    tables.port_prefixes = port_prefixes(tables.vservers)
    if len(tables.port_prefixes) > MAX_PORT_PREFIXES:
        message = (
            f"The port ranges of all virtual servers make {len(tables.port_prefixes)} port prefixes; the forwarder "
            f"holds at most {MAX_PORT_PREFIXES}. Ranges that begin and end at multiples of powers of two make fewer"
        )
        raise CapacityError(message)


def vserver_key(vserver: VServer) -> VServerKey:
    """What a vserver is looked up by."""
    return VServerKey(vserver.address, vserver.protocol, vserver.port, vserver.port_end)


def _vserver_flags(vserver: VServer) -> VServerFlag:
    options = vserver.options
    flags = VServerFlag.SESSIONS if options.sessions else VServerFlag(0)
    if options.rotate:
        flags |= VServerFlag.ROTATE
    if options.persist_timeout:
        flags |= VServerFlag.PERSIST
    if options.syn_rate or options.source_syn_rate:
        flags |= VServerFlag.SYN_LIMIT
    return flags


def _add_policies(tables: Tables, vservers: Iterable[VServer]) -> None:
    """What vservers with flags need besides them, and those that reject."""
    options = {vserver.config_id: vserver.options for vserver in vservers}
    for key, entry in tables.vservers.items():
        chosen = options[entry.config_id]
        if not entry.flags and chosen.when_down is WhenDown.DROP:
            continue
        idle = chosen.idle_timeout or (TCP_IDLE_TIMEOUT if key.protocol == _TCP else IDLE_TIMEOUT)
        mask = _mask_of("persistence", chosen.persist_mask, key, entry)
        syn = None
        if VServerFlag.SYN_LIMIT in entry.flags:
            syn = SynLimit(
                chosen.syn_rate,
                chosen.syn_burst or chosen.syn_rate,
                chosen.source_syn_rate,
                chosen.source_syn_burst or chosen.source_syn_rate,
                _mask_of("source", chosen.source_mask, key, entry),
            )
        tables.policies[entry.vserver_id] = PolicyEntry(
            entry.config_id, idle, chosen.persist_timeout, mask, syn, chosen.when_down
        )


def _mask_of(what: str, mask: IPAddress | None, key: VServerKey, entry: VServerEntry) -> IPAddress:
    """The mask, or the whole address; it must be of the VIP's family."""
    chosen = mask or ip_address(b"\xff" * len(key.address.packed))
    if chosen.version != key.address.version:
        message = f"Virtual server row {entry.config_id}: {what} mask {chosen} is not of the VIP's family"
        raise CompileError(message)
    return chosen


def _add_closed(tables: Tables, vservers: Iterable[VServer], service_ids: dict[int, int], previous: Tables) -> None:
    """Where the flows of sessionful vservers must not go any more, or no new ones.

    A service that was unbound leaves no trace in the desired state, but its flows are there: what the previous ring
    named, and what was closed then, stays closed while the service exists.
    """
    former = {entry.config_id: entry.vserver_id for entry in previous.vservers.values()}
    current = {entry.config_id: entry.flags for entry in tables.vservers.values()}
    left: dict[int, set[int]] = {}
    for key in previous.closed:
        left.setdefault(key.vserver, set()).add(key.service)
    for vserver in vservers:
        if not current.get(vserver.config_id, VServerFlag(0)) & (VServerFlag.SESSIONS | VServerFlag.PERSIST):
            continue
        former_ring = previous.rings.get(former.get(vserver.config_id, 0), b"")
        known = left.get(vserver.config_id, set()) | named_services(former_ring)
        for service_id, state in closed_services(vserver, service_ids, known).items():
            if service_id in tables.services:
                tables.closed[ClosedKey(vserver.config_id, service_id)] = state
    if len(tables.closed) > MAX_CLOSED:
        message = (
            f"{len(tables.closed)} services are closed to virtual servers; the forwarder holds at most {MAX_CLOSED}"
        )
        raise CapacityError(message)
    for service_id in {key.service for key in tables.closed}:
        tables.services[service_id] = replace(tables.services[service_id], flags=ServiceFlag.CLOSED)


def closed_services(vserver: VServer, service_ids: Mapping[int, int], known: Collection[int]) -> dict[int, ClosedState]:
    """Services that a vserver does not choose, by kernel id: of its own, and of ``known``, where its flows may be."""
    states = {
        service_ids[service.config_id]: ClosedState.FLUSH if service.flush else ClosedState.DRAIN
        for service in vserver.services
        if not service.eligible and service.config_id in service_ids
    }
    chosen = {service_ids.get(service.config_id, 0) for service in vserver.services if service.eligible}
    return {
        service_id: states.get(service_id, ClosedState.FLUSH) for service_id in (set(known) | states.keys()) - chosen
    }


@lru_cache(maxsize=MAX_VSERVERS)
def named_services(ring: bytes) -> frozenset[int]:
    """Service ids that a ring names."""
    return frozenset(ring_ids(ring)) - {0}


_ICMP = {4: 1, 6: 58}


def _add_pings(tables: Tables, vservers: Iterable[VServer]) -> None:
    """Tell each VIP what to do with pings, see :class:`dataplane.desired.Ping`."""
    choices: dict[IPAddress, set[Ping]] = {}
    for vserver in vservers:
        takes_icmp = not vserver.port and vserver.protocol in {0, _ICMP[vserver.address.version]}
        automatic = {Ping.FORWARD, Ping.AUTO} if takes_icmp else {Ping.AUTO}
        choices.setdefault(vserver.address, set()).update(
            automatic if vserver.options.ping is Ping.AUTO else {vserver.options.ping}
        )
    alive = {key.address for key, entry in tables.vservers.items() if tables.rings[entry.vserver_id].strip(b"\0")}
    for address in tables.vips:
        chosen = next(
            (ping for ping in (Ping.DROP, Ping.ANSWER, Ping.FORWARD) if ping in choices[address]), Ping.ANSWER
        )
        if chosen is Ping.ANSWER and address in alive:
            tables.vips[address] |= VipFlag.PING_ANSWER
        elif chosen is not Ping.FORWARD:
            tables.vips[address] |= VipFlag.PING_DROP


def _may_keep_id(  # noqa: PLR0913, PLR0917 - old and new of the same three things
    old_key: VServerKey, old: VServerEntry, previous: Tables, key: VServerKey, new: VServerEntry, ring: bytes
) -> bool:
    """Whether at most one of look-up entry and ring changes: then one step changes all."""
    same_entry = (old_key, replace(old, vserver_id=0)) == (key, new)
    return same_entry or previous.rings.get(old.vserver_id) == ring


def make_ring(vserver: VServer, service_ids: Mapping[int, int]) -> bytes:
    """The vserver's ring; all zero, so that the forwarder drops as NO_SERVICE, when no service is eligible."""
    backends = [
        (service.hash_identity, service.share or service.weight, service_ids[service.config_id])
        for service in vserver.services
        if service.eligible and service.config_id in service_ids
    ]
    return rotation(backends) if vserver.options.rotate else maglev(backends)


def _add_probes(tables: Tables, probes: Iterable[Probe]) -> None:
    """Entries for the probe addresses of servers that can be reached."""

    def order(probe: Probe) -> tuple[int, int]:
        return probe.address.version, int(probe.address)

    addresses: set[IPAddress] = set()
    for probe in sorted(probes, key=order):
        if probe.address in addresses:
            message = f"Probe address {probe.address} is given to two servers; {probe.server} is one of them"
            raise CompileError(message)
        addresses.add(probe.address)
        if not probe.path.usable:
            continue
        path = probe.path
        tables.probes_out[probe.address] = ProbeOut(probe.vip, path.ifindex, path.mac, path.source_mac)
        # Two servers behind one MAC cannot be told apart by their answers. The lowest address keeps them, whatever
        # the order of the rows: probes of the other then time out, which is the truth about what can be known of it.
        tables.probes_in.setdefault(ProbeInKey(probe.vip, path.mac), probe.address)
