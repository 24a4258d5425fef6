"""DNS: one query in a datagram over the probe path; answers to other questions are passed over."""

from __future__ import annotations

from monitors import trace
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import dns
from monitors.wire.datagram import Datagrams, exchange


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(dns.Parameters, spec)

    async def talk(datagrams: Datagrams) -> str:
        query = dns.question(given)
        trace.note("query", f"{given.query}, {given.query_type}, identifier {query.id}")
        await datagrams.send(query.to_wire())
        message = None
        while message is None:
            data, _port = await datagrams.receive(spec.port)
            message = dns.answer_to(query, data)
        trace.note("answer", message.to_text)
        return dns.verdict(given, message)

    return await exchange(spec, talk)
