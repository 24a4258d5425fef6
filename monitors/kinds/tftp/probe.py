"""TFTP (RFC 1350): ask for a file and take its first block, which comes from another port of the server."""

from __future__ import annotations

import struct

from monitors.kinds.tftp.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.datagram import Datagrams, exchange
from monitors.wire.stream import WrongAnswer, shown

_READ, _DATA, _ACK, _ERROR = 1, 3, 4, 5
_BLOCK = 512  # bytes; a shorter block is the last
_HEADER = struct.Struct("!HH")  # what it is, and a number: of the block or the error


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(datagrams: Datagrams) -> str:
        await datagrams.send(struct.pack("!H", _READ) + given.file_name.encode() + b"\0octet\0")
        answer, port = await datagrams.receive()
        if len(answer) < _HEADER.size:
            raise WrongAnswer(f"answered “{shown(answer)}”, which is no TFTP")
        what, number = _HEADER.unpack_from(answer)
        rest = answer[_HEADER.size :]
        if what == _ERROR:
            raise WrongAnswer(f"{shown(given.file_name)}: error {number}, {shown(rest.rstrip(bytes(1)))}")
        if (what, number) != (_DATA, 1) or len(rest) > _BLOCK:
            raise WrongAnswer(f"answered “{shown(answer)}” instead of the first block")
        # The last block is acknowledged; of a longer file no more is wanted, and an error says so at once.
        done = _HEADER.pack(_ACK, 1) if len(rest) < _BLOCK else _HEADER.pack(_ERROR, 0) + b"enough\0"
        await datagrams.send(done, port)
        more = "" if len(rest) < _BLOCK else ", the first of more"
        return f"{shown(given.file_name)}: {len(rest)} bytes{more}"

    return await exchange(spec, talk)
