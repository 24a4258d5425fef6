"""FTP-EXTENDED: log in and fetch a file, both over the probe path."""

from __future__ import annotations

from monitors.kinds.ftp_extended.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import ftp
from monitors.wire.stream import Conversation, converse


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        await ftp.login(conversation, given.user_name, given.password)
        fetched = await ftp.fetch(conversation, given.file_name)
        await conversation.send(b"QUIT\r\n")
        return fetched

    return await converse(spec, talk)
