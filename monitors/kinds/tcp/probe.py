"""TCP: a three-way handshake with the VIP on one server, then an ordinary close.

Closing sends FIN, NetScaler's default (``set lb parameter -monitorConnectionClose FIN``).
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from time import perf_counter

from monitors import trace, words
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.stream import Conversation, converse


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Connect to ``spec.port``, with TLS if the spec says so; any network failure is a result, not an error.

    Raises ValueError when ``spec.address`` is no IP address.
    """
    if spec.secure:
        return await converse(spec, _say_so)
    # The bare socket: half the work of a stream, for the kind of which there are most.
    family = socket.AF_INET if ip_address(spec.address).version == 4 else socket.AF_INET6
    start = perf_counter()
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            async with asyncio.timeout(spec.timeout):
                await asyncio.get_running_loop().sock_connect(sock, (spec.address, spec.port))
            duration = perf_counter() - start
            trace.note(trace.CONNECT, f"{spec.address} port {spec.port}: TCP handshake done")
    except TimeoutError as error:  # ours, or the kernel's when it gave up first
        trace.note(trace.CONNECT, f"{spec.address} port {spec.port}: {words.why(error)}")
        return words.no_answer(spec, perf_counter() - start)
    except OSError as error:
        trace.note(trace.CONNECT, f"{spec.address} port {spec.port}: {words.why(error)}")
        return words.failure(spec, error, perf_counter() - start)
    return ProbeResult(success=True, message=f"connected in {words.milliseconds(duration)}", duration=duration)


async def _say_so(conversation: Conversation) -> str:
    return f"connected, {conversation.protocol}"
