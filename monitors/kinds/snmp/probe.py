"""SNMP (RFC 1157, RFC 3416): one GET over the probe path; pysnmp builds and reads the messages."""

from __future__ import annotations

import secrets
from typing import Any, Final

from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type.univ import Integer
from pysnmp.proto import api
from pysnmp.proto.error import ProtocolError
from pysnmp.proto.rfc1905 import EndOfMibView, NoSuchInstance, NoSuchObject

from monitors import trace
from monitors.kinds.snmp.kind import V1, Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.datagram import Datagrams, exchange
from monitors.wire.stream import WrongAnswer, shown

ANSWER_LIMIT: Final = 2048  # bytes; one value of one object takes far less, and decoding takes time
_MISSING: Final = {NoSuchObject: "no such object", NoSuchInstance: "no such instance", EndOfMibView: "end of the MIB"}


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(datagrams: Datagrams) -> str:
        number = secrets.randbelow((1 << 31) - 1) + 1
        trace.note("query", f"{given.snmp_version} GET {given.snmp_oid}, request {number}")
        await datagrams.send(request(given, number))
        pdu = None
        while pdu is None:  # answers to other requests are passed over
            data, _port = await datagrams.receive(spec.port)
            pdu = answer_to(given, number, data)
        trace.note("answer", pdu.prettyPrint)
        return _verdict(given, pdu)

    return await exchange(spec, talk)


def request(given: Parameters, number: int) -> bytes:
    """The message that asks for the object; ``number`` is the request's identifier."""
    one = _protocol(given)
    pdu = one.GetRequestPDU()
    one.apiPDU.set_defaults(pdu)
    one.apiPDU.set_request_id(pdu, number)
    one.apiPDU.set_varbinds(pdu, ((one.ObjectIdentifier(given.snmp_oid.strip(".")), one.Null("")),))
    message = one.Message()
    one.apiMessage.set_defaults(message)
    one.apiMessage.set_community(message, given.snmp_community.encode())
    one.apiMessage.set_pdu(message, pdu)
    return bytes(encoder.encode(message))


def answer_to(given: Parameters, number: int, data: bytes) -> Any:
    """The PDU in ``data``; None when it answers another request. Raises WrongAnswer for what is no SNMP."""
    if len(data) > ANSWER_LIMIT:
        raise WrongAnswer(f"an answer of more than {ANSWER_LIMIT} bytes")
    one = _protocol(given)
    try:
        if int(api.decodeMessageVersion(data)) != _version(given):
            raise WrongAnswer(f"answered in another version than {given.snmp_version}")
        message, _rest = decoder.decode(data, asn1Spec=one.Message())
        pdu = one.apiMessage.get_pdu(message)
        mine = pdu.isSameTypeWith(one.GetResponsePDU()) and int(one.apiPDU.get_request_id(pdu)) == number
    except WrongAnswer:
        raise
    # The decoder is recursive, and what it raises for malformed input has no common class.
    except (PyAsn1Error, ProtocolError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise WrongAnswer("answered, but what came is no SNMP message") from error
    return pdu if mine else None


def _verdict(given: Parameters, pdu: Any) -> str:
    one = _protocol(given)
    status = one.apiPDU.get_error_status(pdu)
    if int(status):
        raise WrongAnswer(f"{given.snmp_oid}: {shown(status.prettyPrint())}")
    pairs = one.apiPDU.get_varbinds(pdu)
    if len(pairs) != 1 or str(pairs[0][0]) != given.snmp_oid.strip("."):
        raise WrongAnswer(f"{given.snmp_oid}: the answer is about another object")
    value = pairs[0][1]
    for missing, words in _MISSING.items():
        if isinstance(value, missing):
            raise WrongAnswer(f"{given.snmp_oid}: {words}")
    said = f"{given.snmp_oid} = {shown(value.prettyPrint())}"
    if not given.snmp_threshold:
        return said
    if not isinstance(value, Integer):
        raise WrongAnswer(f"{said}, which is no number to compare with {given.snmp_threshold}")
    if int(value) > int(given.snmp_threshold):
        raise WrongAnswer(f"{said}, more than {given.snmp_threshold}")
    return f"{said}, at most {given.snmp_threshold}"


def _version(given: Parameters) -> int:
    return int(api.SNMP_VERSION_1 if given.snmp_version == V1 else api.SNMP_VERSION_2C)


def _protocol(given: Parameters) -> Any:
    return api.PROTOCOL_MODULES[_version(given)]
