"""NNTP (RFC 3977, RFC 4643): greeting, perhaps a login and a newsgroup over the probe path."""

from __future__ import annotations

from monitors.kinds.nntp.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.replies import banner, command
from monitors.wire.stream import Conversation, converse, shown


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        said = f"greeted: {(await banner(conversation, 200, 201)).words}"
        if given.user_name:
            answer = await command(conversation, f"AUTHINFO USER {given.user_name}", 281, 381)
            if answer.code == 381:
                answer = await command(conversation, f"AUTHINFO PASS {given.password}", 281, name="AUTHINFO PASS")
            said = f"logged in: {answer.words}"
        if given.group:
            said = f"{shown(given.group)}: {(await command(conversation, f'GROUP {given.group}', 211)).words}"
        await conversation.send(b"QUIT\r\n")
        return said

    return await converse(spec, talk)
