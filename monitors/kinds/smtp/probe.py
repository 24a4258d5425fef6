"""SMTP (RFC 5321, RFC 4954): greeting, EHLO and perhaps a login over the probe path."""

from __future__ import annotations

from base64 import b64encode

from monitors.kinds.smtp.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.replies import Reply, banner, command
from monitors.wire.stream import Conversation, WrongAnswer, converse
from monitors.wire.tls import Tls

_HELLO = "EHLO halfpipe.invalid"  # a name that is nobody's (RFC 2606)


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        said = f"greeted: {(await banner(conversation, 220)).words}"
        offered = await command(conversation, _HELLO, 250)
        if given.start_tls and not spec.secure:
            await command(conversation, "STARTTLS", 220)
            await conversation.start_tls(Tls())
            offered = await command(conversation, _HELLO, 250)
        if given.user_name:
            said = f"logged in: {(await _login(conversation, offered, given)).words}"
        await conversation.send(b"QUIT\r\n")
        return said

    return await converse(spec, talk)


async def _login(conversation: Conversation, offered: Reply, given: Parameters) -> Reply:
    lines = [line.upper().replace("AUTH=", "AUTH ").split() for line in offered.lines]
    ways = {word for words in lines if words[:1] == ["AUTH"] for word in words[1:]}
    if "PLAIN" in ways:
        answer = _encoded("\0".join(("", given.user_name, given.password)))
        return await command(conversation, f"AUTH PLAIN {answer}", 235, name="AUTH PLAIN")
    if "LOGIN" in ways:
        await command(conversation, "AUTH LOGIN", 334)
        await command(conversation, _encoded(given.user_name), 334, name="AUTH LOGIN, user name")
        return await command(conversation, _encoded(given.password), 235, name="AUTH LOGIN, password")
    raise WrongAnswer("the server offers neither AUTH PLAIN nor AUTH LOGIN (perhaps only after STARTTLS)")


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()
