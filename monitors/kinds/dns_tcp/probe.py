"""DNS-TCP: one query over TCP (RFC 7766: two bytes of length before each message)."""

from __future__ import annotations

import struct

from monitors import trace
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import dns
from monitors.wire.stream import Conversation, WrongAnswer, converse

_LENGTH = struct.Struct("!H")


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(dns.Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        query = dns.question(given)
        wire = query.to_wire()
        trace.note("query", f"{given.query}, {given.query_type}, identifier {query.id}")
        conversation.waiting_for = f"no answer for {given.query}"
        await conversation.send(_LENGTH.pack(len(wire)) + wire)
        (size,) = _LENGTH.unpack(await conversation.read_exactly(_LENGTH.size))
        message = dns.answer_to(query, await conversation.read_exactly(size))
        if message is None:
            raise WrongAnswer("answered another question than the one that was asked")
        trace.note("answer", message.to_text)
        return dns.verdict(given, message)

    return await converse(spec, talk)
