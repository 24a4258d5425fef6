"""FTP of probes (RFC 959, RFC 2428): login, and a file by passive mode.

The server tells where to fetch the file: its own address, or the VIP. Neither leads to it from here, so only the port
counts: the data connection goes to the probe address as well, hence to the same VIP on the same server.
"""

from __future__ import annotations

import os
import re
from typing import Final

from monitors.wire.replies import banner, command, reply
from monitors.wire.stream import Conversation, WrongAnswer, shown

FILE_LIMIT: Final = 65_536  # bytes of the file that are fetched
_PASSIVE = re.compile(r"(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})")
_EXTENDED = re.compile(r"\((.)\1\1(\d{1,5})\1\)")


async def login(conversation: Conversation, user_name: str, password: str) -> str:
    """Log in; returns the server's words. Raises WrongAnswer."""
    await banner(conversation, 220)
    found = await command(conversation, f"USER {user_name}", 230, 331)
    if found.code == 331:
        found = await command(conversation, f"PASS {password}", 230, 202, name="PASS")
    return found.words


async def fetch(conversation: Conversation, file_name: str) -> str:
    """Fetch the beginning of a file; returns what to say of it. Raises WrongAnswer, OSError."""
    await command(conversation, "TYPE I", 200)
    port = await _passive_port(conversation)
    data = Conversation(conversation.spec)
    try:
        conversation.waiting_for = f"no data connection to port {port}"
        try:
            await data.connect(port)
        except OSError as error:
            why = os.strerror(error.errno).lower() if error.errno else "network error"
            raise WrongAnswer(f"logged in, but the data connection to port {port} failed: {why}") from error
        await command(conversation, f"RETR {file_name}", 125, 150)
        conversation.waiting_for = f"{shown(file_name)} does not come to its end"
        size = 0
        while size < FILE_LIMIT and (piece := await data.read()):
            size += len(piece)
    finally:
        data.abort()
    if size >= FILE_LIMIT:
        return f"{shown(file_name)}: first {FILE_LIMIT} bytes fetched"
    end = await reply(conversation)
    if end.code not in {226, 250}:
        raise WrongAnswer(f"{shown(file_name)}: {end.words}")
    return f"{shown(file_name)}: {size} bytes fetched"


async def _passive_port(conversation: Conversation) -> int:
    found = await command(conversation, "EPSV", 229, *range(500, 505), 522, 530)
    if found.code == 229:
        match = _EXTENDED.search(found.lines[-1])
        if match is None or not 0 < int(match[2]) < 65536:
            raise WrongAnswer(f"EPSV: {found.words}")
        return int(match[2])
    found = await command(conversation, "PASV", 227)
    match = _PASSIVE.search(found.lines[-1])
    if match is None or int(match[5]) > 255 or int(match[6]) > 255:
        raise WrongAnswer(f"PASV: {found.words}")
    return int(match[5]) * 256 + int(match[6])
