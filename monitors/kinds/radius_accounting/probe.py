"""RADIUS_ACCOUNTING (RFC 2866): one Accounting-Request over the probe path."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from pyrad import packet

from monitors.kinds.radius_accounting.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import radius
from monitors.wire.stream import WrongAnswer

_FRAMED_IP, _CALLED, _CALLING, _STATUS_TYPE, _SESSION_ID, _FRAMED_IPV6 = 8, 30, 31, 40, 44, 168
_RESPONSE = 5  # Accounting-Response


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)
    return await radius.ask(spec, request_of(given), _verdict, lambda: told(given))


def told(given: Parameters) -> str:
    """The request in words, for the trace."""
    nas = radius.nas_in_words(given.rad_nas_id, given.rad_nas_ip)
    return f"Accounting-Request: status type {given.rad_account_type}, session {given.rad_account_session}, {nas}"


def request_of(given: Parameters) -> Any:
    """The Accounting-Request; its authenticator is made from its bytes when it is sent."""
    request = packet.AcctPacket(code=packet.AccountingRequest, secret=given.rad_key.encode())
    request[_STATUS_TYPE] = [given.rad_account_type.to_bytes(4, "big")]
    request[_SESSION_ID] = [given.rad_account_session.encode()]
    radius.add_nas(request, given.rad_nas_id, given.rad_nas_ip)
    texts = {radius.USER_NAME: given.user_name, _CALLED: given.rad_apn, _CALLING: given.rad_msisdn}
    for number, value in texts.items():
        if value:
            request[number] = [value.encode()]
    if given.rad_framed_ip:
        address = ip_address(given.rad_framed_ip)
        request[_FRAMED_IP if address.version == 4 else _FRAMED_IPV6] = [address.packed]
    return request


def _verdict(reply: Any) -> str:
    if reply.code != _RESPONSE:
        raise WrongAnswer(f"code {reply.code}, wanted Accounting-Response (5)")
    return "Accounting-Response (5)"
