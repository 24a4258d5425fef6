"""Events of single frames in words: rows for the console, lines for a shell. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypedDict

from dataplane.tables import Event, IPAddress, Reason, SampleKind

_PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 33: "DCCP", 47: "GRE", 50: "ESP", 58: "ICMPv6"} | {
    132: "SCTP",
    136: "UDP-Lite",
}
_KINDS = {SampleKind.DROP: "drop", SampleKind.FLOW: "new flow", SampleKind.FORWARDED: "forwarded"}
_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")


class FlowRow(TypedDict):
    """What became of one frame. ``at`` is ISO 8601 in UTC; what is unknown is empty, and vserver 0."""

    at: str
    kind: str
    reason: str
    protocol: str
    client: str
    vip: str
    server: str
    vserver: int
    vserver_name: str
    flags: str
    length: int
    before: (
        str  # the frame's beginning in hexadecimal as it came, and as it left; "" if nobody asked, or it was dropped
    )
    after: str


@dataclass(frozen=True, slots=True)
class Names:
    """What rows are called: virtual servers, and the server (with its address) of a service."""

    vservers: Mapping[int, str] = field(default_factory=dict)
    servers: Mapping[int, str] = field(default_factory=dict)


def endpoint(address: IPAddress, port: int) -> str:
    """Address and port as people write them; the address alone where there is no port."""
    if not port:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def reason_text(reason: Reason) -> str:
    """``DROP_NO_SERVICE`` as "no service"."""
    return reason.name.partition("_")[2].replace("_", " ").lower() or reason.name.lower()


def flow_row(event: Event, names: Names, epoch: int, *, frame: bool = False) -> FlowRow:
    """One event; ``epoch``: time of day minus CLOCK_MONOTONIC, in ns. ``frame``: with the bytes that were kept."""
    kept = event.frame if frame and event.reason is Reason.FORWARDED else b""
    at = datetime.fromtimestamp((event.time + epoch) / 1e9, UTC)
    flags = [name for bit, name in enumerate(_TCP_FLAGS) if event.tcp_flags & 1 << bit]
    return FlowRow(
        at=at.isoformat(timespec="milliseconds"),
        kind=_KINDS[event.kind],
        reason="" if event.reason is Reason.FORWARDED else event.reason.name,
        protocol=_PROTOCOLS.get(event.protocol, f"protocol {event.protocol}"),
        client=endpoint(event.source, event.source_port),
        vip=endpoint(event.destination, event.port),
        server=names.servers.get(event.service, f"service {event.service}") if event.service else "",
        vserver=event.vserver,
        vserver_name=names.vservers.get(event.vserver, f"vserver {event.vserver}") if event.vserver else "",
        flags=" ".join(flags),
        length=event.length,
        before=(event.arrived + kept[len(event.arrived) :]).hex() if kept else "",
        after=kept.hex(),
    )


def flow_line(row: FlowRow) -> str:
    """A row as one line of text."""
    end = row["server"] or row["reason"]
    of = f" ({row['vserver_name']})" if row["vserver_name"] else ""
    flags = f" {row['flags']}" if row["flags"] else ""
    clock = row["at"][11:23]
    return (
        f"{clock} {row['kind']:9} {row['protocol']} {row['client']} → {row['vip']}{of} → {end}{flags} {row['length']} B"
    )
