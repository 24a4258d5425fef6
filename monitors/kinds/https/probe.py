"""HTTPS: a request through TLS over the probe path; certificate and status decide."""

from __future__ import annotations

from monitors.kinds.http.probe import check_status
from monitors.kinds.https.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import http
from monitors.wire.stream import Conversation, converse


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)
    headers = given.custom_headers
    if given.sni and all(name.lower() != "host" for name, _value in http.parse_headers(headers)):
        headers = f"Host: {given.sni}{'' if spec.port == 443 else f':{spec.port}'}\n{headers}"

    async def talk(conversation: Conversation) -> str:
        about = given.check_certificate(conversation)
        return f"{await check_status(conversation, given, headers)}, {about}"

    return await converse(spec, talk, given.tls)
