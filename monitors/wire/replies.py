"""Commands and replies with a three-digit code (FTP: RFC 959, SMTP: RFC 5321, NNTP: RFC 3977)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from monitors.wire.stream import Conversation, WrongAnswer, shown

LINES_LIMIT: Final = 500  # lines of one reply
_REPLY = re.compile(r"(\d{3})([ -]|$)(.*)")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: its code and its lines without the code."""

    code: int
    lines: tuple[str, ...]

    @property
    def words(self) -> str:
        """``530 Login incorrect``."""
        return f"{self.code} {shown(self.lines[-1])}".strip()


async def reply(conversation: Conversation, *, multiline: bool = True) -> Reply:
    """The next reply. Raises WrongAnswer for what is none."""
    lines: list[str] = []
    code = ""
    while len(lines) < LINES_LIMIT:
        line = await conversation.line()
        match = _REPLY.fullmatch(line)
        if match is None or (code and match[1] != code):
            if not code:
                raise WrongAnswer(f"answered “{shown(line)}”, which is no reply of the protocol")
            lines.append(line)  # FTP: lines within a reply need no code
            continue
        code = match[1]
        lines.append(match[3])
        if match[2] != "-" or not multiline:
            return Reply(int(code), tuple(lines))
    raise WrongAnswer(f"a reply of more than {LINES_LIMIT} lines")


async def banner(conversation: Conversation, wanted: int, *others: int) -> Reply:
    """The first reply, which must have one of these codes. Raises WrongAnswer."""
    conversation.waiting_for = "no banner"
    found = await reply(conversation)
    if found.code not in {wanted, *others}:
        raise WrongAnswer(f"banner “{found.words}”, wanted {wanted}")
    return found


async def command(conversation: Conversation, text: str, *wanted: int, name: str = "") -> Reply:
    """Send a line and return its reply, which must have one of the codes; ``name`` hides what a secret is in.

    Raises WrongAnswer, and ValueError for a text of several lines.
    """
    if "\r" in text or "\n" in text:
        msg = "A command is one line."
        raise ValueError(msg)
    name = name or text
    conversation.waiting_for = f"no reply to {shown(name)}"
    await conversation.send(f"{text}\r\n".encode())
    found = await reply(conversation)
    if found.code not in wanted:
        raise WrongAnswer(f"{shown(name)}: {found.words}")
    return found
