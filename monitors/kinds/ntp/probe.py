"""NTP (RFC 5905): one client packet over the probe path, and how good the answer is."""

from __future__ import annotations

import secrets
import struct
import time
from dataclasses import dataclass
from typing import Final

from monitors import trace
from monitors.kinds.ntp.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.datagram import Datagrams, exchange
from monitors.wire.stream import WrongAnswer, shown

_CLIENT, _SERVER = 3, 4  # modes
_VERSION: Final = 4
_UNSYNCHRONISED: Final = 3  # leap indicator
_EPOCH: Final = 2_208_988_800  # seconds from 1900, NTP's beginning, to 1970
_FRACTION: Final = 1 << 32
# Leap, version and mode; stratum; poll; precision; root delay and dispersion; reference; four times.
_PACKET: Final = struct.Struct("!BBbbII4sQQQQ")


@dataclass(frozen=True, slots=True)
class Answer:
    """``offset`` is the server's time less ours, in seconds; ``reference`` is a code when the stratum is 0."""

    leap: int
    stratum: int
    reference: bytes
    offset: float


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(datagrams: Datagrams) -> str:
        # A random number instead of our time: it is only compared, and tells nobody our clock.
        number = secrets.randbits(64)
        sent = time.time()
        await datagrams.send(request(number))
        while True:
            data, _port = await datagrams.receive(spec.port)
            found = answer_to(number, data, sent, time.time())
            if found is not None:
                trace.note("answer", f"leap {found.leap}, stratum {found.stratum}, offset {found.offset:+.6f} s")
                return _verdict(given, found)

    return await exchange(spec, talk)


def request(number: int) -> bytes:
    """A client's packet (48 bytes) whose transmit time is ``number``."""
    return _PACKET.pack(_VERSION << 3 | _CLIENT, 0, 0, 0, 0, 0, bytes(4), 0, 0, 0, number)


def answer_to(number: int, data: bytes, sent: float, received: float) -> Answer | None:
    """The answer in ``data``; None when it is to another request. Times are seconds since 1970.

    Raises WrongAnswer for what is no NTP.
    """
    if len(data) < _PACKET.size:
        raise WrongAnswer("answered, but what came is no NTP message")
    head, stratum, _poll, _precision, _delay, _spread, reference, _set, origin, came, left = _PACKET.unpack_from(data)
    if head & 7 != _SERVER:
        raise WrongAnswer("answered, but what came is no NTP message")
    if origin != number:
        return None
    # RFC 5905, 8: half of the two differences. They are taken modulo 2^32 s, so that the year 2036 is no matter.
    offset = (_difference(came, sent) + _difference(left, received)) / 2
    return Answer(head >> 6, stratum, reference, offset)


def _difference(stamp: int, ours: float) -> float:
    """Seconds from our time to the server's."""
    difference = (stamp - round((ours + _EPOCH) * _FRACTION)) % (1 << 64)
    return (difference - (1 << 64 if difference >> 63 else 0)) / _FRACTION


def _verdict(given: Parameters, found: Answer) -> str:
    if found.stratum == 0 and any(found.reference):  # RFC 5905, 7.4: kiss-o'-death
        raise WrongAnswer(f"the server refuses: {shown(found.reference.rstrip(bytes(1)))}")
    if found.leap == _UNSYNCHRONISED or not 1 <= found.stratum <= 15:
        raise WrongAnswer("the server is not synchronised")
    words = f"stratum {found.stratum}, offset {_milliseconds(found.offset)}"
    if found.stratum > given.max_stratum:
        raise WrongAnswer(f"{words}; the largest stratum is {given.max_stratum}")
    if given.max_offset and abs(found.offset) * 1000 > given.max_offset:
        raise WrongAnswer(f"{words}; the largest offset is {given.max_offset} ms")
    return words


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:+.1f} ms" if abs(seconds) < 10 else f"{seconds:+.0f} s"
