"""HTTP-ECV: one request over the probe path; the content of the answer decides."""

from __future__ import annotations

from monitors.kinds.http.probe import request_of, tls_of
from monitors.kinds.http_ecv.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import http, pattern
from monitors.wire.stream import Conversation, Maintenance, WrongAnswer, converse, shown


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        request = request_of(spec, given.send, given.custom_headers)
        response = await http.exchange(conversation, request, body_limit=http.BODY_LIMIT)
        if given.trofs_string and pattern.matches(given.trofs_string, response.body):
            raise Maintenance(f"{response.words}, “{shown(given.trofs_string)}” (maintenance) found")
        if not given.recv:
            return response.words
        if pattern.matches(given.recv, response.body):
            return f"{response.words}, “{shown(given.recv)}” found"
        limit = f" (first {http.BODY_LIMIT} bytes)" if response.cut else ""
        raise WrongAnswer(f"{response.words}, “{shown(given.recv)}” not found in “{shown(response.body)}”{limit}")

    return await converse(spec, talk, tls_of(given.custom_headers))
