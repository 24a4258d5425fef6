"""RADIUS (RFC 2865): one Access-Request over the probe path."""

from __future__ import annotations

from typing import Any

from pyrad import packet

from monitors.kinds.radius.kind import Parameters, parse_codes
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import radius
from monitors.wire.stream import WrongAnswer, shown

_USER_PASSWORD, _REPLY_MESSAGE = 2, 18


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)
    return await radius.ask(spec, request_of(given), lambda reply: _verdict(given, reply), lambda: told(given))


def told(given: Parameters) -> str:
    """The request in words, for the trace."""
    nas = radius.nas_in_words(given.rad_nas_id, given.rad_nas_ip)
    return f"Access-Request: User-Name {given.user_name}, User-Password, {nas}, Message-Authenticator"


def request_of(given: Parameters) -> Any:
    """The Access-Request."""
    request = packet.AuthPacket(code=packet.AccessRequest, secret=given.rad_key.encode())
    request.authenticator = packet.Packet.CreateAuthenticator()
    request[radius.USER_NAME] = [given.user_name.encode()]
    request[_USER_PASSWORD] = [request.PwCrypt(given.password)]
    radius.add_nas(request, given.rad_nas_id, given.rad_nas_ip)
    # RFC 3579; servers refuse requests without it since CVE-2024-3596.
    request.add_message_authenticator()
    return request


def _verdict(given: Parameters, reply: Any) -> str:
    words = f"{radius.NAMES.get(reply.code, 'code')} ({reply.code})"
    if reply_message := dict.get(reply, _REPLY_MESSAGE):
        words += f": {shown(b''.join(reply_message))}"
    if not any(reply.code in one for one in parse_codes(given.resp_code)):
        raise WrongAnswer(f"{words}, wanted {given.resp_code.strip()}")
    return words
