"""HTTPS: a request through TLS over the probe path; certificate and status decide."""

from __future__ import annotations

from monitors.kinds.http.probe import check_status
from monitors.kinds.https.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import http
from monitors.wire.certificate import CertificateCheck
from monitors.wire.stream import Conversation, converse


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)
    wanted = CertificateCheck(given.sni, given.verify, given.ca_certificates, given.warn_days, given.fail_days)
    headers = given.custom_headers
    if given.sni and all(name.lower() != "host" for name, _value in http.parse_headers(headers)):
        headers = f"Host: {given.sni}{'' if spec.port == 443 else f':{spec.port}'}\n{headers}"

    async def talk(conversation: Conversation) -> str:
        about = wanted.check(conversation)
        return f"{await check_status(conversation, given.http_request, headers, given.resp_code)}, {about}"

    return await converse(spec, talk, wanted.tls)
