"""UDP-ECV: one datagram over the probe path, and what comes back for it.

Without an expected text silence is success: many UDP services answer nothing to what they do not know. The time to
wait for an ICMP error is then a second at most, as the error comes at once or never (RFC 1122, 3.2.2.1; a sender of
ICMP may limit its rate, so one failure may be missed, and the next probe sees it).
"""

from __future__ import annotations

import asyncio
from typing import Final

from monitors.kinds.udp_ecv.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import pattern
from monitors.wire.datagram import Datagrams, exchange
from monitors.wire.stream import WrongAnswer, shown

ERROR_WAIT: Final = 1.0  # seconds
_DATAGRAMS: Final = 16  # of an answer; the expected text must be in one of them


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(datagrams: Datagrams) -> str:
        await datagrams.send(pattern.unescaped(given.send))
        if given.recv:
            return await _expect(datagrams, given.recv)
        return await _no_error(datagrams)

    return await exchange(spec, talk)


async def _no_error(datagrams: Datagrams) -> str:
    # Shorter than the response timeout, which would be a failure.
    wait = min(ERROR_WAIT, datagrams.spec.timeout * 0.9)
    try:
        async with asyncio.timeout(wait):
            answer, _port = await datagrams.receive(datagrams.spec.port)
    except TimeoutError:
        return f"no ICMP error within {wait:g} s (no answer is expected)"
    return f"answered “{shown(answer)}”" if answer else "answered with an empty datagram"


async def _expect(datagrams: Datagrams, wanted: str) -> str:
    """Look at each datagram until one fits; when none does, say what came."""
    answer = b""
    try:
        async with asyncio.timeout(datagrams.spec.timeout * 0.95):
            for _ in range(_DATAGRAMS):
                answer, _port = await datagrams.receive(datagrams.spec.port)
                if pattern.matches(wanted, answer):
                    return f"“{wanted}” found in the answer"
    except TimeoutError:
        if not answer:
            raise
    raise WrongAnswer(f"“{wanted}” not in the answer “{shown(answer)}”")
