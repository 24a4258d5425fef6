"""Datagrams of a probe, bounded in time and number; a refused port is known at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from time import perf_counter
from typing import Final

from monitors import trace, words
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.stream import WrongAnswer

PACKETS_LIMIT: Final = 1000  # looked at in one probe
_SIZE = 65_535
# ip(7), ipv6(7): ICMP errors are told to sockets that are not connected, too. Python has no names for them.
_IP_RECVERR, _IPV6_RECVERR = 11, 25


class Datagrams:
    """A UDP socket that talks to the probe address alone, on any of its ports (TFTP answers from a new one)."""

    def __init__(self, spec: ProbeSpec) -> None:
        self.spec = spec
        self.strangers: list[str] = []
        self.made_of_secrets = ""  # what is told in a trace instead of bytes that a secret went into
        self._packets = 0
        version = ip_address(spec.address).version
        self._socket = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        if version == 4:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        else:
            self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)

    async def send(self, data: bytes, port: int = 0) -> None:
        """Send to a port of the probe address, the spec's unless given. Raises OSError."""
        target = (self.spec.address, port or self.spec.port)
        await asyncio.get_running_loop().sock_sendto(self._socket, data, target)
        trace.sent(data, self, self.made_of_secrets)

    async def receive(self, port: int = 0) -> tuple[bytes, int]:
        """The next datagram from the probe address and its port; from that ``port`` alone, if one is given.

        Raises OSError (ConnectionRefusedError: no such port), and WrongAnswer after PACKETS_LIMIT datagrams.
        """
        loop = asyncio.get_running_loop()
        wanted = ip_address(self.spec.address)
        while True:
            data, sender = await loop.sock_recvfrom(self._socket, _SIZE)
            self._packets += 1
            if self._packets > PACKETS_LIMIT:
                raise WrongAnswer(f"more than {PACKETS_LIMIT} datagrams of answer")
            if ip_address(sender[0]) == wanted and port in {0, sender[1]}:
                trace.received(data, self, self.made_of_secrets)
                return data, int(sender[1])
            trace.note("stranger", f"{len(data)} bytes from {sender[0]} port {sender[1]}, passed over")
            if len(self.strangers) < 8:
                self.strangers.append(f"{sender[0]} port {sender[1]}")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


Talk = Callable[[Datagrams], Awaitable[str]]


async def exchange(spec: ProbeSpec, talk: Talk) -> ProbeResult:
    """Talk by datagrams and tell how it went; any failure of network or server is a result.

    Raises ValueError when ``spec.address`` is no IP address.
    """
    start = perf_counter()
    try:
        datagrams = Datagrams(spec)
    except OSError as error:
        return words.failure(spec, error, perf_counter() - start)
    try:
        async with asyncio.timeout(spec.timeout):
            message, success = await talk(datagrams), True
    except TimeoutError:
        addition = f", only other packets (from {datagrams.strangers[-1]})" if datagrams.strangers else ""
        return words.no_answer(spec, perf_counter() - start, addition)
    except WrongAnswer as error:
        message, success = str(error), False
    except OSError as error:
        return words.failure(spec, error, perf_counter() - start)
    finally:
        datagrams.close()
    return ProbeResult(success=success, message=message, duration=perf_counter() - start)
