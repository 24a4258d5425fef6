"""From the desired state to what each map must hold.

Kernel ids survive from one compilation to the next, so that counters stay with their objects and a change touches
only what it is about. Ids that the previous tables use are never given to another object in the same compilation:
until the last step of the plan an old ring may still name them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain

from dataplane.desired import DesiredState, Ping, Probe, Service, VServer
from dataplane.hashing import maglev
from dataplane.plan import vip_flag
from dataplane.tables import (
    MAX_INTERFACES,
    MAX_PROBES,
    MAX_SERVICES,
    MAX_VIPS,
    MAX_VSERVERS,
    RING_SLOTS,
    ForwarderSettings,
    IPAddress,
    ProbeInKey,
    ProbeOut,
    ServiceEntry,
    Tables,
    VipFlag,
    VServerEntry,
    VServerKey,
)


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
    _add_probes(tables, desired.probes)
    return tables


def _check_capacity(desired: DesiredState) -> None:
    service_count = len({service.config_id for vserver in desired.vservers for service in vserver.services})
    vip_count = len({vserver.address for vserver in desired.vservers})
    for what, number, limit in (
        ("virtual servers", len(desired.vservers), MAX_VSERVERS - 1),
        ("virtual IP addresses", vip_count, MAX_VIPS),
        ("services", service_count, MAX_SERVICES - 1),
        ("probe addresses", len(desired.probes), MAX_PROBES),
        ("network interfaces", len(desired.interfaces), MAX_INTERFACES),
    ):
        if number > limit:
            message = f"{number} {what} are configured; the forwarder holds at most {limit}"
            raise CapacityError(message)
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
        key = VServerKey(vserver.address, vserver.protocol, vserver.port)
        if key in names:
            message = f"Virtual servers {names[key]} and {vserver.name} have the same address, protocol and port"
            raise CompileError(message)
        if vserver.config_id in compiled:
            message = f"Virtual server {vserver.name} stands twice in the desired state (row {vserver.config_id})"
            raise CompileError(message)
        names[key] = vserver.name
        ring = _ring(vserver, service_ids)
        entry = VServerEntry(0, vserver.config_id, vserver.hash_fields, vserver.mask)
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
        tables.vservers[key] = VServerEntry(vserver_id, config_id, entry.hash_fields, entry.mask)
        tables.rings[vserver_id] = ring
        tables.vips[key.address] = tables.vips.get(key.address, VipFlag.ANSWER) | vip_flag(key)


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
    same_entry = (old_key, old.hash_fields, old.mask) == (key, new.hash_fields, new.mask)
    return same_entry or previous.rings.get(old.vserver_id) == ring


def _ring(vserver: VServer, service_ids: dict[int, int]) -> bytes:
    """The vserver's ring; all zero, so that the forwarder drops as NO_SERVICE, when no service is eligible."""
    return maglev(
        [
            (service.hash_identity, service.weight, service_ids[service.config_id])
            for service in vserver.services
            if service.eligible and service.config_id in service_ids
        ]
    )


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
