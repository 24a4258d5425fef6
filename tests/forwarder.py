"""A model of the forwarder in Python: what dataplane/bpf/forward.bpf.c does with a packet under given tables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from dataplane.hashing import client_slot, ring_ids
from dataplane.tables import (
    RING_SLOTS,
    ClosedKey,
    ClosedState,
    HashField,
    IPAddress,
    PortPrefix,
    ProbeInKey,
    Reason,
    ServiceEntry,
    ServiceFlag,
    SettingFlag,
    Tables,
    VipFlag,
    VServerEntry,
    VServerFlag,
    VServerKey,
    WhenDown,
)

# TCP, UDP, DCCP, SCTP, UDP-Lite: the protocols whose ports the forwarder reads.
PROTOCOLS_WITH_PORTS = frozenset({6, 17, 33, 132, 136})


@dataclass(frozen=True, slots=True)
class Packet:
    """What the forwarder reads of a frame that is addressed to the director.

    ``fragment`` is any fragment, ``later`` one without the transport header. ``ping`` is an ICMP echo
    request; ``is_quotation`` is
    set by the model;
    ``quoted`` is what an ICMP error quotes, as it was sent: from the VIP to the client.
    """

    source: IPAddress
    destination: IPAddress
    protocol: int = 6
    source_port: int = 0
    destination_port: int = 0
    fragment: bool = False
    later: bool = False
    source_mac: bytes = bytes.fromhex("020000000bad")
    director_mac: bytes = bytes.fromhex("020000000d1e")
    ttl: int = 64
    ping: bool = False
    quoted: Packet | None = None
    is_quotation: bool = False
    fragment_id: int = 0
    tcp_flags: int = 0x10

    @property
    def is_syn(self) -> bool:
        return self._has_flags and self.tcp_flags & 0x12 == 2

    @property
    def is_end(self) -> bool:
        return self._has_flags and bool(self.tcp_flags & 5)

    @property
    def _has_flags(self) -> bool:
        return self.protocol == 6 and not self.later and not self.is_quotation

    @property
    def has_ports(self) -> bool:
        return self.protocol in PROTOCOLS_WITH_PORTS and not self.later


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why and where: ``vserver`` and ``service`` are config ids, ``mac`` is the new destination."""

    reason: Reason
    vserver: int = 0
    service: int = 0
    ifindex: int = 0
    mac: bytes = b""

    @property
    def fate(self) -> tuple[str, int, bytes]:
        """What the client can notice: where the frame goes, or that it is dropped or left to the stack."""
        return self.reason.name.partition("_")[0], self.ifindex, self.mac


@dataclass(slots=True)
class Memory:
    """What the forwarder remembers between packets. Time stands still: nothing is ever too old.

    Flows and embryos have (service id, service's row, closing) by the vserver's row and the flow or masked source;
    fragments have (vserver id, service id, service's row).
    """

    flows: dict[object, tuple[int, int, bool]] = field(default_factory=dict)
    embryos: dict[object, tuple[int, int, bool]] = field(default_factory=dict)
    fragments: dict[object, tuple[int, int, int]] = field(default_factory=dict)
    turns: dict[int, int] = field(default_factory=dict)


def where(tables: Tables, packet: Packet, memory: Memory | None = None) -> Verdict:
    """What hp_ingress in dataplane/bpf/forward.bpf.c does with the packet under these tables.

    Without a ``memory`` every packet is the first one.
    """
    memory = memory or Memory()
    flags = tables.vips.get(packet.destination)
    if flags is None:
        return _answer(tables, packet)
    verdict = _ping(packet, flags) if packet.ping else None
    if verdict is None and packet.quoted is not None:
        if packet.quoted.source == packet.destination:
            packet = replace(_turned_round(packet.quoted, packet), is_quotation=True)
        else:
            verdict = Verdict(Reason.DROP_QUOTATION)
    return verdict or _look_up(tables, packet, flags, memory)


def _ping(packet: Packet, flags: VipFlag) -> Verdict | None:
    if VipFlag.PING_ANSWER in flags:
        return Verdict(Reason.DROP_PING if packet.fragment else Reason.PING_ANSWERED)
    return Verdict(Reason.DROP_PING) if VipFlag.PING_DROP in flags else None


def _look_up(tables: Tables, packet: Packet, flags: VipFlag, memory: Memory) -> Verdict:
    if packet.later and not packet.is_quotation:
        vserver_id, service_id, row = memory.fragments.get(_fragment(packet), (0, 0, 0))
        service = tables.services.get(service_id)
        if service is not None and service.config_id == row:
            rows = {entry.vserver_id: entry.config_id for entry in tables.vservers.values()}
            return _send(tables, packet, rows.get(vserver_id, 0), service_id)
    found = _find(tables, packet, flags)
    if found is not None and packet.later and _needs_first_fragment(found):
        return Verdict(Reason.DROP_FRAGMENT)
    if found is not None:
        return _forward(tables, packet, found, memory)
    if packet.later and flags & (VipFlag.PROTO_PORT | VipFlag.PORT | VipFlag.PROTO_RANGE | VipFlag.RANGE):
        return Verdict(Reason.DROP_FRAGMENT)
    return Verdict(Reason.DROP_NO_VSERVER)


def _turned_round(quoted: Packet, error: Packet) -> Packet:
    """The client's packet that the quoted one answers, on the frame of the error."""
    return replace(
        quoted,
        source=quoted.destination,
        destination=quoted.source,
        source_port=quoted.destination_port,
        destination_port=quoted.source_port,
        source_mac=error.source_mac,
        director_mac=error.director_mac,
        ttl=error.ttl,
    )


def _find(tables: Tables, packet: Packet, flags: VipFlag) -> VServerEntry | None:
    address, port = packet.destination, packet.destination_port
    for flag, by_range, any_port, protocol in (
        (VipFlag.PROTO_PORT, VipFlag.PROTO_RANGE, VipFlag.PROTO, packet.protocol),
        (VipFlag.PORT, VipFlag.RANGE, VipFlag.ANY, 0),
    ):
        keys: list[VServerKey] = []
        if packet.has_ports and flag in flags:
            keys.append(VServerKey(address, protocol, port))
        if packet.has_ports and by_range in flags and (ports := _range(tables, address, protocol, port)):
            keys.append(VServerKey(address, protocol, *ports))
        if any_port in flags:
            keys.append(VServerKey(address, protocol, 0))
        found = next((tables.vservers[key] for key in keys if key in tables.vservers), None)
        if found is not None:
            return found
    return None


def _range(tables: Tables, address: IPAddress, protocol: int, port: int) -> tuple[int, int] | None:
    """The range of the longest prefix of the port."""
    for bits in range(16, 0, -1):
        prefix = port >> 16 - bits << 16 - bits
        ports = tables.port_prefixes.get(PortPrefix(address, protocol, prefix, bits))
        if ports is not None:
            return ports
    return None


def _fragment(packet: Packet) -> tuple[IPAddress, IPAddress, int, int]:
    protocol = packet.protocol if packet.source.version == 4 else 0
    return packet.source, packet.destination, packet.fragment_id, protocol


def _needs_first_fragment(vserver: VServerEntry) -> bool:
    by_flow = VServerFlag.SESSIONS | VServerFlag.ROTATE
    return HashField.SOURCE_PORT in vserver.hash_fields or bool(vserver.flags & by_flow)


def _forward(tables: Tables, packet: Packet, vserver: VServerEntry, memory: Memory) -> Verdict:
    if vserver.vserver_id not in tables.rings:
        return Verdict(Reason.DROP_TABLE, vserver.config_id)
    service_id = _choose(tables, packet, vserver, memory)
    if packet.fragment and not packet.later and not packet.is_quotation and service_id in tables.services:
        row = tables.services[service_id].config_id
        memory.fragments[_fragment(packet)] = (vserver.vserver_id, service_id, row)
    return _send(tables, packet, vserver.config_id, service_id)


def _send(tables: Tables, packet: Packet, vserver: int, service_id: int) -> Verdict:
    service = tables.services.get(service_id)
    if service is None:
        return Verdict(Reason.DROP_TABLE if service_id else _refuse(tables, packet, vserver), vserver)
    reason = _guard(tables, packet, service)
    if reason is not Reason.FORWARDED:
        return Verdict(reason, vserver, service.config_id)
    return Verdict(Reason.FORWARDED, vserver, service.config_id, service.ifindex, service.mac)


def _refuse(tables: Tables, packet: Packet, vserver: int) -> Reason:
    """No service: what the client gets to know. Headers are taken to be plain, and the answers not too many."""
    policy = next((one for one in tables.policies.values() if one.config_id == vserver), None)
    if policy is None or policy.when_down is WhenDown.DROP or packet.later or packet.is_quotation:
        return Reason.DROP_NO_SERVICE
    if packet.protocol in {1, 58} or (packet.protocol == 6 and (packet.fragment or packet.tcp_flags & 4)):
        return Reason.DROP_NO_SERVICE
    return Reason.REJECTED_RST if packet.protocol == 6 else Reason.REJECTED_ICMP


def _choose(tables: Tables, packet: Packet, vserver: VServerEntry, memory: Memory) -> int:
    """Service id: remembered, or of the ring; 0: none."""
    ports = (packet.source_port, packet.destination_port) if packet.has_ports else (0, 0)
    session = vserver.config_id, packet.source, packet.destination, packet.protocol, ports
    if VServerFlag.SESSIONS in vserver.flags:
        found = _recall(tables, packet, session, memory, lasting=False)
        if found:
            return found
    found, source = 0, None
    if VServerFlag.PERSIST in vserver.flags:
        mask = int(tables.policies[vserver.vserver_id].persist_mask)
        source = vserver.config_id, int(packet.source) & mask
        found = _recall(tables, packet, source, memory, lasting=True)
    service_id = found or ring_ids(tables.rings[vserver.vserver_id])[_slot(tables, packet, vserver, memory)]
    service = tables.services.get(service_id)
    if service is None or packet.is_quotation:
        return service_id
    if VServerFlag.SESSIONS in vserver.flags:
        memory.embryos[session] = (service_id, service.config_id, False)
    if source is not None and not found:
        memory.embryos[source] = (service_id, service.config_id, False)
    return service_id


def _slot(tables: Tables, packet: Packet, vserver: VServerEntry, memory: Memory) -> int:
    unseen = VServerFlag.SESSIONS in vserver.flags and packet.protocol == 6 and not packet.is_syn
    if VServerFlag.ROTATE not in vserver.flags or packet.is_quotation or unseen:
        return client_slot(
            tables.settings.hash_key,
            vserver.hash_fields,
            vserver.mask,
            source=packet.source,
            destination=packet.destination,
            source_port=packet.source_port if packet.has_ports else 0,
        )
    turn = memory.turns.get(vserver.vserver_id, 0)
    memory.turns[vserver.vserver_id] = (turn + 1) % RING_SLOTS
    return turn


def _recall(tables: Tables, packet: Packet, key: tuple[Any, ...], memory: Memory, *, lasting: bool) -> int:
    def usable(entry: tuple[int, int, bool]) -> bool:
        service = tables.services.get(entry[0])
        if service is None or service.config_id != entry[1]:
            return False
        state = tables.closed.get(ClosedKey(key[0], entry[0])) if ServiceFlag.CLOSED in service.flags else None
        return state is None or (not lasting and state is ClosedState.DRAIN)

    ending = not lasting and packet.is_end
    flow = memory.flows.get(key)
    if flow is not None and not (flow[2] and packet.is_syn) and usable(flow):
        memory.flows[key] = (flow[0], flow[1], flow[2] or ending)
        return flow[0]
    embryo = memory.embryos.get(key)
    if embryo is None or not usable(embryo):
        return 0
    if not packet.is_syn:
        memory.flows[key] = (embryo[0], embryo[1], ending)
        del memory.embryos[key]
    return embryo[0]


def _guard(tables: Tables, packet: Packet, service: ServiceEntry) -> Reason:
    if service.mac == service.source_mac:
        return Reason.DROP_OWN_MAC
    if packet.source_mac in {service.mac, service.source_mac, packet.director_mac}:
        return Reason.DROP_LOOP
    if SettingFlag.TTL in tables.settings.flags and packet.ttl <= 1:
        return Reason.DROP_TTL
    return Reason.FORWARDED


def _answer(tables: Tables, packet: Packet) -> Verdict:
    if tables.settings.probe_ifindex and ProbeInKey(packet.source, packet.source_mac) in tables.probes_in:
        return Verdict(Reason.PROBE_ANSWERED, ifindex=tables.settings.probe_ifindex, mac=tables.settings.probe_mac)
    return Verdict(Reason.PASS_NOT_VIP)


def probe(tables: Tables, address: IPAddress) -> Verdict:
    """What hp_probe does with a probe sent to this probe address."""
    target = tables.probes_out.get(address)
    if target is None:
        return Verdict(Reason.DROP_PROBE_UNMAPPED)
    return Verdict(Reason.PROBE_SENT, ifindex=target.ifindex, mac=target.mac)
