"""TCP-ECV: send, then read until the expected text is there, the server closes, or the limit is reached."""

from __future__ import annotations

from typing import Final

from monitors.kinds.tcp_ecv.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import pattern
from monitors.wire.stream import Conversation, Maintenance, WrongAnswer, converse, shown

ANSWER_LIMIT: Final = 24_576  # bytes of the answer that are looked at; NetScaler's own limit


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        if given.send:
            await conversation.send(pattern.unescaped(given.send))
        if not (given.recv or given.send or given.trofs_string):
            return "connected"
        return await _expect(conversation, given.recv, given.trofs_string)

    return await converse(spec, talk)


async def _expect(conversation: Conversation, wanted: str, maintenance: str) -> str:
    answer = bytearray()
    conversation.waiting_for = "no answer"
    while len(answer) < ANSWER_LIMIT:
        piece = await conversation.read()
        answer += piece[: ANSWER_LIMIT - len(answer)]
        if not piece:
            break
        if maintenance and pattern.matches(maintenance, bytes(answer)):
            raise Maintenance(f"“{shown(maintenance)}” (maintenance) found in the answer")
        if not wanted:
            return f"answered “{shown(bytes(answer))}”"
        # An expression may match later what it does not match yet, so each piece has another look.
        if pattern.matches(wanted, bytes(answer)):
            return f"“{shown(wanted)}” found in the answer"
        conversation.waiting_for = f"“{shown(wanted)}” not in the answer “{shown(bytes(answer))}”"
    if not answer:
        raise WrongAnswer("connected, closed by the server without an answer")
    limit = f" (first {ANSWER_LIMIT} bytes)" if len(answer) >= ANSWER_LIMIT else ""
    raise WrongAnswer(f"“{shown(wanted)}” not in the answer “{shown(bytes(answer))}”{limit}")
