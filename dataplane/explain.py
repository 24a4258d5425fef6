"""What the forwarder did with a frame, in the console's words: from its verdict, the frame it left and the tables.

The kernel's program is the one that decides (dataplane/kernel/explain.py runs it). :func:`predict` reads the same
tables in Python; that names vserver and slot, which a frame does not show, and finds out when the two disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from dataplane.dissect import ARP, ICMP, ICMPV6, IPV4, IPV6, TCP, Packet, dissect, find_vserver, without_macs
from dataplane.hashing import client_slot, ring_ids
from dataplane.ports import Interface
from dataplane.tables import (
    RING_SLOTS,
    HashField,
    ProbeInKey,
    Reason,
    ServiceEntry,
    SettingFlag,
    Tables,
    VServerEntry,
    VServerKey,
    WhenDown,
)

_TTL, _HOP_LIMIT = 22, 21  # offsets in an untagged frame
_TRANSPORT = {IPV4: 34, IPV6: 54}
_TCP_FLAGS, _RST = 13, 0x04
PASS, DROP, REDIRECT = "pass", "drop", "redirect"
XDP, TC = "xdp", "tc"
METHODS = {
    HashField.SOURCE: "SOURCEIPHASH",
    HashField.DESTINATION: "DESTINATIONIPHASH",
    HashField.SOURCE | HashField.DESTINATION: "SRCIPDESTIPHASH",
    HashField.SOURCE | HashField.SOURCE_PORT: "SRCIPSRCPORTHASH",
}
PROTOCOL_NAMES = {0: "ANY", 1: "ICMP", 6: "TCP", 17: "UDP", 33: "DCCP", 58: "ICMPv6", 132: "SCTP", 136: "UDP-Lite"}


@dataclass(frozen=True, slots=True)
class ServiceName:
    """A service's name with its server's name and address."""

    name: str
    server: str
    address: str


@dataclass(frozen=True, slots=True)
class Names:
    """Names by row id, which the forwarder's tables carry. Empty without a database."""

    vservers: Mapping[int, str] = field(default_factory=dict)
    services: Mapping[int, ServiceName] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of the program. ``moved`` are the reasons whose counters went up meanwhile, other frames' included."""

    verdict: str
    frame: bytes
    moved: frozenset[Reason]


@dataclass(frozen=True, slots=True)
class Stages:
    """The runs of both programs; ``xdp`` is None where that one is not attached."""

    tc: Ran
    xdp: Ran | None = None

    @property
    def deciding(self) -> Ran:
        """The run whose outcome a real frame has: that of XDP, unless it leaves the frame to tc."""
        return self.tc if self.xdp is None or self.xdp.verdict == PASS else self.xdp


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the tables say should happen. ``unsure``: why this cannot be told from the frame and the tables alone."""

    reason: Reason | None
    key: VServerKey | None = None
    entry: VServerEntry | None = None
    slot: int | None = None
    service_id: int = 0
    unsure: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. MACs are 6 bytes; ids are the kernel's unless called ``config_id``; 0, "" and None: there is none.

    ``reasons`` has one member when the reason is known, else those that other traffic left possible. ``agrees`` is
    None when Python cannot predict such a frame. ``service_ids`` has more than one member only where services share a
    server and no slot tells them apart. ``finished_by`` is "xdp" or "tc"; ``stages_agree`` is None unless XDP finished
    the frame and both programs must do the same with it.
    """

    interface: str
    frame: bytes
    result: bytes
    packet: Packet
    verdict: str
    reasons: tuple[Reason, ...]
    vserver_key: VServerKey | None
    vserver: VServerEntry | None
    vserver_name: str
    key_fingerprint: str
    slot: int | None
    services: Mapping[int, ServiceEntry]
    service_names: Mapping[int, ServiceName]
    egress: str
    agrees: bool | None
    notes: tuple[str, ...] = ()
    finished_by: str = TC
    has_xdp: bool = False
    stages_agree: bool | None = None

    @property
    def service_ids(self) -> tuple[int, ...]:
        """Kernel ids of the service, or of those that it may be."""
        return tuple(self.services)

    @property
    def method(self) -> str:
        """The vserver's method in NetScaler's words, or the fields that it hashes."""
        if self.vserver is None:
            return ""
        fields = self.vserver.hash_fields
        return METHODS.get(fields) or "+".join(flag.name for flag in fields if flag.name) or "none hashed"

    def text(self) -> str:
        """Lines of subject and value, for a terminal."""
        from dataplane.explain_text import text  # noqa: PLC0415 - that module is about this one

        return text(self)

    def as_dict(self) -> dict[str, object]:
        """The same for JSON: MACs and frames in hexadecimal, names beside ids."""
        from dataplane.explain_text import as_dict  # noqa: PLC0415 - that module is about this one

        return as_dict(self)


def fingerprint(hash_key: bytes) -> str:
    """Eight digits by which the keys of two directors can be compared without showing them, as in plans."""
    return blake2b(hash_key, digest_size=4).hexdigest() if any(hash_key) else "none"


def kind_of(reason: Reason) -> str:
    """The verdict that a reason stands for."""
    return next((kind for kind in (PASS, DROP) if reason.name.startswith(f"{kind.upper()}_")), REDIRECT)


def predict(tables: Tables, frame: bytes, own_mac: bytes) -> Prediction:
    """What the forwarder should do with a frame that arrives at the interface of MAC ``own_mac``."""
    packet = dissect(frame)
    if packet.vlans:
        return Prediction(None, unsure="it carries a VLAN tag")
    if packet.kind == ARP:
        return Prediction(None, unsure="ARP is answered or passed, not forwarded")
    if packet.kind not in (IPV4, IPV6):
        return Prediction(Reason.PASS_NOT_IP)
    if frame[:6] != own_mac:
        multicast = frame[0] & 1 and packet.kind == IPV6
        return Prediction(None, unsure="it may ask for a neighbour") if multicast else Prediction(Reason.PASS_NOT_TO_US)
    if packet.destination is None:
        return Prediction(Reason.PASS_MALFORMED)
    return _predict_ip(tables, frame, packet)


def _predict_ip(tables: Tables, frame: bytes, packet: Packet) -> Prediction:
    if packet.destination not in tables.vips:
        answers = packet.source is not None and ProbeInKey(packet.source, frame[6:12]) in tables.probes_in
        probing = bool(tables.settings.probe_ifindex) and not packet.broken
        return Prediction(Reason.PROBE_ANSWERED if answers and probing else Reason.PASS_NOT_VIP)
    if packet.broken:
        return Prediction(Reason.DROP_MALFORMED)
    key = find_vserver(packet, tables.vservers)
    unsure = ""
    if packet.fragment:
        unsure = "it is a fragment, which follows the first of its packet"
    elif packet.protocol in (ICMP, ICMPV6):
        unsure = "ICMP may be answered, or follow the connection that it reports on"
    if key is None:
        return Prediction(None if unsure else Reason.DROP_NO_VSERVER, unsure=unsure)
    return _predict_service(tables, frame, packet, key, unsure)


def _predict_service(tables: Tables, frame: bytes, packet: Packet, key: VServerKey, unsure: str) -> Prediction:
    entry = tables.vservers[key]
    ring = tables.rings.get(entry.vserver_id)
    if ring is None or packet.source is None or packet.destination is None:
        return Prediction(Reason.DROP_TABLE, key, entry, unsure=unsure)
    if not entry.hash_fields:
        return Prediction(None, key, entry, unsure="the vserver's method hashes nothing of the client")
    slot = client_slot(
        tables.settings.hash_key,
        entry.hash_fields,
        entry.mask,
        source=packet.source,
        destination=packet.destination,
        source_port=0 if packet.fragment or packet.ports is None else packet.ports[0],
    )
    service_id = ring_ids(ring)[slot]
    service = tables.services.get(service_id)
    if not service_id:
        policy = tables.policies.get(entry.vserver_id)
        rejects = policy is not None and policy.when_down is WhenDown.REJECT
        reason = _rejection(frame, packet) if rejects else Reason.DROP_NO_SERVICE
    elif service is None:
        reason = Reason.DROP_TABLE
    else:
        reason = _guard(tables, frame, packet, service)
    return Prediction(reason, key, entry, slot, service_id, unsure or _remembers(entry))


def _rejection(frame: bytes, packet: Packet) -> Reason:
    """How a client is told that all services are down, see dataplane/bpf/reject.h."""
    if packet.later or packet.protocol in (ICMP, ICMPV6):
        return Reason.DROP_NO_SERVICE
    if packet.protocol != TCP:
        return Reason.REJECTED_ICMP
    plain = packet.transport == _TRANSPORT[packet.kind] and not packet.fragment
    flags = frame[packet.transport + _TCP_FLAGS : packet.transport + _TCP_FLAGS + 1]
    return Reason.REJECTED_RST if plain and flags and not flags[0] & _RST else Reason.DROP_NO_SERVICE


def _remembers(entry: VServerEntry) -> str:
    """Vservers with flags decide by what came before; without any, the packet alone decides."""
    flags = getattr(entry, "flags", 0)
    return "the vserver remembers flows or clients, or takes its services in turn" if flags else ""


def _guard(tables: Tables, frame: bytes, packet: Packet, service: ServiceEntry) -> Reason:
    """What the last checks before forwarding say."""
    if service.mac == service.source_mac:
        return Reason.DROP_OWN_MAC
    if frame[6:12] in (service.mac, service.source_mac, frame[:6]):
        return Reason.DROP_LOOP
    hops = frame[_TTL if packet.kind == IPV4 else _HOP_LIMIT]
    return Reason.DROP_TTL if SettingFlag.TTL in tables.settings.flags and hops <= 1 else Reason.FORWARDED


def conclude(  # noqa: PLR0913 - question, answer and what is known, all of them plain values
    frame: bytes,
    stages: Stages,
    tables: Tables,
    *,
    interface: Interface,
    interfaces: Sequence[Interface],
    names: Names | None = None,
    notes: Sequence[str] = (),
) -> Explanation:
    """Put together what the run showed and what the tables hold."""
    names, ran = names or Names(), stages.deciding
    predicted = predict(tables, frame, interface.mac)
    reasons = _reasons(frame, ran, predicted)
    services = _services(ran, tables, predicted) if reasons == (Reason.FORWARDED,) else {}
    expected = tables.services.get(predicted.service_id)
    agrees = _agrees(ran, reasons, predicted, expected)
    stages_agree = _stages_agree(stages, predicted)
    egress = {entry.ifindex for entry in services.values()}
    known = {item.ifindex: item.name for item in interfaces}
    entry = predicted.entry
    return Explanation(
        interface=interface.name,
        frame=frame,
        result=ran.frame,
        packet=dissect(frame),
        verdict=ran.verdict,
        reasons=reasons,
        vserver_key=predicted.key,
        vserver=entry,
        vserver_name=names.vservers.get(entry.config_id, "") if entry else "",
        key_fingerprint=fingerprint(tables.settings.hash_key),
        # What is remembered goes before the slot: then the slot explains nothing
        slot=predicted.slot if not predicted.unsure or predicted.service_id in services else None,
        services=services,
        service_names={
            entry.config_id: names.services[entry.config_id]
            for entry in services.values()
            if entry.config_id in names.services
        },
        egress=" or ".join(known.get(index, f"interface {index}") for index in sorted(egress)),
        agrees=agrees,
        notes=(*notes, *_notes(frame, predicted, agrees, reasons, interface.mac), *_stage_notes(stages_agree)),
        finished_by=TC if ran is stages.tc else XDP,
        has_xdp=stages.xdp is not None,
        stages_agree=stages_agree,
    )


def _reasons(frame: bytes, ran: Ran, predicted: Prediction) -> tuple[Reason, ...]:
    """Reasons that fit verdict and frame.

    Counters belong to all traffic: one that moved may have moved for another frame. So the verdict chooses among
    them, then what happened to the frame, and at last what the tables say.
    """
    fitting = tuple(sorted(reason for reason in ran.moved if kind_of(reason) == ran.verdict))
    only_macs = ran.frame[:12] != frame[:12] and without_macs(ran.frame) == without_macs(frame)
    if Reason.FORWARDED in fitting and only_macs:
        return (Reason.FORWARDED,)
    if Reason.FORWARDED in fitting and len(fitting) > 1:
        fitting = tuple(reason for reason in fitting if reason is not Reason.FORWARDED)
    if len(fitting) > 1 and predicted.reason in fitting and not predicted.unsure:
        return (predicted.reason,)
    return fitting


def _services(ran: Ran, tables: Tables, predicted: Prediction) -> dict[int, ServiceEntry]:
    """Services with the MACs that came out; the one of the ring's slot if it is among them."""
    there = {
        number: entry
        for number, entry in tables.services.items()
        if ran.frame[:12] == entry.mac + entry.source_mac and entry.config_id
    }
    if predicted.service_id in there:
        return {predicted.service_id: there[predicted.service_id]}
    ring = tables.rings.get(predicted.entry.vserver_id) if predicted.entry else None
    bound = set(ring_ids(ring)) if ring else set()
    return {number: entry for number, entry in there.items() if number in bound} or there


def _agrees(ran: Ran, reasons: Collection[Reason], predicted: Prediction, expected: ServiceEntry | None) -> bool | None:
    if predicted.unsure or predicted.reason is None:
        return None
    if predicted.reason not in reasons or kind_of(predicted.reason) != ran.verdict:
        return False
    if predicted.reason is not Reason.FORWARDED:
        return True
    return expected is not None and ran.frame[:12] == expected.mac + expected.source_mac


def _stages_agree(stages: Stages, predicted: Prediction) -> bool | None:
    """Whether tc would have done what XDP did; turns, flows and limits may answer differently the second time."""
    if stages.xdp is None or stages.xdp.verdict == PASS or predicted.unsure:
        return None
    return (stages.xdp.verdict, stages.xdp.frame) == (stages.tc.verdict, stages.tc.frame)


def _stage_notes(agree: bool | None) -> list[str]:
    if agree is not False:
        return []
    return [
        "XDP and tc treat this frame differently. A change of the tables at this moment explains that; otherwise it is "
        "a fault of the forwarder."
    ]


def _notes(
    frame: bytes, predicted: Prediction, agrees: bool | None, reasons: Collection[Reason], own_mac: bytes
) -> list[str]:
    notes = []
    if frame[:6] != own_mac and not frame[0] & 1:
        notes.append(f"The frame is addressed to {frame[:6].hex(':')}, not to this interface, {own_mac.hex(':')}.")
    if predicted.unsure:
        notes.append(f"Not compared with the tables: {predicted.unsure}.")
    if agrees is False:
        slot = f", by slot {predicted.slot} of {RING_SLOTS}" if predicted.slot is not None else ""
        wanted = predicted.reason.name if predicted.reason is not None else ""
        service = f" to service {predicted.service_id}" if predicted.reason is Reason.FORWARDED else ""
        notes.append(
            f"The tables alone would give {wanted}{service}{slot}. A flow or a client that the forwarder remembers, a "
            "limit, or a change of the tables at this moment explains that; otherwise it is a fault of the forwarder."
        )
    if not reasons:
        notes.append("No counter that fits the verdict moved: somebody set the counters to zero meanwhile.")
    if len(reasons) > 1:
        notes.append("Other traffic moved several counters at once; ask again for one reason.")
    return notes
