"""FTP: log in over the probe path."""

from __future__ import annotations

from monitors.kinds.ftp.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import ftp
from monitors.wire.stream import Conversation, converse


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        said = await ftp.login(conversation, given.user_name, given.password)
        await conversation.send(b"QUIT\r\n")
        return f"logged in: {said}"

    return await converse(spec, talk)
