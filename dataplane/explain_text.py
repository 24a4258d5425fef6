"""An explanation as lines for people and as plain values for programs."""

from __future__ import annotations

from dataplane.dissect import Packet
from dataplane.explain import PROTOCOL_NAMES, XDP, Explanation
from dataplane.tables import RING_SLOTS, ServiceEntry, VServerKey

_WORDS = {True: "tables and program agree", False: "tables and program DISAGREE", None: "not compared"}
_KINDS = {0x0806: "ARP", 0x0800: "IPv4", 0x86DD: "IPv6"}


def text(found: Explanation) -> str:
    """Lines of subject and value; subjects without a value are left out."""
    lines = [
        ("frame", f"{_packet(found.packet)}, {len(found.frame)} bytes, arrives at {found.interface}"),
        ("verdict", f"{found.verdict}: {_reason(found)}"),
        ("finished by", _stage(found)),
        ("vserver", _vserver(found)),
        ("method", _method(found)),
        ("slot", f"{found.slot} of {RING_SLOTS}" if found.slot is not None else ""),
        *(("service", _service(found, number, entry)) for number, entry in found.services.items()),
        ("MACs before", _macs(found.frame)),
        ("MACs after", _macs(found.result) if found.result[:12] != found.frame[:12] else ""),
        ("egress", found.egress),
        ("check", _WORDS[found.agrees]),
        *(("note", note) for note in found.notes),
    ]
    return "\n".join(f"{subject:<12} {value}" for subject, value in lines if value)


def as_dict(found: Explanation) -> dict[str, object]:
    """Plain values for JSON."""
    packet, key, entry = found.packet, found.vserver_key, found.vserver
    return {
        "interface": found.interface,
        "packet": {
            "kind": _KINDS.get(packet.kind, f"{packet.kind:#06x}"),
            "vlans": list(packet.vlans),
            "source": str(packet.source) if packet.source else None,
            "destination": str(packet.destination) if packet.destination else None,
            "protocol": packet.protocol,
            "source_port": packet.ports[0] if packet.ports else None,
            "destination_port": packet.ports[1] if packet.ports else None,
            "fragment": packet.fragment,
            "broken": packet.broken,
        },
        "verdict": found.verdict,
        "reason": found.reasons[0].name if len(found.reasons) == 1 else None,
        "possible_reasons": [reason.name for reason in found.reasons],
        "finished_by": found.finished_by,
        "xdp_attached": found.has_xdp,
        "xdp_and_tc_agree": found.stages_agree,
        "vserver": {
            "name": found.vserver_name or None,
            "config_id": entry.config_id,
            "kernel_id": entry.vserver_id,
            "address": str(key.address),
            "protocol": key.protocol,
            "port": key.port,
            "port_end": key.port_end,
            "method": found.method,
            "mask": str(entry.mask),
        }
        if key and entry
        else None,
        "hash_key_fingerprint": found.key_fingerprint,
        "slot": found.slot,
        "ring_slots": RING_SLOTS,
        "services": [_service_dict(found, number, item) for number, item in found.services.items()],
        "egress": found.egress or None,
        "before": found.frame.hex(),
        "after": found.result.hex(),
        "agrees": found.agrees,
        "notes": list(found.notes),
    }


def _service_dict(found: Explanation, number: int, entry: ServiceEntry) -> dict[str, object]:
    named = found.service_names.get(entry.config_id)
    return {
        "name": named.name if named else None,
        "server": named.server if named else None,
        "server_address": named.address if named else None,
        "config_id": entry.config_id,
        "kernel_id": number,
        "mac": entry.mac.hex(":"),
        "source_mac": entry.source_mac.hex(":"),
        "ifindex": entry.ifindex,
    }


def _packet(packet: Packet) -> str:
    tags = "".join(f"VLAN {vlan}, " for vlan in packet.vlans)
    if packet.source is None or packet.destination is None:
        return f"{tags}{_KINDS.get(packet.kind, f'Ethernet type {packet.kind:#06x}')}"
    ends = [str(packet.source), str(packet.destination)]
    if packet.ports:
        colon = "{}:{}" if packet.source.version == 4 else "[{}]:{}"
        ends = [colon.format(end, port) for end, port in zip(ends, packet.ports, strict=True)]
    words = [PROTOCOL_NAMES.get(packet.protocol, f"protocol {packet.protocol}")]
    words += ["broken"] * packet.broken + ["fragment"] * packet.fragment
    return f"{tags}{ends[0]} → {ends[1]}, {', '.join(words)}"


def _reason(found: Explanation) -> str:
    names = [reason.name.lower().replace("_", " ") for reason in found.reasons]
    return " or ".join(names) or "reason unknown"


def _stage(found: Explanation) -> str:
    if found.finished_by == XDP:
        agreement = {True: ", and tc would do the same", False: ", but tc would NOT do the same", None: ""}
        return f"XDP, in the driver{agreement[found.stages_agree]}"
    return "tc; XDP leaves such frames to it" if found.has_xdp else "tc; XDP is not attached here"


def _vserver(found: Explanation) -> str:
    key, entry = found.vserver_key, found.vserver
    if key is None or entry is None:
        return ""
    where = f"{key.address} {PROTOCOL_NAMES.get(key.protocol, key.protocol)} port {_ports(key)}"
    return f"{found.vserver_name or f'row {entry.config_id}'} ({where}; kernel id {entry.vserver_id})"


def _ports(key: VServerKey) -> str:
    return f"{key.port}-{key.port_end}" if key.port_end else str(key.port or "*")


def _method(found: Explanation) -> str:
    if found.vserver is None:
        return ""
    return f"{found.method}, mask {found.vserver.mask}, hash key fingerprint {found.key_fingerprint}"


def _service(found: Explanation, number: int, entry: ServiceEntry) -> str:
    named = found.service_names.get(entry.config_id)
    if named is None:
        return f"row {entry.config_id} (kernel id {number})"
    return f"{named.name} on server {named.server}, {named.address} (kernel id {number})"


def _macs(frame: bytes) -> str:
    return f"{frame[6:12].hex(':')} → {frame[:6].hex(':')}"
