"""POP3 (RFC 1939): greeting and perhaps a login over the probe path. A mailbox is opened, not changed."""

from __future__ import annotations

from monitors.kinds.pop3.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.stream import Conversation, WrongAnswer, converse, shown


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        conversation.waiting_for = "no banner"
        said = f"greeted: {await _answer(conversation, 'banner')}"
        if given.user_name:
            await _command(conversation, f"USER {given.user_name}", "USER")
            said = f"logged in: {await _command(conversation, f'PASS {given.password}', 'PASS')}"
        await conversation.send(b"QUIT\r\n")
        return said

    return await converse(spec, talk)


async def _command(conversation: Conversation, text: str, name: str) -> str:
    conversation.waiting_for = f"no reply to {name}"
    await conversation.send(f"{text}\r\n".encode())
    return await _answer(conversation, name)


async def _answer(conversation: Conversation, to: str) -> str:
    line = await conversation.line()
    if line != "+OK" and not line.startswith("+OK "):
        raise WrongAnswer(f"{to}: “{shown(line)}”, wanted +OK")
    return shown(line)
