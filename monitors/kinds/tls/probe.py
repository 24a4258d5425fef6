"""TLS: a handshake over the probe path, then a look at the certificate."""

from __future__ import annotations

from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.certificate import CertificateCheck
from monitors.wire.stream import Conversation, converse


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    wanted = read(CertificateCheck, spec)

    async def talk(conversation: Conversation) -> str:
        return f"{conversation.protocol}, {wanted.check_certificate(conversation)}"

    return await converse(spec, talk, wanted.tls)
