"""LDAP (RFC 4511): bind and search over the probe path; ldap3 builds and reads the messages."""

from __future__ import annotations

from typing import Any, Final

from ldap3 import ANONYMOUS, SIMPLE
from ldap3.core.exceptions import LDAPExceptionError
from ldap3.operation.bind import bind_operation
from ldap3.operation.search import search_operation
from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
from ldap3.utils.asn1 import decode_message_fast, encode, ldap_result_to_dict_fast

from monitors import trace
from monitors.kinds.ldap.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.stream import Conversation, WrongAnswer, converse, shown
from monitors.wire.tls import Tls

MESSAGE_LIMIT: Final = 16_384  # bytes of one message; no values of attributes are asked for
_MESSAGES_LIMIT: Final = 100  # of one search, which asks for one entry; the others are references
_SEQUENCE: Final = 0x30
_BIND_RESPONSE, _ENTRY, _DONE, _EXTENDED = 1, 4, 5, 24  # application tags
_SUCCESS, _SIZE_LIMIT_EXCEEDED = 0, 4
_START_TLS_NUMBER: Final = 4
_OID: Final = b"1.3.6.1.4.1.1466.20037"  # RFC 4511, 4.14.1
_START_TLS: Final = bytes.fromhex("301d 020104 7718 8016") + _OID
_UNBIND: Final = bytes.fromhex("30050201034200")  # message 3
_NO_ATTRIBUTES: Final = "1.1"  # RFC 4511, 4.5.1.8


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        if given.start_tls and not spec.secure:
            await _start_tls(conversation)
        await _bind(conversation, given)
        words = f"bound{f' as {shown(given.bind_dn)}' if given.bind_dn else ' anonymously'}"
        if given.base_dn:
            words += f", {await _search(conversation, given)}"
        await conversation.send(_UNBIND)
        return words

    return await converse(spec, talk)


async def _start_tls(conversation: Conversation) -> None:
    conversation.waiting_for = "no answer to STARTTLS"
    await conversation.send(_START_TLS)
    _expect(await _answer(conversation, _START_TLS_NUMBER, _EXTENDED), "STARTTLS", _SUCCESS)
    await conversation.start_tls(Tls())


async def _bind(conversation: Conversation, given: Parameters) -> None:
    conversation.waiting_for = "no answer to the bind"
    how = SIMPLE if given.bind_dn else ANONYMOUS
    trace.note("bind", f"simple bind as {given.bind_dn}" if given.bind_dn else "anonymous bind")
    request = bind_operation(3, how, given.bind_dn, given.password or None, auto_encode=True)
    await conversation.send(_message(1, "bindRequest", request))
    payload = await _answer(conversation, 1, _BIND_RESPONSE)
    _expect(payload, "bind", _SUCCESS)


async def _search(conversation: Conversation, given: Parameters) -> str:
    """What to say of the entry that was found."""
    conversation.waiting_for = "bound, no answer to the search"
    wanted = f"(&{given.filter}({given.attribute}=*))" if given.attribute else given.filter
    trace.note("search", f"{wanted} below {given.base_dn}, one entry")
    request = search_operation(given.base_dn, wanted, "SUBTREE", "NEVER", [_NO_ATTRIBUTES], 1, 0, True, True, True)
    await conversation.send(_message(2, "searchRequest", request))
    entry = ""
    for _ in range(_MESSAGES_LIMIT):
        operation, payload = await _message_from(conversation, 2)
        if operation == _ENTRY:
            entry = _name_of(payload)
            trace.note("answer", f"entry {entry}")
        elif operation == _DONE:
            _expect(payload, f"search below {shown(given.base_dn)}", _SUCCESS, _SIZE_LIMIT_EXCEEDED)
            if not entry:
                raise WrongAnswer(f"bound, but no entry below {shown(given.base_dn)} matches {shown(wanted)}")
            return f"found {shown(entry)}"
    raise WrongAnswer(f"more than {_MESSAGES_LIMIT} answers to the search")


async def _answer(conversation: Conversation, number: int, wanted: int) -> Any:
    operation, payload = await _message_from(conversation, number)
    if operation != wanted:
        raise WrongAnswer("answered something else than was asked")
    return payload


async def _message_from(conversation: Conversation, number: int) -> tuple[int, Any]:
    """Operation and payload of the next message. Raises WrongAnswer for one that is not to request ``number``."""
    head = await conversation.read_exactly(2)
    size = head[1]
    if size > 0x80:
        length = await conversation.read_exactly(min(size - 0x80, 4))
        size, head = int.from_bytes(length, "big"), head + length
    if head[0] != _SEQUENCE or head[1] == 0x80 or head[1] > 0x84:
        raise WrongAnswer("answered, but what came is no LDAP message")
    if size > MESSAGE_LIMIT:
        raise WrongAnswer(f"a message of more than {MESSAGE_LIMIT} bytes")
    try:
        message = decode_message_fast(head + await conversation.read_exactly(size))
        found, operation, payload = message["messageID"], message["protocolOp"], message["payload"]
    # What the decoder raises for malformed input has no common class.
    except (LDAPExceptionError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise WrongAnswer("answered, but what came is no LDAP message") from error
    if found == 0 and operation == _EXTENDED:
        _expect(payload, "the server ends the connection")
    if found != number:
        raise WrongAnswer("answered another request than the one that was sent")
    return operation, payload


def _expect(payload: Any, what: str, *wanted: int) -> None:
    """Raises WrongAnswer when the result code is none of those."""
    try:
        result = ldap_result_to_dict_fast(payload)
        code, name, said = result["result"], result["description"], result["message"]
    except (LDAPExceptionError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise WrongAnswer("answered, but what came is no LDAP message") from error
    trace.note("answer", f"{what}: {name} ({code}){f', {said}' if said else ''}")
    if code not in wanted:
        raise WrongAnswer(f"{what}: {name} ({code}){f', {shown(said)}' if said else ''}")


def _name_of(payload: Any) -> str:
    try:
        return bytes(payload[0][3]).decode(errors="replace")
    except (ValueError, TypeError, LookupError) as error:
        raise WrongAnswer("answered, but what came is no LDAP message") from error


def _message(number: int, name: str, request: Any) -> bytes:
    message = LDAPMessage()
    message["messageID"] = MessageID(number)
    message["protocolOp"] = ProtocolOp().setComponentByName(name, request)
    return bytes(encode(message))
