"""REDIS: AUTH, PING and perhaps ROLE over the probe path; hiredis reads the answers."""

from __future__ import annotations

import hiredis

from monitors.kinds.redis.kind import ANY, MASTER, Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.stream import Conversation, WrongAnswer, converse, shown


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        answers = hiredis.Reader()
        if given.password:
            user = [given.user_name] if given.user_name else []
            await _ask(conversation, answers, "AUTH", *user, given.password)
        pong = await _ask(conversation, answers, "PING")
        if pong != b"PONG":
            raise WrongAnswer(f"PING: {_shown(pong)}, wanted PONG")
        if given.role == ANY:
            return "PONG"
        return await _role(conversation, answers, given.role)

    return await converse(spec, talk)


async def _role(conversation: Conversation, answers: hiredis.Reader, wanted: str) -> str:
    answer = await _ask(conversation, answers, "ROLE")
    name = answer[0] if isinstance(answer, list) and answer else answer
    role = "MASTER" if name == b"master" else "REPLICA" if name == b"slave" else _shown(name)
    if role != wanted:
        raise WrongAnswer(f"PONG, but the role is {role}, wanted {wanted}")
    if role != MASTER and isinstance(answer, list) and len(answer) > 3 and answer[3] != b"connected":
        raise WrongAnswer(f"PONG, but the replica's link to its master is “{_shown(answer[3])}”")
    return f"PONG, {role}"


async def _ask(conversation: Conversation, answers: hiredis.Reader, *words: str) -> object:
    """Send a command and return its answer. Raises WrongAnswer for an error, or what is no answer of Redis."""
    conversation.waiting_for = f"no reply to {words[0]}"
    await conversation.send(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub allows one word only
    try:
        while (answer := answers.gets()) is False:
            data = await conversation.read()
            if not data:
                raise WrongAnswer(f"connection closed by the server, {conversation.waiting_for}")
            answers.feed(data)
    except hiredis.ProtocolError as error:
        raise WrongAnswer(f"{words[0]}: the answer is not of Redis") from error
    if isinstance(answer, hiredis.ReplyError):
        raise WrongAnswer(f"{words[0]}: {shown(str(answer))}")
    return answer


def _shown(answer: object) -> str:
    return shown(answer) if isinstance(answer, bytes | str) else shown(repr(answer))
