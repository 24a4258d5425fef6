"""RADIUS of probes (RFC 2865, RFC 2866), by pyrad, which builds requests and verifies the answers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final

from pyrad import packet

from monitors import trace
from monitors.parameters import text
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.datagram import Datagrams, exchange
from monitors.wire.stream import WrongAnswer

DEFAULT_NAS_ID: Final = "Halfpipe"
USER_NAME, NAS_IP, NAS_ID, NAS_IPV6 = 1, 4, 32, 95  # attributes are given by number: no dictionary file is needed
NAMES: Final = {2: "Access-Accept", 3: "Access-Reject", 5: "Accounting-Response", 11: "Access-Challenge"}
_HINT: Final = " (servers are silent too when they do not know the director's address, or the shared secret differs)"


def address_problem(given: str) -> str:
    """What is wrong with an address; empty when nothing is."""
    try:
        ip_address(given)
    except ValueError:
        return f"“{given}” is not an IP address."
    return ""


def attribute_problem(given: str) -> str:
    """What is wrong with a text for an attribute (RFC 2865, 5); empty when nothing is."""
    return "" if len(given.encode()) <= 253 else "A RADIUS attribute has at most 253 bytes."


def user_name(help: str, *, required: bool = False) -> Any:
    """``user_name``."""
    return text(required=required, check=attribute_problem, help=help)


def rad_key() -> Any:
    """``rad_key``."""
    return text(secret=True, required=True, label="Shared secret", help="Key that the server has for us.")


def rad_nas_id() -> Any:
    """``rad_nas_id``."""
    return text(
        option="radNASid",
        label="NAS identifier",
        check=attribute_problem,
        help=f"Sent as NAS-Identifier. Empty: {DEFAULT_NAS_ID}.",
    )


def rad_nas_ip() -> Any:
    """``rad_nas_ip``."""
    return text(
        option="radNASip", label="NAS address", check=address_problem, help="Sent as NAS-IP-Address. Empty: none."
    )


def add_nas(request: Any, identifier: str, address: str) -> None:
    """Say who asks."""
    request[NAS_ID] = [(identifier or DEFAULT_NAS_ID).encode()]
    if address:
        one = ip_address(address)
        request[NAS_IP if one.version == 4 else NAS_IPV6] = [one.packed]


def reply_to(request: Any, data: bytes) -> Any:
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


def nas_in_words(identifier: str, address: str) -> str:
    """What :func:`add_nas` adds, for the trace."""
    return f"NAS-Identifier {identifier or DEFAULT_NAS_ID}{f', NAS-IP-Address {address}' if address else ''}"


async def ask(spec: ProbeSpec, request: Any, judge: Callable[[Any], str], told: Callable[[], str]) -> ProbeResult:
    """Send the request and let ``judge`` say what its verified reply means, or raise WrongAnswer.

    ``told`` is the request in words for the trace, without what is made of secrets.
    Raises ValueError when ``spec.address`` is no IP address.
    """
    answered = False

    async def talk(datagrams: Datagrams) -> str:
        nonlocal answered
        trace.note("request", told)
        # Passwords and authenticators are made from the secrets, which could be guessed from them.
        datagrams.made_of_secrets = "RADIUS message (not shown)"
        await datagrams.send(request.RequestPacket())
        while True:
            data, _port = await datagrams.receive(spec.port)
            answered = True
            reply = reply_to(request, data)
            if reply is not None:
                name = f"{NAMES.get(reply.code, 'code')} ({reply.code})"
                trace.note("answer", f"{name}, signed with the shared secret")
                return judge(reply)

    result = await exchange(spec, talk)
    silent = result.message.startswith("no answer") and not answered
    return replace(result, message=result.message + _HINT) if silent else result
