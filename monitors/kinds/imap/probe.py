"""IMAP (RFC 3501, RFC 9051): greeting and perhaps login and EXAMINE over the probe path."""

from __future__ import annotations

from typing import Final

from monitors.kinds.imap.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.stream import Conversation, WrongAnswer, converse, shown

_TAG: Final = "hp"
LINES_LIMIT: Final = 500  # untagged lines before the answer to a command


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        conversation.waiting_for = "no banner"
        banner = await conversation.line()
        if not banner.upper().startswith(("* OK", "* PREAUTH")):
            raise WrongAnswer(f"banner “{shown(banner)}”, wanted * OK")
        said = f"greeted: {shown(banner)}"
        if given.user_name:
            said = f"logged in: {await _command(conversation, ['LOGIN', given.user_name, given.password])}"
        if given.mailbox:
            said = f"{given.mailbox}: {await _command(conversation, ['EXAMINE', given.mailbox])}"
        await conversation.send(f"{_TAG} LOGOUT\r\n".encode())
        return said

    return await converse(spec, talk)


async def _command(conversation: Conversation, words: list[str]) -> str:
    """Send a command, its arguments as literals, which can hold anything; returns the server's answer."""
    name, *arguments = words
    conversation.waiting_for = f"no reply to {name}"
    line = f"{_TAG} {name}".encode()
    for argument in arguments:
        data = argument.encode()
        await conversation.send(line + b" {%d}\r\n" % len(data))
        answer = await _next(conversation)
        if not answer.startswith("+"):
            raise WrongAnswer(f"{name}: {shown(answer)}")
        line = data
    await conversation.send(line + b"\r\n")
    answer = await _next(conversation)
    if not answer.upper().startswith(f"{_TAG} OK".upper()):
        raise WrongAnswer(f"{name}: {shown(answer.removeprefix(_TAG))}")
    return shown(answer.removeprefix(_TAG))


async def _next(conversation: Conversation) -> str:
    """The next line that is an answer: a continuation request or the tagged one."""
    for _ in range(LINES_LIMIT):
        line = await conversation.line()
        if not line.startswith("* "):
            return line
        if line.upper().startswith("* BYE"):
            raise WrongAnswer(f"the server said {shown(line)}")
    raise WrongAnswer(f"more than {LINES_LIMIT} lines before an answer")
