"""RADIUS (RFC 2865): one Access-Request over the probe path; pyrad builds it and verifies the answer."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final

from pyrad import packet

from monitors import trace
from monitors.kinds.radius.kind import Parameters, parse_codes
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.datagram import Datagrams, exchange
from monitors.wire.stream import WrongAnswer, shown

DEFAULT_NAS_ID: Final = "Halfpipe"
_USER_NAME, _USER_PASSWORD, _NAS_IP, _REPLY_MESSAGE, _NAS_ID, _NAS_IPV6 = 1, 2, 4, 18, 32, 95
_NAMES: Final = {2: "Access-Accept", 3: "Access-Reject", 11: "Access-Challenge"}
_HINT: Final = " (servers are silent too when they do not know the director's address, or the shared secret differs)"


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)
    request = _request(given)
    answered = False

    async def talk(datagrams: Datagrams) -> str:
        nonlocal answered
        trace.note("request", lambda: _told(given, request))
        # User-Password and authenticators are made from the secrets, which could be guessed from them.
        datagrams.made_of_secrets = "RADIUS message (not shown)"
        await datagrams.send(request.RequestPacket())
        while True:
            data, _port = await datagrams.receive(spec.port)
            answered = True
            reply = _reply(request, data)
            if reply is not None:
                trace.note("answer", f"{_NAMES.get(reply.code, 'code')} ({reply.code}), signed with the shared secret")
                return _verdict(given, reply)

    result = await exchange(spec, talk)
    silent = result.message.startswith("no answer") and not answered
    return replace(result, message=result.message + _HINT) if silent else result


def _told(given: Parameters, request: Any) -> str:
    nas = given.rad_nas_id or DEFAULT_NAS_ID
    where = f", NAS-IP-Address {given.rad_nas_ip}" if given.rad_nas_ip else ""
    return (
        f"Access-Request {request.id}: User-Name {given.user_name}, User-Password, NAS-Identifier {nas}{where}, "
        "Message-Authenticator"
    )


def _request(given: Parameters) -> Any:
    """Attributes are given by number: no dictionary file is needed."""
    request = packet.AuthPacket(code=packet.AccessRequest, secret=given.rad_key.encode())
    request.authenticator = packet.Packet.CreateAuthenticator()
    request[_USER_NAME] = [given.user_name.encode()]
    request[_USER_PASSWORD] = [request.PwCrypt(given.password)]
    request[_NAS_ID] = [(given.rad_nas_id or DEFAULT_NAS_ID).encode()]
    if given.rad_nas_ip:
        address = ip_address(given.rad_nas_ip)
        request[_NAS_IP if address.version == 4 else _NAS_IPV6] = [address.packed]
    # RFC 3579; servers refuse requests without it since CVE-2024-3596.
    request.add_message_authenticator()
    return request


def _reply(request: Any, data: bytes) -> Any:
    """The reply in ``data``; None when it is to another request. Raises WrongAnswer for what is no reply of ours."""
    try:
        reply = packet.Packet(secret=request.secret, packet=data)
        if reply.id != request.id:
            return None
        ours = request.VerifyReply(reply, data)
    except (packet.PacketError, struct.error, ValueError, LookupError, TypeError) as error:
        raise WrongAnswer("answered, but what came is no RADIUS message") from error
    if not ours:
        raise WrongAnswer("answered, but the answer is not signed with this shared secret")
    return reply


def _verdict(given: Parameters, reply: Any) -> str:
    words = f"{_NAMES.get(reply.code, 'code')} ({reply.code})"
    if reply_message := dict.get(reply, _REPLY_MESSAGE):
        words += f": {shown(b''.join(reply_message))}"
    if not any(reply.code in one for one in parse_codes(given.resp_code)):
        raise WrongAnswer(f"{words}, wanted {given.resp_code.strip()}")
    return words
