"""PING: one ICMP echo request (RFC 792, RFC 4443) whose random payload must come back.

It uses Linux's unprivileged datagram sockets (icmp(7), net.ipv4.ping_group_range): the kernel chooses the
identifier, fills in the checksum and hands over only replies to this socket's identifier.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address
from time import perf_counter

from monitors import trace, words
from monitors.spec import ProbeResult, ProbeSpec

_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_PAYLOAD_SIZE = 32  # bytes
_SEQUENCE = 1
_RECEIVE_SIZE = 2048  # bytes; more than any answer of ours


@dataclass(frozen=True, slots=True)
class _Family:
    family: socket.AddressFamily
    protocol: int
    request: int  # ICMP types
    reply: int


_FAMILIES = {
    4: _Family(socket.AF_INET, socket.IPPROTO_ICMP, request=8, reply=0),
    6: _Family(socket.AF_INET6, socket.IPPROTO_ICMPV6, request=128, reply=129),
}


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Send one echo request and wait for its reply; any network failure is a result, not an error.

    Raises ValueError when ``spec.address`` is no IP address.
    """
    family = _FAMILIES[ip_address(spec.address).version]
    start = perf_counter()
    try:
        sock = socket.socket(family.family, socket.SOCK_DGRAM, family.protocol)
    except PermissionError:
        return _not_permitted()
    except OSError as error:
        return words.failure(spec, error, perf_counter() - start)
    strangers: list[str] = []
    with sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(spec.timeout):
                await _echo(sock, family, spec.address, strangers)
        except TimeoutError:
            addition = f", only other packets (from {strangers[-1]})" if strangers else ""
            return words.no_answer(spec, perf_counter() - start, addition)
        except OSError as error:
            return words.failure(spec, error, perf_counter() - start)
    duration = perf_counter() - start
    return ProbeResult(success=True, message=f"echo reply in {words.milliseconds(duration)}", duration=duration)


async def _echo(sock: socket.socket, family: _Family, address: str, strangers: list[str]) -> None:
    """Return when the reply came; senders of other packets are added to ``strangers``."""
    loop = asyncio.get_running_loop()
    payload = secrets.token_bytes(_PAYLOAD_SIZE)
    sock.connect((address, 0))  # so that ICMP errors reach this socket; it sends nothing, hence never blocks
    request = _HEADER.pack(family.request, 0, 0, 0, _SEQUENCE) + payload
    await loop.sock_sendall(sock, request)
    trace.sent(request, sock)
    wanted = ip_address(address)
    while True:
        packet, sender = await loop.sock_recvfrom(sock, _RECEIVE_SIZE)
        trace.received(packet, sock)
        if ip_address(sender[0]) == wanted and is_reply(packet, family.reply, payload):
            return
        strangers.append(str(sender[0]))


def is_reply(packet: bytes, reply_type: int, payload: bytes) -> bool:
    """Whether an ICMP message (without IP header) is the reply to our request."""
    if len(packet) < _HEADER.size:
        return False
    kind, code, _checksum, _identifier, sequence = _HEADER.unpack_from(packet)
    header_is_ours: bool = (kind, code, sequence) == (reply_type, 0, _SEQUENCE)
    return header_is_ours and packet[_HEADER.size :] == payload


def _not_permitted() -> ProbeResult:
    message = (
        f"the director may not send ICMP echo: group {os.getegid()} of the worker is outside of sysctl "
        "net.ipv4.ping_group_range (set it to “0 2147483647”)"
    )
    return ProbeResult(success=False, message=message, duration=0.0, sent=False)
