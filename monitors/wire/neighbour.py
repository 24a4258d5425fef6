"""Whether a server's MAC answers, as the kernel's neighbour table tells (rtnetlink(7), arp(7)).

Sending ARP takes a privilege that checks do not have. The data plane keeps an entry for each server that the kernel
verifies by itself, and an unprivileged datagram makes the kernel ask again where it is in doubt. An entry that is
REACHABLE was confirmed within the last 45 s at most; a server that goes silent is seen after that time.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from time import perf_counter
from typing import Final

from monitors import trace, words
from monitors.spec import ProbeResult, ProbeSpec

INCOMPLETE, REACHABLE, STALE, DELAY, PROBE, FAILED, NOARP, PERMANENT = (1 << bit for bit in range(8))
_NAMES: Final = {STALE: "stale", DELAY: "about to be asked"}
_STATES: Final = {
    INCOMPLETE: "being asked for the first time",
    REACHABLE: "reachable",
    STALE: "stale",
    DELAY: "about to be asked",
    PROBE: "being asked",
    FAILED: "failed",
    NOARP: "needs none",
    PERMANENT: "permanent",
}
_POLL: Final = 0.05  # seconds
_DISCARD: Final = 9  # port; RFC 863
_GET, _NEW, _DONE, _ERROR = 30, 28, 3, 2  # RTM_GETNEIGH, RTM_NEWNEIGH, NLMSG_DONE, NLMSG_ERROR
_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_DST, _LLADDR, _CACHEINFO = 1, 2, 3  # NDA_*
_HEADER, _NDMSG, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxxxiHBB"), struct.Struct("=HH")
_CHUNK: Final = 65_536  # bytes
_CHUNKS_LIMIT: Final = 1024  # of one dump: more entries than the kernel keeps


@dataclass(frozen=True, slots=True)
class Entry:
    """What the kernel knows of an address; ``age`` is in seconds since the MAC was last confirmed."""

    state: int
    mac: bytes
    age: float


async def check(spec: ProbeSpec, version: int) -> ProbeResult:
    """Look at the server's entry until it is certain or the time is over. Raises ValueError for no IP address."""
    start = perf_counter()
    address = ip_address(spec.server)
    what = "ARP" if version == 4 else "neighbour solicitations"

    def result(message: str, *, success: bool = False, sent: bool = True) -> ProbeResult:
        return ProbeResult(success=success, message=message, duration=perf_counter() - start, sent=sent)

    if address.version != version:
        other = "ND6" if address.version == 6 else "ARP"
        return result(f"{address} is an IPv{address.version} address; use {other}", sent=False)
    found: Entry | None = None
    try:
        async with asyncio.timeout(spec.timeout):
            while True:
                before, found = found, lookup(address)
                if found is None or before is None or (found.state, found.mac) != (before.state, before.mac):
                    trace.note("neighbour", partial(_entry_in_words, address, found))
                if found is not None and found.state & (REACHABLE | PERMANENT | NOARP):
                    return result(_in_words(address, found), success=True)
                _nudge(address)
                await asyncio.sleep(_POLL)
    except TimeoutError:
        if found is not None and found.state in _NAMES and found.mac:
            # The kernel waits 5 s before it asks again: the last answer stands until then.
            return result(f"{_in_words(address, found)}, {_NAMES[found.state]}", success=True)
    except OSError as error:
        return words.failure(spec, error, perf_counter() - start)
    last = f"; its MAC {found.mac.hex(':')} last did {found.age:.0f} s ago" if found and found.mac else ""
    return result(f"{address} does not answer {what} within {spec.timeout:g} s{last}")


def lookup(address: IPv4Address | IPv6Address) -> Entry | None:
    """The address's entry; of several interfaces' the most certain one. Raises OSError."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    request = _NDMSG.pack(family, 0, 0, 0, 0)
    best: Entry | None = None
    order = (PERMANENT, REACHABLE, DELAY, STALE, PROBE, NOARP, INCOMPLETE, FAILED, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(1)  # the kernel answers while it is asked; this is only for what cannot be
        netlink.send(_HEADER.pack(_HEADER.size + len(request), _GET, _DUMP, 1, 0) + request)
        for _ in range(_CHUNKS_LIMIT):
            entries, done = _parse(netlink.recv(_CHUNK), address.packed)
            for entry in entries:
                if best is None or order.index(entry.state) < order.index(best.state):
                    best = entry
            if done:
                break
    return best


def _parse(data: bytes, wanted: bytes) -> tuple[list[Entry], bool]:
    """Entries of the address in a piece of a dump, and whether it was the last piece. Raises OSError."""
    found: list[Entry] = []
    offset = 0
    while offset + _HEADER.size <= len(data):
        size, kind, _flags, _sequence, _port = _HEADER.unpack_from(data, offset)
        if kind == _ERROR:
            code = -int(struct.unpack_from("=i", data, offset + _HEADER.size)[0])
            raise OSError(code, os.strerror(code))
        if kind == _DONE or size < _HEADER.size:
            return found, True
        if kind == _NEW:
            body = data[offset + _HEADER.size : offset + size]
            attributes = _attributes(body[_NDMSG.size :])
            if attributes.get(_DST) == wanted:
                confirmed = struct.unpack_from("=I", attributes.get(_CACHEINFO, bytes(16)))[0]
                age = confirmed / os.sysconf("SC_CLK_TCK")
                found.append(Entry(_NDMSG.unpack_from(body)[2], attributes.get(_LLADDR, b""), age))
        offset += (size + 3) & ~3
    return found, False


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        if size < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[offset + _ATTRIBUTE.size : offset + size]
        offset += (size + 3) & ~3
    return found


def _nudge(address: IPv4Address | IPv6Address) -> None:
    """An empty datagram to the discard port: the kernel must know the MAC to send it. Raises OSError."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.sendto(b"", (str(address), _DISCARD))
        except BlockingIOError:
            return  # datagrams wait for the MAC already


def _entry_in_words(address: IPv4Address | IPv6Address, found: Entry | None) -> str:
    if found is None:
        return f"{address} is not in the kernel's table; it is told to ask"
    mac = found.mac.hex(":") if found.mac else "no MAC"
    return f"{address}: {mac}, {_STATES.get(found.state, 'no state')}, confirmed {found.age:.0f} s ago"


def _in_words(address: IPv4Address | IPv6Address, found: Entry) -> str:
    if found.state & (PERMANENT | NOARP):
        return f"{address} has the fixed MAC {found.mac.hex(':')}"
    return f"{address} has MAC {found.mac.hex(':')}, which answered {found.age:.0f} s ago"
