"""A model of the forwarder in Python: what dataplane/bpf/forward.bpf.c does with a packet under given tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dataplane.hashing import client_slot, ring_ids
from dataplane.tables import (
    IPAddress,
    ProbeInKey,
    Reason,
    ServiceEntry,
    SettingFlag,
    Tables,
    VipFlag,
    VServerEntry,
    VServerKey,
)

# TCP, UDP, DCCP, SCTP, UDP-Lite: the protocols whose ports the forwarder reads.
PROTOCOLS_WITH_PORTS = frozenset({6, 17, 33, 132, 136})


@dataclass(frozen=True, slots=True)
class Packet:
    """What the forwarder reads of a frame that is addressed to the director.

    ``fragment`` is any fragment, ``later`` one without the transport header. ``ping`` is an ICMP echo request;
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


def where(tables: Tables, packet: Packet) -> Verdict:
    """What hp_ingress in dataplane/bpf/forward.bpf.c does with the packet under these tables."""
    exact = VServerKey(packet.destination, packet.protocol, packet.destination_port)
    if packet.has_ports and exact in tables.vservers:
        return _forward(tables, packet, tables.vservers[exact])
    flags = tables.vips.get(packet.destination)
    if flags is None:
        return _answer(tables, packet)
    verdict = _ping(packet, flags) if packet.ping else None
    if verdict is None and packet.quoted is not None:
        if packet.quoted.source == packet.destination:
            packet = _turned_round(packet.quoted, packet)
        else:
            verdict = Verdict(Reason.DROP_QUOTATION)
    return verdict or _look_up(tables, packet, flags)


def _ping(packet: Packet, flags: VipFlag) -> Verdict | None:
    if VipFlag.PING_ANSWER in flags:
        return Verdict(Reason.DROP_PING if packet.fragment else Reason.PING_ANSWERED)
    return Verdict(Reason.DROP_PING) if VipFlag.PING_DROP in flags else None


def _look_up(tables: Tables, packet: Packet, flags: VipFlag) -> Verdict:
    found = _find(tables, packet, flags)
    if found is not None:
        return _forward(tables, packet, found)
    if packet.later and flags & (VipFlag.PROTO_PORT | VipFlag.PORT):
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
    for flag, protocol, port in (
        (VipFlag.PROTO_PORT, packet.protocol, packet.destination_port),
        (VipFlag.PROTO, packet.protocol, 0),
        (VipFlag.PORT, 0, packet.destination_port),
        (VipFlag.ANY, 0, 0),
    ):
        if flag not in flags or (flag in VipFlag.PROTO_PORT | VipFlag.PORT and not packet.has_ports):
            continue
        found = tables.vservers.get(VServerKey(packet.destination, protocol, port))
        if found is not None:
            return found
    return None


def _forward(tables: Tables, packet: Packet, vserver: VServerEntry) -> Verdict:
    ring = tables.rings.get(vserver.vserver_id)
    if ring is None:
        return Verdict(Reason.DROP_TABLE, vserver.config_id)
    slot = client_slot(
        tables.settings.hash_key,
        vserver.hash_fields,
        vserver.mask,
        source=packet.source,
        destination=packet.destination,
        source_port=packet.source_port if packet.has_ports and not packet.fragment else 0,
    )
    service_id = ring_ids(ring)[slot]
    service = tables.services.get(service_id)
    if service is None:
        return Verdict(Reason.DROP_TABLE if service_id else Reason.DROP_NO_SERVICE, vserver.config_id)
    reason = _guard(tables, packet, service)
    if reason is not Reason.FORWARDED:
        return Verdict(reason, vserver.config_id, service.config_id)
    return Verdict(Reason.FORWARDED, vserver.config_id, service.config_id, service.ifindex, service.mac)


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
